"""Batch normalisation in training: every channel is centred and scaled by the statistics of this batch.

    mean_c = sum x / M        var_c = sum (x - mean_c)^2 / M        M = values per channel = N * H * W
    xhat   = (x - mean_c) (var_c + eps)^-1/2                        y = weight_c xhat + bias_c

    dbias_c   = sum dy        dweight_c = sum dy xhat
    dx        = weight_c (var_c + eps)^-1/2 (dy - dbias_c / M - xhat dweight_c / M)

    x, y    : [N, C, ...]   weight, bias : [C] or None   sums over all axes but C
    mean, var : [C], outputs without a gradient, for the layer's running statistics
    saved   : (x, weight, mean, (var + eps)^-1/2): no copy of x, two numbers per channel

Kernels: `sums` (one trip through memory for the statistics, one for y; the default), `two_pass` (to be read: below),
`compiled` (the same in loops), `cuda` (the same on a GPU: partial sums of many blocks, joined).

`var` is the biased variance, the one that y is divided by. PyTorch and the paper keep the unbiased one, var * M / (M - 1),
in their running statistics: the layer does that, in sight. The variance is taken in two passes: sum x^2 - M mean^2 would
cancel where the mean is large. Half types are computed in float32, and so are their mean and var. A channel of equal values
gives y = bias, to the rounding of those values; one value per channel is an error, since it would always be normalised to 0.

What follows x by position is weight and bias, where PyTorch's F.batch_norm has running_mean and running_var: to normalise
by those, call batch_norm_inference(x, mean, var, weight, bias).

>>> y, mean, var = minidl.batch_norm([[1.0], [5.0]], eps=0.0)
>>> mean.item(), var.item()
(3.0, 4.0)
>>> y.numpy().round(4).tolist()  # (1 - 3) / 2 and (5 - 3) / 2
[[-1.0], [1.0]]

Source: Ioffe, Szegedy 2015, algorithm 1 and the gradients after it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.axes import not_empty
from minidl.ops.batch_norm import compiled, cuda, sums
from minidl.ops.half import narrow, widen
from minidl.receptive_field import everything
from minidl.signature import Shape, ShapeError


def all_but_channels(x: Array) -> tuple[int, ...]:
    """The axes that a statistic of one channel runs over: (0, 2, 3) for [N, C, H, W]."""
    return (0, *range(2, x.ndim))


def along_channels(a: Array, x: Array) -> Array:
    """One number per channel, shaped to meet x: [C] -> [C, 1, 1] for [N, C, H, W]."""
    return a.reshape(a.shape + (1,) * (x.ndim - 2))


def forward(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> tuple[Array, tuple, tuple]:
    wide, axes = widen(x), all_but_channels(x)
    mean = wide.mean(axis=axes)  # [C]
    centred = wide - along_channels(mean, x)
    var = (centred * centred).mean(axis=axes)
    inverse_std = (var + eps) ** -0.5
    y = centred * along_channels(inverse_std if weight is None else weight * inverse_std, x)
    if bias is not None:
        y = y + along_channels(bias, x)
    return narrow(y, x), (x, weight, mean, inverse_std), (mean, var)


def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float) -> tuple:
    x, weight, mean, inverse_std = saved
    g, axes, M = widen(dy), all_but_channels(x), x.size // x.shape[1]
    dbias = g.sum(axis=axes)  # [C]
    dx = dweight = None
    if needs[0] or needs[1]:
        xhat = (widen(x) - along_channels(mean, x)) * along_channels(inverse_std, x)
        dweight = (g * xhat).sum(axis=axes)  # [C]
    if needs[0]:
        scale = inverse_std if weight is None else weight * inverse_std
        common = along_channels(dbias / M, x) + xhat * along_channels(dweight / M, x)
        dx = narrow((g - common) * along_channels(scale, x), dy)
    return dx, narrow(dweight, dy) if needs[1] else None, narrow(dbias, dy) if needs[2] else None


def definition(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, *, eps: float
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    y, C = np.empty_like(x), x.shape[1]
    mean, var = np.empty(C), np.empty(C)
    for c in range(C):
        places = [index for index in np.ndindex(x.shape) if index[1] == c]
        mean[c] = sum(x[i] for i in places) / len(places)
        var[c] = sum((x[i] - mean[c]) ** 2 for i in places) / len(places)
        for i in places:
            xhat = (x[i] - mean[c]) / math.sqrt(var[c] + eps)
            y[i] = (1 if weight is None else weight[c]) * xhat + (0 if bias is None else bias[c])
    return y, (mean, var)


def shape(x: Shape, weight: Shape | None, bias: Shape | None, *, eps: float) -> Shape:
    not_empty("x", x)
    if math.prod(x) == x[1]:
        raise ShapeError("expected more than 1 value per channel in training; use a larger batch, or model.eval()")
    if eps < 0:
        raise ShapeError(f"eps must not be negative, got {eps}")
    return x


def problem(d: Draw) -> Problem:  # loud eps, which rounding, divided by their roots, does not outgrow
    N, C = d.size("N", 4, least=2), d.size("C", 4)
    spatial = [d.size(letter, 3) for letter in "HW"[: d.size("spatial", 2, least=0)]]
    weight = d.array(C) if d.flag("weight") else None
    bias = d.array(C) if d.flag("bias") else None
    return Problem((2 * d.array(N, C, *spatial) + 1, weight, bias), {"eps": d.one_of("eps", (0.1, 1e-2))})


MAP = {"N": 32, "spatial": 2, "weight": True, "bias": True}
WORKLOADS: dict[str, dict[str, Any]] = {
    "vgg16.conv5_1": {**MAP, "C": 512, "H": 14, "W": 14},
    "googlenet.conv3": {**MAP, "C": 192, "H": 56, "W": 56, "eps": 1e-3},
    "inception_v3.6b": {**MAP, "C": 192, "H": 17, "W": 17, "eps": 1e-3},
    "resnet50.bn1": {**MAP, "C": 64, "H": 112, "W": 112},
    "resnet50.layer1": {**MAP, "C": 256, "H": 56, "W": 56},
    "resnet50.layer4": {**MAP, "C": 2048, "H": 7, "W": 7},
    "resnet20.layer1": {**MAP, "N": 128, "C": 16, "H": 32, "W": 32},
    "alphanet.32.stage2": {**MAP, "C": 32, "H": 16, "W": 16},
    "dense": {"N": 128, "C": 4096, "spatial": 0, "weight": True, "bias": True},
}
ALONE = ("vgg16.conv5_1", "resnet50.layer1", "resnet50.layer4", "alphanet.32.stage2", "dense")  # in the others ReLU is fused

batch_norm = Op(
    "batch_norm",
    "x[N,C,...] weight[C]? bias[C]? -> y[N,C,...]; mean[C] var[C]",
    definition,
    problem,
    doc=__doc__,
    attrs={"eps": 1e-5},
    shape=shape,
    batched=False,
    workloads={name if name in ALONE else f"size of {name}": answers for name, answers in WORKLOADS.items()},
    cost=lambda x, *_, **__: Cost(other=7 * math.prod(x)),
    sees=everything,
)
batch_norm.kernel("two_pass", forward, backward, analytic=True)
batch_norm.kernel("sums", sums.forward, sums.backward)
batch_norm.kernel("compiled", compiled.forward, compiled.backward, compiles="sums", half=False)
batch_norm.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE)
batch_norm.default = "sums"
