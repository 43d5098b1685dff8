// AM-Softmax between its two matrix products, a block for each row. Formulas: __init__.py beside.
//
//     unit_rows      u = a / |a|, and 1 / |a|; both 0 where |a| is tiny
//     row_losses     z_c = s (cos_c - m [c = label])      p = softmax(z)      loss = log sum_c exp z_c - z_label
//                    cos_c <- s (p_c - [c = label]) / N, the gradient of the mean loss, in the place of the cosine
//     mean_loss      one number, by one block: always added up in the same order
//     across_rows    da = dy (du - u <u, du>) / |a|
//
// Why: the gradient of the cosines needs nothing but what the loss is made of, so it is made with it, for one more write. What
// backward is left with is linear: dy, a number that is on the GPU, is multiplied in where the last numbers are written. A label
// out of range meets no class: its loss is NaN, and nothing beyond the row is read.
#include "blocks.cuh"

extern "C" __global__ void unit_rows(const T* a, A* u, A* inverse, int rows, int D, A tiny) {
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const T* from = a + row * D;
        A sum = 0;
        for (int d = threadIdx.x; d < D; d += blockDim.x) sum += (A)from[d] * (A)from[d];
        A norm = sqrt(block_sum(sum)), factor = norm > tiny ? 1 / norm : 0;
        for (int d = threadIdx.x; d < D; d += blockDim.x) u[row * D + d] = (A)from[d] * factor;
        if (threadIdx.x == 0) inverse[row] = factor;
    }
}

extern "C" __global__ void row_losses(T* cosines, const long long* labels, T* losses, int N, int C, A s, A m) {
    for (int n = blockIdx.x; n < N; n += gridDim.x) {
        T* cos = cosines + n * C;
        long long label = labels[n];
        auto score = [=](int c) { return s * ((A)cos[c] - (c == label ? m : 0)); };
        A top = score(0), sum = 0;
        for (int c = threadIdx.x; c < C; c += blockDim.x) top = larger(top, score(c));
        top = block_max(top);
        for (int c = threadIdx.x; c < C; c += blockDim.x) sum += exp(score(c) - top);
        A own = label >= 0 && label < C ? score(label) : sqrt((A)-1);
        A log_sum = log(block_sum(sum));  // here all wait for each other: own is read before its place is written
        if (threadIdx.x == 0) losses[n] = top + log_sum - own;
        for (int c = threadIdx.x; c < C; c += blockDim.x) cos[c] = s * (exp(score(c) - top - log_sum) - (c == label)) / N;
    }
}

extern "C" __global__ void mean_loss(T* loss, const A* losses, int N) {
    A sum = 0;
    for (int n = threadIdx.x; n < N; n += blockDim.x) sum += losses[n];
    sum = block_sum(sum);
    if (threadIdx.x == 0) loss[0] = sum / N;
}

extern "C" __global__ void across_rows(T* da, const T* dy, const A* du, const A* u, const A* inverse, int rows, int D) {
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        int first = row * D;
        A along = 0, factor = (A)dy[0] * inverse[row];
        for (int d = threadIdx.x; d < D; d += blockDim.x) along += u[first + d] * du[first + d];
        along = block_sum(along);
        for (int d = threadIdx.x; d < D; d += blockDim.x) da[first + d] = (du[first + d] - u[first + d] * along) * factor;
    }
}
