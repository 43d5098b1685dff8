// Stochastic gradient descent in one pass, a thread for each number. Formulas: sgd.py beside.
//
//     g <- g / scale + decay w                                             decay: weight_decay
//     pytorch    v <- momentum v + share g     w <- w - lr v               share: 1 at first, then 1 - dampening
//     nesterov                                 w <- w - lr (g + momentum v)
//     alexnet    v <- momentum v - lr g        w <- w + v
//
// Why: an update computes next to nothing, so it takes as long as its numbers take through memory. Here w, g and v are read once
// and w and v written once; the formulas, an operation at a time, read and write more than twice as much.
#include "master.cuh"

__device__ inline A slope(A g, A w, A decay, A over_scale) {
    g *= over_scale;
    return decay != 0 ? g + decay * w : g;  // 0 times an infinite w would be NaN
}

extern "C" __global__ void sgd(T* w, const T* g, A* master, int count, A over_scale, A decay, A lr) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        A value = exact(w, master, i);
        keep(w, master, i, value - lr * slope(g[i], value, decay, over_scale));
    }
}

extern "C" __global__ void sgd_momentum(T* w, const T* g, A* master, A* v, int count, A over_scale, A decay, A lr, A momentum,
                                        A share, int alexnet, int nesterov) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        A value = exact(w, master, i), down = slope(g[i], value, decay, over_scale), speed = momentum * v[i];
        speed = alexnet ? speed - lr * down : speed + share * down;
        v[i] = speed;
        keep(w, master, i, alexnet ? value + speed : value - lr * (nesterov ? down + momentum * speed : speed));
    }
}
