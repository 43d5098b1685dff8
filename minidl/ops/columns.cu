// Sums of the columns of rows [R, width].
//
//     summed   part by part: sum x, to be joined
//
// Why: each number is read once. A thread stays in its column, so that neighbouring threads read side by side. A sum of many
// rows is one of short sums: it rounds less than one number after another would, and in one order always.
#include "blocks.cuh"
#include "columns.cuh"

extern "C" __global__ void summed(const T* __restrict__ x, A* sums, int parts, int R, int width, int rows) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        Part here = part_of(part, R, width, rows);
        A sum = 0;
        down(here, width, [&](int i) { return x[i]; }, [&](int i, T value) { sum += (A)value; });
        sum = over_warps(sum);
        if (here.end && threadIdx.x < 32) sums[here.slot] = sum;
    }
}
