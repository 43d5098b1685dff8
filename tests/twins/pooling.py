"""Pooling in PyTorch: padding that is not the same on both sides, or more than half of an undilated window, is added before.

With ceil_mode PyTorch then takes the padding below for image, and may make a window more: it is cut off.
"""

from typing import Any


def max_pool2d(
    x: Any, *, kernel_size: tuple, stride: tuple, padding: tuple, dilation: tuple, ceil_mode: bool, ties: str
) -> Any:
    from torch.nn import functional

    top, bottom, left, right = padding
    if (top, left) == (bottom, right) and 2 * top <= kernel_size[0] and 2 * left <= kernel_size[1]:
        return functional.max_pool2d(x, kernel_size, stride, (top, left), dilation, ceil_mode)
    around = functional.pad(x, (left, right, top, bottom), value=float("-inf"))
    return started_inside(
        functional.max_pool2d(around, kernel_size, stride, 0, dilation, ceil_mode), x, stride, padding, ceil_mode
    )


def avg_pool2d(x: Any, *, kernel_size: tuple, stride: tuple, padding: tuple, ceil_mode: bool, count_include_pad: bool) -> Any:
    import torch
    from torch.nn import functional

    top, bottom, left, right = padding
    if (top, left) == (bottom, right):
        return functional.avg_pool2d(x, kernel_size, stride, (top, left), ceil_mode, count_include_pad)

    def average(values: Any) -> Any:
        y = functional.avg_pool2d(functional.pad(values, (left, right, top, bottom)), kernel_size, stride, 0, ceil_mode)
        return started_inside(y, x, stride, padding, ceil_mode)

    return average(x) if count_include_pad else average(x) / average(torch.ones_like(x))


def started_inside(y: Any, x: Any, stride: tuple, padding: tuple, ceil_mode: bool) -> Any:
    """Without the windows that start after the image."""
    if not ceil_mode:
        return y
    rows, columns = -(-(padding[0] + x.shape[2]) // stride[0]), -(-(padding[2] + x.shape[3]) // stride[1])
    return y[:, :, :rows, :columns]


def global_avg_pool2d(x: Any) -> Any:
    from torch.nn import functional

    return functional.adaptive_avg_pool2d(x, 1)


def adaptive_avg_pool2d(x: Any, *, output_size: tuple) -> Any:
    from torch.nn import functional

    return functional.adaptive_avg_pool2d(x, output_size)


TWINS = {"max_pool2d": max_pool2d, "avg_pool2d": avg_pool2d, "global_avg_pool2d": global_avg_pool2d} | {
    "adaptive_avg_pool2d": adaptive_avg_pool2d
}
