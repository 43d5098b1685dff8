// Batch normalisation of rows [R, width], channels-last: column j belongs to channel j % C. Formulas: __init__.py, sums.py.
//
//     moments   part by part, of x less its first number: the mean `own` of m numbers, and scatter = sum (x - own)^2
//     gather    mean = sum m own / M        var = (sum scatter + sum m (own - mean)^2) / M        a block for each channel
//     line      y = a (x - mean) + bias     a = weight (var + eps)^-1/2
//     products  part by part: sum dy and sum dy xhat, which are joined to dbias and dweight
//     plane     dx = a (dy - dbias / M - xhat dweight / M)
//
// Why: x is read twice forward, and dy and x twice backward, which is the least, since y needs sums over all of x. Nothing
// cancels where the mean is large: no square is taken, and no sum, of a number that still has it.
#include "blocks.cuh"
#include "columns.cuh"

struct Pair {
    T dy, x;
};

extern "C" __global__ void moments(const T* __restrict__ x, A* own, A* scatter, int parts, int R, int width, int rows) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        A guess = here.end ? (A)x[here.row * width + here.column] : 0, sum = 0, squares = 0;
        down(here, width, [&](int i) { return x[i]; }, [&](int i, T value) {
            A d = (A)value - guess;
            sum += d;
            squares += d * d;
        });
        sum = over_warps(sum);
        squares = over_warps(squares);
        if (here.end && threadIdx.x < 32) {
            own[here.slot] = guess + sum / here.size;
            scatter[here.slot] = squares - sum * sum / here.size;  // one d is 0: so it is never negative
        }
    }
}

// P partial results of C channels; `repeats` of them, one after another, are of the same rows.
extern "C" __global__ void gather(const A* own, const A* scatter, A* mean, A* var, A* inverse_std, int P, int C, int repeats,
                                  int R, int rows, A M, A eps) {
    for (int c = blockIdx.x; c < C; c += gridDim.x) {
        A middle = own[c], sum = 0, within = 0;
        for (int p = threadIdx.x; p < P; p += blockDim.x) sum += min(rows, R - p / repeats * rows) * (own[p * C + c] - middle);
        middle += block_sum(sum) / M;
        for (int p = threadIdx.x; p < P; p += blockDim.x) {
            A d = own[p * C + c] - middle;
            within += scatter[p * C + c] + min(rows, R - p / repeats * rows) * d * d;
        }
        within = block_sum(within) / M;
        if (threadIdx.x == 0) mean[c] = middle, var[c] = within, inverse_std[c] = 1 / sqrt(within + eps);
    }
}

extern "C" __global__ void line(const T* __restrict__ x, const T* weight, const T* bias, const A* mean, const A* inverse_std,
                                T* __restrict__ y, int parts, int R, int width, int rows, int C) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        int c = here.column % C;
        A a = (A)weight[c] * inverse_std[c], middle = mean[c], b = bias[c];
        down(here, width, [&](int i) { return x[i]; }, [&](int i, T value) { y[i] = a * ((A)value - middle) + b; });
    }
}

extern "C" __global__ void products(const T* __restrict__ dy, const T* __restrict__ x, const A* mean, const A* inverse_std,
                                    A* dbias, A* dweight, int parts, int R, int width, int rows, int C) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        int c = here.column % C;
        A middle = mean[c], sum = 0, product = 0;
        down(here, width, [&](int i) { return Pair{dy[i], x[i]}; }, [&](int i, Pair at) {
            sum += (A)at.dy;
            product += (A)at.dy * ((A)at.x - middle);
        });
        sum = over_warps(sum);
        product = over_warps(product);
        if (here.end && threadIdx.x < 32) dbias[here.slot] = sum, dweight[here.slot] = product * inverse_std[c];
    }
}

extern "C" __global__ void plane(const T* __restrict__ dy, const T* __restrict__ x, const T* weight, const A* mean,
                                 const A* inverse_std, const A* dbias, const A* dweight, T* __restrict__ dx, int parts, int R,
                                 int width, int rows, int C, A M) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        int c = here.column % C;
        A middle = mean[c], a = (A)weight[c] * inverse_std[c], level = dbias[c] / M, slope = inverse_std[c] * dweight[c] / M;
        down(here, width, [&](int i) { return Pair{dy[i], x[i]}; }, [&](int i, Pair at) {
            dx[i] = a * ((A)at.dy - level - slope * ((A)at.x - middle));
        });
    }
}
