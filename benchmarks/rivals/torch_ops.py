"""PyTorch's functions, one workload at a time: the twins that the parity tests hold minidl to, timed phase by phase."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks import clock
from benchmarks.rivals.torch_precision import Precise
from benchmarks.worker import ROOT
from benchmarks.workloads import FORWARD, PARAMETERS, phases_of, problem_of
from minidl.op import OPS


def dropout(x: Any, key: Any, *, p: float, **_: Any) -> Any:
    """PyTorch draws its own mask: it can be timed, and not compared."""
    return functional.dropout(x, p)


UNCOMPARED = {"dropout": dropout}


@cache
def twins() -> dict[str, Any]:
    """Op -> PyTorch's function, from tests/twins."""
    sys.path.insert(0, str(ROOT / "tests"))
    from twins import all_twins

    return {name: twin for name, twin in all_twins().items() if callable(twin)} | UNCOMPARED


class TorchOps:
    """PyTorch with as many threads as we have; `layout='channels-last'` as its guide to performance advises.

    tuned  says how the process was started; on a GPU cuDNN tries its ways to convolve and keeps the fastest
    """

    def __init__(
        self,
        threads: int,
        device: str = "cpu",
        layout: str = "contiguous",
        tuned: bool = False,
        precision: str = "float32",
    ):
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = tuned
        self.device, self.precise = torch.device(device), Precise(device)
        self.precise.use(precision)
        self.format = torch.channels_last if layout == "channels-last" else torch.contiguous_format

    def about(self) -> dict[str, Any]:
        """The version, and the threads it has in truth."""
        return {"torch": torch.__version__, "torch_threads": torch.get_num_threads()} | self.precise.told()

    def load(self, op: str, workload: str, batch: int | None) -> dict[str, bool] | None:
        """Draw the workload's problem, forget the last; None where PyTorch has no such function."""
        self.y = self.dy = None
        if op not in twins():
            return None
        self.op = OPS[op]
        problem = problem_of(self.op, workload, batch)
        self.phases, self.attrs = phases_of(self.op, problem), problem.attrs
        self.inputs = [self._there(x) for x in problem.inputs]
        self.begin()
        drawn = np.random.default_rng(1).standard_normal(tuple(self.y.shape)).astype(np.float32)
        self.dy = self._there(np.asarray(drawn)).to(self.y.dtype)
        return {"comparable": op not in UNCOMPARED}

    def begin(self) -> None:
        """The first forward pass; inputs become what they are within a net."""
        self._ask_for_gradients()
        self.forward()
        if self.y.dtype == torch.bfloat16:  # within a net autocast's maps come as such; parameters are cast at every step
            self.inputs = [
                x.detach().bfloat16() if x is not None and x.is_floating_point() and operand.name not in PARAMETERS else x
                for x, operand in zip(self.inputs, self.op.signature.expand(len(self.inputs)), strict=True)
            ]
            self._ask_for_gradients()
            self.forward()

    def forward(self) -> None:
        """Keeps y and its graph, as training does."""
        with self.precise.forward():
            self.y = twins()[self.op.name](*self.inputs, **self.attrs)

    def backward(self, needs: tuple[bool, ...]) -> tuple:
        """The gradients asked for; PyTorch too skips the others."""
        asked = [x for x, need in zip(self.inputs, needs, strict=True) if need]
        return torch.autograd.grad(self.y, asked, self.dy, retain_graph=True)

    def save(self, path: str) -> None:
        """y and all gradients into an npz file, for comparison."""
        np.savez(path, **{name: tensor.cpu().numpy() for name, tensor in self.results().items()})

    def results(self) -> dict[str, Any]:
        """y and all gradients by name, none of them bfloat16."""
        found = {"y": self.y}
        for phase, needs in self.phases.items():
            if phase != FORWARD and self.y.requires_grad:
                names = [o.name for o in self.op.signature.expand(len(needs))]
                asked = [f"d{names[i]}{i}" for i, need in enumerate(needs) if need]
                found.update(zip(asked, self.backward(needs), strict=True))
        return {name: _wide(tensor.detach()) for name, tensor in found.items()}

    def time(self, phase: str, repeats: int) -> float:
        """Seconds of a call."""
        needs = self.phases[phase]
        return clock.seconds(lambda: self.backward(needs) if needs else self.forward(), repeats, self.wait)

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _ask_for_gradients(self) -> None:
        for x in self.inputs:
            if x is not None and x.is_floating_point():
                x.requires_grad_()

    def _there(self, x: np.ndarray | None) -> Any:
        if x is None:
            return None
        tensor = torch.from_numpy(x).to(self.device)
        return tensor.contiguous(memory_format=self.format) if x.ndim == 4 else tensor


def _wide(tensor: Any) -> Any:
    """NumPy has no bfloat16."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
