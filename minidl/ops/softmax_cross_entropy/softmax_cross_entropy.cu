// Softmax cross-entropy, a block for each row of scores z. Formulas: __init__.py beside.
//
//     top = max_c z_c      log_sum = log sum_c exp(z_c - top)      log p_c = z_c - top - log_sum
//     loss = -(1 - e) log p_label - e mean_c log p_c
//     dz_c = share (p_c - e / C - (1 - e) [c = label])      share = dy / divisor, and 0 where the label is ignored
//
// Why: backward needs two numbers of a row, top and log_sum; to make p from them again costs one exp, to keep it would cost a
// write and a read of memory. A row is read three times, but only once from memory. One block adds up the losses, so always in
// the same order. A label out of range meets no class: its loss is NaN, and nothing beyond the row is read.
#include "blocks.cuh"

extern "C" __global__ void row_losses(const T* scores, const long long* labels, A* tops, A* log_sums, A* losses, int N, int C,
                                      A smoothing, int ignored) {
    for (int n = blockIdx.x; n < N; n += gridDim.x) {
        const T* z = scores + n * C;
        A top = z[0], sum = 0, all = 0;
        for (int c = threadIdx.x; c < C; c += blockDim.x) top = larger(top, (A)z[c]);
        top = block_max(top);
        for (int c = threadIdx.x; c < C; c += blockDim.x) {
            A below = (A)z[c] - top;
            sum += exp(below), all += below;
        }
        sum = block_sum(sum), all = block_sum(all);
        if (threadIdx.x == 0) {
            long long label = labels[n];
            A log_sum = log(sum), own = label >= 0 && label < C ? (A)z[label] - top - log_sum : sqrt((A)-1);
            A loss = -(1 - smoothing) * own;
            if (smoothing > 0) loss -= smoothing * (all / C - log_sum);
            tops[n] = top, log_sums[n] = log_sum;
            losses[n] = label == ignored ? 0 : loss;
        }
    }
}

// The sum of the losses over the divisor: the number of labels that count, or 1. One block.
extern "C" __global__ void whole_loss(T* loss, A* divisor, const A* losses, const long long* labels, int N, int ignored, int mean) {
    A sum = 0, number = 0;
    for (int n = threadIdx.x; n < N; n += blockDim.x) sum += losses[n], number += labels[n] != ignored;
    sum = block_sum(sum), number = block_sum(number);
    if (threadIdx.x == 0) {
        divisor[0] = mean ? number : 1;
        loss[0] = sum / divisor[0];
    }
}

// each: dy and the divisor have a number for each row, or one for all.
extern "C" __global__ void scores_gradient(const T* dy, const T* scores, const long long* labels, const A* tops, const A* log_sums,
                                           const A* divisor, T* dscores, int N, int C, A smoothing, int ignored, int each) {
    for (int n = blockIdx.x; n < N; n += gridDim.x) {
        const T* z = scores + n * C;
        T* dz = dscores + n * C;
        long long label = labels[n];
        A top = tops[n], log_sum = log_sums[n];
        A share = label == ignored ? 0 : each ? (A)dy[n] : (A)dy[0] / divisor[0];
        for (int c = threadIdx.x; c < C; c += blockDim.x) {
            A p = exp((A)z[c] - top - log_sum);
            dz[c] = share * (p - smoothing / C - (c == label ? 1 - smoothing : 0));
        }
    }
}
