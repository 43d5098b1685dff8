"""Kernel, Problem, Cost: one way to compute an op, a question to it, and the work that answers it.

    forward(*inputs, **attrs)           -> (y, saved)  or (y, saved, aux)
    backward(dy, saved, needs, **attrs) -> one gradient per input, None where `needs` is False

A kernel is that pair of plain functions on arrays, with what the executor and the op should know of it (its traits).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from minidl.backend import Array
from minidl.cuda import Source
from minidl.jit import missing
from minidl.modes import PRECISIONS
from minidl.signature import Shape

if TYPE_CHECKING:
    from minidl.op import Op


class Problem(NamedTuple):
    """A question to a kernel: inputs (arrays, or None for an optional one left out) and attributes."""

    inputs: tuple[Array, ...]
    attrs: dict[str, Any]


class Cost(NamedTuple):
    """Work of one forward pass: multiply-adds (macs) and all other floating-point operations."""

    macs: int = 0
    other: int = 0

    @property
    def operations(self) -> int:
        """A multiply-add counts as two."""
        return 2 * self.macs + self.other


@dataclass(frozen=True, eq=False)
class Kernel:
    """One way to compute an op and its gradient; prints as conv2d[im2col].

    Work that all slices of a batch share is not done in each: `prepare={"w": (transform, adjoint)}`. The executor calls
    u = transform(w, **attrs) once, the kernel sees u in the place of w, and what its backward gives there, du, summed over the
    slices, becomes dw = adjoint(du, w.shape, **attrs).

    >>> import numpy as np
    >>> kernel = minidl.linear.kernels["gemm"]
    >>> y, saved = kernel.forward(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), None)
    >>> y.tolist()  # 1*3 + 2*4
    [[11.0]]
    >>> dx, dw, db = kernel.backward(np.array([[10.0]]), saved, needs=(True, False, False))
    >>> dx.tolist(), dw, db
    ([[30.0, 40.0]], None, None)
    """

    op: Op
    name: str
    forward: Callable
    backward: Callable
    refuses: Callable[..., str | None] | None = None  # (*shapes, **attrs) -> one line why not, or None
    analytic: bool = False  # computes on complex arrays too, so the derivative law can take a complex step
    half: bool = True  # accepts float16
    sliced: bool = True  # may the executor call it on slices of the batch? (a single matrix product has BLAS's own threads)
    workspace: Callable[..., int] | None = None  # (*shapes, **attrs) -> elements of its largest array beside x and y
    images: Callable[..., int] | None = None  # (*shapes, **attrs) -> how many a slice should have at least
    prepare: Mapping[str, tuple[Callable, Callable]] = field(default_factory=dict)  # input -> (transform, adjoint)
    compiles: str = ""  # the kernel in whose place this one, with loops that Numba compiles, is under `minidl.compiled()`
    source: Source | None = None  # CUDA that a GPU computes it with; on the host it is refused
    precisions: tuple[str, ...] = tuple(PRECISIONS)  # those in which it is chosen on a GPU; none: by name alone
    names_needs: bool = field(init=False)
    in_step: bool = field(init=False)  # is it a generator that yields what must be summed over the slices? (minidl/lockstep.py)

    def __post_init__(self) -> None:
        object.__setattr__(self, "in_step", hasattr(self.forward, "steps"))
        object.__setattr__(self, "names_needs", "needs" in inspect.signature(self.backward).parameters)
        whole = {o.name for o in self.op.signature.inputs if o.dims[:1] != ("N",) and not o.variadic}
        if not whole.issuperset(self.prepare):
            raise ValueError(f"{self}: prepare names {', '.join(self.prepare)}; what all slices share is {', '.join(whole)}")

    def __str__(self) -> str:
        return f"{self.op.name}[{self.name}]"

    def why_not(self, shapes: tuple[Shape | None, ...], attrs: dict[str, Any]) -> str | None:
        """One line why this kernel cannot do the problem, or None."""
        if why := missing() if self.compiles else self.source.why_not() if self.source else None:
            return why
        return self.refuses(*shapes, **attrs) if self.refuses else None
