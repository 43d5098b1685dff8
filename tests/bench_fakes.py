"""Rivals that stand in for PyTorch in the tests of the benchmarks: minidl itself, with something planted."""

from __future__ import annotations

import mmap
import os
import signal
import time
from typing import Any

from benchmarks import sizes
from benchmarks.rivals.minidl_nets import MinidlNets
from minidl import Tensor
from minidl.modes import modes


class Net(MinidlNets):
    """Takes the options that PyTorch's rivals are given."""

    def __init__(
        self,
        threads: int,
        device: str = "cpu",
        layout: str = "contiguous",
        tuned: bool = False,
        precision: str = "float32",
    ):
        super().__init__(threads, device)

    def about(self) -> dict[str, Any]:
        return {"torch": "none", "torch_threads": 1}


class Slower(Net):
    """Sleeps in every forward pass; the tuned one sleeps less."""

    def __init__(self, threads: int, device: str = "cpu", layout: str = "contiguous", tuned: bool = False):
        super().__init__(threads, device)
        self.nap = 0.02 if tuned else 0.04

    def forward(self) -> Tensor:
        time.sleep(self.nap)
        return super().forward()


class OtherLoss(Net):
    """A loss that is a thousandth too large."""

    def forward(self) -> Tensor:
        return 1.001 * super().forward()


class OtherGradient(Net):
    """One gradient has the wrong sign."""

    def backward(self, loss: Tensor) -> None:
        super().backward(loss)
        weight = self.model.C3.weight
        weight.grad = -weight.grad


class OtherThreads(Net):
    """Takes more threads than it was given."""

    def about(self) -> dict[str, Any]:
        return {"torch": "none", "torch_threads": 7}


class Dies(Net):
    """Its process ends when it is first timed."""

    def time(self, repeats: int) -> dict[str, float]:
        os._exit(3)


class Diverges(Net):
    """Its loss is no number in the end."""

    def loss(self) -> float:
        return float("nan")


class Spike(sizes.Measured):
    """For `benchmarks.sizes`: a step that holds 200 MB for a moment, and gives them back to the system."""

    def measure(self, net: str, batch: int, options: dict[str, Any], forward: bool) -> dict[str, Any]:
        def step() -> float:
            with mmap.mmap(-1, 200 * 2**20) as held:
                for _ in range(200):
                    held.write(b"1" * 2**20)
            return 1.0

        sizes.training_of = lambda *_: step
        return super().measure(net, batch, options, forward)


class Unfit(sizes.Measured):
    """For `benchmarks.sizes`: plain nets are killed, as for want of memory, and residual ones come to no number."""

    def measure(self, net: str, batch: int, options: dict[str, Any], forward: bool) -> dict[str, Any]:
        if options["structure"] == "plain":
            os.kill(os.getpid(), signal.SIGKILL)
        if options["structure"] == "residual":
            sizes.training_of = lambda *_: lambda: float("nan")
        return super().measure(net, batch, options, forward)


class Hangs:
    """Never answers."""

    def __init__(self, threads: int):
        pass

    def hang(self) -> None:
        time.sleep(60)


class Imprecise(Net):
    """In a lower precision its loss is off by two thousandths."""

    def forward(self) -> Tensor:
        return super().forward() * (1.002 if modes().precision != "float32" else 1.0)
