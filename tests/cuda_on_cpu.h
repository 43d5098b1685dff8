// CUDA's words for g++: blocks one after another, a block's threads in turns where nothing waits, as real threads where they do.
#pragma once
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
using std::pow; using std::exp; using std::log; using std::sqrt; using std::fabs; using std::tanh; using std::fmax; using std::fmin;
struct dim3_ { unsigned x = 0, y = 0, z = 0; };
static thread_local dim3_ threadIdx, blockIdx;
static dim3_ blockDim, gridDim;
static std::barrier<>* everybody = nullptr;
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static
#define __launch_bounds__(...)
#define __syncthreads() everybody->arrive_and_wait()
template <class F> F rsqrt(F x) { return 1 / std::sqrt(x); }
template <class F> F max(F a, F b) { return a > b ? a : b; }
template <class F> F min(F a, F b) { return a < b ? a : b; }

template <class Kernel> void launch_on_cpu(int grid, int block, bool waits, Kernel kernel) {
    gridDim.x = grid, blockDim.x = block;
    for (int b = 0; b < grid; b++) {
        auto one = [&](int t) { blockIdx.x = b, threadIdx.x = t, kernel(); };
        if (!waits) {
            for (int t = 0; t < block; t++) one(t);
            continue;
        }
        std::barrier<> together(block);
        everybody = &together;
        std::vector<std::thread> threads;
        for (int t = 0; t < block; t++) threads.emplace_back([&, t] { one(t); });
        for (auto& thread : threads) thread.join();
    }
}
