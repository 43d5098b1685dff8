"""Runs kernels. Every kernel call of the engine passes `forward` or `backward`.

By default a kernel sees the whole batch. Under `minidl.threads(T)` it sees one slice of it after another, on T threads:

    y[lo:hi], saved_i       = forward(x[lo:hi], w)
    dx[lo:hi], dw_0 + dw_1  = backward(dy[lo:hi], saved_i)

An input whose first dimension is the batch's is sliced; any other is shared, and its gradient summed over the slices. A slice
fits the core's cache: what one pass over it leaves there, the next pass finds. Kernels stay plain functions that know nothing
of it, and a benchmark or a grader that calls one by hand computes the same thing.

saved : a list of the kernel's own tuples, one a slice (`Slices`). Where a kernel saves its y, the view of the whole y takes its
        place, so that nothing is held twice.
Steps : a kernel that needs sums over the batch before it can go on (batch norm) is a generator; its slices go on in step.
Whole : what looks across the batch otherwise (mean losses), single matrix products, small problems, half types, GPUs.
Once  : what all slices share is transformed before them, and its gradient after them (`Kernel.prepare`).

docs/decisions/0006-slices-of-the-batch.md says why; minidl/slices.py where a batch is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import Array, blank, xp_of
from minidl.lockstep import steps_of
from minidl.modes import modes
from minidl.signature import Shape
from minidl.slices import Arrays, Cut, Parts, cut_for

if TYPE_CHECKING:
    from minidl.op import Kernel, Op


def forward(kernel: Kernel, inputs: Arrays, attrs: dict[str, Any]) -> tuple[Array, Any, tuple]:
    """(y, saved, aux): aux is () unless the op declares outputs that are not differentiated."""
    now = modes()
    if now.shapes:
        y, aux = without_numbers(kernel.op, inputs, attrs)
        return y, (), aux
    if now.threads is None and not kernel.prepare:
        return _forward(kernel, inputs, attrs)
    cut, shapes = cut_for(kernel, inputs, attrs), tuple([None if a is None else a.shape for a in inputs])
    inputs = _prepared(kernel, inputs, attrs)
    if cut is not None:
        y, saved, aux = _forward_in_slices(kernel, inputs, attrs, cut)
        return y, Slices(saved, cut, shapes), aux
    y, saved, aux = _forward(kernel, inputs, attrs)
    return y, Slices([saved], None, shapes) if kernel.prepare else saved, aux


def backward(kernel: Kernel, dy: Array, saved: Any, needs: tuple[bool, ...], attrs: dict[str, Any]) -> Arrays:
    """One gradient per input; None where `needs` says that nobody asks."""
    if type(saved) is not Slices:
        return _backward(kernel, dy, saved, needs, attrs)
    if saved.cut is None:
        grads = _backward(kernel, dy, saved[0], needs, attrs)
    else:
        grads = _backward_in_slices(kernel, dy, saved, saved.cut, needs, attrs)
    return _adjoint(kernel, grads, saved.shapes, attrs)


# ---- whole -----------------------------------------------------------------------------------------------------------


def _forward(kernel: Kernel, inputs: Arrays, attrs: dict[str, Any]) -> tuple[Array, Any, tuple]:
    y, saved, *aux = kernel.forward(*inputs, **attrs)
    return y, saved, tuple(aux[0]) if aux else ()


def _backward(kernel: Kernel, dy: Array, saved: Any, needs: tuple[bool, ...], attrs: dict[str, Any]) -> Arrays:
    if kernel.names_needs:
        return kernel.backward(dy, saved, needs, **attrs)
    grads = kernel.backward(dy, saved, **attrs)  # a student's backward may leave `needs` out
    if not _one_each(grads, needs):
        return grads  # the tape and the laws say what is wrong with it
    return tuple(grad if need else None for grad, need in zip(grads, needs, strict=True))


def _one_each(grads: Any, inputs: tuple) -> bool:
    return isinstance(grads, tuple | list) and len(grads) == len(inputs)


# ---- in slices -------------------------------------------------------------------------------------------------------


class Slices(list):
    """What a kernel saved of each slice, with the cut (None: one slice, the whole batch) and the shapes of the inputs."""

    def __init__(self, saved: list, cut: Cut | None, shapes: tuple[Shape | None, ...]):
        super().__init__(saved)
        self.cut, self.shapes = cut, shapes


def _forward_in_slices(kernel: Kernel, inputs: Arrays, attrs: dict[str, Any], cut: Cut) -> tuple[Array, list, tuple]:
    saved: list[Any] = [None] * len(cut.parts)
    aux: list[tuple] = [()] * len(cut.parts)
    parts = Parts(f"{kernel}.forward", cut, joined=(True,))

    def take(i: int, result: tuple) -> None:
        y, kept, *more = result
        (view,) = parts.put(i, (y,))
        saved[i], aux[i] = _replaced(kept, y, view), tuple(*more)

    if kernel.in_step:
        (y,) = parts.of_steps(lambda i: steps_of(kernel.forward)(*cut.of(inputs, i), **attrs), take)
    else:
        (y,) = parts.of(lambda i: kernel.forward(*cut.of(inputs, i), **attrs), take)
    return y, saved, aux[0]  # statistics of the whole batch: every slice has the same


def _backward_in_slices(
    kernel: Kernel, dy: Array, saved: list, cut: Cut, needs: tuple[bool, ...], attrs: dict[str, Any]
) -> Arrays:
    parts = Parts(f"{kernel}.backward", cut, joined=cut.sliced, lent=dy)

    def take(i: int, grads: Any) -> None:
        if not _one_each(grads, needs):
            raise ValueError(f"{kernel}.backward: expected a tuple of {len(needs)} gradients, one per input")
        parts.put(i, tuple(grads))

    if kernel.in_step:
        return parts.of_steps(lambda i: steps_of(kernel.backward)(dy[cut.parts[i]], saved[i], needs, **attrs), take)
    return parts.of(lambda i: _backward(kernel, dy[cut.parts[i]], saved[i], needs, attrs), take)


def _replaced(saved: Any, y: Array, view: Array) -> Any:
    """`saved` with the view of the whole y for the slice's own."""
    if saved is y:
        return view
    return type(saved)(_replaced(item, y, view) for item in saved) if type(saved) in (tuple, list) else saved


