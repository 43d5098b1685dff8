"""ReduceLROnPlateau: lr falls when a metric has stopped improving."""

from __future__ import annotations

import math
from typing import Any

from minidl.optim.optimizer import Optimizer
from minidl.optim.schedules import Schedule


class ReduceLROnPlateau(Schedule):
    """lr <- max(factor lr, min_lr) after more than `patience` steps in a row without a new best metric.

    mode       'min': lower is better (a loss); 'max': higher is better (an accuracy)
    threshold  a new best must beat the old by this much: of its size ('rel') or as it is ('abs')
    cooldown   steps after a fall in which bad metrics do not count
    eps        a fall smaller than this is not made
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ):
        for name, value, options in (("mode", mode, ("min", "max")), ("threshold_mode", threshold_mode, ("rel", "abs"))):
            if value not in options:
                raise ValueError(f"ReduceLROnPlateau: {name} must be {options[0]!r} or {options[1]!r}, got {value!r}")
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor!r}")
        self.mode, self.factor, self.patience, self.threshold = mode, factor, patience, threshold
        self.threshold_mode, self.cooldown, self.min_lr, self.eps = threshold_mode, cooldown, min_lr, eps
        super().__init__(optimizer)

    def begin(self) -> None:
        """lr as the groups began, and nothing seen yet."""
        self.t, self.bad, self.cooling = 0, 0, 0
        self.best: float | None = None
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]

    def step(self, metric: float | None = None) -> None:
        """Take note of one metric, and lower lr where it is time."""
        if metric is None:
            raise ValueError("ReduceLROnPlateau: step(metric) needs the number to follow, such as the validation loss")
        self.t += 1
        metric = float(metric)
        if self._is_better(metric):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > self.patience:
            self._lower()
            self.cooling, self.bad = self.cooldown, 0

    def _is_better(self, metric: float) -> bool:
        best = self.best
        if best is None:
            return not math.isnan(metric)
        sign = 1 if self.mode == "max" else -1
        margin = self.threshold * best if self.threshold_mode == "rel" else self.threshold
        return sign * metric > sign * best + margin

    def _lower(self) -> None:
        for group in self.optimizer.param_groups:
            lower = max(group["lr"] * self.factor, self.min_lr)
            if group["lr"] - lower > self.eps:
                group["lr"] = lower

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, and the lr it led to."""
        seen = {"best": self.best, "bad": self.bad, "cooling": self.cooling, "lr": self.get_last_lr()}
        return {**super().state_dict(), **seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where `state_dict()` was taken, and set lr to what it was there."""
        super().load_state_dict(state)
        self.best, self.bad, self.cooling = state["best"], state["bad"], state["cooling"]
        for group, lr in zip(self.optimizer.param_groups, state["lr"], strict=True):
            group["lr"] = lr

    def _set(self) -> None:
        """lr changes only in `_lower`: it follows the metric, not the count."""
