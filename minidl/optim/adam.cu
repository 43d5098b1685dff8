// Adam and AdamW in one pass over all parameters, a block for a piece of one. Formulas: adam.py beside.
//
//     g <- g / scale + decay w          w <- shrink w            Adam: shrink = 1; AdamW: decay = 0, shrink = 1 - lr weight_decay
//     m <- beta1 m + (1 - beta1) g      v <- beta2 v + (1 - beta2) g^2
//     w <- w - rate m / (sqrt(v) + eps)       rate and eps with the corrections of both moments in them
//
// Why: as sgd.cu, one trip through memory. What depends on the step alone is computed once, by the caller, in double precision:
// 1 - beta2 has few digits left in float.
#include "tables.cuh"
#include "master.cuh"

struct Moments {
    T* w;
    const T* g;
    A *master, *m, *v;
};

extern "C" __global__ void adam(const Table<Moments> table, A over_scale, A decay, A shrink, A beta1, A rest1, A beta2, A rest2,
                                A rate, A eps) {
    over(table, [&](const Moments& at, int i) {
        A value = exact(at.w, at.master, i), slope = (A)at.g[i] * over_scale;
        if (decay != 0) slope += decay * value;  // 0 times an infinite w would be NaN
        A mean = beta1 * at.m[i] + rest1 * slope, square = beta2 * at.v[i] + rest2 * slope * slope;
        at.m[i] = mean, at.v[i] = square;
        keep(at.w, at.master, i, shrink * value - rate * mean / (sqrt(square) + eps));
    });
}
