"""Max pooling: the largest value that each window sees.

    y[n,c,p,q]   = max over r, s of x[n, c, p*sh + r*dh - top, q*sw + s*dw - left]
    dx[n,c,h,v] += dy[n,c,p,q]   for every window (p, q) whose maximum is at (h, v): windows that overlap add up

    x [N, C, H, W]   y [N, C, P, Q]       P = floor((H + top + bottom - dh (R - 1) - 1) / sh) + 1,   Q likewise

kernel_size  R, S; with stride (kernel_size if not given) and dilation an int or a pair
padding      in every form of conv2d, at most half of the rows and columns that a window covers, so that 'same' is allowed at
             any dilation (PyTorch counts them without the gaps). It is -infinity: it never wins
ceil_mode    True rounds P up: one more window for a rest, if it starts inside x or the padding before it (PyTorch's rule)
ties         who gets dy where several values are the maximum:
             'first'  the first in reading order (PyTorch, and most)
             'even'   all of them, in equal parts

saved : 'first': (which of the R*S positions won, one byte each for windows of up to 256; shape of x)     'even': (x, y)

Kernels: `separable` (columns, then rows: the default), `shifts` (position by position, to be read), `cuda` (ties='first').

A window that sees padding alone gives -infinity, as in PyTorch. A NaN makes y NaN in every window that sees it; where dy
of such a window goes is left open.

>>> x = Tensor([[[[1.0, 5.0, 2.0, 3.0]]]], requires_grad=True)
>>> y = minidl.max_pool2d(x, kernel_size=(1, 2), stride=1)
>>> y.numpy().tolist()
[[[[5.0, 5.0, 3.0]]]]
>>> y.sum().backward()
>>> x.grad.tolist()  # 5 won twice
[[[[0.0, 2.0, 0.0, 1.0]]]]

Source: Riesenhuber, Poggio 1999; overlapping windows: Krizhevsky, Sutskever, Hinton 2012, section 3.4.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops import pooling
from minidl.ops.max_pool2d import compiled, cuda, separable, shifts
from minidl.signature import Shape, ShapeError
from minidl.window import Pair, Sides


def definition(
    x: np.ndarray, *, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair, ceil_mode: bool, ties: str
) -> np.ndarray:
    (N, C, H, W), (R, S), (dh, dw) = x.shape, kernel_size, dilation
    rows = pooling.starts(H, R, stride[0], padding[:2], dh, ceil_mode)
    columns = pooling.starts(W, S, stride[1], padding[2:], dw, ceil_mode)
    y = np.full((N, C, len(rows), len(columns)), -np.inf)
    for (n, c), (p, h), (q, v) in product(np.ndindex(N, C), enumerate(rows), enumerate(columns)):
        for r, s in product(range(R), range(S)):
            if 0 <= h + r * dh < H and 0 <= v + s * dw < W:
                y[n, c, p, q] = np.maximum(y[n, c, p, q], x[n, c, h + r * dh, v + s * dw])
    return y


def shape(x: Shape, *, ties: str, **attrs: Any) -> Shape:
    if ties not in ("first", "even"):
        raise ShapeError(f"ties must be 'first' or 'even', got {ties!r}")
    return pooling.shape(x, **attrs)


def problem(d: Draw) -> Problem:  # all values differ: at a tie the derivative does not exist
    x, attrs = pooling.ask(d, dilations=(1, 2, (2, 1), (1, 2)))
    return Problem((d.distinct(*x),), {**attrs, "ties": d.one_of("ties", ("first", "even"))})


WORKLOADS = {
    "alexnet.pool1": {"N": 128, "C": 96, "H": 55, "W": 55, "kernel_size": 3, "stride": 2},
    "alexnet.pool2": {"N": 128, "C": 256, "H": 27, "W": 27, "kernel_size": 3, "stride": 2},
    "alexnet.pool5": {"N": 128, "C": 256, "H": 13, "W": 13, "kernel_size": 3, "stride": 2},
    "vgg16.pool1": {"N": 64, "C": 64, "H": 224, "W": 224, "kernel_size": 2},
    "googlenet.pool1": {"N": 128, "C": 64, "H": 112, "W": 112, "kernel_size": 3, "stride": 2, "ceil_mode": True},
    "googlenet.4a": {"N": 128, "C": 480, "H": 14, "W": 14, "kernel_size": 3, "stride": 1, "padding": 1},
    "inception_v3.pool1": {"N": 32, "C": 64, "H": 147, "W": 147, "kernel_size": 3, "stride": 2},
    "resnet50.pool1": {"N": 128, "C": 64, "H": 112, "W": 112, "kernel_size": 3, "stride": 2, "padding": 1},
    "alphanet.224.pool1": {"N": 32, "C": 64, "H": 112, "W": 112, "kernel_size": 3, "stride": 2, "padding": 1},
}

max_pool2d = Op(
    "max_pool2d",
    "x[N,C,H,W] -> y[N,C,P,Q]",
    definition,
    problem,
    doc=__doc__,
    attrs={"kernel_size": None, "stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "ties": "first"},
    shape=shape,
    canonical=pooling.canonical,
    workloads=WORKLOADS,
    cost=lambda x, **attrs: Cost(other=math.prod(shape(x, **attrs)) * math.prod(attrs["kernel_size"])),
    sees=pooling.sees,
)
max_pool2d.kernel("shifts", shifts.forward, shifts.backward)
max_pool2d.kernel("separable", separable.forward, separable.backward)
max_pool2d.kernel("compiled", compiled.forward, compiled.backward, compiles="separable", refuses=compiled.refuses, half=False)
max_pool2d.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE, refuses=cuda.refuses)
max_pool2d.default = "separable"
