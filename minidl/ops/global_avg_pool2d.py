"""Global average pooling: the mean of every feature map, whatever its size. PyTorch's AdaptiveAvgPool2d(1).

    y[n,c] = 1 / (H W) * sum_{h,v} x[n,c,h,v]          dx[n,c,h,v] = dy[n,c] / (H W)

    x [N, C, H, W]   y [N, C, 1, 1]
    saved : shape of x

Source: Lin, Chen, Yan 2013, "Network in network", section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Op, Problem
from minidl.ops.half import narrow, widen
from minidl.receptive_field import everything
from minidl.signature import Shape


def forward(x: Array) -> tuple[Array, Any]:
    return narrow(widen(x).mean(axis=(2, 3), keepdims=True), x), x.shape


def backward(dy: Array, saved: Any, needs: tuple) -> tuple:
    _, _, H, W = saved
    return (xp_of(dy).broadcast_to(narrow(widen(dy) / (H * W), dy), saved),)


def definition(x: np.ndarray) -> np.ndarray:
    (N, C, H, W), y = x.shape, np.zeros((*x.shape[:2], 1, 1))
    for n, c, h, v in np.ndindex(N, C, H, W):
        y[n, c, 0, 0] += x[n, c, h, v] / (H * W)
    return y


def shape(x: Shape) -> Shape:
    return (*x[:2], 1, 1)


def problem(d: Draw) -> Problem:
    return Problem((d.array(d.size("N", 3), d.size("C", 4), d.size("H", 5), d.size("W", 5)),), {})


global_avg_pool2d = Op(
    "global_avg_pool2d",
    "x[N,C,H,W] -> y[N,C,1,1]",
    definition,
    problem,
    doc=__doc__,
    shape=shape,
    workloads={
        "alphanet.32": {"N": 32, "C": 64, "H": 8, "W": 8},
        "googlenet": {"N": 128, "C": 1024, "H": 7, "W": 7},
        "inception_v3": {"N": 32, "C": 2048, "H": 8, "W": 8},
        "resnet20": {"N": 128, "C": 64, "H": 8, "W": 8},
        "resnet50": {"N": 128, "C": 2048, "H": 7, "W": 7},
    },
    sees=everything,
)
global_avg_pool2d.kernel("mean", forward, backward, analytic=True)