# ---- once ------------------------------------------------------------------------------------------------------------


def _prepared(kernel: Kernel, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    """The inputs as the kernel sees them."""
    if not kernel.prepare:
        return inputs
    pairs = [kernel.prepare.get(operand.name) for operand in kernel.op.signature.inputs]
    return tuple(a if pair is None or a is None else pair[0](a, **attrs) for pair, a in zip(pairs, inputs, strict=True))


def _adjoint(kernel: Kernel, grads: Arrays, shapes: tuple[Shape | None, ...], attrs: dict[str, Any]) -> Arrays:
    """The gradients of the inputs, from those of what the kernel saw."""
    if not kernel.prepare or not _one_each(grads, shapes):
        return grads
    pairs = [kernel.prepare.get(operand.name) for operand in kernel.op.signature.inputs]
    return tuple(
        grad if pair is None or grad is None else pair[1](grad, shape, **attrs)
        for pair, grad, shape in zip(pairs, grads, shapes, strict=True)
    )


# ---- without numbers -------------------------------------------------------------------------------------------------


def without_numbers(op: Op, inputs: Arrays, attrs: dict[str, Any]) -> tuple[Array, tuple]:
    """y and aux as `shapes_only` wants them: of the right shape and type, and blank."""
    shapes, operands = tuple([None if a is None else a.shape for a in inputs]), op.signature.expand(len(inputs))
    given = [a for a, o in zip(inputs, operands, strict=True) if a is not None and o.kind in ("float", "any")]
    dtype, xp = np.result_type(*[a.dtype for a in given]), xp_of(*given)
    y = blank(op.shape(*shapes, **attrs), op.signature.output_type(dtype), xp)
    if not op.signature.aux:
        return y, ()
    sizes, wide = op.signature.bind(op.name, shapes), np.result_type(dtype, np.float32)  # statistics are never half
    return y, tuple(blank(tuple(sizes[dim] for dim in operand.dims), wide, xp) for operand in op.signature.aux)
