"""A rival that trains nets: what `benchmarks.models` asks of it, on top of a step's three parts.

A rival says how it is built and what its forward pass, backward pass and update are (`MinidlNets`, `TorchNets`). What is timed,
in which order and by which clock is here, once for all.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import clock, memory
from benchmarks.nets import batch_of

PRINTS = 16  # numbers by which a gradient is compared
FORWARD, BACKWARD, OPTIMISER = "forward", "backward", "optimiser"


class Training:
    """One net at a time, trained on one batch again and again.

    model, optimiser, images, labels   what `build` and `take` make
    dropouts                           the modules with a probability `p`
    base                               bytes that the process held before there was a net: Python and the libraries
    queued                             does the device work behind our back, so that a clock must wait for it? (a GPU)
    """

    model: Any
    optimiser: Any
    images: Any
    labels: Any
    dropouts: Sequence[Any]
    base: int | None = None
    queued: bool = False

    # ---- what a rival says -------------------------------------------------------------------------------------------

    def build(self, net: str, weights: str) -> None:
        """Make the net with the weights of an npz file, by name, and its optimiser; in training mode."""
        raise TypeError("a rival defines build")

    def take(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Keep the batch as the library wants it."""
        raise TypeError("a rival defines take")

    def forward(self) -> Any:
        """The loss of the batch."""
        raise TypeError("a rival defines forward")

    def backward(self, loss: Any) -> None:
        """Its gradients."""
        raise TypeError("a rival defines backward")

    def update(self) -> None:
        """Move the weights, and forget the gradients."""
        raise TypeError("a rival defines update")

    def gradients(self) -> Iterable[tuple[str, np.ndarray]]:
        """Every parameter's, by name."""
        raise TypeError("a rival defines gradients")

    def load_libraries(self) -> None:
        """Load what the warm-up's net does not use, and others will."""

    def wait(self) -> None:
        """Until the device has done what it was told."""

    def use(self, precision: str) -> None:
        """Compute so from now on (benchmarks/precision.py)."""
        raise TypeError("a rival defines use")

    def give_back(self) -> None:
        """Hand what the device's memory pool keeps for later back to the device."""

    def pooled(self) -> int | None:
        """Bytes that the device's memory pool took from the device; None where there is none."""

    # ---- what is asked -----------------------------------------------------------------------------------------------

    def warm_up(self, net: str, weights: str) -> None:
        """Train a small net for a moment: the libraries have then loaded what they load when it is first used."""
        self.load(net, 2, weights)
        self.time(1)
        self.load_libraries()
        self.forget()
        memory.start_peak()
        self.base = memory.resident()

    def forget(self) -> None:
        """Keep no net, and no memory of it."""
        self.model = self.optimiser = self.images = self.labels = None
        self.dropouts = ()
        gc.collect()
        self.give_back()

    def load(self, net: str, batch: int, weights: str) -> None:
        """Build the net, and draw the batch."""
        self.forget()
        self.build(net, weights)
        self.take(*batch_of(net, batch))

    def first(self, gradients: bool = True) -> dict[str, Any]:
        """The first loss and, if asked for, prints of the first gradients, with nothing left to chance; the weights stay.

        Of gradients that are one number there is none: a sum over all maps, of which rounding may leave nothing. The test that
        holds PyTorch's nets to ours in float64 compares them.
        """
        chances = [module.p for module in self.dropouts]
        pools = [module for module in self.model.modules() if type(module).__name__.startswith("StochasticPool")]
        for module in self.dropouts:
            module.p = 0.0
        for module in pools:
            module.training = False
        loss = self.forward()
        if gradients:
            self.backward(loss)
        for module, p in zip(self.dropouts, chances, strict=True):
            module.p = p
        for module in pools:
            module.training = True
        prints = {name: list(fingerprint(g)) for name, g in self.gradients() if g.size > 1} if gradients else {}
        return {"loss": float(loss.item()), "gradients": prints}

    def peak(self, steps: int = 2) -> int | None:
        """Bytes that training holds at most: weights, gradients, momentum, maps and what comes and goes within a step. On a
        GPU those that the pool took for it: both libraries' pools keep what they have taken."""
        self.update()  # the gradients of `first` are gone, the momentum is there
        if self.queued:
            self.give_back()
        known = memory.start_peak()
        for _ in range(steps):
            self.step(lambda: None)
        if self.queued:
            return self.pooled()
        top = memory.peak()
        return top - self.base if known and top is not None and self.base is not None else None

    def time(self, repeats: int, warm_up_first: bool = True) -> dict[str, float]:
        """Mean seconds of each part of a step. One more comes first, untimed, so that all rivals are as warm as each other;
        not so if it is said that they are (for a profile, which looks at every call).

        Where the device has a queue, the parts wait for it, and the step is timed once more without: in training nobody waits
        between the parts, and the next are launched while the last still run.
        """
        laps = [0.0, 0.0, 0.0]
        with clock.no_garbage_collection():
            if warm_up_first:
                self._step()
            for _ in range(repeats):
                laps = [total + seconds for total, seconds in zip(laps, self._step(), strict=True)]
            whole = self._in_a_row(repeats) if self.queued and warm_up_first else sum(laps)
        parts = dict(zip((FORWARD, BACKWARD, OPTIMISER), laps, strict=True))
        return {name: total / repeats for name, total in (parts | {"step": whole}).items()}

    def loss(self) -> float:
        """After all those steps: is it still a number?"""
        return float(self.forward().item())

    # ---- a step ------------------------------------------------------------------------------------------------------

    def step(self, lap: Callable[[], object]) -> None:
        """Forward, backward, update; lap() after each."""
        loss = self.forward()
        lap()
        self.backward(loss)
        lap()
        del loss
        self.update()
        lap()

    def _step(self) -> list[float]:
        """Seconds of the three parts."""
        times = []

        def lap() -> None:
            self.wait()
            times.append(time.perf_counter())

        lap()
        self.step(lap)
        return [after - before for before, after in pairwise(times)]

    def _in_a_row(self, count: int) -> float:
        """Seconds of so many steps, of which none waits for the device but the last."""
        self.wait()
        start = time.perf_counter()
        for _ in range(count):
            self.step(lambda: None)
        self.wait()
        return time.perf_counter() - start


def fingerprint(gradient: np.ndarray) -> tuple[float, ...]:
    """Its norm; and of its products with normal numbers the sums over every PRINTS-th: the distance of two gradients' sums is
    that of the gradients, give or take a sixth."""
    flat = np.ascontiguousarray(gradient, np.float32).ravel()
    direction = np.random.default_rng(flat.size).standard_normal(flat.size, dtype=np.float32)
    sums = (float(np.dot(flat[i::PRINTS], direction[i::PRINTS])) for i in range(PRINTS))
    return math.sqrt(float(np.dot(flat, flat))), *sums
