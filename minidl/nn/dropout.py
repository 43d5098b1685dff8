"""Dropout."""

from __future__ import annotations

import numpy as np

from minidl.backend import Array, blank, xp_of
from minidl.nn.checks import number
from minidl.nn.module import Module
from minidl.ops.dropout import dropout
from minidl.random import stream
from minidl.tensor import Tensor


def keys_for(x: Tensor, training: bool) -> Array:
    """uint64 [N, 2]: in training the stream's next, one an image; in evaluation, which uses none, blanks that lie where x
    lies, so that nothing is drawn and nothing moved."""
    if training:
        return stream().keys(len(x))
    return blank((len(x), 2), np.uint64, xp_of(x.data if isinstance(x, Tensor) else x))


class Dropout(Module):
    """In training every value is dropped with probability p.

    style  'inverted': what is kept is divided by 1 - p, evaluation passes x on (PyTorch's)
           'paper': what is kept stays, evaluation multiplies by 1 - p (Krizhevsky et al. 2012)

    Each image takes a key from the stream of `minidl.manual_seed`, in training only: an evaluation in between changes no bit
    of what follows.
    """

    def __init__(self, p: float = 0.5, *, style: str = "inverted"):
        self.p, self.style = number(self, "p", p, least=0, below=1), style

    def forward(self, x: Tensor) -> Tensor:
        """x [N, ...] -> y of the same shape."""
        key = keys_for(x, self.training)
        return dropout(x, key=key, p=self.p, style=self.style, training=self.training)

    def extra_repr(self) -> str:
        """The probability to drop, and the style."""
        return f"p={self.p}" + (f", style={self.style!r}" if self.style != "inverted" else "")
