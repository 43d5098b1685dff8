// Products of matrices, and of stacks of them.
//
//     C[s, m, n] = bias[n] + sum over k of  A[s, m, k] B[s, k, n]
//
// A block makes a tile of C, as tiles.cuh says. In full precision a thread has MT x NT numbers of it, on tensor cores a warp has
// [16 MT, 8 NT]. ALONG_A: the terms k of a row of A lie side by side in memory; if not, the rows of a term do. ALONG_B: the
// same of the columns of B. So a transposed matrix is read as it lies. Terms may be split into parts of `each`: blocks then make
// parts of C, for `joined` to add up.
//
// Why: every number of A is multiplied with N numbers of B. A tile of 128 x 128 fetches it once for 128 of them; and from shared
// memory a thread reads 8 + 8 numbers for 64 multiply-adds, where a thread for each number of C would read 128.
constexpr int THREADS = 32 * WM * WN, ROWS = (PRODUCTS ? 16 : 4) * MT * WM, COLUMNS = 8 * NT * WN;
constexpr int NEIGHBOURS = PRODUCTS ? 2 : 4, V = TOGETHER < NEIGHBOURS ? TOGETHER : NEIGHBOURS;  // columns written at once

#include "mma.cuh"
#include "tiles.cuh"
#include "packs.cuh"

// The sums that a thread holds in full precision, in blocks of 4 x 4 numbers. The lanes of a warp stand 4 x 8: of each term they
// read 4 x 16 bytes of A, and 8 x 16 of B, at once.
struct PlainSums {
    static constexpr int HIGH = MT, WIDE = NT;
    A sums[MT][NT] = {};

    static __device__ int row(int u) { return threadIdx.x / 32 / WN * 4 * MT + u / 4 * 16 + threadIdx.x % 32 / 8 * 4 + u % 4; }
    static __device__ int column(int v) { return threadIdx.x / 32 % WN * 8 * NT + v / 4 * 32 + threadIdx.x % 8 * 4 + v % 4; }
    __device__ A at(int u, int v) const { return sums[u][v]; }

    template <class Left, class Right> __device__ void add(const A* left, const A* right) {
#pragma unroll
        for (int k = 0; k < DEEP; k++) {
            A a[MT], b[NT];
#pragma unroll
            for (int u = 0; u < MT; u++) a[u] = left[Left::at(row(u), k)];
#pragma unroll
            for (int v = 0; v < NT; v++) b[v] = right[Right::at(column(v), k)];
#pragma unroll
            for (int u = 0; u < MT; u++) {
#pragma unroll
                for (int v = 0; v < NT; v++) sums[u][v] += a[u] * b[v];
            }
        }
    }
};

template <int products> struct By { typedef TensorSums Sums; };
template <> struct By<0> { typedef PlainSums Sums; };
typedef By<PRODUCTS>::Sums Sums;

// One factor on its way to shared memory. Its lines in memory are `step` numbers apart. Plain sums read four places of a term at
// once: a line that lies ALONG is turned for them, number by number. A half becomes a float, for which a thread has to wait.
template <bool ALONG, int PLACES> struct Factor {
    static constexpr bool TURNED = ALONG && !PRODUCTS, WAITS = sizeof(T) < sizeof(A);
    static constexpr int VEC = TURNED || WAITS ? 1 : TOGETHER, ACROSS = (ALONG ? DEEP : PLACES) / VEC;  // threads to a line
    typedef Piece<ALONG && !TURNED, PLACES> Here;
    static_assert(THREADS % ACROSS == 0 && DEEP * PLACES % (VEC * THREADS) == 0, "every thread copies equally often");

    // The terms k0.. of the places place0..; zeros from the term `last` and the place `places` on.
    static __device__ void load(A* piece, const T* from, int step, int place0, int places, int k0, int last) {
        int beside = threadIdx.x % ACROSS * VEC, line = threadIdx.x / ACROSS;
#pragma unroll
        for (int copy = 0; copy < DEEP * PLACES / VEC / THREADS; copy++, line += THREADS / ACROSS) {
            int place = ALONG ? line : beside, k = ALONG ? beside : line;
            A* to = piece + Here::at(place, k);
            const T* at = from + (ALONG ? (place0 + place) * step + k0 + k : (k0 + k) * step + place0 + place);
            bool there = place0 + place < places && k0 + k < last;
            if constexpr (WAITS)
                *to = there ? (A)*at : 0;
            else
                copy_async<VEC * sizeof(T)>(to, at, there);
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, 2) product(const T* a, const T* b, const T* bias, T* out, A* parts, int M,
        int N, int K, int stack, int a_step, int a_next, int b_step, int b_next, int splits, int each, int biased) {
    typedef Factor<ALONG_A, ROWS> Left;
    typedef Factor<ALONG_B, COLUMNS> Right;
    int across = (N + COLUMNS - 1) / COLUMNS, down = (M + ROWS - 1) / ROWS, tiles = across * down * stack;
    for (int tile = blockIdx.x; tile < tiles * splits; tile += gridDim.x) {
        int n0 = tile % across * COLUMNS, m0 = tile / across % down * ROWS, s = tile / (across * down) % stack;
        int split = tile / tiles, k = split * each, last = min(k + each, K);
        Sums sums;
        add_up<Left::Here, Right::Here>(sums, (last - k + DEEP - 1) / DEEP, [&](A* left, A* right) {
            Left::load(left, a + s * a_next, a_step, m0, M, k, last);
            Right::load(right, b + s * b_next, b_step, n0, N, k, last);
            k += DEEP;
        });
#pragma unroll
        for (int v = 0; v < Sums::WIDE; v += V) {
            int n = n0 + Sums::column(v);
            A more[V] = {};
            for (int i = 0; i < V; i++)
                if (biased && n < N) more[i] = bias[n + i];
#pragma unroll
            for (int u = 0; u < Sums::HIGH; u++) {
                int m = m0 + Sums::row(u), to = (s * M + m) * N + n;
                Pack<A> sum;
                Pack<T> rounded;
                for (int i = 0; i < V; i++) rounded.at[i] = sum.at[i] = sums.at(u, v + i) + more[i];
                if (m < M && n < N) splits > 1 ? store(parts + split * stack * M * N + to, sum) : store(out + to, rounded);
            }
        }
    }
}
