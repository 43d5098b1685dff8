// Convolution as one matrix product whose first factor is never in memory (implicit GEMM), on tensor cores.
//
//     gathered   Y[m, k] = b[k] + sum over taps (i, j) and channels c of  S[n, y + i ys, x + j xs, c] F[k, i, j, c]
//                row m = (n, p, q):  y = p ym + ya,  x = q xm + xa          S is 0 outside its H x W
//     weights    G[k, (i, j, c)] = sum over rows m of  D[m, k] S[n, y + i ys, x + j xs, c]
//
// Forward gathers the image; dx gathers dy, by the filters turned; dw is `weights`. All maps are channels-last.
//
// A block of WM x WN warps makes a tile of Y, [16 MT WM, 8 NT WN], each warp its [16 MT, 8 NT]. It goes along the sum 16 at a time:
// the next STAGES - 1 pieces of both factors are on their way to shared memory while one is multiplied.
// Why: im2col writes and reads R S times the image; here a tap is found where it lies. Warps of 64 x 64 read each number that they
// share 64 times from registers for once from shared memory, which is what bounds smaller ones.

#include "mma.cuh"

constexpr int DEEP = 16, STAGES = 3, THREADS = 32 * WM * WN, ROWS = 16 * MT * WM, COLUMNS = 8 * NT * WN;
constexpr int VEC = TOGETHER * sizeof(T) > 16 ? 16 / sizeof(T) : TOGETHER, BYTES = VEC * sizeof(T);  // that are copied at once
constexpr int NOWHERE = -(1 << 29);


extern __shared__ __align__(16) unsigned char pool[];

// Multiplying a warp's part of one piece: acc += A B. Which four of the 16 terms lane 4 g + t holds does not matter, as long as A and
// B agree: here those that lie together, so that one instruction reads them. Rows of 16 numbers send eight lanes to 32 banks.
__device__ inline void along_rows(A (*acc)[NT][4], const T* As, const T* Bs) {
    struct __align__(16) Four { T k[4]; };
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
    const Four* a_at = (const Four*)(As + (warp / WN * 16 * MT + g) * DEEP + 4 * t);
    const Four* b_at = (const Four*)(Bs + (warp % WN * 8 * NT + g) * DEEP + 4 * t);
    A b[NT][4];
#pragma unroll
    for (int v = 0; v < NT; v++) {
        Four four = b_at[8 * v * DEEP / 4];
#pragma unroll
        for (int i = 0; i < 4; i++) b[v][i] = four.k[i];
    }
#pragma unroll
    for (int u = 0; u < MT; u++) {
        A a[8];
        Four upper = a_at[16 * u * DEEP / 4], lower = a_at[(16 * u + 8) * DEEP / 4];
#pragma unroll
        for (int i = 0; i < 4; i++) a[2 * i] = upper.k[i], a[2 * i + 1] = lower.k[i];
#pragma unroll
        for (int v = 0; v < NT; v++) multiply(acc[u][v], a, b[v]);
    }
}

// The same where the sum runs down the columns of both, [k][place]: every fourth term, from rows that are 8 numbers longer than a
// tile, so that four rows send 32 lanes to 32 banks.
__device__ inline void down_columns(A (*acc)[NT][4], const T* As, const T* Bs) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
    const T* a_at = As + t * (ROWS + 8) + warp / WN * 16 * MT + g;
    const T* b_at = Bs + t * (COLUMNS + 8) + warp % WN * 8 * NT + g;
    A b[NT][4];
#pragma unroll
    for (int v = 0; v < NT; v++) {
#pragma unroll
        for (int i = 0; i < 4; i++) b[v][i] = b_at[4 * i * (COLUMNS + 8) + 8 * v];
    }
#pragma unroll
    for (int u = 0; u < MT; u++) {
        A a[8];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            a[2 * i] = a_at[4 * i * (ROWS + 8) + 16 * u];
            a[2 * i + 1] = a_at[4 * i * (ROWS + 8) + 16 * u + 8];
        }
