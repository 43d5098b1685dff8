// Batch normalisation, residual and rectifier, of rows [R, width]; what the statistics are made of is in batch_norm.cu.
//
//     rectified  y = max(0, z + residual)        z = a (x - mean) + bias,   a = weight (var + eps)^-1/2
//     products   g = dy where y > 0, else 0;     part by part sum g and sum g xhat, to be joined to dbias and dweight
//     plane      dx = a (g - dbias / M - xhat dweight / M)
//
// Why: forward the rectifier and the residual ride in the pass that writes y. Backward g is never in memory without a
// residual: x is read anyway, and z is computed from it again, so that y need not be. With one (`added`), g is dresidual:
// `products` writes it, and batch_norm.cu goes on from there.
#include "blocks.cuh"
#include "columns.cuh"

struct Line {
    A mean, a, b;
    __device__ A operator()(A x) const { return a * (x - mean) + b; }
};

struct Forward {
    T x, residual;
};

struct Backward {
    T dy, x, y;
};

extern "C" __global__ void rectified(const T* __restrict__ x, const T* weight, const T* bias, const A* mean,
                                     const A* inverse_std, const T* __restrict__ residual, T* __restrict__ y, int added,
                                     int parts, int R, int width, int rows, int C) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        int c = here.column % C;
        Line z = {mean[c], (A)weight[c] * inverse_std[c], bias[c]};
        down(here, width, [&](int i) { return Forward{x[i], added ? residual[i] : (T)0}; }, [&](int i, Forward at) {
            A value = z(at.x) + (A)at.residual;
            y[i] = value <= 0 ? 0 : value;  // NaN stays
        });
    }
}

extern "C" __global__ void products(const T* __restrict__ dy, const T* __restrict__ x, const T* weight, const T* bias,
                                    const A* mean, const A* inverse_std, const T* __restrict__ y, T* __restrict__ dresidual,
                                    A* dbias, A* dweight, int added, int parts, int R, int width, int rows, int C) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        int c = here.column % C;
        Line z = {mean[c], (A)weight[c] * inverse_std[c], bias[c]};
        A sum = 0, product = 0;
        down(here, width, [&](int i) { return Backward{dy[i], x[i], added ? y[i] : (T)0}; }, [&](int i, Backward at) {
            A g = (added ? (A)at.y : z(at.x)) > 0 ? (A)at.dy : 0;
            if (added) dresidual[i] = g;
            sum += g;
            product += g * ((A)at.x - z.mean);
        });
        sum = over_warps(sum);
        product = over_warps(product);
        if (here.end && threadIdx.x < 32) dbias[here.slot] = sum, dweight[here.slot] = product * inverse_std[c];
    }
}

// Without a residual.
extern "C" __global__ void plane(const T* __restrict__ dy, const T* __restrict__ x, const T* weight, const T* bias,
                                 const A* mean, const A* inverse_std, const A* dbias, const A* dweight, T* __restrict__ dx,
                                 int parts, int R, int width, int rows, int C, A M) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        int c = here.column % C;
        Line z = {mean[c], (A)weight[c] * inverse_std[c], bias[c]};
        A level = dbias[c] / M, slope = inverse_std[c] * dweight[c] / M;
        down(here, width, [&](int i) { return Backward{dy[i], x[i]}; }, [&](int i, Backward at) {
            A g = z(at.x) > 0 ? (A)at.dy : 0;
            dx[i] = z.a * (g - level - slope * ((A)at.x - z.mean));
        });
    }
}
