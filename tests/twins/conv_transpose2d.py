"""Transposed convolution in PyTorch: padding that is not the same on both sides is cut off after."""

from typing import Any


def conv_transpose2d(
    x: Any, w: Any, b: Any, *, stride: tuple, padding: tuple, output_padding: tuple, groups: int, dilation: tuple
) -> Any:
    from torch.nn import functional

    top, bottom, left, right = padding
    if (top, left) == (bottom, right):
        return functional.conv_transpose2d(x, w, b, stride, (top, left), output_padding, groups, dilation)
    y = functional.conv_transpose2d(x, w, b, stride, 0, output_padding, groups, dilation)
    return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


TWINS = {"conv_transpose2d": conv_transpose2d}
