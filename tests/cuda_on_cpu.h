// CUDA's words for g++, as few as kernels use: this is compiled with each of them, and the standard headers would take longer than
// they do. What a block's threads do together is in cuda_on_cpu.cpp.
#pragma once
struct dim3_ { unsigned x, y, z; };
extern dim3_ threadIdx, blockIdx, blockDim, gridDim;
typedef __SIZE_TYPE__ size_t;
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define OF_BOTH(name) \
    inline float name(float x) { return __builtin_##name##f(x); } \
    inline double name(double x) { return __builtin_##name(x); }
OF_BOTH(exp) OF_BOTH(log) OF_BOTH(log1p) OF_BOTH(sqrt) OF_BOTH(fabs) OF_BOTH(tanh)
inline float pow(float x, float y) { return __builtin_powf(x, y); }
inline double pow(double x, double y) { return __builtin_pow(x, y); }
template <class F> F rsqrt(F x) { return 1 / sqrt(x); }
template <class P, class Q> auto max(P a, Q b) -> decltype(a + b) { return a > b ? a : b; }
template <class P, class Q> auto min(P a, Q b) -> decltype(a + b) { return a < b ? a : b; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)a * b >> 64; }
inline float __uint_as_float(unsigned bits) { float value; __builtin_memcpy(&value, &bits, 4); return value; }
inline unsigned __float_as_uint(float value) { unsigned bits; __builtin_memcpy(&bits, &value, 4); return bits; }

// ---- threads that wait for each other ----
struct Slot { alignas(16) unsigned char bytes[128]; };
extern Slot slots[];
void meet_block();
void meet_warp();
#define __syncthreads() meet_block()
#define __syncwarp(...) meet_warp()

// Every lane shows what it has; then each reads what others showed: seen(lane).
template <class V, class Read> auto shown(const V& mine, Read read) {
    static_assert(sizeof(V) <= sizeof(Slot), "a slot is too small");
    __builtin_memcpy(slots[threadIdx.x].bytes, &mine, sizeof(V));
    meet_warp();
    int first = threadIdx.x / 32 * 32;
    auto seen = [&](int lane) { V value; __builtin_memcpy(&value, slots[first + lane % 32].bytes, sizeof(V)); return value; };
    auto result = read(seen);
    meet_warp();
    return result;
}
template <class V> V __shfl_sync(unsigned, V value, int lane) { return shown(value, [&](auto seen) { return seen(lane); }); }
template <class V> V __shfl_xor_sync(unsigned, V value, int flip) { return __shfl_sync(0, value, threadIdx.x % 32 ^ flip); }
template <class V> V __shfl_down_sync(unsigned, V value, int by) {
    int lane = threadIdx.x % 32;
    return __shfl_sync(0, value, lane + by < 32 ? lane + by : lane);
}

// What mma.cuh says of the lanes, computed from what they show.
inline float kept(float x, unsigned drop) {  // the nearest number with so many bits less
    unsigned bits;
    __builtin_memcpy(&bits, &x, 4);
    unsigned even = drop == 16 ? bits >> drop & 1 : 1;  // halfway bf16 goes to the even one, tf32 away from 0
    bits = (bits + (1u << (drop - 1)) - 1 + even) & ~((1u << drop) - 1);
    __builtin_memcpy(&x, &bits, 4);
    return x;
}
template <int products, class V> V factor(V x) { return sizeof(V) == 8 || products == 0 ? x : kept(x, products == 1 ? 13 : 16); }
template <int products, class V> void multiply_on_cpu(V* c, const V* a, const V* b) {
    struct Held { V a[8], b[4]; } mine;
    for (int i = 0; i < 8; i++) mine.a[i] = factor<products>(a[i]);
    for (int i = 0; i < 4; i++) mine.b[i] = factor<products>(b[i]);
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    shown(mine, [&](auto seen) {
        for (int k = 0; k < 16; k++)
            for (int i = 0; i < 4; i++)
                c[i] += seen(4 * g + k % 4).a[k / 4 * 2 + i / 2] * seen(4 * (2 * t + i % 2) + k % 4).b[k / 4];
        return 0;
    });
}

// Copies that arrive when they are waited for, and not before.
void copy_later(void* shared, const void* global, int bytes);
void copies_begun();
void copies_left(int groups);
template <int bytes> void copy_async(void* shared, const void* global, bool there) {
    static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async takes 4, 8 or 16 bytes");
    copy_later(shared, there ? global : nullptr, bytes);
}
template <int groups> void copies_left() { copies_left(groups); }

// Why the launch was wrong, or nullptr.
const char* launch(int grid, int block, bool waits, bool backwards, void (*kernel)(void*), void* given);
template <class Kernel> const char* launch_on_cpu(int grid, int block, bool waits, bool backwards, Kernel kernel) {
    return launch(grid, block, waits, backwards, [](void* given) { (*(Kernel*)given)(); }, &kernel);
}
