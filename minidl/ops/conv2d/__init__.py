"""Two-dimensional convolution (cross-correlation: the filter is not flipped).

    y[n,k,p,q] = b[k] + sum_{c,r,s} x[n, c, p*sh + r*dh - top, q*sw + s*dw - left] w[k,c,r,s]

    dx : y's terms read the other way, dy times w       dw : dy times x       db : the sum of dy over n, p, q

    x [N, C, H, W]   w [K, C / groups, R, S]   b [K] or None   y [N, K, P, Q]
    P = floor((H + top + bottom - dh (R - 1) - 1) / sh) + 1,   Q likewise
    saved : (x, w); Winograd's (x, U), the transformed filters

stride    sh, sw: an int or a pair
padding   zeros around x: an int, (rows, columns), (top, bottom, left, right), 'valid' (none) or 'same' (P = ceil(H / sh), the
          odd zero at the bottom or right; PyTorch's at stride 1, which refuses others, and TensorFlow's at all)
dilation  dh, dw: the step between the positions of one window, an int or a pair
groups    g: x's channels and the filters fall into g parts, and each filter sees the channels of its own part

Kernels, a ladder to climb:
    direct      loops, to be read first
    shifts      R*S matrix products, little memory
    im2col      one matrix product for the whole batch: every window unrolled into a row
    chunked     im2col in slices of the batch, whose rows stay in the cache; slices go to threads (`minidl.threads`)
    gemm_1x1    1x1 filters: nothing to unroll
    winograd    tiles of 4x4 outputs, by fewer products (3x3: a quarter); winograd5: of 5x5. float32 rounds a little more
    fft         products of frequencies: large filters, large batches
and on a GPU, where the formulas above run, too:
    cuda_winograd       the tiles of winograd, to and fro by CUDA kernels; in float32
    cuda_implicit_gemm  im2col's product on tensor cores, the columns never in memory; in tf32 and bf16 (`minidl.precision`)
    cuda_im2col         the columns of im2col by a CUDA kernel, and another that gathers what goes back
Who names none (`conv2d.using`) has the one expected to be the fastest in float32, and im2col in other types; on a GPU the first
of these that a GPU has verified, that is meant for the precision, and that can do the problem, or else im2col. `conv2d.explain`
shows what is expected of each on the host.

>>> x, w = [[[[1, 2, 3], [4, 5, 6]]]], [[[[1, 2], [3, 4]]]]
>>> minidl.conv2d(x, w).numpy().tolist()  # 1*1 + 2*2 + 3*4 + 4*5, then one step to the right
[[[[37.0, 47.0]]]]
>>> minidl.conv2d.shape((128, 3, 227, 227), (96, 3, 11, 11), None, stride=4)  # AlexNet's conv1
(128, 96, 55, 55)

Source: LeCun, Bottou, Bengio, Haffner 1998, section II; sizes: Dumoulin, Visin 2016.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.conv2d import (
    auto,
    cuda_im2col,
    cuda_implicit_gemm,
    cuda_winograd,
    direct,
    fft,
    gemm_1x1,
    im2col,
    shifts,
    winograd,
)
from minidl.ops.groups import check_groups
from minidl.receptive_field import window
from minidl.signature import Shape, ShapeError
from minidl.window import Pair, Sides, Windows, least_image, pair, sides


def definition(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> np.ndarray:
    (N, _, H, W), (K, Cg, R, S) = x.shape, w.shape
    (sh, sw), (dh, dw), (top, bottom, left, right) = stride, dilation, padding
    rows = range(-top, H + bottom - dh * (R - 1), sh)  # the first row of every window
    columns = range(-left, W + right - dw * (S - 1), sw)
    y = np.zeros((N, K, len(rows), len(columns)))
    for (n, k), (p, h), (q, v) in product(np.ndindex(N, K), enumerate(rows), enumerate(columns)):
        for c, r, s in product(range(Cg), range(R), range(S)):
            if 0 <= h + dh * r < H and 0 <= v + dw * s < W:
                y[n, k, p, q] += x[n, k * groups // K * Cg + c, h + dh * r, v + dw * s] * w[k, c, r, s]
        if b is not None:
            y[n, k, p, q] += b[k]
    return y


def canonical(shapes: tuple, attrs: dict[str, Any]) -> dict[str, Any]:
    image, size = shapes[0][2:], shapes[1][2:]
    stride, dilation = pair("stride", attrs["stride"]), pair("dilation", attrs["dilation"])
    padding = sides(attrs["padding"], image, size, stride, dilation)
    return {**attrs, "stride": stride, "padding": padding, "dilation": dilation}


def shape(x: Shape, w: Shape, b: Shape | None, *, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> Shape:
    (N, C), (K, Cg) = x[:2], w[:2]
    check_groups(groups, C=C, K=K)
    if Cg * groups != C:
        each = f" ({Cg} in each of {groups} groups)" if groups > 1 else ""
        raise ShapeError(f"w expects C={Cg * groups} input channels{each} but x has C={C}")
    return (N, K, *Windows.over(x, w, stride, padding, dilation).grid)


def problem(d: Draw) -> Problem:
    N, C, K, R, S = d.size("N", 3), d.size("C", 4), d.size("K", 4), d.size("R", 3), d.size("S", 3)
    attrs = {name: d.one_of(name, options) for name, options in FORMS.items()}
    attrs["groups"] = d.one_of("groups", [g for g in range(1, C + 1) if C % g == K % g == 0])
    H, W = least_image(attrs["padding"], (R, S), *(pair(name, attrs[name]) for name in ("stride", "dilation")))
    x = d.array(N, C, d.size("H", 6, least=H), d.size("W", 6, least=W))
    w = d.array(K, C // attrs["groups"], R, S)
    return Problem((x, w, d.array(K) if d.flag("bias") else None), attrs)


# every form in which a user may write them, the simplest first
FORMS = {
    "stride": (1, 2, (1, 2), (3, 1)),
    "padding": (0, 1, (0, 1), (1, 0, 0, 2), (2, 0, 1, 3), "same", "valid"),
    "dilation": (1, 2, (2, 1), (1, 2)),
}


def layer(N: int, C: int, H: int, K: int, R: int, *, bias: bool = True, **attrs: Any) -> dict[str, Any]:
    """A workload with square images and filters."""
    return {"N": N, "C": C, "H": H, "W": H, "K": K, "R": R, "S": R, "bias": bias, **attrs}


WORKLOADS = {
    "lenet.C1": layer(128, 1, 32, 6, 5),
    "lenet.C3": layer(128, 6, 14, 16, 5),
    "lenet.C5": layer(128, 16, 5, 120, 5),
    "alexnet.conv1": layer(128, 3, 227, 96, 11, stride=4),
    "alexnet.conv2": layer(128, 96, 27, 256, 5, padding=2, groups=2),
    "alexnet.conv3": layer(128, 256, 13, 384, 3, padding=1),
    "alexnet.conv4": layer(128, 384, 13, 384, 3, padding=1, groups=2),
    "alexnet.conv5": layer(128, 384, 13, 256, 3, padding=1, groups=2),
    **{
        f"vgg16.conv{name}": layer(64, C, H, K, 3, padding=1)
        for name, C, H, K in (
            ("1_1", 3, 224, 64),
            ("1_2", 64, 224, 64),
            ("2_1", 64, 112, 128),
            ("2_2", 128, 112, 128),
            ("3_1", 128, 56, 256),
            ("3_2", 256, 56, 256),
            ("4_1", 256, 28, 512),
            ("4_2", 512, 28, 512),
            ("5_1", 512, 14, 512),
        )
    },
    **{
        f"googlenet.4a.{name}": layer(128, C, 14, K, R, padding=R // 2)
        for name, C, K, R in (
            ("1x1", 480, 192, 1),
            ("3x3_reduce", 480, 96, 1),
            ("3x3", 96, 208, 3),
            ("5x5_reduce", 480, 16, 1),
            ("5x5", 16, 48, 5),
            ("pool_proj", 480, 64, 1),
        )
    },
    "inception_v3.1a": layer(32, 3, 299, 32, 3, stride=2, bias=False),
    "inception_v3.2a": layer(32, 32, 149, 32, 3, bias=False),
    "inception_v3.6b.1x7": {**layer(32, 128, 17, 128, 1, bias=False, padding=(0, 3)), "S": 7},
    "inception_v3.6b.7x1": {**layer(32, 128, 17, 128, 7, bias=False, padding=(3, 0)), "S": 1},
    "resnet50.conv1": layer(128, 3, 224, 64, 7, stride=2, padding=3, bias=False),
    "resnet50.1x1_reduce": layer(128, 256, 56, 64, 1, bias=False),
    "resnet50.1x1_expand": layer(128, 64, 56, 256, 1, bias=False),
    "resnet50.3x3": layer(128, 64, 56, 64, 3, padding=1, bias=False),
    "resnet50.3x3_stride2": layer(128, 128, 56, 128, 3, stride=2, padding=1, bias=False),
    "resnet50.1x1_stride2": layer(128, 256, 56, 512, 1, stride=2, bias=False),
    "resnet20.3x3": layer(128, 16, 32, 16, 3, padding=1, bias=False),
    "resnet20.3x3_stride2": layer(128, 16, 32, 32, 3, stride=2, padding=1, bias=False),
    "alphanet.32.5x5": layer(32, 16, 32, 16, 5, padding="same", bias=False),
    "alphanet.224.5x5": layer(32, 512, 7, 512, 5, padding="same", bias=False),
    "convnet_benchmarks.L1": layer(128, 3, 128, 96, 11, bias=False),
    "convnet_benchmarks.L2": layer(128, 64, 64, 128, 9, bias=False),
    "convnet_benchmarks.L3": layer(128, 128, 32, 128, 9, bias=False),
    "convnet_benchmarks.L4": layer(128, 128, 16, 128, 7, bias=False),
    "convnet_benchmarks.L5": layer(128, 384, 13, 384, 3, bias=False),
}


def cost(x: Shape, w: Shape, b: Shape | None, **attrs: Any) -> Cost:
    y = shape(x, w, b, **attrs)
    return Cost(macs=math.prod(y) * math.prod(w[1:]), other=math.prod(y) if b else 0)


conv2d = Op(
    "conv2d",
    "x[N,C,H,W] w[K,Cg,R,S] b[K]? -> y[N,K,P,Q]",
    definition,
    problem,
    doc=__doc__,
    attrs={"stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    shape=shape,
    canonical=canonical,
    workloads=WORKLOADS,
    cost=cost,
    sees=lambda x, w, b, *, groups, **windows: window(w[2:], **windows),
    forecast=auto.forecast,
)
conv2d.kernel("direct", direct.forward, direct.backward)
conv2d.kernel("shifts", shifts.forward, shifts.backward)
conv2d.kernel("im2col", im2col.forward, im2col.backward, sliced=False)  # the whole batch: one product, BLAS's threads
conv2d.kernel("chunked", im2col.forward, im2col.backward, workspace=im2col.columns)  # slices whose columns stay in the cache
conv2d.kernel("gemm_1x1", gemm_1x1.forward, gemm_1x1.backward, refuses=gemm_1x1.refuses)
conv2d.kernel("winograd", **winograd.rung(4))
conv2d.kernel("winograd5", **winograd.rung(5))
conv2d.kernel("fft", fft.forward, fft.backward, refuses=fft.refuses, sliced=False)
# on a GPU the first of these that a GPU has verified, and that does not refuse: the fastest first
conv2d.kernel(
    "cuda_winograd",
    cuda_winograd.forward,
    cuda_winograd.backward,
    refuses=cuda_winograd.refuses,
    prepare={"w": (cuda_winograd.transform, cuda_winograd.adjoint)},
    source=cuda_winograd.SOURCE,
    precisions=("float32",),
    sliced=False,
    half=False,
)
conv2d.kernel(
    "cuda_implicit_gemm",
    cuda_implicit_gemm.forward,
    cuda_implicit_gemm.backward,
    source=cuda_implicit_gemm.SOURCE,
    precisions=("tf32", "bf16"),
    sliced=False,
    half=False,
)
conv2d.kernel(
    "cuda_im2col",
    cuda_im2col.forward,
    cuda_im2col.backward,
    refuses=cuda_im2col.refuses,
    source=cuda_im2col.SOURCE,
    sliced=False,
)
conv2d.default = "im2col"
