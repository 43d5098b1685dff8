"""Runs kernels. Every kernel call of the engine passes `forward` or `backward`.

Today a kernel sees the whole batch at once. Slicing the batch over threads belongs here, and nowhere else:
kernels stay plain functions, and a benchmark or a grader that calls a kernel by hand computes the same thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import Array, blank, xp_of
from minidl.modes import modes

if TYPE_CHECKING:
    from minidl.op import Kernel, Op


def forward(kernel: Kernel, inputs: tuple[Array | None, ...], attrs: dict[str, Any]) -> tuple[Array, Any, tuple]:
    """(y, saved, aux): aux is () unless the op declares outputs that are not differentiated."""
    if modes().shapes:
        y, aux = without_numbers(kernel.op, inputs, attrs)
        return y, (), aux
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


def without_numbers(op: Op, inputs: tuple[Array | None, ...], attrs: dict[str, Any]) -> tuple[Array, tuple]:
    """y and aux as `shapes_only` wants them: of the right shape and type, and blank."""
    shapes, operands = tuple([None if a is None else a.shape for a in inputs]), op.signature.expand(len(inputs))
    given = [a for a, o in zip(inputs, operands, strict=True) if a is not None and o.kind in ("float", "any")]
    dtype, xp = np.result_type(*[a.dtype for a in given]), xp_of(*given)
    y = blank(op.shape(*shapes, **attrs), op.signature.output_type(dtype), xp)
    if not op.signature.aux:
        return y, ()
    sizes, wide = op.signature.bind(op.name, shapes), np.result_type(dtype, np.float32)  # statistics are never half
    return y, tuple(blank(tuple(sizes[dim] for dim in operand.dims), wide, xp) for operand in op.signature.aux)
