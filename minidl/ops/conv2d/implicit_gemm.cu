// Convolution as one matrix product whose first factor is never in memory (implicit GEMM), on tensor cores.
//
//     gathered   Y[m, k] = b[k] + sum over taps (i, j) and channels c of  S[n, y + i ys, x + j xs, c] F[k, i, j, c]
//                row m = (n, p, q):  y = p ym + ya,  x = q xm + xa          S is 0 outside its H x W
//     weights    G[k, (i, j, c)] = sum over rows m of  D[m, k] S[n, y + i ys, x + j xs, c]
//
// Forward gathers the image; dx gathers dy, by the filters turned; dw is `weights`. All maps are channels-last.
//
// A block of WM x WN warps makes a tile of Y, [16 MT WM, 8 NT WN], each warp its [16 MT, 8 NT]; tiles.cuh says how.
// Why: im2col writes and reads R S times the image; here a tap is found where it lies. Warps of 64 x 64 read each number that they
// share 64 times from registers for once from shared memory, which is what bounds smaller ones.
constexpr int THREADS = 32 * WM * WN, ROWS = 16 * MT * WM, COLUMNS = 8 * NT * WN;
constexpr int BYTES = TOGETHER * sizeof(T);  // that are copied at once: 4, 8 or 16
constexpr int NOWHERE = -(1 << 29);

#include "mma.cuh"
#include "tiles.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 2) gathered(const T* source, const T* filters, const T* bias, T* out, int rows,
        int columns, int channels, int P, int Q, int H, int W, int ym, int ya, int xm, int xa, int I, int J, int ys, int xs,
        int source_at, int pixel, int filters_at, int bias_at, int biased, int out_at, int out_n, int out_p, int out_q) {
    typedef Piece<true, ROWS> Left;
    typedef Piece<true, COLUMNS> Right;
    constexpr int CHUNKS = DEEP / TOGETHER;
    __shared__ int row_y[ROWS], row_x[ROWS], image[ROWS];
    int depth = I * J * channels, steps = (depth + DEEP - 1) / DEEP, across = (columns + COLUMNS - 1) / COLUMNS;
    int tiles = (rows + ROWS - 1) / ROWS * across, my_k = threadIdx.x % CHUNKS * TOGETHER;
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
        auto load = [&](T* left, T* right) {
            for (int r = threadIdx.x / CHUNKS; r < ROWS; r += THREADS / CHUNKS) {
                int y = row_y[r] + i * ys, x = row_x[r] + j * xs;
                bool there = k < depth && 0 <= y && y < H && 0 <= x && x < W;
                copy_async<BYTES>(left + Left::at(r, my_k), there ? source + image[r] + (y * W + x) * pixel + c : source, there);
            }
            for (int r = threadIdx.x / CHUNKS; r < COLUMNS; r += THREADS / CHUNKS) {
                bool there = k < depth && k0 + r < columns;
                const T* at = filters + filters_at + (k0 + r) * depth + k;
                copy_async<BYTES>(right + Right::at(r, my_k), there ? at : filters, there);
            }
            k += DEEP, c += DEEP;
            while (c >= channels) {
                c -= channels;
                if (++j == J) j = 0, i++;
            }
        };
        TensorSums sums;
        add_up<Left, Right>(sums, steps, load);
#pragma unroll
        for (int u = 0; u < sums.HIGH; u++) {
            int m = m0 + sums.row(u), to = out_at + m / (P * Q) * out_n + m / Q % P * out_p + m % Q * out_q;
#pragma unroll
            for (int v = 0; v < sums.WIDE; v++) {
                int column = k0 + sums.column(v);
                if (m < rows && column < columns) out[to + column] = sums.at(u, v) + (biased ? (A)bias[bias_at + column] : (A)0);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) weights(const T* dy, const T* source, A* parts, int rows, int outputs,
        int channels, int P, int Q, int H, int W, int ym, int ya, int xm, int xa, int I, int J, int ys, int xs, int dy_at,
        int dy_pixel, int source_at, int pixel, int splits, int each) {
    typedef Piece<false, ROWS> Left;
    typedef Piece<false, COLUMNS> Right;
    constexpr int CHUNKS_A = ROWS / TOGETHER, CHUNKS_B = COLUMNS / TOGETHER, STEP_A = THREADS / CHUNKS_A, STEP_B = THREADS / CHUNKS_B;
    int depth = I * J * channels, across = (depth + COLUMNS - 1) / COLUMNS, down = (outputs + ROWS - 1) / ROWS;
    for (int tile = blockIdx.x; tile < down * across * splits; tile += gridDim.x) {
        int split = tile / (down * across), k0 = tile / across % down * ROWS, d0 = tile % across * COLUMNS;
        int first = split * each, last = min(first + each, rows), steps = (last - first + DEEP - 1) / DEEP;
        int my_a = threadIdx.x % CHUNKS_A * TOGETHER, my_b = threadIdx.x % CHUNKS_B * TOGETHER, tap = (d0 + my_b) / channels;
        int from = source_at + (d0 + my_b) % channels, y0 = tap / J * ys + ya, x0 = tap % J * xs + xa;  // this thread's column
        int ma = first + threadIdx.x / CHUNKS_A, mb = first + threadIdx.x / CHUNKS_B;  // and the rows that it copies next
        int q = mb % Q, p = mb / Q % P, n = mb / (P * Q);
        auto load = [&](T* left, T* right) {
            for (int r = threadIdx.x / CHUNKS_A; r < DEEP; r += STEP_A, ma += STEP_A) {
                bool there = ma < last && k0 + my_a < outputs;
                copy_async<BYTES>(left + Left::at(my_a, r), there ? dy + dy_at + ma * dy_pixel + k0 + my_a : dy, there);
            }
            for (int r = threadIdx.x / CHUNKS_B; r < DEEP; r += STEP_B, mb += STEP_B) {
                int y = p * ym + y0, x = q * xm + x0;
                bool there = mb < last && d0 + my_b < depth && 0 <= y && y < H && 0 <= x && x < W;
                const T* at = source + from + ((n * H + y) * W + x) * pixel;
                copy_async<BYTES>(right + Right::at(my_b, r), there ? at : source, there);
                for (q += STEP_B; q >= Q; q -= Q)
                    if (++p == P) p = 0, n++;
            }
        };
        TensorSums sums;
        add_up<Left, Right>(sums, steps, load);
#pragma unroll
        for (int u = 0; u < sums.HIGH; u++) {
            int k = k0 + sums.row(u);
#pragma unroll
            for (int v = 0; v < sums.WIDE; v++) {
                int d = d0 + sums.column(v);
                if (k < outputs && d < depth) parts[(split * outputs + k) * depth + d] = sums.at(u, v);
            }
        }
    }
}
