"""Transposed convolution: the adjoint of conv2d, used to enlarge images. ("Deconvolution" is its older, misleading name.)

    y[n, k, h*sh + r*dh - top, v*sw + s*dw - left] += x[n,c,h,v] w[c,k,r,s]     for all n, c, k, h, v, r, s; then b[k] is added

    dx = conv2d(dy, w)      dw : dy times x      db : the sum of dy over n, p, q

    x [N, C, H, W]   w [C, K / groups, R, S]   b [K] or None   y [N, K, P, Q]
    P = (H - 1) sh - top - bottom + dh (R - 1) + 1 + output_padding_h,   Q likewise
    saved : (x, w), in every kernel

stride          sh, sw: the step on y between the windows of neighbouring pixels of x
padding         rows and columns *taken from* y, so that conv2d with the same padding leads back to x's size: an int,
                (rows, columns) or (top, bottom, left, right); 'same' and 'valid' have no meaning here
output_padding  rows and columns added to y at the bottom and right: conv2d at stride 2 makes 3 of 5 and of 6, this one says
                which of them to go back to. Below the stride or the dilation
groups, dilation  as in conv2d

Attributes are in PyTorch's order. Kernels: `im2col` (matrix products, the default), `direct` (loops, to be read).

Source: Zeiler, Krishnan, Taylor, Fergus 2010, "Deconvolutional networks"; Dumoulin, Visin 2016, section 4.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.conv_transpose2d import direct, im2col
from minidl.ops.groups import check_groups
from minidl.receptive_field import adjoint
from minidl.signature import Shape, ShapeError
from minidl.window import Pair, Sides, Windows, pair, sides, span


def definition(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    *,
    stride: Pair,
    padding: Sides,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
) -> np.ndarray:
    (N, C, H, W), (_, Kg, R, S), K = x.shape, w.shape, groups * w.shape[1]
    (sh, sw), (dh, dw), (top, bottom, left, right) = stride, dilation, padding
    P = (H - 1) * sh + (R - 1) * dh + 1 + output_padding[0] - top - bottom
    Q = (W - 1) * sw + (S - 1) * dw + 1 + output_padding[1] - left - right
    y = np.zeros((N, K, P, Q)) + (0 if b is None else b.reshape(K, 1, 1))
    for (n, c, h, v), k, r, s in product(np.ndindex(x.shape), range(Kg), range(R), range(S)):
        p, q = h * sh + r * dh - top, v * sw + s * dw - left
        if 0 <= p < P and 0 <= q < Q:
            y[n, c * groups // C * Kg + k, p, q] += x[n, c, h, v] * w[c, k, r, s]
    return y


def canonical(shapes: tuple, attrs: dict[str, Any]) -> dict[str, Any]:
    if isinstance(attrs["padding"], str):
        raise ShapeError(
            f"padding must be numbers, got {attrs['padding']!r}; 'same' and 'valid' say nothing of an output's size"
        )
    stride, dilation = pair("stride", attrs["stride"]), pair("dilation", attrs["dilation"])
    output_padding = pair("output_padding", attrs["output_padding"], least=0)
    padding = sides(attrs["padding"], (1, 1), shapes[1][2:], stride, dilation)
    return {**attrs, "stride": stride, "padding": padding, "dilation": dilation, "output_padding": output_padding}


def shape(
    x: Shape, w: Shape, b: Shape | None, *, stride: Pair, padding: Sides, output_padding: Pair, groups: int, dilation: Pair
) -> Shape:
    (N, C, H, W), Kg = x, w[1]
    check_groups(groups, C=C)
    if b is not None and b != (groups * Kg,):
        raise ShapeError(f"b expects K={groups * Kg} numbers, one per output channel, got {b[0]}")
    for more, step, gap in zip(output_padding, stride, dilation, strict=True):
        if more >= max(step, gap):
            raise ShapeError(f"output_padding={more} must be less than the stride {step} or the dilation {gap}")
    P, Q = Windows((H, W), (w[2], w[3]), stride, padding, dilation).image(output_padding)
    if P < 1 or Q < 1:
        raise ShapeError(f"padding {padding} (top, bottom, left, right) leaves {P} x {Q} of the output; use less padding")
    return (N, groups * Kg, P, Q)


def problem(d: Draw) -> Problem:
    N, C, K, R, S = d.size("N", 3), d.size("C", 4), d.size("K", 4), d.size("R", 3), d.size("S", 3)
    attrs = {name: d.one_of(name, options) for name, options in FORMS.items()}
    attrs["groups"] = d.one_of("groups", [g for g in range(1, C + 1) if C % g == K % g == 0])
    stride, dilation = pair("stride", attrs["stride"]), pair("dilation", attrs["dilation"])
    limit = [max(steps) for steps in zip(stride, dilation, strict=True)]
    attrs["output_padding"] = d.one_of("output_padding", [(i, j) for i in range(limit[0]) for j in range(limit[1])])
    top, bottom, left, right = sides(attrs["padding"], (1, 1), (R, S), stride, dilation)
    (high, wide), (sh, sw) = span((R, S), dilation), stride
    H = d.size("H", 5, least=max(1, 1 - (high - 1 - top - bottom) // sh))  # so that at least one row of y is left
    W = d.size("W", 5, least=max(1, 1 - (wide - 1 - left - right) // sw))
    w = d.array(C, K // attrs["groups"], R, S)
    return Problem((d.array(N, C, H, W), w, d.array(K) if d.flag("bias") else None), attrs)


# the simplest first
FORMS = {
    "stride": (1, 2, (1, 2), (3, 1)),
    "padding": (0, 1, (0, 1), (1, 0, 0, 2), (2, 0, 1, 3)),
    "dilation": (1, 2, (2, 1), (1, 2)),
}

WORKLOADS = {
    "dcgan.layer2": {"N": 128, "C": 1024, "H": 4, "W": 4, "K": 512, "R": 4, "S": 4, "stride": 2, "padding": 1, "bias": False},
    "dcgan.layer4": {"N": 128, "C": 256, "H": 16, "W": 16, "K": 128, "R": 4, "S": 4, "stride": 2, "padding": 1, "bias": False},
    "fcn.upsample2": {"N": 16, "C": 21, "H": 16, "W": 16, "K": 21, "R": 4, "S": 4, "stride": 2, "bias": False},
}


def cost(x: Shape, w: Shape, b: Shape | None, **attrs: Any) -> Cost:
    return Cost(macs=math.prod(x) * math.prod(w[1:]), other=math.prod(shape(x, w, b, **attrs)) if b else 0)


conv_transpose2d = Op(
    "conv_transpose2d",
    "x[N,C,H,W] w[C,Kg,R,S] b[K]? -> y[N,K,P,Q]",
    definition,
    problem,
    doc=__doc__,
    attrs={"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1},
    shape=shape,
    canonical=canonical,
    workloads=WORKLOADS,
    cost=cost,
    sees=lambda x, w, b, *, groups, output_padding, **windows: adjoint(w[2:], **windows),
)
conv_transpose2d.kernel("im2col", im2col.forward, im2col.backward)
conv_transpose2d.kernel("direct", direct.forward, direct.backward)
