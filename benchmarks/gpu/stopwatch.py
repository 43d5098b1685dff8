"""Seconds of the device alone, by its own clock.

A kernel that takes 50 microseconds is launched from Python in as many: a clock on the host would tell the host's time. So the
device is held first, by a kernel that only waits, until all calls are in its queue; events before and behind them then tell how
long it took to work them off, without a gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np

from benchmarks import clock
from minidl.backend import cupy, synchronise

HOLD = """
extern "C" __global__ void hold(long long cycles) {
    for (long long start = clock64(); clock64() - start < cycles;) {}
}
"""
HERTZ = 2.2e9  # above the clock of every GPU there is: it is held a little longer than asked
MOST = 20  # calls in the queue
LEAST = 2e-3  # seconds of work in a round, if that many calls have it


def device_times(work: Callable[[], object], rounds: int, device: str) -> list[float]:
    """Seconds of a call in each of the rounds. One call comes first, untimed: sources are compiled, memory is in the pool.

    On the host, the host's clock.
    """
    work()
    synchronise(device)
    if device == "cpu":
        return [clock.seconds(work, 1, lambda: None) for _ in range(rounds)]
    start = time.perf_counter()
    work()
    launched = time.perf_counter() - start
    synchronise(device)
    calls = min(MOST, max(3, int(LEAST / max(time.perf_counter() - start, 1e-6))))
    return [_round(work, calls, 2 * calls * launched + 1e-4) for _ in range(rounds)]


def _round(work: Callable[[], object], calls: int, held: float) -> float:
    cuda = cupy().cuda
    before, after = cuda.Event(), cuda.Event()
    _hold()((1,), (1,), (np.int64(held * HERTZ),))
    before.record()
    for _ in range(calls):
        work()
    after.record()
    after.synchronize()
    return 1e-3 * cuda.get_elapsed_time(before, after) / calls


@cache
def _hold() -> Callable[..., None]:
    return cupy().RawKernel(HOLD, "hold")
