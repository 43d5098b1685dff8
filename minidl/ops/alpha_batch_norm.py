"""Alpha-Net's batch norm in training: the signed power of what batch norm makes of this batch, then weight and bias.

    z = (x - mean_c) (var_c + eps)^-1/2        y = weight_c sgn(z) ((|z| + e)^alpha - e^alpha) + bias_c

    dz = weight_c dy alpha (|z| + e)^(alpha - 1)        dx from dz as batch norm's, without weight
    dweight_c = sum dy sgn(z) ((|z| + e)^alpha - e^alpha)        dbias_c = sum dy

    x, y      : [N, C, ...]   weight, bias : [C] or None   epsilon (e), alpha : above 0
    mean, var : [C], outputs without a gradient, for the layer's running statistics
    saved     : (x, weight, mean, (var + eps)^-1/2): z is computed again, which saves an array of the size of x

The paper's words are an "alpha transform over convoluted layers", of which it prints no formula. Our reading: the power is
taken of what batch norm has made, so that alpha = 1 is batch norm.

It is signed_power(z, weight, bias) of z = batch_norm(x), and the kernel runs theirs, one after the other. As one op it keeps
one array for backward where the two keep two: the tape of a net with a thousand layers is the shorter by a thousand maps. In
evaluation, where nothing need be kept, the layer calls batch_norm_inference and signed_power.

>>> y, mean, var = minidl.alpha_batch_norm([[1.0], [5.0]], eps=0.0, epsilon=0.5625)
>>> mean.item(), var.item()
(3.0, 4.0)
>>> y.numpy().tolist()  # z = -1 and 1, and 1.5625^1/2 - 0.5625^1/2 = 1.25 - 0.75
[[-0.5], [0.5]]

Source: Shaikh, Sharma, Chouhan, Mahawar 2020 (Alpha-Net), arXiv 2007.07221; batch norm: see minidl.batch_norm.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.lockstep import Steps, in_step, steps_of
from minidl.op import Cost, Op, Problem
from minidl.ops import signed_power as power
from minidl.ops.batch_norm import batch_norm, sums
from minidl.ops.half import narrow, widen
from minidl.ops.rows import along, as_images, as_rows
from minidl.receptive_field import everything
from minidl.signature import Shape


@in_step
def forward(x: Array, weight: Array | None, bias: Array | None, *, eps: float, alpha: float, epsilon: float) -> Steps:
    z, (_, _, mean, inverse_std), aux = yield from steps_of(sums.forward)(widen(x), None, None, eps=eps)
    y, _ = power.forward(z, weight, bias, alpha=alpha, epsilon=epsilon)
    return narrow(y, x), (x, weight, mean, inverse_std), aux


@in_step
def backward(dy: Array, saved: tuple, needs: tuple, *, eps: float, alpha: float, epsilon: float) -> Steps:
    x, weight, mean, inverse_std = saved
    x, g = widen(x), widen(dy)
    z = normalised(x, mean, inverse_std)
    dz, dweight, dbias = power.backward(g, (z, weight), needs, alpha=alpha, epsilon=epsilon)
    dx = None
    if needs[0]:
        dx, _, _ = yield from steps_of(sums.backward)(dz, (x, None, mean, inverse_std), (True, False, False), eps=eps)
    return tuple(None if a is None else narrow(a, dy) for a in (dx, dweight, dbias))


def normalised(x: Array, mean: Array, inverse_std: Array) -> Array:
    """z, as batch norm computed it."""
    X = as_rows(x)
    z = X * along(inverse_std, X)
    z += along(-inverse_std * mean, z)
    return as_images(z, x)


def definition(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, *, eps: float, alpha: float, epsilon: float
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    z, statistics = batch_norm.definition(x, None, None, eps=eps)
    return power.definition(z, weight, bias, alpha=alpha, epsilon=epsilon), statistics


def shape(x: Shape, weight: Shape | None, bias: Shape | None, *, eps: float, alpha: float, epsilon: float) -> Shape:
    power.shape(x, weight, bias, alpha=alpha, epsilon=epsilon)
    return batch_norm.output_shape((x, weight, bias), {"eps": eps})


def problem(d: Draw) -> Problem:
    inputs, attrs = batch_norm.problem(d)
    attrs |= {"alpha": d.one_of("alpha", (0.5, 1.0, 0.3, 1.5)), "epsilon": d.one_of("epsilon", (0.1, 1.0))}
    return Problem(inputs, attrs)


alpha_batch_norm = Op(
    "alpha_batch_norm",
    "x[N,C,...] weight[C]? bias[C]? -> y[N,C,...]; mean[C] var[C]",
    definition,
    problem,
    doc=__doc__,
    attrs={"eps": 1e-5, "alpha": 0.5, "epsilon": 1e-2},
    shape=shape,
    batched=False,
    workloads=power.WORKLOADS,
    cost=lambda x, *_, **__: Cost(other=13 * math.prod(x)),
    sees=everything,
)
alpha_batch_norm.kernel("sums", forward, backward)
