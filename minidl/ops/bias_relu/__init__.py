"""A bias for each channel and a rectifier, as one op: what follows a convolution.

    y = max(0, x + bias_c)

    dx = dy where y > 0, else 0        dbias_c = sum dx over images and positions

    x, y  : [N, C, ...]   bias : [C]
    saved : (y,), which costs nothing where the next layer keeps it too

As two ops the map between them would be written and read again. At the kink the gradient is 0, as relu's. Half types are added
and summed in float32.

Kernels: `rows` (the formulas), `cuda` (on a GPU: dbias is summed in the pass that writes dx).

>>> minidl.bias_relu([[1.0, 1.0], [3.0, 3.0]], [-2.0, 1.0]).numpy().tolist()
[[0.0, 2.0], [1.0, 4.0]]

Source: Nair, Hinton 2010, "Rectified linear units improve restricted Boltzmann machines", section 2.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.bias_relu import cuda
from minidl.ops.half import narrow, widen
from minidl.ops.rows import along, as_images, as_rows, channel_sums
from minidl.receptive_field import each


def forward(x: Array, bias: Array) -> tuple[Array, tuple]:
    X = as_rows(widen(x))
    Y = X + along(bias, X)
    y = narrow(as_images(xp_of(Y).clip(Y, 0, math.inf, out=Y), x), x)
    return y, (y,)


def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
    (y,) = saved
    dx = (y > 0).astype(dy.dtype) * dy
    dbias = narrow(channel_sums(as_rows(widen(dx)), y.shape[1]), dy) if needs[1] else None
    return dx if needs[0] else None, dbias


def definition(x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    for i in np.ndindex(x.shape):
        y[i] = max(0.0, x[i] + bias[i[1]])
    return y


def problem(d: Draw) -> Problem:
    N, C = d.size("N", 4), d.size("C", 4)
    spatial = [d.size(letter, 3) for letter in "HW"[: d.size("spatial", 2, least=0)]]
    z, bias = d.away_from((0.0,), N, C, *spatial), d.array(C)
    return Problem((z - bias.reshape(-1, *[1] * len(spatial)), bias), {})


bias_relu = Op(
    "bias_relu",
    "x[N,C,...] bias[C] -> y[N,C,...]",
    definition,
    problem,
    doc=__doc__,
    workloads={
        "size of alexnet.conv1": {"N": 128, "C": 96, "spatial": 2, "H": 55, "W": 55},
        "size of vgg16.conv1_1": {"N": 64, "C": 64, "spatial": 2, "H": 224, "W": 224},
        "size of vgg16.fc6": {"N": 128, "C": 4096, "spatial": 0},
    },
    cost=lambda x, *_: Cost(other=2 * math.prod(x)),
    sees=each,
)
bias_relu.kernel("rows", forward, backward)
bias_relu.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE)
