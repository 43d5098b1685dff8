"""Adam and AdamW: steps scaled by running moments of the gradient.

    m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
    w <- w - lr m^ / (sqrt(v^) + eps)       m^ = m / (1 - beta1^t),  v^ = v / (1 - beta2^t)

Weight decay:  Adam adds weight_decay w to g, so that decay too is scaled by the moments;
               AdamW shrinks w <- (1 - lr weight_decay) w, apart from them.
On a GPU adam.cu does all of it in one pass.

Source: Kingma, Ba 2015, arXiv 1412.6980, algorithm 1; Loshchilov, Hutter 2019, arXiv 1711.05101, algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

from minidl.backend import Array, xp_of
from minidl.cuda import Source
from minidl.cuda.tables import CUT
from minidl.optim.optimizer import Optimizer, non_negative
from minidl.tensor import Tensor


class Adam(Optimizer):
    """Adam with PyTorch's semantics and defaults."""

    source = Source(__file__, "adam.cu", **CUT)

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def check(self, options: dict[str, Any]) -> None:
        """Refuse negative numbers and betas outside [0, 1)."""
        non_negative(self.name, options, "lr", "eps", "weight_decay")
        betas = options["betas"]
        if not (
            isinstance(betas, tuple | list)
            and len(betas) == 2
            and all(isinstance(b, Real) and 0 <= float(b) < 1 for b in betas)
        ):
            raise ValueError(f"{self.name}: betas must be two numbers in [0, 1), got {betas!r}")

    def slots(self, options: dict[str, Any]) -> tuple[str, ...]:
        """The running means of g and of g^2."""
        return ("exp_avg", "exp_avg_sq")

    def update(self, w: Array, g: Array, state: dict[str, Array], t: int, options: dict[str, Any]) -> None:
        """The formulas at the top, in place."""
        decay, shrink = self.decays(options)
        if decay:
            g = g + decay * w
        if shrink != 1:
            w *= shrink
        adam_step(w, g, state["exp_avg"], state["exp_avg_sq"], t, options)

    def launch(self, rows: list[tuple[Array, ...]], t: int, options: dict[str, Any], scale: float) -> None:
        """The same by adam.cu."""
        decay, shrink = self.decays(options)
        (beta1, beta2), (rate, eps) = options["betas"], rate_and_eps(t, options)
        moments = (float(beta1), 1 - float(beta1), float(beta2), 1 - float(beta2))
        self.source.launch_over("adam", rows, 1 / scale, decay, shrink, *moments, rate, eps)

    def decays(self, options: dict[str, Any]) -> tuple[float, float]:
        """What times w is added to g, and what w is multiplied by."""
        return float(options["weight_decay"]), 1.0


class AdamW(Adam):
    """Adam with decoupled weight decay; PyTorch's semantics and defaults."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)

    def decays(self, options: dict[str, Any]) -> tuple[float, float]:
        """What times w is added to g, and what w is multiplied by."""
        return 0.0, 1 - float(options["lr"]) * float(options["weight_decay"])


def adam_step(w: Array, g: Array, m: Array, v: Array, t: int, options: dict[str, Any]) -> None:
    """Edit w, m and v in place: the formulas at the top."""
    (beta1, beta2), (rate, eps) = (float(beta) for beta in options["betas"]), rate_and_eps(t, options)
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    scale = xp_of(v).sqrt(v)
    scale += eps
    w -= rate * m / scale


def rate_and_eps(t: int, options: dict[str, Any]) -> tuple[float, float]:
    """What stands before m, and beside sqrt(v): both sides of the fraction times sqrt(1 - beta2^t)."""
    beta1, beta2 = (float(beta) for beta in options["betas"])
    unbias = math.sqrt(1 - beta2**t)
    return float(options["lr"]) * unbias / (1 - beta1**t), float(options["eps"]) * unbias
