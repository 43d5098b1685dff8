"""Dense layers: every output sees every input."""

from __future__ import annotations

from minidl.nn import init
from minidl.nn.checks import whole
from minidl.nn.module import Module, Parameter
from minidl.ops.linear import linear
from minidl.ops.shape import flatten
from minidl.tensor import Tensor


class Linear(Module):
    """y = x w^T + b.

    weight [out_features, in_features], bias [out_features] or None; both start uniform in [-1, 1] / sqrt(in_features)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        self.in_features = whole(self, "in_features", in_features)
        self.out_features = whole(self, "out_features", out_features)
        self.weight = Parameter.zeros(self.out_features, self.in_features)
        self.bias = Parameter.zeros(self.out_features) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        init.default_(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, in_features] -> y [N, out_features]."""
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """Dimensions start_dim to end_dim as one; by default [N, C, H, W] -> [N, C*H*W]."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """The same values in another shape."""
        return flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
