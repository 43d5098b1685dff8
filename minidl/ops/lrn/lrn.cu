// Local response normalisation, a block for each TILE neighbouring numbers of [pixels, C]. Formulas: __init__.py beside.
//
//     s  = k + alpha window_sum(x^2)       y = x s^-beta
//     dx = dy s^-beta - 2 alpha beta x * window_sum(dy x s^-beta / s)
//
// Why: a tile and REACH = n/2 numbers on each side of it are read once, and once each is raised to a power; all else goes
// through the block's own memory. Backward makes s again from x, for which it reads REACH more: cheaper than writing s and
// reading it.
// (A sum that slides, one number in and one out, keeps the rounding of what has left.)

// each(t, i, c): number i, the t-th of the tile, of channel c; for those of the tile and of `margin` numbers on each side.
template <class Each> __device__ void over_tile(int tile, int margin, int count, int C, Each each) {
    int step = blockDim.x % C, t = (int)threadIdx.x - margin, c = (tile * TILE % C + t) % C;
    if (c < 0) c += C;
    for (; t < TILE + margin; t += blockDim.x) {
        unsigned i = (unsigned)(tile * TILE) + t;  // huge where it is before the first
        if (i < (unsigned)count) each(t, i, c);
        c += step;
        if (c >= C) c -= C;
    }
}

// The sum of a(d) over the neighbours d that are channels of the same pixel.
template <class Number> __device__ A window_sum(int c, int C, Number a) {
    A sum = 0;
    for (int d = -REACH; d <= REACH; d++)
        if (d < 0 ? c + d >= 0 : c + d < C) sum += a(d);
    return sum;
}

__device__ A s_to_the_minus(A beta, A s) {
    if (beta != (A)0.75) return pow(s, -beta);
    A r = rsqrt(s);
    return r * sqrt(r);  // the usual beta: two roots are cheaper than a power
}

extern "C" __global__ void lrn_forward(const T* x, T* y, int count, int C, A alpha, A beta, A k) {
    __shared__ A near[TILE + 2 * REACH];
    for (int tile = blockIdx.x; tile <= (count - 1) / TILE; tile += gridDim.x) {
        over_tile(tile, REACH, count, C, [&](int t, int i, int) { near[t + REACH] = x[i]; });
        __syncthreads();
        over_tile(tile, 0, count, C, [&](int t, int i, int c) {
            const A* here = near + t + REACH;
            A s = k + alpha * window_sum(c, C, [&](int d) { return here[d] * here[d]; });
            y[i] = *here * s_to_the_minus(beta, s);
        });
        __syncthreads();  // or the next tile would be written over what is being read
    }
}

extern "C" __global__ void lrn_backward(const T* dy, const T* x, T* dx, int count, int C, A alpha, A beta, A k) {
    __shared__ A near[TILE + 4 * REACH], scaled[TILE + 2 * REACH], shares[TILE + 2 * REACH];
    for (int tile = blockIdx.x; tile <= (count - 1) / TILE; tile += gridDim.x) {
        over_tile(tile, 2 * REACH, count, C, [&](int t, int i, int) { near[t + 2 * REACH] = x[i]; });
        __syncthreads();
        over_tile(tile, REACH, count, C, [&](int t, int i, int c) {
            const A* here = near + t + 2 * REACH;
            A s = k + alpha * window_sum(c, C, [&](int d) { return here[d] * here[d]; });
            A g = (A)dy[i] * s_to_the_minus(beta, s);
            scaled[t + REACH] = g;
            shares[t + REACH] = g * *here / s;
        });
        __syncthreads();
        over_tile(tile, 0, count, C, [&](int t, int i, int c) {
            A sum = window_sum(c, C, [&](int d) { return shares[t + REACH + d]; });
            dx[i] = scaled[t + REACH] - 2 * alpha * beta * near[t + 2 * REACH] * sum;
        });
        __syncthreads();
    }
}
