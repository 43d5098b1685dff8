// Softmax and its logarithm, a block for each row of scores. Formulas: __init__.py beside, and that of log_softmax.
//
//     softmax    y = exp(x - top) / sum               dx = y (dy - sum dy y)
//     logs       y = x - top - log sum                dx = dy - exp(y) sum dy            top = max x, sum = sum exp(x - top)
//
// Why: a row is read three times, but only once from memory: it is in the cache until its block is done. kept is y for backward,
// of a half type in float; otherwise it is y itself.
#include "blocks.cuh"

extern "C" __global__ void softmax_forward(const T* x, T* y, A* kept, int rows, int C, int logs) {
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        int first = row * C;
        A top = x[first], sum = 0;
        for (int c = threadIdx.x; c < C; c += blockDim.x) top = larger(top, (A)x[first + c]);
        top = block_max(top);
        for (int c = threadIdx.x; c < C; c += blockDim.x) sum += exp((A)x[first + c] - top);
        sum = block_sum(sum);
        A log_sum = log(sum);
        for (int c = threadIdx.x; c < C; c += blockDim.x) {
            A below = (A)x[first + c] - top, value = logs ? below - log_sum : exp(below) / sum;
            kept[first + c] = value;
            if (sizeof(T) < sizeof(A)) y[first + c] = value;
        }
    }
}

extern "C" __global__ void softmax_backward(const T* dy, const A* y, T* dx, int rows, int C, int logs) {
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        int first = row * C;
        A sum = 0;
        for (int c = threadIdx.x; c < C; c += blockDim.x) sum += logs ? (A)dy[first + c] : (A)dy[first + c] * y[first + c];
        sum = block_sum(sum);
        for (int c = threadIdx.x; c < C; c += blockDim.x) {
            A slope = dy[first + c], value = y[first + c];
            dx[first + c] = logs ? slope - exp(value) * sum : value * (slope - sum);
        }
    }
}
