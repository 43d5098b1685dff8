"""Batch normalisation in PyTorch."""

from typing import Any


def batch_norm(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    from torch.nn import functional

    return functional.batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def batch_norm_relu(x: Any, weight: Any, bias: Any, residual: Any, *, eps: float) -> Any:
    z = batch_norm(x, weight, bias, eps=eps)
    return (z if residual is None else z + residual).relu()


def batch_norm_inference(x: Any, mean: Any, var: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    """By PyTorch's arithmetic: its batch_norm has no gradients for mean and var (tests/test_batch_norm.py calls it)."""
    mean, var, weight, bias = (None if a is None else a.reshape(-1, *[1] * (x.ndim - 2)) for a in (mean, var, weight, bias))
    xhat = (x - mean) / (var + eps).sqrt()
    return (1 if weight is None else weight) * xhat + (0 if bias is None else bias)


def signed_power(x: Any, weight: Any, bias: Any, *, alpha: float, epsilon: float) -> Any:
    """PyTorch has none: its arithmetic."""
    weight, bias = (None if a is None else a.reshape(-1, *[1] * (x.ndim - 2)) for a in (weight, bias))
    power = x.sign() * ((x.abs() + epsilon) ** alpha - epsilon**alpha)
    return (1 if weight is None else weight) * power + (0 if bias is None else bias)


def alpha_batch_norm(x: Any, weight: Any, bias: Any, *, eps: float, alpha: float, epsilon: float) -> Any:
    return signed_power(batch_norm(x, None, None, eps=eps), weight, bias, alpha=alpha, epsilon=epsilon)


TWINS = {
    "batch_norm": batch_norm,
    "batch_norm_relu": batch_norm_relu,
    "batch_norm_inference": batch_norm_inference,
    "signed_power": signed_power,
    "alpha_batch_norm": alpha_batch_norm,
}
