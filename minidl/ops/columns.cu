// Sums of the columns of rows [R, width].
//
//     summed       part by part: sum x, to be joined
//     multiplied   part by part: sum x y
//
// Why: each number is read once. A thread stays in its column, so that neighbouring threads read side by side. A sum of many
// rows is one of short sums: it rounds less than one number after another would, and in one order always.
#include "blocks.cuh"
#include "columns.cuh"

// value(i): what number i adds.
template <class Value> __device__ void sum_columns(A* sums, int parts, int R, int width, int rows, Value value) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        A sum = 0;
        down(here, width, value, [&](int i, A more) { sum += more; });
        sum = over_warps(sum);
        if (here.end && threadIdx.x < 32) sums[here.slot] = sum;
    }
}

extern "C" __global__ void summed(const T* __restrict__ x, A* sums, int parts, int R, int width, int rows) {
    sum_columns(sums, parts, R, width, rows, [&](int i) { return (A)x[i]; });
}

extern "C" __global__ void multiplied(const T* __restrict__ x, const T* __restrict__ y, A* sums, int parts, int R, int width,
        int rows) {
    sum_columns(sums, parts, R, width, rows, [&](int i) { return (A)x[i] * (A)y[i]; });
}
