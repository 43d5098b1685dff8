// Convolution's columns: every window unrolled into a row, and the way back. Formulas: cuda_im2col.py beside.
//
//     unfold     X[(n,p,q), (r,s,c)] = x[n, p*sh + r*dh - top, q*sw + s*dw - left, first + c], or 0 beside the image
//     fold       dx[n,h,v, first + c] = sum of dX[(n,p,q), (r,s,c)] where p*sh + r*dh = h + top and q*sw + s*dw = v + left
//     add_bias   y[row, first + k] = product[row, k] + b[first + k]
//
// Images are channels-last; a group's channels, or filters, begin at `first`.
//
// Why: a thread keeps its column and walks down RUN rows: it divides once for all of them, and neighbouring threads, which have
// neighbouring columns, write side by side even where channels are few. What goes back is gathered: a thread owns one number of
// dx, asks which windows saw it, and adds in one order always. (Threads that added what they hold wherever it belongs would need
// atomics, whose order is anybody's.) __restrict__ says that two arrays do not overlap: a thread may then read ahead of its writing.

// a / b. Steps are mostly 1, and a division takes twenty instructions.
__device__ inline int over(int a, int b) {
    return b == 1 ? a : a / b;
}

extern "C" __global__ void unfold(const T* __restrict__ x, T* __restrict__ X, int rows, int P, int Q, int H, int W, int C, int first,
                                  int Cg, int R, int S, int sh, int sw, int dh, int dw, int top, int left) {
    int L = R * S * Cg, count = (rows + RUN - 1) / RUN * L;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        int j = i % L, c = first + j % Cg;
        int down = j / Cg / S * dh - top, across = j / Cg % S * dw - left;  // of position (r, s) from where its window lies
        int row = i / L * RUN, end = min(row + RUN, rows);
        int q = row % Q, p = row / Q % P, n = row / Q / P;
        for (; row < end; row++) {
            int h = p * sh + down, v = q * sw + across;
            bool inside = 0 <= h && h < H && 0 <= v && v < W;
            X[row * L + j] = inside ? x[((n * H + h) * W + v) * C + c] : (T)0;
            if (++q == Q) q = 0, p++;
            if (p == P) p = 0, n++;
        }
    }
}

extern "C" __global__ void fold(const T* __restrict__ dX, T* __restrict__ dx, int rows, int P, int Q, int H, int W, int C, int first,
                                int Cg, int R, int S, int sh, int sw, int dh, int dw, int top, int left) {
    int L = R * S * Cg, runs = (W + RUN - 1) / RUN, count = rows * runs * Cg;  // rows: of all images
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        int c = i % Cg, v = i / Cg % runs * RUN, end = min(v + RUN, W);
        int row = i / Cg / runs, n = row / H, h = row % H + top;
        for (; v < end; v++) {
            A sum = 0;
            for (int p = min(over(h, sh), P - 1); p >= 0 && h - p * sh <= (R - 1) * dh; p--) {
                int r = over(h - p * sh, dh);
                if (p * sh + r * dh != h) continue;  // between two positions of a dilated window
                for (int q = min(over(v + left, sw), Q - 1); q >= 0 && v + left - q * sw <= (S - 1) * dw; q--) {
                    int s = over(v + left - q * sw, dw);
                    if (q * sw + s * dw == v + left) sum += (A)dX[((n * P + p) * Q + q) * L + (r * S + s) * Cg + c];
                }
            }
            dx[(row * W + v) * C + first + c] = sum;
        }
    }
}

extern "C" __global__ void add_bias(const T* product, const T* b, T* y, int rows, int Kg, int K, int first) {
    int count = (rows + RUN - 1) / RUN * Kg;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        int k = i % Kg, row = i / Kg * RUN, end = min(row + RUN, rows);
        A bias = b[first + k];
        for (; row < end; row++) y[row * K + first + k] = (A)product[row * Kg + k] + bias;
    }
}
