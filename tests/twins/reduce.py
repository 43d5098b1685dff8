"""Reductions in PyTorch. Its sum over no dimension means over all of them; ours, like NumPy's, reduces nothing."""

from typing import Any


def sum_(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    return x.sum(axis, keepdim=keepdims) if axis else x * 1


def mean(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    return x.mean(axis, keepdim=keepdims) if axis else x * 1


def var(x: Any, *, axis: tuple[int, ...], keepdims: bool, correction: int) -> Any:
    return x.var(axis, correction=correction, keepdim=keepdims) if axis else x * 0


def max_(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    return x.amax(axis, keepdim=keepdims) if axis else x * 1


def min_(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    return x.amin(axis, keepdim=keepdims) if axis else x * 1


def argmax(x: Any, *, axis: int | None, keepdims: bool) -> Any:
    return x.argmax(axis, keepdim=keepdims)


TWINS = {"sum": sum_, "mean": mean, "var": var, "max": max_, "min": min_, "argmax": argmax}
