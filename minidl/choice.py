"""Which kernel computes a call, where the user names none: the one that is expected to be the fastest.

An op may come with a forecast: `forecast(kernel name, *shapes, **attrs)` gives the milliseconds expected of forward and of each
part of backward, or None for a kernel that it does not know. Of the kernels that do not refuse the problem the one with the
least sum is chosen. It is asked once for shapes and attributes: no clock, so that the same call takes the same kernel always.

On a GPU it is the first CUDA kernel, in the order of their registration, that a GPU has run under the laws (`Source.verified`),
that is meant for the precision that rules (`minidl.precision`) and that does not refuse the problem: so an op registers its
fastest one first. Where there is none, the default's formulas, and so on the CPU in any precision but float32.

Compiled kernels count under `minidl.compiled()` alone; there, one without a forecast takes the place of the kernel it compiles.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.cuda import MOST, NAMES
from minidl.modes import modes
from minidl.signature import Shape, told

if TYPE_CHECKING:
    from minidl.op import Kernel, Op

Shapes = tuple[Shape | None, ...]
ON_GPU = "of the GPU"  # in the place of a kernel's name: whichever `on_gpu` chooses


def fastest(op: Op, shapes: Shapes, attrs: dict[str, Any], batch: int | None = None) -> Kernel:
    """The kernel expected to be the fastest; the default if nothing is expected of any.

    attrs  in canonical form
    batch  as if there were so many images
    """
    if batch is not None:
        sliced = op.signature.sliced(shapes)
        shapes = tuple((batch, *shape[1:]) if shape and s else shape for shape, s in zip(shapes, sliced, strict=True))
    counted = [k for k in op.kernels.values() if not k.source and (modes().compiled or not k.compiles)]
    expected = {k: times for k in counted if isinstance(times := _expected(op, k, shapes, attrs), tuple)}
    best = min(expected, key=lambda k: sum(expected[k]), default=op.kernels[op.default])
    return next((k for k in counted if k.compiles == best.name and not k.why_not(shapes, attrs)), best)


def on_gpu(op: Op, shapes: Shapes, attrs: dict[str, Any], dtype: np.dtype) -> Kernel:
    """The first verified CUDA kernel that computes such numbers and does not refuse the problem, or the default."""
    precision = modes().precision if dtype == np.float32 else "float32"  # others are computed as they are
    sizes = [math.prod(shape) for shape in (*shapes, op.output_shape(shapes, attrs)) if shape is not None]
    if dtype.name not in NAMES or max(sizes, default=0) > MOST:
        return op.kernels[op.default]
    meant = (k for k in op.kernels.values() if (k.half or dtype != np.float16) and precision in k.precisions)
    verified = (k for k in meant if k.source and k.source.verified)
    return next((k for k in verified if not k.why_not(shapes, attrs)), op.kernels[op.default])


def explained(op: Op, shapes: Shapes, attrs: dict[str, Any]) -> str:
    """The forecast for the host as a table, with the choice marked."""
    choice, lines = fastest(op, shapes, attrs), []
    for kernel in (k for k in op.kernels.values() if not k.source):
        expected = _expected(op, kernel, shapes, attrs)
        if isinstance(expected, tuple):
            cells = "".join(f"{ms:12,.2f}" for ms in (*expected, sum(expected)))
            lines.append(f"{kernel.name:<12}{cells}{'  <- chosen' if kernel is choice else ''}")
        else:
            lines.append(f"{kernel.name:<12}{'-':>12}  {expected}")
    said = told(op.signature.expand(len(shapes)), shapes)
    heads = "".join(f"{head:>12}" for head in ("forward", *(f"d{o.name}" for o in op.signature.inputs[:2]), "sum"))
    return "\n".join([f"{op.name} {said}, milliseconds expected of one core", f"{'kernel':<12}{heads}", *lines])


def _expected(op: Op, kernel: Kernel, shapes: Shapes, attrs: dict[str, Any]) -> tuple[float, ...] | str:
    """Milliseconds of each phase, or why there are none."""
    if why := kernel.why_not(shapes, attrs):
        return why
    return (op.forecast and op.forecast(kernel.name, *shapes, **attrs)) or "no forecast"
