"""One layer by itself, as both libraries are given it: its shapes and numbers, what is compared of its results, and a turn.

A million numbers are drawn for each operand and repeated on the device: to draw all of VGG-16's first maps would take longer
than all that is timed. Each operand repeats after another prime, so that no pair of factors meets again.

Results are compared in part, for they are too large to be carried from process to process: of y and dx some images, and of
every image the norm; of dw and db all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu import stopwatch
from benchmarks.gpu.stopwatch import Clock, Plan
from benchmarks.workloads import Sibling
from minidl.draw import Table
from minidl.op import Op, Problem

PERIODS = (1_000_003, 1_000_033, 1_000_037, 1_000_039)  # of x, w, b and dy
DY = 3
MAPS = ("y", "dx0")  # results that have images
IMAGES = 4  # that are compared whole
CALLS, LEAST = (1, 5), 1e-3  # of a turn, at least and at most; and seconds that they should last


class Shapes(Table):
    """A workload's answers; arrays are shapes without memory."""

    def array(self, *shape: int) -> np.ndarray:
        """Zeros."""
        return nothing(shape)


def nothing(shape: tuple[int, ...]) -> np.ndarray:
    """float32 of a shape, in the memory of one number."""
    return np.broadcast_to(np.float32(0), shape)


def layer(op: Op, workload: str, tiny: bool) -> Problem:
    """The workload, its arrays without memory; tiny: cut down to what a rehearsal can afford."""
    answers = op.workloads[workload]
    inputs, attrs = op.ask(Sibling(answers, op.attrs, 0) if tiny else Shapes(answers, op.attrs))
    return Problem(tuple(None if x is None else nothing(x.shape) for x in inputs), attrs)


def numbers(operand: int) -> np.ndarray:
    """float32 [PERIODS[operand]], normal: the same whoever asks."""
    return np.random.default_rng(operand).standard_normal(PERIODS[operand], dtype=np.float32)


def repeats(shape: tuple[int, ...], operand: int) -> int:
    """How often the operand's numbers must follow each other to fill so many."""
    return -(-int(np.prod(shape)) // PERIODS[operand])


def compared(found: dict[str, Any]) -> dict[str, Any]:
    """Of y and all gradients what is compared, by name; arrays of NumPy, CuPy or PyTorch."""
    parts: dict[str, Any] = {}
    for name, array in found.items():
        if name in MAPS:
            few = sorted({i * (len(array) - 1) // (IMAGES - 1) for i in range(IMAGES)})
            parts[name] = array[few]
            parts[f"the images' norms in {name}"] = (array * array).reshape(len(array), -1).sum(1) ** 0.5
        else:
            parts[name] = array
    return parts


class Turns:
    """What a process times: for each rival in it the calls of each phase.

    of_device  the device's clock; None: the host's
    """

    def __init__(self, of_device: Clock | None):
        self.of_device = of_device
        self.works: dict[str, dict[str, tuple[Callable[[], object], Plan]]] = {}

    def plan(self, rival: str, works: dict[str, Callable[[], object]]) -> None:
        """Call each, and see how often it should be called in a turn."""
        plans = {phase: stopwatch.planned(work, self.of_device, *CALLS, LEAST) for phase, work in works.items()}
        self.works[rival] = {phase: (work, plans[phase]) for phase, work in works.items()}

    def turn(self, rival: str) -> dict[str, float]:
        """Seconds of a call of each phase."""
        return {phase: stopwatch.one_round(*each, self.of_device) for phase, each in self.works[rival].items()}
