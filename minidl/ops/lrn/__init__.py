"""Local response normalisation across channels.

    s_c  = k + alpha * sum_{|j-c| <= n//2} x_j^2        y_c = x_c * s_c^-beta
    dx_c = dy_c s_c^-beta - 2 alpha beta x_c * sum_{|j-c| <= n//2} dy_j y_j / s_j

    x, y, s : [N, C, H, W]     n odd; channels outside [0, C) count as zero
    saved   : (x, y, s), y and s of a half type in float32: sums and powers are computed there

Kernels: `run` (few passes over memory, the default), `window` (the formulas as they stand, to be read: below), `cuda` (in one
pass).

Conventions differ in what alpha multiplies, and are chosen by name:
    'paper'   the sum, as printed (Krizhevsky et al. 2012); TensorFlow's depth_radius is n//2
    'pytorch' the mean over n, so alpha / n times the sum: PyTorch, Caffe and the original 2012 code

>>> x = Tensor([3.0, 4.0]).reshape(1, 2, 1, 1)  # two channels of one pixel, and 3^2 + 4^2 = 5^2
>>> y = minidl.lrn(x, n=3, alpha=1.0, beta=0.5, k=0.0, convention="paper")
>>> [round(value, 4) for value in y.numpy().ravel().tolist()]
[0.6, 0.8]

Source: Krizhevsky, Sutskever, Hinton 2012, section 3.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.half import narrow, widen
from minidl.ops.lrn import compiled, cuda, run
from minidl.receptive_field import each
from minidl.signature import Shape, ShapeError


def window_sum(a: Array, n: int) -> Array:
    """sum_{|j-c| <= n//2} a_j over channels."""
    total = a.copy()
    for r in range(1, n // 2 + 1):
        total[:, r:] += a[:, :-r]
        total[:, :-r] += a[:, r:]
    return total


def forward(x: Array, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple[Array, tuple]:
    alpha = alpha if convention == "paper" else alpha / n
    z = widen(x)
    s = k + alpha * window_sum(z * z, n)
    y = z * s**-beta
    return narrow(y, x), (x, y, s)


def backward(dy: Array, saved: tuple, needs: tuple, *, n: int, alpha: float, beta: float, k: float, convention: str) -> tuple:
    x, y, s = saved
    alpha = alpha if convention == "paper" else alpha / n
    g = widen(dy)
    dx = g * s**-beta - 2 * alpha * beta * widen(x) * window_sum(g * y / s, n)
    return (narrow(dx, dy),)


def definition(x: np.ndarray, *, n: int, alpha: float, beta: float, k: float, convention: str) -> np.ndarray:
    y = np.empty_like(x)
    for i, c, h, w in np.ndindex(x.shape):
        near = sum(x[i, j, h, w] ** 2 for j in range(c - n // 2, c + n // 2 + 1) if 0 <= j < x.shape[1])
        if convention == "pytorch":
            near /= n
        y[i, c, h, w] = x[i, c, h, w] / (k + alpha * near) ** beta
    return y


def shape(x: Shape, *, n: int, convention: str, **_: Any) -> Shape:
    if n < 1 or n % 2 == 0:
        raise ShapeError(f"the window n must be odd and positive, got n={n}")
    if convention not in ("paper", "pytorch"):
        raise ShapeError(f"convention must be 'paper' or 'pytorch', got {convention!r}")
    return x


def problem(d: Draw) -> Problem:  # loud alphas: 1e-4 alone, the default, would hide every bug
    x = d.array(d.size("N", 3), d.size("C", 8), d.size("H", 3), d.size("W", 3))
    attrs = {name: d.one_of(name, options) for name, options in LOUD.items()}
    return Problem((x,), attrs)


LOUD = {"n": (3, 5, 7, 1), "alpha": (0.5, 1.0, 1e-4), "beta": (0.75, 0.5), "k": (2.0, 1.0), "convention": ("pytorch", "paper")}

lrn = Op(
    "lrn",
    "x[N,C,H,W] -> y[N,C,H,W]",
    definition,
    problem,
    doc=__doc__,
    attrs={"n": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0, "convention": "pytorch"},
    shape=shape,
    workloads={
        "alexnet.norm1": {"N": 128, "C": 96, "H": 55, "W": 55, "k": 2.0, "convention": "paper"},
        "alexnet.norm2": {"N": 128, "C": 256, "H": 27, "W": 27, "k": 2.0, "convention": "paper"},
        "googlenet.norm1": {"N": 128, "C": 64, "H": 56, "W": 56},
        "googlenet.norm2": {"N": 128, "C": 192, "H": 56, "W": 56},
    },
    cost=lambda x, *, n, **_: Cost(other=(n + 5) * int(np.prod(x))),
    sees=each,
)
lrn.kernel("window", forward, backward, analytic=True)
lrn.kernel("run", run.forward, run.backward, analytic=True)
lrn.kernel("compiled", compiled.forward, compiled.backward, compiles="run", half=False)
lrn.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE, refuses=cuda.refuses)
lrn.default = "run"
