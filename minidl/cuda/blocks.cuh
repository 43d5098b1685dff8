// One value of all threads of a block, in the same order always: so the same bits always. blockDim.x is a multiple of 32, and
// every thread takes part.
template <class V, class Join> __device__ V over_block(V value, Join join) {
    __shared__ V parts[32];
    for (int step = 16; step > 0; step /= 2) value = join(value, __shfl_xor_sync(0xffffffffu, value, step));
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[0];
    for (unsigned warp = 1; warp < blockDim.x / 32; warp++) value = join(value, parts[warp]);
    __syncthreads();  // or the next call would write what is being read
    return value;
}

template <class V> __device__ V block_sum(V value) {
    return over_block(value, [](V a, V b) { return a + b; });
}

template <class V> __device__ V larger(V a, V b) {
    return a > b || a != a ? a : b;  // NaN stays
}

template <class V> __device__ V block_max(V value) {
    return over_block(value, [](V a, V b) { return larger(a, b); });
}
