// Dropout, a thread for the eight numbers of a Philox block: forward and backward are one map. Formulas: __init__.py beside.
//
//     y_i = x_i keep_i scale       keep_i = [u_i >= least],  u = the 32-bit words of the image's key
//
// Why: the mask is drawn again where it is needed, so that none is written or read: an integer multiplication costs less than a
// trip to memory. One block of Philox gives eight words, so a thread takes eight numbers; the bits are those of the host.
#include "packs.cuh"
#include "philox.cuh"

// images [N, D], key [N, 2]; least is counted from -2^31, as an int can hold it.
extern "C" __global__ void dropped(const T* x, const unsigned long long* key, T* y, int N, int D, int least, A scale) {
    int eights = (D + 7) / 8, count = N * eights;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        int n = i / eights, first = i % eights * 8;
        Eight u = philox(key + 2 * n, i % eights);
        for (int j = 0; j < 8; j += V) {
            if (first + j >= D) break;  // the rest of the image's last block
            Pack<T> pack = load(x + n * D + first + j);
            for (int k = 0; k < V; k++) {
                bool keep = (int)(u.bits[j + k] ^ 0x80000000u) >= least;
                pack.at[k] = (A)pack.at[k] * (A)keep * scale;
            }
            store(y + n * D + first + j, pack);
        }
    }
}
