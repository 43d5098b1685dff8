// half: a number of 16 bits that computes as a float. (CUDA's own __half has operators of its own, which round every product.)
#if defined(__CUDACC_RTC__)
struct half {
    unsigned short bits;
    half() = default;
    __device__ half(float value) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value)); }
    __device__ operator float() const {
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
        return value;
    }
};
#else
typedef _Float16 half;  // where g++ compiles it for the tests
#endif
