"""Dynamic loss scaling: keeps the small gradients of a float16 net from becoming 0.

    backward    starts from scale instead of 1, so every gradient is scale times as large, and fewer of them are below 2^-24,
                the least that float16 holds
    step        some gradient is NaN or infinite:   no update,              scale <- scale * backoff_factor
                all are finite:                     update by g / scale,    scale <- scale * growth_factor after growth_interval
                                                                            updates in a row

So the scale finds the largest power of 2 that fits, up to `most`, and follows it. The division is done in float32, where the
master weights are updated (minidl/optim/optimizer.py): in float16 it would undo what the scale is for.

>>> model = nn.Linear(2, 1).to(dtype="float16")
>>> opt, scaler = optim.SGD(model.parameters(), lr=0.1), optim.LossScaler(init_scale=1024.0)
>>> x, y = Tensor([[1.0, 2.0]], dtype="float16"), Tensor([[3.0]], dtype="float16")
>>> loss = minidl.mse_loss(model(x), y)
>>> scaler.backward(loss)
>>> scaler.step(opt), scaler.scale
(True, 1024.0)

Source: Micikevicius et al. 2018, "Mixed precision training", arXiv 1710.03740, section 3.2; the defaults are those of PyTorch's
GradScaler, whose `update()` is part of `step` here.
"""

from __future__ import annotations

import math
from itertools import chain
from numbers import Real
from typing import Any

import numpy as np

from minidl.backend import xp_of
from minidl.optim.clip import culprit
from minidl.optim.optimizer import Optimizer
from minidl.tensor import Tensor

LARGEST = 2.0**126  # float32 holds it, and 1 over it
LEAST = 2.0**-14  # where the loss itself is made this small, a large scale is not what is wrong

Numbers = dict[str, float | int]


class LossScaler:
    """The factor of the loss, which adapts itself: see the top of the file.

    init_scale, growth_factor, backoff_factor, growth_interval   PyTorch's names and defaults
    scale                                                        the factor now

    Clipping by norm sees gradients that are scaled: optim.clip_grad_norm_(parameters, max_norm * scaler.scale).
    most                                                         it never grows beyond that

    A float16 loss holds no factor above 2^15: for one, say so, or the first step is skipped, and every 2000th from then on.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        most: float = LARGEST,
    ):
        self.scale, self.good_steps, self.most = init_scale, 0, most
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        _check(self.state_dict())

    def backward(self, loss: Tensor) -> None:
        """loss.backward() for scale times the loss. What overflows on the way is found by `step`."""
        with np.errstate(over="ignore", invalid="ignore"):
            loss.backward(xp_of(loss.data).full_like(loss.data, self.scale))

    def step(self, *optimizers: Optimizer) -> bool:
        """Update by gradients of `backward`, by every optimiser or, where a gradient is not finite, by none; was it done?

        Waits for the device once. ValueError where there is no gradient; FloatingPointError where the scale has come down so
        far that something else must be wrong.
        """
        grads = [p.grad for group in chain.from_iterable(o.param_groups for o in optimizers) for p in group["params"]]
        grads = [g for g in grads if g is not None]
        if not grads:
            raise ValueError("LossScaler.step: no parameter of the optimiser has a gradient; call scaler.backward(loss) before")
        xp = xp_of(grads[0])
        finite = bool(xp.stack([xp.isfinite(g).all() for g in grads]).all())  # the wait
        if finite:
            for optimizer in optimizers:
                optimizer.step(scale=self.scale)
        elif self.scale * self.backoff_factor < LEAST:
            raise FloatingPointError(f"LossScaler.step: {culprit(grads)} at scale {self.scale:g} still; {REMEDY}")
        self._adapt(finite)
        return finite

    def _adapt(self, finite: bool) -> None:
        self.good_steps = self.good_steps + 1 if finite else 0
        if not finite:
            self.scale *= self.backoff_factor
        elif self.good_steps == self.growth_interval:
            self.scale, self.good_steps = min(self.scale * self.growth_factor, self.most), 0

    def state_dict(self) -> Numbers:
        """All that a resumed run needs, in numbers that JSON can hold."""
        return dict(vars(self))

    def load_state_dict(self, state: Numbers) -> None:
        """Continue where `state_dict()` was taken; raises ValueError, and changes nothing, where it does not fit."""
        if not isinstance(state, dict) or state.keys() != vars(self).keys():
            raise ValueError(f"LossScaler: a state holds {', '.join(vars(self))}, got {state!r}; pass what state_dict() gave")
        _check(state)
        vars(self).update(state)


REMEDY = "smaller factors did not help, so look for what computes it: minidl.detect_anomaly() names the op"
RANGES = {
    "scale": (LEAST, LARGEST, "a number from 2^-14 to 2^126"),
    "most": (LEAST, LARGEST, "a number from 2^-14 to 2^126"),
    "growth_factor": (math.nextafter(1, 2), math.inf, "a number above 1"),
    "backoff_factor": (math.nextafter(0, 1), math.nextafter(1, 0), "a number between 0 and 1"),
}


def _check(state: dict[str, Any]) -> None:
    """ValueError for a number out of range."""
    for name, (low, high, words) in RANGES.items():
        value = state[name]
        if not (isinstance(value, Real) and low <= float(value) <= high):
            raise ValueError(f"LossScaler: {name} must be {words}, got {value!r}")
    for name, least in (("growth_interval", 1), ("good_steps", 0)):
        if type(state[name]) is not int or state[name] < least:
            raise ValueError(f"LossScaler: {name} must be a whole number, {least} or more, got {state[name]!r}")
