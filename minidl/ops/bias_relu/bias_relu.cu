// A bias for each channel and a rectifier, of rows [R, width], channels-last: column j belongs to channel j % C.
//
//     rectified  y = max(0, x + bias)
//     masked     dx = dy where y > 0, else 0;   part by part sum dx, to be joined to dbias
//
// Why: each number is read once and written once, and the sum of dx is taken while it is at hand. A thread stays in its column,
// with its bias in a register: no number asks for its channel.
#include "blocks.cuh"
#include "columns.cuh"

struct Pair {
    T dy, y;
};

extern "C" __global__ void rectified(const T* __restrict__ x, const T* bias, T* __restrict__ y, int parts, int R, int width,
                                     int rows, int C) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        A b = bias[here.column % C];
        down(here, width, [&](int i) { return x[i]; }, [&](int i, T value) {
            A z = (A)value + b;
            y[i] = z <= 0 ? 0 : z;  // NaN stays
        });
    }
}

extern "C" __global__ void masked(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, A* dbias,
                                  int parts, int R, int width, int rows) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        A sum = 0;
        down(here, width, [&](int i) { return Pair{dy[i], y[i]}; }, [&](int i, Pair at) {
            A g = (A)at.y > 0 ? (A)at.dy : 0;
            dx[i] = g;
            sum += g;
        });
        sum = over_warps(sum);
        if (here.end && threadIdx.x < 32) dbias[here.slot] = sum;
    }
}
