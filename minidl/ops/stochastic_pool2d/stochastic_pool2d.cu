// Stochastic pooling, a block for each row of windows, a thread for V channels of a window. Formulas: __init__.py beside.
//
//     draw    code = how many running sums are <= u S;  y = the number there          gather   dx = the sum of dy over the
//     mean    y = P / S,  P the sum of squares                                                 windows that drew this number
//     share   dy / S of each window       spread   dx = sum over the windows that see x of share (2 x - y)
//
// Why: neighbouring threads have neighbouring channels, and eight channels one block of Philox. A window is read twice, for its
// sum and for the draw; the second time it comes from the nearest cache. Backward asks from dx's side: no two threads add.
#include "packs.cuh"
#include "philox.cuh"
#include "pooling.cuh"

// What the window at (h, v) sees: each(position, its numbers) along a row, the next row, ...; after_row() behind each.
template <class Each, class After>
__device__ void over_window(const T* x, const Windows& w, int n, int h, int v, int c, Each each, After after_row) {
    for (int r = 0; r < R; r++, after_row())
        for (int s = 0; s < S; s++) {
            bool inside = 0 <= h + r && h + r < w.H && 0 <= v + s && v + s < w.W;
            each(r * S + s, inside ? load(x + ((n * w.H + h + r) * w.W + v + s) * w.C + c) : Pack<T>{});
        }
}

// Draws for V channels: sums in float, those of maps that are FAR from 1 divided first. To divide there is a copy of its own.
template <bool FAR>
__device__ void draw(const T* x, const Windows& w, int n, int h, int v, int c, const unsigned* bits, const A* by,
                     Pack<Code>& code, Pack<T>& out) {
    float above[V] = {}, along[V] = {}, drop[V];
    A y[V] = {};
    auto next_row = [&] {
        for (int k = 0; k < V; k++) above[k] += along[k], along[k] = 0;
    };
    auto add = [&](const Pack<T>& seen) {
        for (int k = 0; k < V; k++) along[k] += FAR ? (A)seen.at[k] / by[k] : (A)seen.at[k];
    };
    over_window(x, w, n, h, v, c, [&](int, const Pack<T>& seen) { add(seen); }, next_row);
    for (int k = 0; k < V; k++) drop[k] = uniform(bits[k]) * above[k], above[k] = 0, code.at[k] = 0;
    auto look = [&](int position, const Pack<T>& seen) {
        add(seen);
        for (int k = 0; k < V; k++) {
            code.at[k] += above[k] + along[k] <= drop[k];
            y[k] += (A)seen.at[k] * (A)(code.at[k] == position);  // all but one are 0, or NaN
        }
    };
    over_window(x, w, n, h, v, c, look, next_row);
    for (int k = 0; k < V; k++) out.at[k] = y[k];
}

// What the numbers of a map are divided by.
__device__ A divisor(double largest) {
    double infinity = __uint_as_float(0x7f800000u);
    bool far = (largest > 1e30 && largest < infinity) || (largest < 1e-18 && largest > 0);
    return far ? (A)largest : 1;
}

extern "C" __global__ void stochastic_pool2d_draw(const T* x, const T* largest, const unsigned long long* key, Code* code, T* y,
                                                  int rows, int H, int W, int C, int P, int Q, int sh, int sw, int top,
                                                  int left, int dh, int dw) {
    Windows w = {H, W, C, P, Q, sh, sw, top, left, dh, dw};
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        int n = row / P, h = row % P * sh - top;
        over_row(Q, C, [&](int q, int c) {
            int first = (row % P * Q + q) * C + c;  // of the image's uniforms
            Eight u = philox(key + 2 * n, first / 8);
            unsigned bits[V];
            for (int j = 0; j < 8; j += V)
                for (int k = 0; k < V; k++) bits[k] = j == first % 8 ? u.bits[j + k] : j ? bits[k] : 0;
            A by[V];
            bool far = false;
            for (int k = 0; k < V; k++) by[k] = divisor((A)largest[n * C + c + k]), far |= by[k] != 1;
            Pack<Code> drawn;
            Pack<T> out;
            if (far)
                draw<true>(x, w, n, h, q * sw - left, c, bits, by, drawn, out);
            else
                draw<false>(x, w, n, h, q * sw - left, c, bits, by, drawn, out);
            store(code + (row * Q + q) * C + c, drawn);
            store(y + (row * Q + q) * C + c, out);
        });
    }
}

