"""The clock that all rivals are timed by."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TURN = 0.05  # seconds that a turn should last at least


def seconds(work: Callable[[], object], repeats: int, synchronise: Callable[[], object], slower: float = 0.0) -> float:
    """Mean seconds of one call. One more comes first, untimed: the caches are as in a loop, for short calls and for long.

    slower  a planted slowdown, for calibration: 0.1 waits a tenth of the time after the work
    """
    with no_garbage_collection():
        work()
        synchronise()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        synchronise()
        taken = time.perf_counter() - start
        while time.perf_counter() - start < (1 + slower) * taken:
            pass
        return (time.perf_counter() - start if slower else taken) / repeats


def repeats_for(taken: float, turn: float | None = None) -> int:
    """How many calls, of so many seconds each, make a turn (TURN seconds, if not given)."""
    turn = TURN if turn is None else turn
    return max(1, math.ceil(turn / max(taken, 1e-9))) if taken < turn / 2 else 1


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now, and not inside the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
