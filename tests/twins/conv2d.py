"""Convolution in PyTorch: padding that is not the same on both sides is added before."""

from typing import Any


def conv2d(x: Any, w: Any, b: Any, *, stride: tuple, padding: tuple, dilation: tuple, groups: int) -> Any:
    from torch.nn import functional

    top, bottom, left, right = padding
    if (top, left) == (bottom, right):
        return functional.conv2d(x, w, b, stride, (top, left), dilation, groups)
    return functional.conv2d(functional.pad(x, (left, right, top, bottom)), w, b, stride, 0, dilation, groups)


TWINS = {"conv2d": conv2d}