extern "C" __global__ void stochastic_pool2d_gather(const T* dy, const Code* code, T* dx, int rows, int H, int W, int C, int P,
                                                    int Q, int sh, int sw, int top, int left, int dh, int dw) {
    gather(dy, code, dx, rows, {H, W, C, P, Q, sh, sw, top, left, dh, dw});
}

// ---- evaluation ----

// 1 / S; 0 where a window counts as empty.
__device__ A one_over(A total) {
    return total <= (A)1e-30 ? 0 : 1 / total;
}

// S and P of the window at (h, v), for V channels.
__device__ void sums(const T* x, const Windows& w, int n, int h, int v, int c, A* total, A* squares) {
    A row[V] = {}, row_squares[V] = {};
    auto add = [&](int, const Pack<T>& seen) {
        for (int k = 0; k < V; k++) row[k] += (A)seen.at[k], row_squares[k] += (A)seen.at[k] * (A)seen.at[k];
    };
    over_window(x, w, n, h, v, c, add, [&] {
        for (int k = 0; k < V; k++) total[k] += row[k], squares[k] += row_squares[k], row[k] = 0, row_squares[k] = 0;
    });
}

extern "C" __global__ void stochastic_pool2d_mean(const T* x, T* y, int rows, int H, int W, int C, int P, int Q, int sh, int sw,
                                                  int top, int left, int dh, int dw) {
    Windows w = {H, W, C, P, Q, sh, sw, top, left, dh, dw};
    for (int row = blockIdx.x; row < rows; row += gridDim.x)
        over_row(Q, C, [&](int q, int c) {
            A total[V] = {}, squares[V] = {};
            sums(x, w, row / P, row % P * sh - top, q * sw - left, c, total, squares);
            Pack<T> out;
            for (int k = 0; k < V; k++) out.at[k] = squares[k] * one_over(total[k]);
            store(y + (row * Q + q) * C + c, out);
        });
}

extern "C" __global__ void stochastic_pool2d_share(const T* x, const T* dy, A* share, int rows, int H, int W, int C, int P,
                                                   int Q, int sh, int sw, int top, int left, int dh, int dw) {
    Windows w = {H, W, C, P, Q, sh, sw, top, left, dh, dw};
    for (int row = blockIdx.x; row < rows; row += gridDim.x)
        over_row(Q, C, [&](int q, int c) {
            A total[V] = {}, squares[V] = {};
            sums(x, w, row / P, row % P * sh - top, q * sw - left, c, total, squares);
            Pack<T> g = load(dy + (row * Q + q) * C + c);
            Pack<A> out;
            for (int k = 0; k < V; k++) out.at[k] = (A)g.at[k] * one_over(total[k]);
            store(share + (row * Q + q) * C + c, out);
        });
}

extern "C" __global__ void stochastic_pool2d_spread(const T* x, const T* y, const A* share, T* dx, int rows, int H, int W,
                                                    int C, int P, int Q, int sh, int sw, int top, int left, int dh, int dw) {
    Windows w = {H, W, C, P, Q, sh, sw, top, left, dh, dw};
    for (int row = blockIdx.x; row < rows; row += gridDim.x)
        over_row(W, C, [&](int v, int c) {
            Pack<T> here = load(x + (row * W + v) * C + c), out;
            A sum[V] = {};
            over_windows(w, row / H, row % H, v, [&](int window, int) {
                Pack<A> part = load(share + window * C + c);
                Pack<T> mean = load(y + window * C + c);
                for (int k = 0; k < V; k++) sum[k] += part.at[k] * (2 * (A)here.at[k] - (A)mean.at[k]);
            });
            for (int k = 0; k < V; k++) out.at[k] = sum[k];
            store(dx + (row * W + v) * C + c, out);
        });
}
