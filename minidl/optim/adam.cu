// Adam and AdamW in one pass, a thread for each number. Formulas: adam.py beside.
//
//     g <- g / scale + decay w          w <- shrink w            Adam: shrink = 1; AdamW: decay = 0, shrink = 1 - lr weight_decay
//     m <- beta1 m + (1 - beta1) g      v <- beta2 v + (1 - beta2) g^2
//     w <- w - rate m / (sqrt(v) + eps)       rate and eps with the corrections of both moments in them
//
// Why: as sgd.cu, one trip through memory. What depends on the step alone is computed once, by the caller, in double precision:
// 1 - beta2 has few digits left in float.
#include "master.cuh"

extern "C" __global__ void adam(T* w, const T* g, A* master, A* m, A* v, int count, A over_scale, A decay, A shrink, A beta1, A rest1,
                                A beta2, A rest2, A rate, A eps) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        A value = exact(w, master, i), slope = (A)g[i] * over_scale;
        if (decay != 0) slope += decay * value;  // 0 times an infinite w would be NaN
        A mean = beta1 * m[i] + rest1 * slope, square = beta2 * v[i] + rest2 * slope * slope;
        m[i] = mean, v[i] = square;
        keep(w, master, i, shrink * value - rate * mean / (sqrt(square) + eps));
    }
}
