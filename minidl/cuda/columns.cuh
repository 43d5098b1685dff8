// Rows of numbers [R, width] in parts: 32 neighbouring columns of `rows` rows each. A block takes a part, its warps take one
// row after another: neighbouring threads read neighbouring numbers, and what belongs to a column stays in registers.
// minidl/ops/columns.py cuts the rows. To be included after blocks.cuh.

struct Part {
    int column;      // of this thread
    int first, end;  // its rows, every (blockDim.x / 32)-th; none beyond the last column
    int row, size;   // the first row of all warps, and how many rows there are
    int slot;        // where partial sums go, [chunks, width]
};

__device__ inline Part part_of(int part, int R, int width, int rows) {
    int tiles = (width + 31) / 32, chunk = part / tiles, column = part % tiles * 32 + threadIdx.x % 32;
    int row = chunk * rows, size = min(rows, R - row);
    int end = column < width ? row + size : 0;
    return {column, row + (int)threadIdx.x / 32, end, row, size, chunk * width + column};
}

// use(i, load(i)) for each number i of a thread's column. It asks for DEEP of them before it uses the first: with 16 bytes of
// each array on their way to every thread, memory is never idle.
constexpr int DEEP = 16 / sizeof(T);

template <class Load, class Use> __device__ void down(const Part& here, int width, Load load, Use use) {
    int step = blockDim.x / 32;
    for (int r = here.first; r < here.end; r += DEEP * step) {
        decltype(load(0)) seen[DEEP];
#pragma unroll
        for (int k = 0; k < DEEP; k++)  // beyond the end the last one again
            seen[k] = load(min(r + k * step, here.end - 1) * width + here.column);
#pragma unroll
        for (int k = 0; k < DEEP; k++)
            if (r + k * step < here.end) use((r + k * step) * width + here.column, seen[k]);
    }
}

// The sum over the warps of a block, lane by lane; in one order always.
template <class V> __device__ V over_warps(V value) {
    __shared__ V parts[32][32];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    parts[warp][lane] = value;
    __syncthreads();
    value = parts[0][lane];
    for (int other = 1; other < (int)(blockDim.x / 32); other++) value += parts[other][lane];
    __syncthreads();  // or the next call would write what is being read
    return value;
}

// Partial sums [sets, P, C] -> sums [sets, C], a block for each.
extern "C" __global__ void join(const A* partial, A* total, int count, int P, int C) {
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
        const A* mine = partial + (long long)(i / C) * P * C + i % C;
        A sum = 0;
        for (int p = threadIdx.x; p < P; p += blockDim.x) sum += mine[p * C];
        sum = block_sum(sum);
        if (threadIdx.x == 0) total[i] = sum;
    }
}
