"""Seconds of the device alone, by its own clock.

A kernel that takes 50 microseconds is launched from Python in as many: a clock on the host would tell the host's time. So the
device is held first, by a kernel that only waits, until all calls are in its queue; events before and behind them then tell how
long it took to work them off, without a gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks import clock
from minidl.backend import cupy, synchronise

HOLD = """
extern "C" __global__ void hold(long long cycles) {
    for (long long start = clock64(); clock64() - start < cycles;) {}
}
"""
HERTZ = 2.2e9  # above the clock of every GPU there is: it is held a little longer than asked
FEWEST, MOST = 3, 20  # calls in the queue
LEAST = 2e-3  # seconds of work in a round, if that many calls have it


class Clock(NamedTuple):
    """A device's clock, through the library that launches there.

    hold     hold(seconds): the device waits
    mark     mark() -> an event in its queue
    between  between(before, after) -> seconds, once both have come to pass
    wait     until the queue is empty
    """

    hold: Callable[[float], object]
    mark: Callable[[], Any]
    between: Callable[[Any, Any], float]
    wait: Callable[[], object]


class Plan(NamedTuple):
    """Calls of a round, and the seconds for which the device is held until they are in its queue."""

    calls: int
    held: float


def device_times(work: Callable[[], object], rounds: int, device: str) -> list[float]:
    """Seconds of a call in each of the rounds. One call comes first, untimed: sources are compiled, memory is in the pool.

    On the host, the host's clock.
    """
    of_device = None if device == "cpu" else cupy_clock(device)
    plan = planned(work, of_device)
    return [one_round(work, plan, of_device) for _ in range(rounds)]


def planned(
    work: Callable[[], object], of_device: Clock | None, fewest: int = FEWEST, most: int = MOST, least: float = LEAST
) -> Plan:
    """How often to call it in a round, from two calls: for `least` seconds, but within `fewest` and `most` times."""
    work()
    if of_device is None:
        return Plan(1, 0.0)
    of_device.wait()
    start = time.perf_counter()
    work()
    launched = time.perf_counter() - start
    of_device.wait()
    calls = min(most, max(fewest, int(least / max(time.perf_counter() - start, 1e-6))))
    return Plan(calls, 2 * (calls + 1) * launched + 1e-4)


def one_round(work: Callable[[], object], plan: Plan, of_device: Clock | None) -> float:
    """Seconds of a call. One more comes before, untimed: others may have computed since, and the caches are theirs."""
    if of_device is None:
        return clock.seconds(work, plan.calls, lambda: None)
    of_device.hold(plan.held)
    work()
    before = of_device.mark()
    for _ in range(plan.calls):
        work()
    return of_device.between(before, of_device.mark()) / plan.calls


def cupy_clock(device: str) -> Clock:
    """Of the GPU that CuPy launches on."""
    cuda = cupy().cuda

    def mark() -> Any:
        event = cuda.Event()
        event.record()
        return event

    def between(before: Any, after: Any) -> float:
        after.synchronize()
        return 1e-3 * cuda.get_elapsed_time(before, after)

    return Clock(lambda s: _hold()((1,), (1,), (np.int64(s * HERTZ),)), mark, between, lambda: synchronise(device))


@cache
def _hold() -> Callable[..., None]:
    return cupy().RawKernel(HOLD, "hold")
