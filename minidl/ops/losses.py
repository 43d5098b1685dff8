"""What the losses share: how many losses become one number, and which labels there are."""

from __future__ import annotations

from minidl.backend import Array
from minidl.signature import ShapeError


def check_reduction(reduction: str) -> None:
    """ShapeError unless the name is one of PyTorch's three."""
    if reduction not in ("mean", "sum", "none"):
        raise ShapeError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def reduced(losses: Array, reduction: str) -> Array:
    """Their mean, their sum, or all of them."""
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def spread(dy: Array, reduction: str, count: int) -> Array:
    """The gradient of each of `count` losses, from the gradient of what `reduced` made of them."""
    return dy / count if reduction == "mean" else dy


def check_labels(op: str, labels: Array, classes: int, ignore_index: int | None = None) -> None:
    """ValueError that names the first label outside [0, classes); `ignore_index` may stand anywhere."""
    wrong = (labels < 0) | (labels >= classes)
    if ignore_index is not None:
        wrong &= labels != ignore_index
    if wrong.any():
        first = int(wrong.argmax())
        also = "" if ignore_index is None else f" or ignore_index={ignore_index}"
        raise ValueError(f"{op}: labels must be in [0, {classes}){also}, got {int(labels[first])} at position {first}")
