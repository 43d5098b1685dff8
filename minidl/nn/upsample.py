"""Enlarging feature maps."""

from __future__ import annotations

from minidl.nn.checks import window
from minidl.nn.module import Module
from minidl.ops.upsample import upsample
from minidl.tensor import Tensor


class Upsample(Module):
    """Feature maps `scale_factor` times as high and wide.

    scale_factor   a whole number, or a pair (rows, columns)
    mode           'nearest' or 'bilinear'
    align_corners  bilinear: do the corner pixels keep their values and places?
    """

    def __init__(self, *, scale_factor: int | tuple[int, int], mode: str = "nearest", align_corners: bool = False):
        window(self, scale_factor=scale_factor)
        self.scale_factor, self.mode, self.align_corners = scale_factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> y [N, C, s H, s W]."""
        return upsample(x, scale=self.scale_factor, mode=self.mode, align_corners=self.align_corners)

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"scale_factor={self.scale_factor}, mode={self.mode!r}"
