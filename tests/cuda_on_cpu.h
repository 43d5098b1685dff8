// CUDA's words for g++: blocks one after another, a block's threads in turns. A thread that waits hands over to the next one, so
// what the threads do between two waits happens in one order, and in the other if that is asked for.
#pragma once
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
template <class F> F rsqrt(F x) { return 1 / std::sqrt(x); }
template <class P, class Q> std::common_type_t<P, Q> max(P a, Q b) { return a > b ? a : b; }
template <class P, class Q> std::common_type_t<P, Q> min(P a, Q b) { return a < b ? a : b; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)a * b >> 64; }
inline float __uint_as_float(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }
inline unsigned __float_as_uint(float value) { unsigned bits; std::memcpy(&bits, &value, 4); return bits; }

// ---- threads that wait for each other ----
constexpr int STACK = 128 << 10, MOST_THREADS = 1024;
struct Meeting { int there = 0, number = 0; };  // of a block, or of a warp
struct Slot { alignas(16) unsigned char bytes[64]; };
static Meeting of_block, of_warp[32];
static Slot slots[MOST_THREADS];
static ucontext_t scheduler, threads_[MOST_THREADS];
static bool finished[MOST_THREADS], moved;
static std::function<void()> work;

static void hand_over() { swapcontext(&threads_[threadIdx.x], &scheduler); }
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

static void whole_thread() {
    work();
    finished[threadIdx.x] = moved = true;
    hand_over();
}

// One block; false if its threads wait for ever, because not all of them come to a meeting.
static bool in_turns(int block, bool backwards) {
    static std::unique_ptr<char[]> stacks(new char[(size_t)STACK * MOST_THREADS]);
    of_block = {}, std::memset(of_warp, 0, sizeof of_warp);
    for (int t = 0; t < block; t++) {
        finished[t] = false, getcontext(&threads_[t]);
        threads_[t].uc_stack.ss_sp = &stacks[(size_t)t * STACK], threads_[t].uc_stack.ss_size = STACK, threads_[t].uc_link = nullptr;
        makecontext(&threads_[t], whole_thread, 0);
    }
    for (int left = block; left > 0;) {
        moved = false;
        for (int i = 0; i < block; i++) {
            int t = backwards ? block - 1 - i : i;
            if (finished[t]) continue;
            threadIdx.x = t, swapcontext(&scheduler, &threads_[t]);
            left -= finished[t];
        }
        if (!moved) return false;
    }
    return true;
}

template <class Kernel> bool launch_on_cpu(int grid, int block, bool waits, bool backwards, Kernel kernel) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> alone(one_at_a_time);
    gridDim.x = grid, blockDim.x = block, work = kernel;
    for (int i = 0; i < grid; i++) {
        blockIdx.x = backwards ? grid - 1 - i : i;
        if (waits && !in_turns(block, backwards)) return false;
        for (int j = 0; j < block && !waits; j++) threadIdx.x = backwards ? block - 1 - j : j, kernel();
    }
    return true;
}
