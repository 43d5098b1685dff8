// Tensor cores: C [16, 8] += A [16, 16] B [16, 8] by the 32 lanes of a warp, and copies into shared memory that nobody waits for.
//
// Of lane 4 g + t, for i = 0 .. 3:
//     a[2 i] = A[g][4 i + t]      a[2 i + 1] = A[g + 8][4 i + t]      b[i] = B[4 i + t][g]
//     c[0], c[1] = C[g][2 t], C[g][2 t + 1]      c[2], c[3] = C[g + 8][2 t], C[g + 8][2 t + 1]
//
// PRODUCTS says how: 0 exactly, by shuffles (slow; for float64, and to compare with), 1 in tf32, 2 in bf16. A sum over k does not
// care which k is where, as long as A and B agree: so the two numbers of a bf16 pair may lie four apart, and whoever loads the
// pieces may deal out the 16 terms in another way.
// Source: NVIDIA, PTX ISA, sections on mma.m16n8k8 (tf32), mma.m16n8k16 (bf16) and cp.async.

#if defined(__CUDACC_RTC__)

__device__ inline unsigned tf32(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

__device__ inline unsigned bf16_pair(float low, float high) {
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

__device__ inline void on_tensor_cores(float* c, const float* a, const float* b) {
    if (PRODUCTS == 1) {
        for (int i = 0; i < 2; i++)
            asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                : "r"(tf32(a[4 * i])), "r"(tf32(a[4 * i + 1])), "r"(tf32(a[4 * i + 2])), "r"(tf32(a[4 * i + 3])),
                  "r"(tf32(b[2 * i])), "r"(tf32(b[2 * i + 1])));
    } else {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(bf16_pair(a[0], a[2])), "r"(bf16_pair(a[1], a[3])), "r"(bf16_pair(a[4], a[6])), "r"(bf16_pair(a[5], a[7])),
              "r"(bf16_pair(b[0], b[1])), "r"(bf16_pair(b[2], b[3])));
    }
}

// `bytes` (4, 8 or 16) from global to shared memory, both aligned to as many; zeros where nothing is there.
template <int bytes> __device__ void copy_async(void* shared, const void* global, bool there) {
    unsigned to = __cvta_generic_to_shared(shared);
    if (bytes == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(global), "r"(there ? 16 : 0) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                     : : "r"(to), "l"(global), "n"(bytes), "r"(there ? bytes : 0) : "memory");
}

__device__ inline void copies_begun() {  // those since the last call make a group
    asm volatile("cp.async.commit_group;" : : : "memory");
}

template <int groups> __device__ void copies_left() {  // waits until at most so many groups are under way
    asm volatile("cp.async.wait_group %0;" : : "n"(groups) : "memory");
}

#endif

template <class V> __device__ void by_shuffles(V* c, const V* a, const V* b) {
    int lane = threadIdx.x % 32, row = lane & ~3, column = lane % 4 * 8;  // lanes that hold A[g] and A[g + 8], B[..][2 t]
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll 1
        for (int t = 0; t < 4; t++) {
            V upper = __shfl_sync(0xffffffffu, a[2 * i], row + t), lower = __shfl_sync(0xffffffffu, a[2 * i + 1], row + t);
            V left = __shfl_sync(0xffffffffu, b[i], column + t), right = __shfl_sync(0xffffffffu, b[i], column + 4 + t);
            c[0] += upper * left, c[1] += upper * right, c[2] += lower * left, c[3] += lower * right;
        }
    }
}

template <class V> __device__ void multiply(V* c, const V* a, const V* b) {
#if defined(__CUDACC_RTC__)
    if constexpr (PRODUCTS == 0 || sizeof(V) == 8)
        by_shuffles(c, a, b);
    else
        on_tensor_cores(c, a, b);
#else
    multiply_on_cpu<PRODUCTS>(c, a, b);
#endif
}
