"""Dropout: in training each value is kept with probability 1 - p, by a mask that is drawn from a key and never stored.

    style         training             evaluation
    'inverted'    y = x keep / (1-p)   y = x            PyTorch's, the default
    'paper'       y = x keep           y = x (1-p)      Krizhevsky et al. 2012: 'multiply their outputs by 0.5'

    keep_i = [u_i >= p 2^32],  u = the key's 32-bit Philox words        dx = the same map, applied to dy

    x, y  : [N, ...]   key : [N, 2], one per image, so that an image's mask does not depend on its batch
    saved : (key,): 16 bytes per image; backward draws the mask again

Kernels: `philox` (the formulas, the default), `cuda` (in one pass: the mask is never in memory).

The key may be left out: then the op takes the next N keys of the stream that minidl.manual_seed sets. It is not used in
evaluation. p is the probability to drop, in [0, 1).

>>> key = minidl.random.Stream(seed=3).keys(1)
>>> minidl.dropout([[1.0] * 8], key=key, p=0.5).numpy().tolist()  # what is kept is doubled: the mean stays
[[2.0, 2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 2.0]]

Source: Krizhevsky, Sutskever, Hinton 2012, section 4.2; Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.dropout import cuda
from minidl.random import random_bits
from minidl.receptive_field import each
from minidl.signature import Shape, ShapeError


def dropped(a: Array, key: Array, p: float, style: str, training: bool) -> Array:
    """The map of forward. It is linear and each output sees one input, so backward applies it to dy."""
    if not training:
        return a if style == "inverted" else a * (1 - p)
    bits = random_bits(key, a.size // len(a))
    keep = (bits >= int(p * 2**32)).reshape(a.shape)
    return a * keep * (1 / (1 - p)) if style == "inverted" else a * keep


def forward(x: Array, key: Array, *, p: float, style: str, training: bool) -> tuple[Array, tuple]:
    return dropped(x, key, p, style, training), (key,)


def backward(dy: Array, saved: tuple, needs: tuple, *, p: float, style: str, training: bool) -> tuple:
    (key,) = saved
    return dropped(dy, key, p, style, training), None


def definition(x: np.ndarray, key: np.ndarray, *, p: float, style: str, training: bool) -> np.ndarray:
    y = np.empty((len(x), x[0].size))
    for n, image in enumerate(x.reshape(y.shape)):
        words = [int(word) for word in np.random.Philox(key=key[n]).random_raw(len(image) // 2 + 1)]
        halves = [half for word in words for half in (word % 2**32, word >> 32)]
        for i, value in enumerate(image):
            keep = halves[i] / 2**32 >= p
            trained = {"inverted": keep / (1 - p), "paper": keep}
            evaluated = {"inverted": 1, "paper": 1 - p}
            y[n, i] = value * (trained if training else evaluated)[style]
    return y.reshape(x.shape)


def shape(x: Shape, key: Shape, *, p: float, style: str, **_: object) -> Shape:
    if not 0 <= p < 1:
        raise ShapeError(f"p is the probability to drop, in [0, 1), got p={p}")
    if style not in ("inverted", "paper"):
        raise ShapeError(f"style must be 'inverted' or 'paper', got {style!r}")
    return x


def problem(d: Draw) -> Problem:
    N, spatial = d.size("N", 4), d.flag("spatial")
    dims = (d.size("C", 3), d.size("H", 3), d.size("W", 3)) if spatial else (d.size("D", 12),)
    attrs = {name: d.one_of(name, options) for name, options in LOUD.items()}
    return Problem((d.array(N, *dims), d.keys(N)), attrs)


LOUD = {"p": (0.5, 0.25, 0.0, 0.1, 0.3, 0.8), "style": ("inverted", "paper"), "training": (True, False)}

dropout = Op(
    "dropout",
    "x[N,...] key[N,2]:key -> y[N,...]",
    definition,
    problem,
    doc=__doc__,
    attrs={"p": 0.5, "style": "inverted", "training": True},
    shape=shape,
    workloads={
        "alexnet.fc6": {"N": 128, "D": 4096, "spatial": False, "style": "paper"},
        "vgg16.fc6": {"N": 64, "D": 4096, "spatial": False},
        "googlenet.head": {"N": 128, "D": 1024, "spatial": False, "p": 0.7},
        "googlenet": {"N": 128, "D": 1024, "spatial": False, "p": 0.4},
        "inception_v3": {"N": 32, "D": 2048, "spatial": False},
    },
    cost=lambda x, *_, **__: Cost(other=2 * math.prod(x)),
    sees=each,
)
dropout.kernel("philox", forward, backward, analytic=True)
dropout.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE)
