"""PyTorch's function on one layer of a net, on the GPU (benchmarks/gpu/convolutions.py)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import layers
from benchmarks.gpu.stopwatch import HERTZ, Clock
from benchmarks.rivals.torch_ops import TorchOps
from benchmarks.workloads import phases_of
from minidl.op import OPS


class TorchLayers(TorchOps):
    """One layer at a time, in one precision after another."""

    def __init__(self, threads: int, device: str, layout: str = "contiguous", tuned: bool = False):
        super().__init__(threads, device, layout, tuned)
        self.drawn = [torch.from_numpy(layers.numbers(i)).to(self.device) for i in range(len(layers.PERIODS))]
        self.turns = layers.Turns(None if self.device.type == "cpu" else torch_clock(self.device))

    def layer(self, op: str, workload: str, tiny: bool) -> None:
        """Take it, forget the last."""
        self.op, problem = OPS[op], layers.layer(OPS[op], workload, tiny)
        self._forget()
        self.given = [None if x is None else self._laid(self.repeated(i, x.shape)) for i, x in enumerate(problem.inputs)]
        self.phases, self.attrs = phases_of(self.op, problem), problem.attrs

    def use(self, precision: str) -> None:
        """From now on: everything is computed once."""
        self.precise.use(precision)
        self.y = self.dy = None
        self.inputs = [None if x is None else x.detach() for x in self.given]
        self.begin()
        self.dy = self._laid(self.repeated(layers.DY, tuple(self.y.shape))).to(self.y.dtype)

    def ready(self, path: str) -> None:
        """What is compared, into an npz file."""
        np.savez(path, **{name: part.cpu().numpy() for name, part in layers.compared(self.results()).items()})

    def plan(self, name: str) -> None:
        """It will be timed, under this name."""
        works: dict[str, Callable[[], object]] = {
            phase: partial(self.backward, needs) if needs else self.forward for phase, needs in self.phases.items()
        }
        self.turns.plan(name, works)

    def turn(self, name: str) -> dict[str, float]:
        """Seconds of each phase."""
        return self.turns.turn(name)

    def repeated(self, operand: int, shape: tuple[int, ...]) -> Any:
        """The operand's numbers, as many as the shape has."""
        return self.drawn[operand].tile(layers.repeats(shape, operand))[: int(np.prod(shape))].reshape(shape)

    def _forget(self) -> None:
        self.y = self.dy = None
        self.given, self.inputs, self.turns.works = [], [], {}
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _laid(self, x: Any) -> Any:
        return x.contiguous(memory_format=self.format) if x.ndim == 4 else x


def torch_clock(device: Any) -> Clock:
    """Of the GPU that PyTorch launches on; it has a kernel that only waits, too."""

    def mark() -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(before: Any, after: Any) -> float:
        after.synchronize()
        return 1e-3 * before.elapsed_time(after)

    def wait() -> None:
        torch.cuda.synchronize(device)

    return Clock(lambda seconds: torch.cuda._sleep(int(seconds * HERTZ)), mark, between, wait)
