"""Activation layers: one op on every element. Formulas, gradients, pros and cons are the ops' docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.nn.checks import whole
from minidl.nn.module import Module, Parameter
from minidl.op import Op
from minidl.ops import activations as modern
from minidl.ops import activations_classic as classic
from minidl.ops.arithmetic import absolute, cos
from minidl.ops.log_softmax import log_softmax
from minidl.ops.maxout import maxout
from minidl.ops.prelu import prelu
from minidl.ops.softmax import softmax
from minidl.tensor import Tensor


class Activation(Module):
    """A layer without parameters of its own: it calls `op`, and takes the op's attributes, by position or by name.

    >>> nn.ReLU(), nn.LeakyReLU(0.1), nn.Softplus(beta=2.0)
    (ReLU(), LeakyReLU(negative_slope=0.1), Softplus(beta=2.0))
    """

    op: Op

    def __init__(self, *args: Any, **attrs: Any):
        names = list(self.op.attrs)
        unknown = [name for name in attrs if name not in names or name in names[: len(args)]]
        if len(args) > len(names) or unknown:
            takes = ", ".join(f"{name}={value!r}" for name, value in self.op.attrs.items()) or "no arguments"
            raise TypeError(f"{type(self).__name__}: it takes {takes}; got {_call(args, attrs)}")
        self.attrs = {**dict(zip(names, args, strict=False)), **attrs}

    def forward(self, x: Tensor) -> Tensor:
        """x -> y."""
        return self.op(x, **self.attrs)

    def extra_repr(self) -> str:
        """The arguments that were given."""
        return ", ".join(f"{name}={value!r}" for name, value in self.attrs.items())


def _call(args: tuple, attrs: dict[str, Any]) -> str:
    return f"({', '.join([repr(a) for a in args] + [f'{name}={value!r}' for name, value in attrs.items()])})"


def _layer(name: str, op: Op) -> type[Activation]:
    return type(name, (Activation,), {"op": op, "__doc__": op.__doc__, "__module__": __name__})


# PyTorch's names where PyTorch has the function
ReLU = _layer("ReLU", modern.relu)
LeakyReLU = _layer("LeakyReLU", modern.leaky_relu)
ReLU6 = _layer("ReLU6", modern.relu6)
ELU = _layer("ELU", modern.elu)
SiLU = _layer("SiLU", modern.silu)
GELU = _layer("GELU", modern.gelu)
Softplus = _layer("Softplus", modern.softplus)
Sigmoid = _layer("Sigmoid", modern.sigmoid)
Tanh = _layer("Tanh", modern.tanh)
Hardtanh = _layer("Hardtanh", modern.hardtanh)
Identity = _layer("Identity", classic.identity)

# the course notes' others
BinaryStep = _layer("BinaryStep", classic.binary_step)
PiecewiseLinear = _layer("PiecewiseLinear", classic.piecewise_linear)
Arctan = _layer("Arctan", classic.arctan)
LeCunTanh = _layer("LeCunTanh", classic.lecun_tanh)
Multiquadric = _layer("Multiquadric", classic.multiquadric)
InverseMultiquadric = _layer("InverseMultiquadric", classic.inverse_multiquadric)
Gaussian = _layer("Gaussian", classic.gaussian)
Logit = _layer("Logit", classic.logit)
Probit = _layer("Probit", classic.probit)
Absolute = _layer("Absolute", absolute)
Cosine = _layer("Cosine", cos)
Maxout = _layer("Maxout", maxout)


class PReLU(Module):
    """y = x where x > 0, else weight x: a leaky ReLU that learns its slope.

    weight [num_parameters]: one slope for all channels (1) or one for each; starts at `init`
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25):
        self.num_parameters = whole(self, "num_parameters", num_parameters)
        self.weight = Parameter(np.full(self.num_parameters, init, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, ...] -> y of the same shape."""
        return prelu(x, self.weight)

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"num_parameters={self.num_parameters}"


class _AlongAxis(Module):
    op: Op

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x -> y of the same shape."""
        return self.op(x, axis=self.dim)

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """Probabilities along `dim`. A model that is trained with CrossEntropyLoss ends without it."""

    op = softmax


class LogSoftmax(_AlongAxis):
    """Logarithms of probabilities along `dim`."""

    op = log_softmax
