"""Stochastic gradient descent with momentum, by two conventions.

    'pytorch'   g <- g + weight_decay w;   v <- momentum v + (1 - dampening) g   (v <- g at first);   w <- w - lr v
                nesterov:                  w <- w - lr (g + momentum v)
    'alexnet'   v <- momentum v - weight_decay lr w - lr g;                       w <- w + v

While lr stays the same both walk the same path. When lr falls, 'alexnet' keeps rolling at the old speed, since lr is inside v,
and 'pytorch' slows at once. On a GPU sgd.cu does all of it in one pass.

>>> def walk(convention, rates):  # w starts at 4 on a slope of 1
...     w = Tensor([4.0], requires_grad=True)
...     opt = optim.SGD([w], momentum=0.5, convention=convention)
...     for lr in rates:
...         opt.param_groups[0]["lr"] = lr
...         opt.zero_grad();  w.sum().backward();  opt.step()
...     return w.item()
>>> walk("pytorch", [1.0, 1.0]), walk("alexnet", [1.0, 1.0])  # v = 1, then 1.5
(1.5, 1.5)
>>> walk("pytorch", [1.0, 0.5]), walk("alexnet", [1.0, 0.5])  # steps of 1, then 0.5 * 1.5 or 0.5 * 1 + 0.5
(2.25, 2.0)

Source: Krizhevsky, Sutskever, Hinton 2012, section 5; Sutskever, Martens, Dahl, Hinton 2013 (Nesterov).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl.backend import Array
from minidl.cuda import Source
from minidl.cuda.tables import CUT
from minidl.optim.optimizer import Optimizer, non_negative
from minidl.tensor import Tensor


class SGD(Optimizer):
    """SGD with PyTorch's semantics and defaults; `convention="alexnet"` for the paper's update.

    >>> w = Tensor([3.0], requires_grad=True)
    >>> opt = optim.SGD([w], lr=0.25)
    >>> (w * w).backward()
    >>> opt.step()
    >>> w.item()  # 3 - 0.25 * 6
    1.5
    """

    source = Source(__file__, "sgd.cu", **CUT)

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        convention: str = "pytorch",
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            convention=convention,
        )

    def check(self, options: dict[str, Any]) -> None:
        """Refuse negative numbers, and options that do not go together."""
        non_negative(self.name, options, "lr", "momentum", "dampening", "weight_decay")
        convention, nesterov = options["convention"], options["nesterov"]
        if convention not in ("pytorch", "alexnet"):
            raise ValueError(f"SGD: convention must be 'pytorch' or 'alexnet', got {convention!r}")
        if nesterov and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError("SGD: nesterov=True needs momentum > 0 and dampening = 0")
        if convention == "alexnet" and (nesterov or options["dampening"] != 0):
            raise ValueError("SGD: convention='alexnet' has no nesterov and no dampening; use convention='pytorch'")

    def slots(self, options: dict[str, Any]) -> tuple[str, ...]:
        """The velocity v, where there is momentum."""
        return ("momentum_buffer",) if options["momentum"] else ()

    def update(self, w: Array, g: Array, state: dict[str, Array], t: int, options: dict[str, Any]) -> None:
        """The two rules above; without momentum they are one."""
        lr, momentum, weight_decay = float(options["lr"]), float(options["momentum"]), float(options["weight_decay"])
        if weight_decay:
            g = g + weight_decay * w
        if not momentum:
            w -= lr * g
            return
        v = state["momentum_buffer"]
        v *= momentum
        if options["convention"] == "alexnet":
            v -= lr * g
            w += v
            return
        v += g if t == 1 else (1 - float(options["dampening"])) * g
        w -= lr * (g + momentum * v if options["nesterov"] else v)

    def launch(self, rows: list[tuple[Array, ...]], t: int, options: dict[str, Any], scale: float) -> None:
        """The same by sgd.cu."""
        lr, momentum, weight_decay = float(options["lr"]), float(options["momentum"]), float(options["weight_decay"])
        numbers = 1 / scale, weight_decay, lr
        if not momentum:
            self.source.launch_over("sgd", rows, *numbers)
            return
        share = 1.0 if t == 1 else 1 - float(options["dampening"])
        how = int(options["convention"] == "alexnet"), int(options["nesterov"])
        self.source.launch_over("sgd_momentum", rows, *numbers, momentum, share, *how)
