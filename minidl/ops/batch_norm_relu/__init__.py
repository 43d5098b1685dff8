"""Batch normalisation in training, a residual added to it, and a rectifier, as one op: how a block of a residual net ends.

    z = weight_c (x - mean_c) (var_c + eps)^-1/2 + bias_c        batch norm, see minidl.batch_norm
    y = max(0, z + residual)

    g = dy where y > 0, else 0        dresidual = g        dx, dweight and dbias from g, as batch norm's from dy

    x, y, residual : [N, C, ...]   weight, bias : [C] or None   residual : or None, which adds nothing
    mean, var      : [C], outputs without a gradient, for the layer's running statistics
    saved          : (x, weight, mean, (var + eps)^-1/2, y); y costs nothing where the next layer keeps it too

As three ops the maps between them would be written and read again, and all be on the tape. At the kink the gradient is 0, as
relu's. nn.BatchNorm2d(C)(x, relu=True, residual=r) calls it in training.

Kernels: `sums` (the formulas, on batch_norm's own steps), `compiled` (in loops, all in the passes that batch norm makes
anyway), `cuda` (the same on a GPU). Without a residual these two keep no y: its sign is computed again.

>>> y, mean, var = minidl.batch_norm_relu([[1.0], [5.0]], residual=[[3.0], [4.0]], eps=0.0)
>>> y.numpy().tolist()  # batch norm gives -1 and 1
[[2.0], [5.0]]
>>> minidl.batch_norm_relu([[1.0], [5.0]], eps=0.0)[0].numpy().tolist()
[[0.0], [1.0]]

Sources: Ioffe, Szegedy 2015, algorithm 1; He, Zhang, Ren, Sun 2016, "Deep residual learning", figure 2.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.lockstep import Steps, in_step, steps_of
from minidl.op import Cost, Op, Problem
from minidl.ops.batch_norm import WORKLOADS, all_but_channels, along_channels, batch_norm, sums
from minidl.ops.batch_norm_relu import compiled, cuda
from minidl.ops.half import narrow, widen
from minidl.receptive_field import everything
from minidl.signature import Shape, ShapeError, brackets


@in_step
def forward(x: Array, weight: Array | None, bias: Array | None, residual: Array | None, *, eps: float) -> Steps:
    z, (_, _, mean, inverse_std), aux = yield from steps_of(sums.forward)(widen(x), weight, bias, eps=eps)
    if residual is not None:
        z += residual  # in float32 for half types; z is nobody else's
    y = narrow(xp_of(z).clip(z, 0, math.inf, out=z), x)
    return y, (x, weight, mean, inverse_std, y), aux


@in_step
def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float) -> Steps:
    *of_batch_norm, y = saved
    g, grads = (y > 0).astype(dy.dtype) * dy, (None, None, None)
    if any(needs[:3]):
        grads = yield from sums.gradients(g, tuple(of_batch_norm), needs[:3], spent=not needs[3])
    return *grads, g if needs[3] else None


def definition(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, residual: np.ndarray | None, *, eps: float
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    y, statistics = batch_norm.definition(x, weight, bias, eps=eps)
    for i in np.ndindex(y.shape):
        y[i] = max(0.0, y[i] + (0.0 if residual is None else residual[i]))
    return y, statistics


def shape(x: Shape, weight: Shape | None, bias: Shape | None, residual: Shape | None, *, eps: float) -> Shape:
    if residual is not None and residual != x:
        raise ShapeError(f"residual is added to every number: expected the shape of x {brackets(x)}, got {brackets(residual)}")
    return batch_norm.output_shape((x, weight, bias), {"eps": eps})


GAP = 1.0  # between the values of x


def problem(d: Draw) -> Problem:
    """No z + residual near the kink: a gap is opened in x, which keeps its mean, and the bias moves the kink into its middle.

    Without a bias the kink is at the mean, and so is the gap. A residual takes z + residual to where it is wanted.
    """
    (x, weight, bias), attrs = batch_norm.problem(d)
    if weight is not None:
        weight = weight + np.copysign(0.3, weight)
    axes = all_but_channels(x)
    level = along_channels(x.mean(axis=axes) + (0 if bias is None else bias), x)
    above = x > level
    share = above.mean(axis=axes, keepdims=True)
    x = x + GAP * (above - share)
    std = along_channels(np.sqrt(x.var(axis=axes) + attrs["eps"]), x)
    if bias is not None:
        z = (x.mean(axis=axes, keepdims=True) - level - GAP * (0.5 - share)) / std
        bias = z.ravel() * (1 if weight is None else weight)
    residual = None
    if d.flag("residual"):
        z, _, _ = sums.forward(x, weight, bias, eps=attrs["eps"])
        residual = d.away_from((0.0,), *x.shape) - z
    return Problem((x, weight, bias, residual), attrs)


WITH_RESIDUAL = {
    "googlenet.conv3": False,
    "inception_v3.6b": False,
    "resnet50.bn1": False,
    "resnet50.layer1": True,
    "resnet50.layer4": True,
    "resnet20.layer1": True,
    "alphanet.32.stage2": False,
}

batch_norm_relu = Op(
    "batch_norm_relu",
    "x[N,C,...] weight[C]? bias[C]? residual[N,C,...]? -> y[N,C,...]; mean[C] var[C]",
    definition,
    problem,
    doc=__doc__,
    attrs={"eps": 1e-5},
    shape=shape,
    batched=False,
    workloads={name: {**WORKLOADS[name], "residual": residual} for name, residual in WITH_RESIDUAL.items()},
    cost=lambda x, weight=None, bias=None, residual=None, **_: Cost(other=(8 if residual is None else 9) * math.prod(x)),
    sees=everything,
)
batch_norm_relu.kernel("sums", forward, backward)
batch_norm_relu.kernel("compiled", compiled.forward, compiled.backward, compiles="sums", half=False)
batch_norm_relu.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE)
