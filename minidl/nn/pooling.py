"""Pooling layers. Sizes and padding in every form: see the ops, minidl.max_pool2d and its like."""

from __future__ import annotations

from typing import Any

from minidl.nn.checks import window
from minidl.nn.dropout import keys_for
from minidl.nn.module import Module
from minidl.op import Op
from minidl.ops.adaptive_avg_pool2d import adaptive_avg_pool2d
from minidl.ops.avg_pool2d import avg_pool2d
from minidl.ops.global_avg_pool2d import global_avg_pool2d
from minidl.ops.max_pool2d import max_pool2d
from minidl.ops.stochastic_pool2d import stochastic_pool2d
from minidl.tensor import Tensor
from minidl.window import Pair

Padding = int | tuple[int, ...] | str


class _Pooling(Module):
    """A window slides over every channel by itself."""

    op: Op

    def __init__(self, **attrs: Any):
        size, stride = attrs["kernel_size"], attrs["stride"]
        window(self, attrs["padding"], attrs.get("dilation", 1), kernel_size=size, stride=size if stride is None else stride)
        self.attrs = attrs

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> y [N, C, P, Q]."""
        return self.op(x, **self.attrs)

    def extra_repr(self) -> str:
        """The window, and what differs from the op's defaults."""
        return ", ".join(f"{name}={value!r}" for name, value in self.attrs.items() if value != self.op.attrs[name])


class MaxPool2d(_Pooling):
    """The largest value in each window.

    stride     the window's size if None; smaller: windows overlap
    ceil_mode  one more window for what is left over at the bottom and right
    ties       where several are the largest, 'first' takes the gradient, or 'even' shares it
    """

    op = max_pool2d

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: Padding = 0,
        dilation: int | Pair = 1,
        *,
        ceil_mode: bool = False,
        ties: str = "first",
    ):
        super().__init__(
            kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode, ties=ties
        )


class AvgPool2d(_Pooling):
    """The mean of each window.

    stride             the window's size if None
    ceil_mode          one more window for what is left over at the bottom and right
    count_include_pad  do the zeros of the padding count?
    """

    op = avg_pool2d

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )


class StochasticPool2d(_Pooling):
    """In training one value of each window, drawn in proportion to what it is; in evaluation what is drawn on average.

    stride     the window's size if None; smaller: windows overlap
    ceil_mode  one more window for what is left over at the bottom and right

    It stands behind a ReLU: see minidl.stochastic_pool2d. Each image takes a key from the stream of `minidl.manual_seed`, in
    training only.
    """

    op = stochastic_pool2d

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
    ):
        super().__init__(kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W], 0 or more -> y [N, C, P, Q]."""
        key = keys_for(x, self.training)
        return stochastic_pool2d(x, key=key, training=self.training, **self.attrs)


class AdaptiveAvgPool2d(Module):
    """The means of P x Q windows that cover feature maps of any size.

    output_size  P, Q: an int or a pair; None in a pair keeps the map's own size
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] = 1):
        given = tuple(n if n is not None else 1 for n in output_size) if isinstance(output_size, tuple) else output_size
        window(self, output_size=given)
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> y [N, C, P, Q]."""
        if self.output_size in (1, (1, 1)):
            return global_avg_pool2d(x)
        return adaptive_avg_pool2d(x, output_size=self.output_size)

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"output_size={self.output_size}"
