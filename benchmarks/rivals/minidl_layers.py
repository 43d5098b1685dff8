"""minidl's kernels on one layer of a net, on the GPU (benchmarks/gpu/convolutions.py)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from benchmarks.gpu import layers, stopwatch
from benchmarks.rivals.minidl_ops import Case, MinidlOps
from benchmarks.worker import ROOT
from minidl import choice, cuda
from minidl.backend import Array, cupy, to_device, to_numpy, xp_of
from minidl.cuda import can_launch
from minidl.op import OPS, Kernel


class MinidlLayers(MinidlOps):
    """One layer at a time, in one precision after another.

    verified  a list of CUDA sources that may be chosen, in the place of minidl/cuda/verified.txt
    """

    def __init__(self, threads: int, device: str, verified: str):
        super().__init__(threads, device)
        cuda.VERIFIED = Path(verified)
        self.precise, self.drawn = ExitStack(), [to_device(layers.numbers(i), device) for i in range(len(layers.PERIODS))]
        self.turns = layers.Turns(None if device == "cpu" else stopwatch.cupy_clock(device))
        if device == "cpu":
            emulate()

    def kernels_of(self, op: str) -> list[str]:
        """Formulas that a GPU computes, where they are the default or need no columns, and all CUDA kernels."""
        launches = can_launch(self.drawn[0])
        found = [k for k in OPS[op].kernels.values() if (launches if k.source else k.name in (OPS[op].default, "gemm_1x1"))]
        return [kernel.name for kernel in found]

    def layer(self, op: str, workload: str, tiny: bool) -> dict[str, Any]:
        """Take it, forget the last; its phases and their least work, the phases that training needs, and the kernels."""
        self.cases, self.problem, self.turns.works = {}, layers.layer(OPS[op], workload, tiny), {}
        if self.device != "cpu":
            cupy().get_default_memory_pool().free_all_blocks()
        there = [None if x is None else self.repeated(i, x.shape) for i, x in enumerate(self.problem.inputs)]
        return self.take(OPS[op], workload, self.problem, tuple(there)) | {"kernels": self.kernels_of(op)}

    def use(self, precision: str) -> str:
        """From now on; the kernel that the op chooses for the layer on a GPU."""
        self.precise.close()
        self.precise.enter_context(minidl.precision(precision))
        self.precision, self.cases, self.turns.works = precision, {}, {}
        shapes = tuple(None if x is None else tuple(x.shape) for x in self.problem.inputs)
        return choice.on_gpu(self.op, shapes, self.problem.attrs, np.dtype(np.float32)).name

    def ready(self, kernel: str, path: str) -> str | None:
        """Compute what is compared, into an npz file; or one line why not."""
        if why := self.prepare(kernel, limit=float("inf")):
            return why
        np.savez(path, **{name: to_numpy(part) for name, part in layers.compared(self.results(kernel)).items()})
        return None

    def plan(self, kernel: str) -> None:
        """It is right, and will be timed."""
        case = self.cases[kernel]
        works: dict[str, Callable[[], object]] = {phase: partial(case.run, needs) for phase, needs in self.phases.items()}
        self.turns.plan(kernel, works)

    def turn(self, kernel: str) -> dict[str, float]:
        """Seconds of each phase."""
        return self.turns.turn(kernel)

    def case(self, kernel: Kernel) -> Case:
        """With the gradient that PyTorch has, too."""
        return Case(kernel, self.problem, partial(self.repeated, layers.DY))

    def repeated(self, operand: int, shape: tuple[int, ...]) -> Array:
        """The operand's numbers, as many as the shape has."""
        drawn = self.drawn[operand]
        return xp_of(drawn).tile(drawn, layers.repeats(shape, operand))[: int(np.prod(shape))].reshape(shape)

    def _forecast(self, kernel: Kernel, limit: float) -> float:
        """Nothing is left out for being slow."""
        return 0.0


def emulate() -> None:
    """On the host CUDA sources run as the tests run them, where there are tests and a compiler."""
    sys.path.insert(0, str(ROOT / "tests"))
    with suppress(ImportError):
        import emulation

        emulation.register()
