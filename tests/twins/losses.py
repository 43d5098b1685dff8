"""Softmax and the losses in PyTorch."""

from typing import Any


def softmax(x: Any, *, axis: int) -> Any:
    return x.softmax(axis)


def log_softmax(x: Any, *, axis: int) -> Any:
    return x.log_softmax(axis)


def softmax_cross_entropy(scores: Any, labels: Any, **attrs: Any) -> Any:
    from torch.nn import functional

    return functional.cross_entropy(scores, labels, **attrs)


def mse_loss(prediction: Any, target: Any, *, reduction: str) -> Any:
    from torch.nn import functional

    return functional.mse_loss(prediction, target, reduction=reduction)


def binary_cross_entropy_with_logits(scores: Any, target: Any, *, pos_weight: float, reduction: str) -> Any:
    from torch.nn import functional

    weight = scores.new_tensor(pos_weight)
    return functional.binary_cross_entropy_with_logits(scores, target, pos_weight=weight, reduction=reduction)


TWINS = {
    "softmax": softmax,
    "log_softmax": log_softmax,
    "softmax_cross_entropy": softmax_cross_entropy,
    "mse_loss": mse_loss,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
}