#pragma unroll
        for (int v = 0; v < NT; v++) multiply(acc[u][v], a, b[v]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) gathered(const T* source, const T* filters, const T* bias, T* out, int rows,
        int columns, int channels, int P, int Q, int H, int W, int ym, int ya, int xm, int xa, int I, int J, int ys, int xs,
        int source_at, int pixel, int filters_at, int bias_at, int biased, int out_at, int out_n, int out_p, int out_q) {
    constexpr int CHUNKS = DEEP / VEC, PIECE = (ROWS + COLUMNS) * DEEP;
    __shared__ int row_y[ROWS], row_x[ROWS], image[ROWS];
    T* pieces = (T*)pool;
    int depth = I * J * channels, steps = (depth + DEEP - 1) / DEEP, across = (columns + COLUMNS - 1) / COLUMNS;
    int tiles = (rows + ROWS - 1) / ROWS * across, my_k = threadIdx.x % CHUNKS * VEC;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int m0 = tile / across * ROWS, k0 = tile % across * COLUMNS;
        for (int r = threadIdx.x; r < ROWS; r += THREADS) {
            int m = m0 + r;
            row_y[r] = m < rows ? m / Q % P * ym + ya : NOWHERE;
            row_x[r] = m % Q * xm + xa;
            image[r] = source_at + m / (P * Q) * H * W * pixel;
        }
        __syncthreads();
        int i = my_k / channels / J, j = my_k / channels % J, c = my_k % channels, k = my_k;  // what this thread copies next
        auto load = [&](int stage) {
            T* As = pieces + stage * PIECE;
            T* Bs = As + ROWS * DEEP;
            for (int r = threadIdx.x / CHUNKS; r < ROWS; r += THREADS / CHUNKS) {
                int y = row_y[r] + i * ys, x = row_x[r] + j * xs;
                bool there = k < depth && 0 <= y && y < H && 0 <= x && x < W;
                copy_async<BYTES>(As + r * DEEP + my_k, there ? source + image[r] + (y * W + x) * pixel + c : source, there);
            }
            for (int r = threadIdx.x / CHUNKS; r < COLUMNS; r += THREADS / CHUNKS) {
                bool there = k < depth && k0 + r < columns;
                copy_async<BYTES>(Bs + r * DEEP + my_k, there ? filters + filters_at + (k0 + r) * depth + k : filters, there);
            }
            k += DEEP, c += DEEP;
            while (c >= channels) {
                c -= channels;
                if (++j == J) j = 0, i++;
            }
        };
        A acc[MT][NT][4] = {};
        for (int s = 0; s < STAGES - 1; s++) load(s), copies_begun();  // beyond the depth: zeros
        for (int s = 0; s < steps; s++) {
            copies_left<STAGES - 2>();
            __syncthreads();  // all have what they copied, and nobody reads the piece that is written next
            if (s + STAGES - 1 < steps) load((s + STAGES - 1) % STAGES);
            copies_begun();
            const T* As = pieces + s % STAGES * PIECE;
            along_rows(acc, As, As + ROWS * DEEP);
        }
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int u = 0; u < 2 * MT; u++) {
            int m = m0 + warp / WN * 16 * MT + 8 * u + lane / 4;
            int to = out_at + m / (P * Q) * out_n + m / Q % P * out_p + m % Q * out_q;
#pragma unroll
            for (int v = 0; v < 2 * NT; v++) {
                int column = k0 + warp % WN * 8 * NT + v / 2 * 8 + lane % 4 * 2 + v % 2;
                if (m < rows && column < columns)
                    out[to + column] = acc[u / 2][v / 2][u % 2 * 2 + v % 2] + (biased ? (A)bias[bias_at + column] : (A)0);
            }
        }
        copies_left<0>();
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) weights(const T* dy, const T* source, A* parts, int rows, int outputs,
        int channels, int P, int Q, int H, int W, int ym, int ya, int xm, int xa, int I, int J, int ys, int xs, int dy_at,
        int dy_pixel, int source_at, int pixel, int splits, int each) {
    constexpr int ROW_A = ROWS + 8, ROW_B = COLUMNS + 8, PIECE = DEEP * (ROW_A + ROW_B);
    constexpr int CHUNKS_A = ROWS / VEC, CHUNKS_B = COLUMNS / VEC, STEP_A = THREADS / CHUNKS_A, STEP_B = THREADS / CHUNKS_B;
    T* pieces = (T*)pool;
    int depth = I * J * channels, across = (depth + COLUMNS - 1) / COLUMNS, down = (outputs + ROWS - 1) / ROWS;
    for (int tile = blockIdx.x; tile < down * across * splits; tile += gridDim.x) {
        int split = tile / (down * across), k0 = tile / across % down * ROWS, d0 = tile % across * COLUMNS;
        int first = split * each, last = min(first + each, rows), steps = (last - first + DEEP - 1) / DEEP;
        int my_a = threadIdx.x % CHUNKS_A * VEC, my_b = threadIdx.x % CHUNKS_B * VEC, tap = (d0 + my_b) / channels;
        int from = source_at + (d0 + my_b) % channels, y0 = tap / J * ys + ya, x0 = tap % J * xs + xa;  // this thread's column
        int ma = first + threadIdx.x / CHUNKS_A, mb = first + threadIdx.x / CHUNKS_B;  // and the rows that it copies next
        int q = mb % Q, p = mb / Q % P, n = mb / (P * Q);
        auto load = [&](int stage) {
            T* As = pieces + stage * PIECE;
            T* Bs = As + DEEP * ROW_A;
            for (int r = threadIdx.x / CHUNKS_A; r < DEEP; r += STEP_A, ma += STEP_A) {
                bool there = ma < last && k0 + my_a < outputs;
                copy_async<BYTES>(As + r * ROW_A + my_a, there ? dy + dy_at + ma * dy_pixel + k0 + my_a : dy, there);
            }
            for (int r = threadIdx.x / CHUNKS_B; r < DEEP; r += STEP_B, mb += STEP_B) {
                int y = p * ym + y0, x = q * xm + x0;
                bool there = mb < last && d0 + my_b < depth && 0 <= y && y < H && 0 <= x && x < W;
                copy_async<BYTES>(Bs + r * ROW_B + my_b, there ? source + from + ((n * H + y) * W + x) * pixel : source, there);
                for (q += STEP_B; q >= Q; q -= Q)
                    if (++p == P) p = 0, n++;
            }
        };
        A acc[MT][NT][4] = {};
        for (int s = 0; s < STAGES - 1; s++) load(s), copies_begun();
        for (int s = 0; s < steps; s++) {
            copies_left<STAGES - 2>();
            __syncthreads();
            if (s + STAGES - 1 < steps) load((s + STAGES - 1) % STAGES);
            copies_begun();
            const T* As = pieces + s % STAGES * PIECE;
            down_columns(acc, As, As + DEEP * ROW_A);
        }
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int u = 0; u < 2 * MT; u++) {
            int k = k0 + warp / WN * 16 * MT + 8 * u + lane / 4;
#pragma unroll
            for (int v = 0; v < 2 * NT; v++) {
                int d = d0 + warp % WN * 8 * NT + v / 2 * 8 + lane % 4 * 2 + v % 2;
                if (k < outputs && d < depth) parts[(split * outputs + k) * depth + d] = acc[u / 2][v / 2][u % 2 * 2 + v % 2];
            }
        }
        copies_left<0>();
        __syncthreads();
    }
}

// The parts of `weights` added up, in their order.
extern "C" __global__ void joined(const A* parts, T* out, int numbers, int splits, int out_at) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < numbers; i += gridDim.x * blockDim.x) {
        A sum = 0;
        for (int s = 0; s < splits; s++) sum += parts[s * numbers + i];
        out[out_at + i] = sum;
    }
}
