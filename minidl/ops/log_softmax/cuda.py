"""The logarithm of softmax on the GPU, by softmax.cu.

saved : (y,) with the axis last, of a half type in float32
"""

from __future__ import annotations

from minidl.backend import Array
from minidl.cuda import Source
from minidl.ops.softmax import cuda as softmax

SOURCE = Source(softmax.__file__, "softmax.cu")


def forward(x: Array, *, axis: int) -> tuple[Array, tuple]:
    return softmax.forward_of(x, axis, SOURCE, logs=True)


def backward(dy: Array, saved: tuple, needs: tuple, *, axis: int) -> tuple:
    return softmax.backward_of(dy, saved, axis, SOURCE, logs=True)
