"""Time boxes: what an earlier step leaves, a later one may use; and the whole ends in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import accumulate


class Budget:
    """Shares of some minutes.

    boxes  step -> its share, in any unit
    now    a clock, in seconds

    >>> budget = Budget(1.0, {"a": 1, "b": 2}, now=lambda: 0.0)
    >>> budget.left("a"), budget.left("b")
    (20.0, 60.0)
    """

    def __init__(self, minutes: float, boxes: dict[str, float], now: Callable[[], float] = time.monotonic):
        self.now, self.start = now, now()
        unit = 60 * minutes / max(sum(boxes.values()), 1e-9)
        self.ends = dict(zip(boxes, (self.start + unit * end for end in accumulate(boxes.values())), strict=True))

    def left(self, step: str) -> float:
        """Seconds until the step must end; not below 0."""
        return max(0.0, self.ends[step] - self.now())

    def taken(self) -> float:
        """Seconds since the start."""
        return self.now() - self.start
