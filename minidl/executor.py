"""Runs kernels. Every kernel call of the engine passes one of these two lines.

Today a kernel sees the whole batch at once. Slicing the batch over threads belongs here, and nowhere else:
kernels stay plain functions, and a benchmark or a grader that calls a kernel by hand computes the same thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidl.backend import Array

if TYPE_CHECKING:
    from minidl.op import Kernel


def forward(kernel: Kernel, inputs: tuple[Array | None, ...], attrs: dict[str, Any]) -> tuple[Array, Any, tuple]:
    """(y, saved, aux): aux is () unless the op declares outputs that are not differentiated."""
    y, saved, *aux = kernel.forward(*inputs, **attrs)
    return y, saved, tuple(aux[0]) if aux else ()


def backward(kernel: Kernel, dy: Array, saved: Any, needs: tuple[bool, ...], attrs: dict[str, Any]) -> tuple[Array | None, ...]:
    """One gradient per input; None where `needs` says that nobody asks."""
    if kernel.names_needs:
        return kernel.backward(dy, saved, needs, **attrs)
    grads = kernel.backward(dy, saved, **attrs)  # a student's backward may leave `needs` out
    if not isinstance(grads, tuple | list) or len(grads) != len(needs):
        return grads  # the tape and the laws say what is wrong with it
    return tuple(grad if need else None for grad, need in zip(grads, needs, strict=True))
