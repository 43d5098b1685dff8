// Winograd's transforms: tiles go to t*t places, where a convolution is t*t matrix products, and back. Formulas: winograd.py.
//
//     inputs     V = B x B^T        filters   U = G w G^T        outputs   y = A^T M A + b
//     and their adjoints, for backward:
//     inputs_back   dx = B^T dV B   filters_back   dw = G^T dU G   outputs_back   dM = A dy A^T
//
// A tile has TR x TS inputs and MR x MS outputs, t = m + r - 1; the matrices are A_DOWN for its columns, A_ACROSS for its rows.
// V, M: [t*t, tiles, C], U: [t*t, K, C]; images are channels-last; a group's channels, or filters, begin at `first`.
//
// Why: a thread has one channel of one tile in its registers, and neighbouring threads have neighbouring channels. The compiler
// knows the matrices and how long every loop is: it unrolls them, and what is multiplied by 0 disappears.

// out = down x across^T, of numbers x(i, j) that are read once, row by row.
template <int a, int i, int b, int j, class Read>
__device__ inline void both(const A (&down)[a][i], const A (&across)[b][j], Read x, A (&out)[a][b]) {
    #pragma unroll
    for (int row = 0; row < i; row++) {
        A sums[b] = {};
        #pragma unroll
        for (int column = 0; column < j; column++) {
            A value = x(row, column);
            #pragma unroll
            for (int q = 0; q < b; q++)
                if (across[q][column] != 0) sums[q] += across[q][column] * value;
        }
        #pragma unroll
        for (int p = 0; p < a; p++)
            #pragma unroll
            for (int q = 0; q < b; q++)
                if (down[p][row] != 0) out[p][q] += down[p][row] * sums[q];
    }
}

// out += down^T x across without the first rows and columns of the product.
template <int a, int i, int b, int j, int rows, int columns, class Read>
__device__ inline void turned(const A (&down)[a][i], const A (&across)[b][j], Read x, A (&out)[rows][columns], int below = 0,
                              int right = 0) {
    #pragma unroll
    for (int p = 0; p < a; p++) {
        A sums[columns] = {};
        #pragma unroll
        for (int q = 0; q < b; q++) {
            A value = x(p, q);
            #pragma unroll
            for (int column = 0; column < columns; column++)
                if (column + right < j && across[q][column + right] != 0) sums[column] += across[q][column + right] * value;
        }
        #pragma unroll
        for (int row = 0; row < rows; row++)
            #pragma unroll
            for (int column = 0; column < columns; column++)
                if (row + below < i && down[p][row + below] != 0) out[row][column] += down[p][row + below] * sums[column];
    }
}

template <int rows, int columns> __device__ inline void write(const A (&tile)[rows][columns], T* to, int step) {
    #pragma unroll
    for (int i = 0; i < rows * columns; i++) to[i * step] = tile[i / columns][i % columns];
}

extern "C" __global__ void filters(const T* __restrict__ w, T* __restrict__ U, int count) {  // count: K * Cg
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        A tile[TR][TS] = {};
        both(G_DOWN, G_ACROSS, [&](int r, int s) -> A { return w[(i * R + r) * S + s]; }, tile);
        write(tile, U + i, count);
    }
}

extern "C" __global__ void filters_back(const T* __restrict__ dU, T* __restrict__ dw, int count) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        A filter[R][S] = {};
        turned(G_DOWN, G_ACROSS, [&](int p, int q) -> A { return dU[(p * TS + q) * count + i]; }, filter);
        write(filter, dw + i * R * S, 1);
    }
}

extern "C" __global__ void inputs(const T* __restrict__ x, T* __restrict__ V, int tiles, int th, int tw, int H, int W, int C,
                                  int first, int Cg, int top, int left) {
    int count = tiles * Cg;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        int c = first + i % Cg, n = i / Cg / tw / th;
        int h = i / Cg / tw % th * MR - top, v = i / Cg % tw * MS - left;
        A tile[TR][TS] = {};
        auto pixel = [&](int row, int column) -> A {
            bool inside = 0 <= h + row && h + row < H && 0 <= v + column && v + column < W;
            return inside ? x[((n * H + h + row) * W + v + column) * C + c] : (T)0;
        };
        both(B_DOWN, B_ACROSS, pixel, tile);
        write(tile, V + i, count);
    }
}

// A pixel belongs to its own tile, and to those above and to the left that reach so far: they are gathered, in one order always.
extern "C" __global__ void inputs_back(const T* __restrict__ dV, T* __restrict__ dx, int tiles, int th, int tw, int H, int W, int C,
                                       int first, int Cg, int top, int left) {
    int high = (top + H + MR - 1) / MR, wide = (left + W + MS - 1) / MS, count = tiles / (th * tw) * high * wide * Cg;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        int c = i % Cg, n = i / Cg / wide / high, row = i / Cg / wide % high, column = i / Cg % wide;
        A pixels[MR][MS] = {};
        #pragma unroll
        for (int up = 0; up <= (TR - 1) / MR; up++)
            #pragma unroll
            for (int before = 0; before <= (TS - 1) / MS; before++) {
                if (row < up || row - up >= th || column < before || column - before >= tw) continue;
                const T* there = dV + ((n * th + row - up) * tw + column - before) * Cg + c;
                auto place = [&](int p, int q) -> A { return there[(p * TS + q) * tiles * Cg]; };
                turned(B_DOWN, B_ACROSS, place, pixels, up * MR, before * MS);
            }
        int h = row * MR - top, v = column * MS - left;
        #pragma unroll
        for (int k = 0; k < MR * MS; k++) {
            int y = h + k / MS, z = v + k % MS;
            if (0 <= y && y < H && 0 <= z && z < W) dx[((n * H + y) * W + z) * C + first + c] = pixels[k / MS][k % MS];
        }
    }
}

extern "C" __global__ void outputs(const T* __restrict__ M, const T* __restrict__ b, T* __restrict__ y, int tiles, int th, int tw,
                                   int P, int Q, int K, int first, int Kg) {
    int count = tiles * Kg;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        int k = first + i % Kg, n = i / Kg / tw / th;
        int p = i / Kg / tw % th * MR, q = i / Kg % tw * MS;
        A tile[MR][MS] = {}, bias = b[k];
        turned(A_DOWN, A_ACROSS, [&](int row, int column) -> A { return M[(row * TS + column) * count + i]; }, tile);
        #pragma unroll
        for (int j = 0; j < MR * MS; j++)
            if (p + j / MS < P && q + j % MS < Q) y[((n * P + p + j / MS) * Q + q + j % MS) * K + k] = tile[j / MS][j % MS] + bias;
    }
}

extern "C" __global__ void outputs_back(const T* __restrict__ dy, T* __restrict__ dM, int tiles, int th, int tw, int P, int Q, int K,
                                        int first, int Kg) {
    int count = tiles * Kg;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        int k = first + i % Kg, n = i / Kg / tw / th;
        int p = i / Kg / tw % th * MR, q = i / Kg % tw * MS;
        A tile[TR][TS] = {};
        auto output = [&](int row, int column) -> A {
            return p + row < P && q + column < Q ? dy[((n * P + p + row) * Q + q + column) * K + k] : (T)0;
        };
        both(A_DOWN, A_ACROSS, output, tile);
        write(tile, dM + i, count);
    }
}
