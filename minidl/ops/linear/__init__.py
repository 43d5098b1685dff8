"""Fully connected layer.

    y = x w^T + b         dx = dy w         dw = dy^T x         db = sum_n dy

    x [N,...,D]   w [K,D]   b [K], may be left out   y [N,...,K]
    saved         (x, w)

Dimensions between N and D (the steps of a sequence) count as more rows of one matrix product.

Kernels: `gemm` (the library's matrix product: below), `cuda` (our own, which adds the bias as it writes; chosen by name
alone, for cuBLAS is expected to be faster).

>>> w = Tensor([[3.0, 4.0], [5.0, 6.0]], requires_grad=True)
>>> y = minidl.linear([[1.0, 2.0]], w, [0.5, -0.5])
>>> y.numpy().tolist()  # 1*3 + 2*4 + 0.5 and 1*5 + 2*6 - 0.5
[[11.5, 16.5]]
>>> y.backward([[1.0, 10.0]])
>>> w.grad.tolist()  # dy^T x
[[1.0, 2.0], [10.0, 20.0]]
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.gemm import add_rows, gemm
from minidl.ops.linear import cuda
from minidl.ops.matmul import rows
from minidl.receptive_field import everything_in_a_row
from minidl.signature import Shape


def forward(x: Array, w: Array, b: Array | None) -> tuple[Array, tuple]:
    y = gemm(w, rows(x).T).T  # not rows(x) @ w.T: OpenBLAS is 1.1 (N=128) to 1.4 (N=32) times as fast so in fc6
    if b is not None:
        y += b
    return y.reshape(*x.shape[:-1], len(w)), (x, w)


def backward(dy: Array, saved: tuple, needs: tuple) -> tuple:
    x, w = saved
    dx = gemm(rows(dy), w).reshape(x.shape) if needs[0] else None
    dw = gemm(rows(dy).T, rows(x)) if needs[1] else None
    db = add_rows(rows(dy)) if needs[2] else None
    return dx, dw, db


def definition(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    K, D = w.shape
    y = np.empty((*x.shape[:-1], K))
    for place in np.ndindex(x.shape[:-1]):
        for k in range(K):
            y[(*place, k)] = sum(x[(*place, j)] * w[k, j] for j in range(D)) + (0.0 if b is None else b[k])
    return y


def problem(d: Draw) -> Problem:
    N, D, K = d.size("N", 4), d.size("D", 6), d.size("K", 5)
    steps = (d.size("T", 3), d.size("S", 2))[: d.one_of("dimensions between", (0, 1, 2))]
    return Problem((d.array(N, *steps, D), d.array(K, D), d.array(K) if d.one_of("bias", (True, False)) else None), {})


def cost(x: Shape, w: Shape, b: Shape | None) -> Cost:
    y = math.prod(x[:-1]) * w[0]
    return Cost(macs=y * w[1], other=y if b else 0)


def layer(N: int, D: int, K: int) -> dict[str, int]:
    return {"N": N, "D": D, "K": K, "T": 1, "S": 1, "dimensions between": 0, "bias": True}


linear = Op(
    "linear",
    "x[N,...,D] w[K,D] b[K]? -> y[N,...,K]",
    definition,
    problem,
    doc=__doc__,
    workloads={
        "lenet.F6": layer(128, 120, 84),
        "lenet.output": layer(128, 84, 10),
        "alexnet.fc6": layer(128, 9216, 4096),
        "alexnet.fc7": layer(128, 4096, 4096),
        "alexnet.fc8": layer(128, 4096, 1000),
        "vgg16.fc6": layer(64, 25088, 4096),
        "googlenet.head.fc1": layer(128, 2048, 1024),
        "googlenet.fc": layer(128, 1024, 1000),
        "inception_v3.fc": layer(32, 2048, 1000),
        "resnet50.fc": layer(128, 2048, 1000),
        "resnet20.fc": layer(128, 64, 10),
        "alphanet.32.fc": layer(32, 64, 10),
    },
    cost=cost,
    sees=everything_in_a_row,
)
linear.kernel("gemm", forward, backward, sliced=False)
linear.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE, sliced=False, precisions=())
