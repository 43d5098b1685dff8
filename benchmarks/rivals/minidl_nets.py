"""minidl's nets in training, as `minidl train` runs them; and where the time of a step goes, op by op."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import minidl
from benchmarks import nets, report
from benchmarks.rivals.training import OPTIMISER, Training
from minidl import Tensor, cuda, executor, nn, optim
from minidl.backend import Array, cupy, synchronise, to_device, to_numpy
from minidl.capture import Captured
from minidl.commands.speed import at_speed
from minidl.draw import Random
from minidl.evaluation import loss_of
from minidl.op import OPS


class MinidlNets(Training):
    """With the kernels that the ops choose by themselves; `compiled` says whether those of Numba are among them.

    captured  are steps recorded and repeated (`minidl.capture`)?
    verified  a list of CUDA sources that may be chosen, in the place of minidl/cuda/verified.txt
    """

    def __init__(
        self,
        threads: int,
        device: str = "cpu",
        compiled: bool = False,
        captured: bool = False,
        verified: str | None = None,
    ):
        self.captured: Captured | None = None
        self.judged: Captured | None = None
        self.captures = captured
        self.modes, self.precision, self.device, self.compiled = ExitStack(), ExitStack(), device, compiled
        self.queued = device != "cpu"
        self.modes.enter_context(at_speed(threads, by_numba=compiled))
        if verified:
            cuda.VERIFIED = Path(verified)

    def about(self) -> dict[str, Any]:
        """The machine and the versions."""
        return report.machine(self.device)

    def draw(self, net: str, path: str) -> None:
        """Weights as the net draws them, into an npz file for all rivals."""
        minidl.manual_seed(0)
        np.savez(path, **self._made(net).state_dict())

    def build(self, net: str, weights: str) -> None:
        """See Training."""
        self.model = self._made(net)
        with np.load(weights) as state:
            self.model.load_state_dict(state)
        self.model.to(self.device).train()
        self.dropouts = [m for m in self.model.modules() if isinstance(m, nn.Dropout)]
        self.captured = minidl.capture(self._forward_and_backward, self.model) if self.captures else None
        self.optimiser = optim.SGD(self.model.parameters(), nets.LR, nets.MOMENTUM, weight_decay=nets.WEIGHT_DECAY)

    def take(self, images: np.ndarray, labels: np.ndarray) -> None:
        """See Training."""
        self.images, self.labels = Tensor(to_device(images, self.device)), to_device(labels, self.device)

    def first(self, gradients: bool = True) -> dict[str, Any]:
        """See Training. Of a captured step what the third call gives, which is a launch of what was recorded; apart from
        what is timed, because dropout is off."""
        self.judged = minidl.capture(self._forward_and_backward, self.model) if self.captures else None
        try:
            return super().first(gradients)
        finally:
            self.judged = None

    def forget(self) -> None:
        """See Training."""
        self.captured = None
        super().forget()

    def forward(self) -> Tensor:
        """See Training."""
        if self.judged:
            return [self.judged(self.images, self.labels) for _ in range(3)][-1]
        return loss_of(self.model, self.model(self.images), self.labels)

    def backward(self, loss: Tensor) -> None:
        """See Training."""
        if not self.judged:
            loss.backward()

    def step(self, lap: Callable[[], object]) -> None:
        """See Training. Of a captured step, forward and backward are one."""
        if self.captured is None:
            super().step(lap)
            return
        lap()
        self.captured(self.images, self.labels)
        lap()
        self.update()
        lap()

    def _forward_and_backward(self, images: Tensor, labels: Array) -> Tensor:
        loss = loss_of(self.model, self.model(images), labels)
        loss.backward()
        return loss

    def update(self) -> None:
        """See Training."""
        self.optimiser.step()
        self.optimiser.zero_grad()

    def gradients(self) -> Iterable[tuple[str, np.ndarray]]:
        """See Training."""
        return ((name, to_numpy(p.grad)) for name, p in self.model.named_parameters())

    def load_libraries(self) -> None:
        """See Training: Numba, and the loops that it compiles."""
        kernels = [k for op in OPS.values() for k in op.kernels.values() if k.compiles and self.compiled]
        for kernel in kernels:
            inputs, attrs = kernel.op.ask(Random(0))
            inputs = tuple(x if x is None else x.astype(np.float32) for x in inputs)
            y, saved, _ = executor.forward(kernel, inputs, attrs)
            executor.backward(kernel, y, saved, tuple(x is not None for x in inputs), attrs)

    def wait(self) -> None:
        """See Training."""
        synchronise(self.device)

    def use(self, precision: str) -> None:
        """See Training."""
        self.precision.close()
        self.precision.enter_context(minidl.precision(precision))

    def give_back(self) -> None:
        """See Training."""
        if self.queued:
            cupy().get_default_memory_pool().free_all_blocks()

    def pooled(self) -> int | None:
        """See Training."""
        recorded = self.captured.reserved if self.captured else 0
        return cupy().get_default_memory_pool().total_bytes() + recorded if self.queued else None

    def profile(self, steps: int = 3) -> list[dict[str, Any]]:
        """Seconds of a step by op, forward and backward, the longest first; what no op has is the tape's and Python's."""
        self.time(1)
        seen = Profile(self.wait)
        with seen.watching():
            laps = [self.time(1, warm_up_first=False) for _ in range(steps)]
        rows = seen.rows(steps)
        total, update = (sum(lap[name] for lap in laps) / steps for name in ("step", OPTIMISER))
        rows.append({"op": "SGD", "shapes": "", "calls": 1, "forward": 0.0, "backward": update})
        rest = total - sum(row["forward"] + row["backward"] for row in rows)
        rows.append({"op": "the rest", "shapes": "", "calls": 1, "forward": rest, "backward": 0.0})
        return sorted(rows, key=lambda row: -row["forward"] - row["backward"])

    def _made(self, net: str) -> nn.Module:
        module, _, name = nets.NETS[net].ours.partition(":")
        return getattr(importlib.import_module(module), name)(nets.NETS[net].classes)


class Profile:
    """Listens at the two doors that every kernel call passes, executor.forward and executor.backward.

    A call's attributes are one dict in both, by which backward is told which call it belongs to.
    """

    def __init__(self, wait: Callable[[], object]):
        self.wait = wait
        self.calls: dict[int, tuple[str, str]] = {}  # id of the attributes -> kernel, shapes
        self.seconds: dict[tuple[str, str], list[float]] = {}  # forward, backward, calls
        self.kept: list[Any] = []  # attributes that must live, so that no other has their id

    def watching(self) -> ExitStack:
        """`with profile.watching():` time every call."""
        stack, forward, backward = ExitStack(), executor.forward, executor.backward

        def timed_forward(kernel: Any, inputs: Any, attrs: Any) -> Any:
            shapes = " ".join("x".join(map(str, a.shape)) for a in inputs if a is not None)
            self.kept.append(attrs)
            self.calls[id(attrs)] = key = (str(kernel), shapes)
            self.seconds.setdefault(key, [0.0, 0.0, 0.0])[2] += 1
            return self._timed(key, 0, forward, kernel, inputs, attrs)

        def timed_backward(kernel: Any, dy: Any, saved: Any, needs: Any, attrs: Any) -> Any:
            return self._timed(self.calls[id(attrs)], 1, backward, kernel, dy, saved, needs, attrs)

        stack.enter_context(patch.object(executor, "forward", timed_forward))
        stack.enter_context(patch.object(executor, "backward", timed_backward))
        return stack

    def rows(self, steps: int) -> list[dict[str, Any]]:
        """Of a step."""
        rows = []
        for (op, shapes), (forward, backward, calls) in self.seconds.items():
            times = {"forward": forward / steps, "backward": backward / steps}
            rows.append({"op": op, "shapes": shapes, "calls": round(calls / steps), **times})
        return rows

    def _timed(self, key: tuple[str, str], i: int, work: Callable, *args: Any) -> Any:
        start = time.perf_counter()
        result = work(*args)
        self.wait()
        self.seconds[key][i] += time.perf_counter() - start
        return result
