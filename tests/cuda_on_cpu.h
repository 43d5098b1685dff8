// CUDA's words for g++: blocks one after another, a block's threads in turns. A thread that waits hands over to the next one, so
// what the threads do between two waits happens in one order, and in the other if that is asked for.
#pragma once
#include <setjmp.h>
#include <ucontext.h>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <type_traits>
#include <vector>
using std::pow; using std::exp; using std::log; using std::log1p; using std::sqrt; using std::fabs; using std::tanh; using std::fmax;
using std::fmin; using std::isnan; using std::isinf;
struct dim3_ { unsigned x = 0, y = 0, z = 0; };
static dim3_ threadIdx, blockIdx, blockDim, gridDim;
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
template <class F> F rsqrt(F x) { return 1 / std::sqrt(x); }
template <class P, class Q> std::common_type_t<P, Q> max(P a, Q b) { return a > b ? a : b; }
template <class P, class Q> std::common_type_t<P, Q> min(P a, Q b) { return a < b ? a : b; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)a * b >> 64; }
inline float __uint_as_float(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }
inline unsigned __float_as_uint(float value) { unsigned bits; std::memcpy(&bits, &value, 4); return bits; }

// ---- threads that wait for each other ----
constexpr int STACK = 128 << 10, MOST_THREADS = 1024;
struct Meeting { int there = 0, number = 0; };  // of a block, or of a warp
struct Slot { alignas(16) unsigned char bytes[128]; };
static Meeting of_block, of_warp[32];
static Slot slots[MOST_THREADS];
static jmp_buf scheduler, turns[MOST_THREADS];
static bool finished[MOST_THREADS], started[MOST_THREADS], moved;
static const char* broken;  // what is wrong with the kernel, if something is
static std::function<void()> work;

static void hand_over() {
    if (!_setjmp(turns[threadIdx.x])) _longjmp(scheduler, 1);
}
static void meet(Meeting& meeting, int of) {
    int number = meeting.number;
    if (++meeting.there == of) {
        meeting.there = 0, meeting.number++, moved = true;
        return;
    }
    while (meeting.number == number) hand_over();
}
static int lanes() { return min(32u, blockDim.x - threadIdx.x / 32 * 32); }
static void meet_warp() { meet(of_warp[threadIdx.x / 32], lanes()); }
#define __syncthreads() meet(of_block, blockDim.x)
#define __syncwarp(...) meet_warp()

// Every lane shows what it has; then each reads what others showed: seen(lane).
template <class V, class Read> auto shown(const V& mine, Read read) {
    static_assert(sizeof(V) <= sizeof(Slot), "a slot is too small");
    std::memcpy(slots[threadIdx.x].bytes, &mine, sizeof(V));
    meet_warp();
    int first = threadIdx.x / 32 * 32;
    auto result = read([&](int lane) { V value; std::memcpy(&value, slots[first + lane % 32].bytes, sizeof(V)); return value; });
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
    std::memcpy(&bits, &x, 4);
    bits = (bits + (1u << (drop - 1))) & ~((1u << drop) - 1);
    std::memcpy(&x, &bits, 4);
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
struct Copy { void* to; const void* from; int bytes; };
static std::vector<Copy> begun[MOST_THREADS];
static std::vector<std::vector<Copy>> under_way[MOST_THREADS];
template <int bytes> void copy_async(void* shared, const void* global, bool there) {
    static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async takes 4, 8 or 16 bytes");
    if ((size_t)shared % bytes || (there && (size_t)global % bytes)) broken = "cp.async: an address is not aligned";
    begun[threadIdx.x].push_back({shared, there ? global : nullptr, bytes});
}
inline void copies_begun() { under_way[threadIdx.x].push_back(std::move(begun[threadIdx.x])), begun[threadIdx.x].clear(); }
template <int groups> void copies_left() {
    auto& mine = under_way[threadIdx.x];
    for (; mine.size() > groups; mine.erase(mine.begin()))
        for (auto& copy : mine[0]) copy.from ? (void)std::memcpy(copy.to, copy.from, copy.bytes) : (void)std::memset(copy.to, 0, copy.bytes);
}

static void whole_thread() {
    work();
    finished[threadIdx.x] = moved = true;
    hand_over();
}

// Until the thread hands over. A context begins it; after that it is jumped to, which asks nothing of the system.
static void take_turn(int t, char* stack) {
    if (_setjmp(scheduler)) return;
    if (started[t]) _longjmp(turns[t], 1);
    ucontext_t thread;
    started[t] = true, getcontext(&thread);
    thread.uc_stack.ss_sp = stack, thread.uc_stack.ss_size = STACK, thread.uc_link = nullptr;
    makecontext(&thread, whole_thread, 0), setcontext(&thread);
}

static void in_turns(int block, bool backwards) {
    static std::unique_ptr<char[]> stacks(new char[(size_t)STACK * MOST_THREADS]);
    of_block = {}, std::memset(of_warp, 0, sizeof of_warp);
    for (int t = 0; t < block; t++) begun[t].clear(), under_way[t].clear(), finished[t] = started[t] = false;
    for (int left = block; left > 0;) {
        moved = false;
        for (int i = 0; i < block; i++) {
            int t = backwards ? block - 1 - i : i;
            if (finished[t]) continue;
            threadIdx.x = t, take_turn(t, &stacks[(size_t)t * STACK]);
            left -= finished[t];
        }
        if (!moved) return (void)(broken = "threads wait for ever; not all come to a __sync");
    }
}

static std::mutex one_at_a_time;  // of all kernels of a source: they share what is above

// Why the launch was wrong, or nullptr.
template <class Kernel> const char* launch_on_cpu(int grid, int block, bool waits, bool backwards, Kernel kernel) {
    std::lock_guard<std::mutex> alone(one_at_a_time);
    gridDim.x = grid, blockDim.x = block, work = kernel, broken = nullptr;
    for (int i = 0; i < grid && !broken; i++) {
        blockIdx.x = backwards ? grid - 1 - i : i;
        if (waits) in_turns(block, backwards);
        for (int j = 0; j < block && !waits; j++) threadIdx.x = backwards ? block - 1 - j : j, kernel();
    }
    return broken;
}
