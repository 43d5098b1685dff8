"""Convolution layers. Sizes and padding in every form: see minidl.conv2d."""

from __future__ import annotations

from typing import Any

from minidl.nn import init
from minidl.nn.checks import whole, window
from minidl.nn.module import Module, Parameter
from minidl.ops.conv2d import conv2d
from minidl.ops.conv_transpose2d import conv_transpose2d
from minidl.tensor import Tensor
from minidl.window import Pair, pair

Padding = int | tuple[int, ...] | str


class _Convolution(Module):
    """What both directions share; weight and bias start uniform in [-1, 1] / sqrt(fan_in)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | Pair, bias: bool, **attrs: Any):
        self.in_channels = whole(self, "in_channels", in_channels)
        self.out_channels = whole(self, "out_channels", out_channels)
        groups = whole(self, "groups", attrs["groups"])
        if in_channels % groups or out_channels % groups:
            given = f"in_channels={in_channels}, out_channels={out_channels}, groups={groups}"
            raise ValueError(f"{type(self).__name__}: groups must divide both numbers of channels; got {given}")
        window(self, attrs["padding"], attrs["dilation"], kernel_size=kernel_size, stride=attrs["stride"])
        self.kernel_size, self.attrs = pair("kernel_size", kernel_size), attrs
        self.weight = Parameter.zeros(*self.filters(groups), *self.kernel_size)
        self.bias = Parameter.zeros(self.out_channels) if bias else None
        self.reset_parameters()

    def filters(self, groups: int) -> Pair:
        """The first two dimensions of the weight."""
        return self.out_channels, self.in_channels // groups

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        init.default_(self.weight, self.bias)

    def extra_repr(self) -> str:
        """Channels, kernel size, and what differs from the plainest convolution."""
        plain = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
        words = [str(self.in_channels), str(self.out_channels), f"kernel_size={self.kernel_size}"]
        words += [f"{name}={value!r}" for name, value in self.attrs.items() if value != plain[name]]
        return ", ".join(words + ["bias=False"] * (self.bias is None))


class Conv2d(_Convolution):
    """y = x * w + b: `out_channels` filters slide over the image.

    weight [out_channels, in_channels / groups, R, S], bias [out_channels] or None
    padding  an int, (rows, columns), (top, bottom, left, right), 'same' or 'valid'
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        super().__init__(in_channels, out_channels, kernel_size, bias, **attrs)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, in_channels, H, W] -> y [N, out_channels, P, Q]."""
        return conv2d(x, self.weight, self.bias, **self.attrs)


class ConvTranspose2d(_Convolution):
    """The adjoint of Conv2d, as a layer: each pixel of x paints its filter onto y, stride apart.

    weight [in_channels, out_channels / groups, R, S], bias [out_channels] or None
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Pair = 1,
    ):
        attrs = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation, "groups": groups}
        super().__init__(in_channels, out_channels, kernel_size, bias, **attrs)

    def filters(self, groups: int) -> Pair:
        """Inputs first: the weight of the convolution whose adjoint this is."""
        return self.in_channels, self.out_channels // groups

    def forward(self, x: Tensor) -> Tensor:
        """x [N, in_channels, P, Q] -> y [N, out_channels, H, W]."""
        return conv_transpose2d(x, self.weight, self.bias, **self.attrs)
