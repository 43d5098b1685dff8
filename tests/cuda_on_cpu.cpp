// A block's threads on the CPU, in turns: one that waits hands over to the next. So what they do between two waits happens in one
// order, and in the other if that is asked for. Compiled once, for all kernels.
#include "cuda_on_cpu.h"
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>
#include <mutex>
#include <vector>

constexpr int STACK = 128 << 10, MOST_THREADS = 1024;
struct Meeting { int there = 0, number = 0; };  // of a block, or of a warp
struct Copy { void* to; const void* from; int bytes; };

dim3_ threadIdx, blockIdx, blockDim, gridDim;
Slot slots[MOST_THREADS];
static Meeting of_block, of_warp[32];
static jmp_buf scheduler, turns[MOST_THREADS];
static char stacks[MOST_THREADS][STACK] __attribute__((aligned(64)));
static bool finished[MOST_THREADS], started[MOST_THREADS], moved;
static const char* broken;  // what is wrong with the kernel, if something is
static const size_t* ends;  // where each array begins and ends, of so many
static int arrays;
static void (*work)(void*);
static void* with;
static std::vector<Copy> begun[MOST_THREADS];
static std::vector<std::vector<Copy>> under_way[MOST_THREADS];

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

void meet_block() { meet(of_block, blockDim.x); }
void meet_warp() { meet(of_warp[threadIdx.x / 32], min(32u, blockDim.x - threadIdx.x / 32 * 32)); }

extern "C" void arrays_lie(const size_t* there, int count) { ends = there, arrays = count; }

static bool within_an_array(size_t from, int bytes) {
    for (int i = 0; i < arrays; i++)
        if (ends[2 * i] <= from && from + bytes <= ends[2 * i + 1]) return true;
    return false;
}

void copy_later(void* shared, const void* global, int bytes) {
    if (global && !within_an_array((size_t)global, bytes)) broken = "cp.async: what it copies lies in no array";
    if ((size_t)shared % bytes || (size_t)global % bytes) broken = "cp.async: an address is not aligned";
    begun[threadIdx.x].push_back({shared, global, bytes});
}

void copies_begun() { under_way[threadIdx.x].push_back(std::move(begun[threadIdx.x])), begun[threadIdx.x].clear(); }

void copies_left(int groups) {
    auto& mine = under_way[threadIdx.x];
    for (; (int)mine.size() > groups; mine.erase(mine.begin()))
        for (auto& copy : mine[0]) copy.from ? memcpy(copy.to, copy.from, copy.bytes) : memset(copy.to, 0, copy.bytes);
}

static void whole_thread() {
    work(with);
    finished[threadIdx.x] = moved = true;
    hand_over();
}

// Until the thread hands over. A context begins it; after that it is jumped to, which asks nothing of the system.
static void take_turn(int t) {
    if (_setjmp(scheduler)) return;
    if (started[t]) _longjmp(turns[t], 1);
    ucontext_t thread;
    started[t] = true, getcontext(&thread);
    thread.uc_stack.ss_sp = stacks[t], thread.uc_stack.ss_size = STACK, thread.uc_link = nullptr;
    makecontext(&thread, whole_thread, 0), setcontext(&thread);
}

static void in_turns(int block, bool backwards) {
    of_block = {}, memset((void*)of_warp, 0, sizeof of_warp);
    for (int t = 0; t < block; t++) begun[t].clear(), under_way[t].clear(), finished[t] = started[t] = false;
    for (int left = block; left > 0;) {
        moved = false;
        for (int i = 0; i < block; i++) {
            int t = backwards ? block - 1 - i : i;
            if (finished[t]) continue;
            threadIdx.x = t, take_turn(t);
            left -= finished[t];
        }
        if (!moved) {
            broken = "threads wait for ever; not all come to a __sync";
            return;
        }
    }
}

const char* launch(int grid, int block, bool waits, bool backwards, void (*kernel)(void*), void* given) {
    static std::mutex one_at_a_time;  // of all kernels: they share what is above
    std::lock_guard<std::mutex> alone(one_at_a_time);
    gridDim.x = grid, blockDim.x = block, work = kernel, with = given, broken = nullptr;
    for (int i = 0; i < grid && !broken; i++) {
        blockIdx.x = backwards ? grid - 1 - i : i;
        if (waits) in_turns(block, backwards);
        for (int j = 0; j < block && !waits; j++) threadIdx.x = backwards ? block - 1 - j : j, kernel(given);
    }
    return broken;
}
