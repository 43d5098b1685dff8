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


def stochastic_pool2d(
    x: Any, key: Any, *, kernel_size: tuple, stride: tuple, padding: tuple, ceil_mode: bool, training: bool
) -> Any:
    """PyTorch has none: its windows, sums and choice, and the numbers of our stream."""
    import torch
    from torch.nn import functional

    from minidl.random import random_uniforms

    top, bottom, left, right = padding
    (R, S), (down, across) = kernel_size, stride
    around = functional.pad(x, (left, right + (across - 1) * ceil_mode, top, bottom + (down - 1) * ceil_mode))
    windows = started_inside(
        around.unfold(2, R, down).unfold(3, S, across), x, stride, padding, ceil_mode
    )  # [N, C, P, Q, R, S]
    if not training:
        return (windows * windows).sum((4, 5)) / windows.sum((4, 5))
    N, C, P, Q = windows.shape[:4]
    u = torch.from_numpy(random_uniforms(key.cpu().numpy(), P * Q * C)).to(x.device).reshape(N, P, Q, C).permute(0, 3, 1, 2)
    bounds, above = [], torch.zeros_like(u)
    for row in windows.detach().float().unbind(4):
        along = torch.zeros_like(u)
        for value in row.unbind(4):
            along = along + value
            bounds.append(above + along)
        above = above + along
    number = (torch.stack(bounds) <= u * above).sum(0)
    return windows.flatten(4).gather(4, number[..., None])[..., 0]


TWINS = {"max_pool2d": max_pool2d, "avg_pool2d": avg_pool2d, "global_avg_pool2d": global_avg_pool2d} | {
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "stochastic_pool2d": stochastic_pool2d,
}
