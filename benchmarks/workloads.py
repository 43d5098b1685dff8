"""What is computed: the problem behind a workload's name, its small sibling for the laws, its phases, and its least work.

Phases are told apart by `needs`. Where an op has parameters, 'backward-data' is the gradient of all else and 'backward-weights'
theirs; other ops have one phase 'backward'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.draw import Random, Table
from minidl.op import Kernel, Op, Problem

PARAMETERS = ("w", "b", "weight", "bias")
FORWARD, BACKWARD, DATA, WEIGHTS = "forward", "backward", "backward-data", "backward-weights"
CASES = 3  # small problems for the laws
FAMILY_SEEDS = 200  # of the op's own problems, where a workload has no small sibling


class Values(Table):
    """A workload's answers, with values drawn in float32 at once: the largest would not fit into memory twice."""

    def array(self, *shape: int) -> np.ndarray:
        """Normal."""
        return self.rng.standard_normal(shape, dtype=np.float32)

    def positive(self, *shape: int) -> np.ndarray:
        """Uniform in 0.5..2."""
        return 0.5 + 1.5 * self.rng.random(shape, dtype=np.float32)

    def away_from(self, kinks: Sequence[float], *shape: int, gap: float = 0.05, scale: float = 1.0) -> np.ndarray:
        """Every value moved by `gap` away from each kink."""
        x = np.float32(scale) * self.array(*shape)
        for kink in kinks:
            x += np.float32(gap) * np.sign(x - np.float32(kink))
        return x

    def distinct(self, *shape: int, step: float = 0.1) -> np.ndarray:
        """Normal values: of a whole layer's windows next to none has a tie."""
        return self.array(*shape)


def problem_of(op: Op, workload: str, batch: int | None = None) -> Problem:
    """The workload's problem, for so many images where it has images; float32, the same whoever asks."""
    answers = op.workloads[workload]
    if batch is not None and "N" in answers:
        answers = {**answers, "N": batch}
    inputs, attrs = op.ask(Values(answers, op.attrs))
    return Problem(tuple(x.astype(np.float32) if x is not None and x.dtype == np.float64 else x for x in inputs), attrs)


# ---- the small sibling -----------------------------------------------------------------------------------------------


class Sibling(Table):
    """A workload's answers with its sizes cut down to those that the laws can afford. Attributes, filters and groups stay.

    case  0, 1, 2: cut a little differently, so that no two sizes are always alike
    """

    KEPT = ("R", "S", "ndim", "spatial")  # windows and numbers of dimensions

    def __init__(self, workload: dict[str, Any], defaults: dict[str, Any], case: int):
        super().__init__(workload, defaults, seed=case)
        self.case = case

    def size(self, name: str, most: int, least: int = 1) -> int:
        """The table's size, or about the most that the op's own problems have."""
        full, groups = self._look_up(name), self.table.get("groups", 1)
        if name in self.KEPT or not isinstance(full, int):
            return full
        less = (self.case + len(self.answers)) % 2 if name in ("H", "W") else 0
        self.answers[name] = small = min(full, max(most, least + 4) - less)
        return max(small - small % groups, groups) if full % groups == 0 else small


def small_problems(kernel: Kernel, workload: str) -> tuple[str, list[Problem]]:
    """('sibling' or 'family', problems for the laws): of the op's family where the workload cannot be cut down."""
    op = kernel.op
    try:
        siblings = [op.ask(Sibling(op.workloads[workload], op.attrs, case)) for case in range(CASES)]
    except (ValueError, KeyError, IndexError):
        siblings = []
    if able := [p for p in siblings if not refusal(kernel, p)]:
        return "sibling", able
    drawn = (op.ask(Random(seed)) for seed in range(FAMILY_SEEDS))
    return "family", [p for p in drawn if not refusal(kernel, p)][:CASES]


def refusal(kernel: Kernel, problem: Problem) -> str | None:
    """One line why the kernel cannot do the problem, or None."""
    return kernel.why_not(tuple(None if x is None else x.shape for x in problem.inputs), problem.attrs)


# ---- phases ----------------------------------------------------------------------------------------------------------


def phases_of(op: Op, problem: Problem) -> dict[str, tuple[bool, ...]]:
    """Phase -> which gradients it asks for (none: forward)."""
    operands = op.signature.expand(len(problem.inputs))
    floats = [x is not None and x.dtype.kind == "f" for x in problem.inputs]
    weights = tuple(real and o.name in PARAMETERS and not o.variadic for real, o in zip(floats, operands, strict=True))
    data = tuple(real and not weight for real, weight in zip(floats, weights, strict=True))
    if op.signature.output.kind == "int":
        return {FORWARD: ()}
    if any(weights) and any(data):
        return {FORWARD: (), DATA: data, WEIGHTS: weights}
    return {FORWARD: (), BACKWARD: tuple(floats)}


class Work(NamedTuple):
    """The least that a phase must do: floating-point operations of its products, and bytes that it must read or write once."""

    flops: int
    bytes: int

    def floor(self, gflops: float, gbs: float) -> float:
        """Seconds on a machine with these ceilings: the roofline model. What saves products (Winograd) may go below."""
        return max(self.flops / (1e9 * gflops), self.bytes / (1e9 * gbs))


def work_of(op: Op, problem: Problem, needs: tuple[bool, ...]) -> Work:
    """The least of a phase.

    A backward phase of a layer with weights does as many products as forward, per operand asked for; it reads dy and the other
    operand. Other ops read dy and all inputs. Every gradient is written.
    """
    shapes = [None if x is None else x.shape for x in problem.inputs]
    sizes = [0 if x is None else x.nbytes for x in problem.inputs]
    y = 4 * math.prod(op.shape(*shapes, **problem.attrs))
    products = 2 * op.cost(*shapes, **problem.attrs).macs
    if not needs:
        return Work(products, sum(sizes) + y)
    asked = sum(size for size, need in zip(sizes, needs, strict=True) if need)
    two_sided = all(needs) and len(needs) > 1
    if products and not two_sided:
        return Work(products, y + sum(sizes))  # the other operands are read, those asked for written
    return Work(products * (2 if two_sided else 1), y + sum(sizes) + asked)
