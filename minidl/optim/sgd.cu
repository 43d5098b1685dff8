// Stochastic gradient descent in one pass over all parameters, a block for a piece of one. Formulas: sgd.py beside.
//
//     g <- g / scale + decay w                                             decay: weight_decay
//     pytorch    v <- momentum v + share g     w <- w - lr v               share: 1 at first, then 1 - dampening
//     nesterov                                 w <- w - lr (g + momentum v)
//     alexnet    v <- momentum v - lr g        w <- w + v
//
// Why: an update computes next to nothing, so it takes as long as its numbers take through memory. Here w, g and v are read once
// and w and v written once; the formulas, an operation at a time, read and write more than twice as much.
#include "tables.cuh"
#include "master.cuh"

__device__ inline A slope(A g, A w, A decay, A over_scale) {
    g *= over_scale;
    return decay != 0 ? g + decay * w : g;  // 0 times an infinite w would be NaN
}

struct Weights {
    T* w;
    const T* g;
    A* master;
};

struct Moving {
    T* w;
    const T* g;
    A *master, *v;
};

extern "C" __global__ void sgd(const Table<Weights> table, A over_scale, A decay, A lr) {
    over(table, [&](const Weights& at, int i) {
        A value = exact(at.w, at.master, i);
        keep(at.w, at.master, i, value - lr * slope(at.g[i], value, decay, over_scale));
    });
}

extern "C" __global__ void sgd_momentum(const Table<Moving> table, A over_scale, A decay, A lr, A momentum, A share, int alexnet,
                                        int nesterov) {
    over(table, [&](const Moving& at, int i) {
        A value = exact(at.w, at.master, i), down = slope(at.g[i], value, decay, over_scale), speed = momentum * at.v[i];
        speed = alexnet ? speed - lr * down : speed + share * down;
        at.v[i] = speed;
        keep(at.w, at.master, i, alexnet ? value + speed : value - lr * (nesterov ? down + momentum * speed : speed));
    });
}
