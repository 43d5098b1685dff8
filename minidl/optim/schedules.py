"""Learning-rate schedules: lr as a function of the number of `step()` calls, usually one per epoch.

>>> opt = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
>>> up, down = optim.LinearLR(opt, 0.5, total_iters=2), optim.CosineAnnealingLR(opt, T_max=3)
>>> schedule = optim.SequentialLR(opt, [up, down], milestones=[2])
>>> for epoch in range(5):
...     print(epoch, round(opt.param_groups[0]["lr"], 4))  # here a real loop trains for an epoch
...     schedule.step()  # ReduceLROnPlateau alone wants to know a metric: step(validation_loss)
0 0.5
1 0.75
2 1.0
3 0.75
4 0.25

A schedule is a formula `rate(base, t)`: the lr after t steps of a group that began with lr = base, whatever came between. So
it resumes exactly from a few numbers, its `state_dict()`. Names, arguments and values are PyTorch's.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from minidl.optim.optimizer import Optimizer


class Schedule:
    """Sets the lr of every group at once, and again after each step; a subclass says what it is by `rate(base, t)`."""

    def __init__(self, optimizer: Optimizer):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an optimiser first, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # schedules of one optimiser share what it began with
        self.begin()

    def rate(self, base: float, t: int) -> float:
        """lr after t steps of a group that began with lr = base."""
        raise TypeError(f"{type(self).__name__} is no schedule by itself: define rate(base, t)")

    def begin(self) -> None:
        """Go to t = 0."""
        self.t = 0
        self._set()

    def step(self, metric: float | None = None) -> None:
        """One step further; `metric` is for schedules that follow one."""
        self.t += 1
        self._set()

    def _set(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(group["initial_lr"], self.t)

    def get_last_lr(self) -> list[float]:
        """The lr of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, in numbers that JSON can hold."""
        return {"schedule": type(self).__name__, "t": self.t}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where `state_dict()` was taken, and set lr to what it was there."""
        if state["schedule"] != type(self).__name__:
            raise ValueError(f"{type(self).__name__}: the state belongs to {state['schedule']}; build the one it came from")
        self.t = state["t"]
        self._set()


class StepLR(Schedule):
    """lr = base gamma^(t // step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size, self.gamma = _positive("StepLR", "step_size", step_size), gamma
        super().__init__(optimizer)

    def rate(self, base: float, t: int) -> float:
        """One factor gamma for each step_size steps."""
        return base * self.gamma ** (t // self.step_size)


class MultiStepLR(Schedule):
    """lr = base gamma^(number of milestones <= t): AlexNet's and ResNet's 'divided by 10'.

    >>> opt = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.MultiStepLR(opt, milestones=[30, 60])
    >>> [round(schedule.rate(1.0, t), 4) for t in (0, 29, 30, 60)]
    [1.0, 1.0, 0.1, 0.01]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def rate(self, base: float, t: int) -> float:
        """One factor gamma for each milestone reached."""
        return base * self.gamma ** bisect_right(self.milestones, t)


class CosineAnnealingLR(Schedule):
    """lr = eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2; it rises again after T_max, as PyTorch's does.

    Source: Loshchilov, Hutter 2017, arXiv 1608.03983, equation 5, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max, self.eta_min = _positive("CosineAnnealingLR", "T_max", T_max), eta_min
        super().__init__(optimizer)

    def rate(self, base: float, t: int) -> float:
        """Half a cosine from base to eta_min."""
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class LinearLR(Schedule):
    """lr = base times a factor that goes in a straight line from start_factor to end_factor: the usual warm-up."""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5):
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor must be in (0, 1], got {start_factor!r}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor must be in [0, 1], got {end_factor!r}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _positive("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer)

    def rate(self, base: float, t: int) -> float:
        """Constant at end_factor from total_iters on."""
        way = min(t / self.total_iters, 1.0)
        return base * (self.start_factor + (self.end_factor - self.start_factor) * way)


LinearWarmup = LinearLR  # what it is mostly used for


class SequentialLR(Schedule):
    """One schedule after another: number k rules from milestones[k-1] on, and counts from 0 there."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]):
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        if not self.schedulers or len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(
                f"SequentialLR: expected one milestone fewer than schedulers, "
                f"got {len(self.milestones)} for {len(self.schedulers)}"
            )
        if any(schedule.optimizer is not optimizer for schedule in self.schedulers):
            raise ValueError("SequentialLR: a scheduler belongs to another optimiser; build all of them on this one")
        if any(b <= a for a, b in zip([0, *self.milestones], self.milestones, strict=False)):
            raise ValueError(f"SequentialLR: milestones must rise and be positive, got {self.milestones}")
        super().__init__(optimizer)

    def begin(self) -> None:
        """Go to the start of the first schedule."""
        self.t = 0
        self.schedulers[0].begin()

    def ruling(self) -> Schedule:
        """The schedule whose turn it is."""
        return self.schedulers[bisect_right(self.milestones, self.t)]

    def step(self, metric: float | None = None) -> None:
        """Step the schedule whose turn it is, or begin the next."""
        self.t += 1
        if self.t in self.milestones:
            self.ruling().begin()
        else:
            self.ruling().step(metric)

    def state_dict(self) -> dict[str, Any]:
        """The count, and the state of every schedule inside."""
        return {**super().state_dict(), "schedulers": [schedule.state_dict() for schedule in self.schedulers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where `state_dict()` was taken, and set lr to what it was there."""
        if [s["schedule"] for s in state.get("schedulers", [])] != [type(s).__name__ for s in self.schedulers]:
            raise ValueError("SequentialLR: the state holds other schedules; build the ones it came from")
        self.t = state["t"]
        pairs = list(zip(self.schedulers, state["schedulers"], strict=True))
        for schedule, inner in sorted(pairs, key=lambda pair: pair[0] is self.ruling()):  # the ruling one last: its lr stays
            schedule.load_state_dict(inner)


def _positive(schedule: str, name: str, value: int) -> int:
    if not (isinstance(value, int) and value > 0):
        raise ValueError(f"{schedule}: {name} must be a positive integer, got {value!r}")
    return value
