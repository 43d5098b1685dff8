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
// Why: im2col writes and reads R S times the image; here a tap is found where it lies. Rows of 16 + 4 numbers (and of the tile + 8)
// send the 32 lanes of a warp to 32 banks.

#include "mma.cuh"

constexpr int DEEP = 16, STAGES = 3, THREADS = 32 * WM * WN, ROWS = 16 * MT * WM, COLUMNS = 8 * NT * WN;
constexpr int ALONG = DEEP + 4;                     // a row of a piece, where the sum runs along its rows
constexpr int VEC = TOGETHER * sizeof(T) > 16 ? 16 / sizeof(T) : TOGETHER, BYTES = VEC * sizeof(T);  // that are copied at once
constexpr int NOWHERE = -(1 << 29);


extern __shared__ __align__(16) unsigned char pool[];

// A warp's part of one step: acc += A B, of pieces that lie [place][k] (stride ALONG, and 1) or [k][place].
template <int place_a, int k_a, int place_b, int k_b> __device__ void step(A (*acc)[NT][4], const T* As, const T* Bs) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
    int row = warp / WN * 16 * MT + g, column = warp % WN * 8 * NT + g;
    A b[NT][4];
#pragma unroll
    for (int v = 0; v < NT; v++)
#pragma unroll
        for (int i = 0; i < 4; i++) b[v][i] = Bs[(column + 8 * v) * place_b + (4 * i + t) * k_b];
#pragma unroll
    for (int u = 0; u < MT; u++) {
        A a[8];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            a[2 * i] = As[(row + 16 * u) * place_a + (4 * i + t) * k_a];
            a[2 * i + 1] = As[(row + 16 * u + 8) * place_a + (4 * i + t) * k_a];
        }
#pragma unroll
        for (int v = 0; v < NT; v++) multiply(acc[u][v], a, b[v]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) gathered(const T* source, const T* filters, const T* bias, T* out, int rows,
        int columns, int channels, int P, int Q, int H, int W, int ym, int ya, int xm, int xa, int I, int J, int ys, int xs,
        int source_at, int pixel, int filters_at, int bias_at, int biased, int out_at, int out_n, int out_p, int out_q) {
    constexpr int CHUNKS = DEEP / VEC, PIECE = (ROWS + COLUMNS) * ALONG;
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
            T* Bs = As + ROWS * ALONG;
            for (int r = threadIdx.x / CHUNKS; r < ROWS; r += THREADS / CHUNKS) {
                int y = row_y[r] + i * ys, x = row_x[r] + j * xs;
                bool there = k < depth && 0 <= y && y < H && 0 <= x && x < W;
                copy_async<BYTES>(As + r * ALONG + my_k, there ? source + image[r] + (y * W + x) * pixel + c : source, there);
            }
            for (int r = threadIdx.x / CHUNKS; r < COLUMNS; r += THREADS / CHUNKS) {
                bool there = k < depth && k0 + r < columns;
                copy_async<BYTES>(Bs + r * ALONG + my_k, there ? filters + filters_at + (k0 + r) * depth + k : filters, there);
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
            step<ALONG, 1, ALONG, 1>(acc, As, As + ROWS * ALONG);
        }
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        for (int u = 0; u < 2 * MT; u++) {
            int m = m0 + warp / WN * 16 * MT + 8 * u + lane / 4;
            int to = out_at + m / (P * Q) * out_n + m / Q % P * out_p + m % Q * out_q;
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
            step<1, ROW_A, 1, ROW_B>(acc, As, As + DEEP * ROW_A);
        }
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        for (int u = 0; u < 2 * MT; u++) {
            int k = k0 + warp / WN * 16 * MT + 8 * u + lane / 4;
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
