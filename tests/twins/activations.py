"""Activations in PyTorch: its own where it has them, else the formula written in torch and differentiated by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twins.pointwise import named


def functional(name: str) -> Callable:
    """The function of that name in torch.nn.functional."""

    def twin(*tensors: Any, **attrs: Any) -> Any:
        import torch

        return getattr(torch.nn.functional, name)(*tensors, **attrs)

    return twin


def probit(x: Any) -> Any:
    import torch

    return torch.special.ndtri(x)


def maxout(x: Any, *, pieces: int) -> Any:
    return x.unflatten(1, (-1, pieces)).amax(dim=2)


TWINS = {
    **{name: functional(name) for name in "relu leaky_relu relu6 hardtanh elu softplus silu gelu prelu".split()},
    **{name: named(name) for name in "sigmoid tanh arctan logit".split()},
    "probit": probit,
    "maxout": maxout,
    "bias_relu": lambda x, bias: (x + bias.reshape(-1, *[1] * (x.ndim - 2))).relu(),
    "identity": lambda x: x * 1,
    "binary_step": lambda x: (x >= 0).to(x.dtype),
    "piecewise_linear": lambda x: (x + 0.5).clip(0, 1),
    "lecun_tanh": lambda x: 1.7159 * (2 * x / 3).tanh(),
    "multiquadric": lambda x: (1 + x**2).sqrt(),
    "inverse_multiquadric": lambda x: (1 + x**2).rsqrt(),
    "gaussian": lambda x: (-(x**2)).exp(),
}
