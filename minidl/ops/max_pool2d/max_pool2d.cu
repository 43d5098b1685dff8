// Max pooling, a block for each row of windows, a thread for V channels of a window. Formulas: __init__.py beside.
//
//     y    = the largest of the R x S numbers that the window sees; of equals the first; NaN stays
//     code = which of them it was
//     dx   = the sum of dy over the windows whose code says: this number
//
// Why: neighbouring threads have neighbouring channels, so memory is read at full width; what windows share comes from the
// nearest cache. A byte tells backward where dy goes, and backward asks from dx's side: no two threads add to one number.
#include "packs.cuh"
#include "pooling.cuh"

extern "C" __global__ void max_pool2d_forward(const T* x, Code* code, T* y, int rows, int H, int W, int C, int P, int Q, int sh,
                                              int sw, int top, int left, int dh, int dw) {
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        int n = row / P, first = row % P * sh - top;
        over_row(Q, C, [&](int q, int c) {
            A best[V];
            Pack<Code> where = {};
            for (int k = 0; k < V; k++) best[k] = __uint_as_float(0xff800000u);  // -infinity, where all is padding
            bool none = true;
            for (int r = 0; r < R; r++) {
                int h = first + r * dh;
                if (h < 0 || h >= H) continue;
                for (int s = 0; s < S; s++) {
                    int v = q * sw - left + s * dw;
                    if (v < 0 || v >= W) continue;
                    Pack<T> seen = load(x + ((n * H + h) * W + v) * C + c);
                    for (int k = 0; k < V; k++) {
                        A value = seen.at[k];
                        bool larger = none || value > best[k] || value != value;
                        best[k] = larger ? value : best[k];
                        where.at[k] = larger ? r * S + s : where.at[k];
                    }
                    none = false;
                }
            }
            Pack<T> out;
            for (int k = 0; k < V; k++) out.at[k] = best[k];
            store(y + (row * Q + q) * C + c, out);
            store(code + (row * Q + q) * C + c, where);
        });
    }
}

extern "C" __global__ void max_pool2d_backward(const T* dy, const Code* code, T* dx, int rows, int H, int W, int C, int P,
                                               int Q, int sh, int sw, int top, int left, int dh, int dw) {
    gather(dy, code, dx, rows, {H, W, C, P, Q, sh, sw, top, left, dh, dw});
}
