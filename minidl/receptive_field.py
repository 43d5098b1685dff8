"""Receptive fields: how many rows and columns of the image one position of a feature map depends on.

An op declares what one of its positions sees of its input, along rows and along columns (`Op(..., sees=...)`). A **Slide** is
that rule for one axis. Followed through the net, op by op, it gives what a position sees of the image: a **Trace**.

    rule         output position q sees                                   declared by
    window       q * stride + r * dilation - before,  r = 0 ... R-1       convolutions, pools, a patch, a pad
    adjoint      the h with q = h * stride + r * dilation - before        transposed convolutions
    each         q                                                        whatever works element by element, or across channels
    everything   all                                                      dense layers, global pools, batch statistics

A merge sees what any of its branches sees. Positions beyond the border count, as they always do in such figures: a net can see
further than its image is large. Sources: Araujo, Norris, Sim 2019, "Computing receptive fields of convolutional neural
networks"; the recurrences are theirs, for any slide with a period instead of windows alone.

>>> from minidl.receptive_field import Trace, window
>>> conv = window((3, 3), stride=(2, 2), padding=(1, 1, 1, 1))[0]
>>> image = Trace((0,), (0,), 1)
>>> image.through(conv).through(conv).size  # 3, then 2 more at a jump of 2
7
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NamedTuple

from minidl.signature import Shape

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


class Slide(NamedTuple):
    """Output position q sees input positions sees(q), and `out` outputs further on the same, `into` inputs further on."""

    sees: Callable[[int], Iterable[int]]
    into: int = 1
    out: int = 1


STAY: Final = Slide(lambda q: (q,))
ALL: Final = "all"  # every pixel of the image
LOST: Final = "lost"  # an element sees what it saw, but rows and columns are no longer its last two dimensions
Seen = tuple[Slide, Slide] | Literal["all", "lost"] | None  # what `sees(*shapes, **attrs)` of an op returns; None: not known


# ---- what ops declare ------------------------------------------------------------------------------------------------


def each(*shapes: Shape | None, **attrs: Any) -> Seen:
    """A position sees the same position of every input; sizes of 1 are broadcast."""
    return STAY, STAY


def everything(*shapes: Shape | None, **attrs: Any) -> Seen:
    """Every output sees all of the input."""
    return ALL


def everything_in_a_row(*shapes: Shape | None, **attrs: Any) -> Seen:
    """A product of matrices: every output sees a row of the input, which is all of the image if the row is; else not known."""
    return ALL if len(shapes[0] or ()) < 3 else None


def mixing(ndim: int, axes: Iterable[int]) -> Seen:
    """An op that mixes along these dimensions of its input, 0 to ndim - 1; the last two are rows and columns."""
    mixed = len({ndim - 2, ndim - 1} & set(axes))
    if ndim < 3 or mixed == 2:
        return ALL
    return None if mixed else (STAY, STAY)


def window(size: Shape, stride: Pair, padding: Sides, dilation: Pair = (1, 1)) -> tuple[Slide, Slide]:
    """Windows of `size` (rows, columns), as convolutions and pools see through them."""

    def along(axis: int) -> Slide:
        step, gap, before = stride[axis], dilation[axis], padding[2 * axis]
        return Slide(lambda q: range(q * step - before, q * step - before + gap * (size[axis] - 1) + 1, gap), into=step)

    return along(0), along(1)


def adjoint(size: Shape, stride: Pair, padding: Sides, dilation: Pair = (1, 1)) -> tuple[Slide, Slide]:
    """The windows that a position of the image lies in, as a transposed convolution sees them."""

    def along(axis: int) -> Slide:
        step, gap, before = stride[axis], dilation[axis], padding[2 * axis]

        def sees(q: int) -> list[int]:
            starts = (q + before - gap * r for r in range(size[axis]))
            return [start // step for start in starts if start % step == 0]

        return Slide(sees, out=step)

    return along(0), along(1)


# ---- followed through a net ------------------------------------------------------------------------------------------


class Trace(NamedTuple):
    """One axis of a feature map: position p sees the image from first[p % n] to last[p % n], both moved on by p // n steps."""

    first: tuple[float, ...]  # n numbers; infinite where a position sees nothing
    last: tuple[float, ...]
    step: int

    @property
    def size(self) -> int:
        """Of the positions that see most, how much."""
        return int(max(0, *(last - first + 1 for first, last in zip(self.first, self.last, strict=True))))

    def sight(self, positions: Iterable[int]) -> tuple[float, float]:
        """The first and last pixel that any of these positions sees."""
        places = [divmod(p, len(self.first)) for p in positions]
        first = min((self.first[i] + turn * self.step for turn, i in places), default=math.inf)
        return first, max((self.last[i] + turn * self.step for turn, i in places), default=-math.inf)

    def through(self, slide: Slide) -> Trace | None:
        """What the outputs of a slide over this axis see; None where it is not known."""
        if not self.step and any(len(set(slide.sees(q))) > 1 for q in range(slide.out)):
            return None  # nobody knows where on the image the other positions are
        n = len(self.first)
        turns = n // math.gcd(slide.into, n)  # of the slide, until both start again together
        bounds = [self.sight(slide.sees(q)) for q in range(slide.out * turns)]
        first, last = zip(*bounds, strict=True)
        return Trace(first, last, self.step * (slide.into * turns // n))

    def merge(self, other: Trace) -> Trace | None:
        """What is seen by this or by that; None if they do not move alike."""
        n, m = len(self.first), len(other.first)
        both = math.lcm(n, m)
        if self.step * m != other.step * n:
            return None
        pairs = [(self.sight([p]), other.sight([p])) for p in range(both)]
        first = tuple(min(a[0], b[0]) for a, b in pairs)
        return Trace(first, tuple(max(a[1], b[1]) for a, b in pairs), self.step * (both // n))


Field = tuple[Trace, Trace] | Literal["all"] | None  # None: not known
IMAGE: Final = (Trace((0,), (0,), 1), Trace((0,), (0,), 1))


def field_of(seen: Seen, inputs: list[tuple[Field, Shape]], out: Shape) -> Field:
    """The field of an op's output, from those inputs that depend on the image, each with its shape."""
    fields = [field for field, _ in inputs]
    if ALL in (seen, *fields):
        return ALL
    if seen is None or None in fields or (len(inputs) > 1 and seen not in ((STAY, STAY), LOST)):
        return None
    rows, columns = (_merged(_through(seen, field, shape, out, axis) for field, shape in inputs) for axis in (0, 1))
    return (rows, columns) if rows and columns else None


def _merged(traces: Iterable[Trace | None]) -> Trace | None:
    first, *others = traces
    for other in others:
        first = first and other and first.merge(other)
    return first


def _through(seen: Any, field: Any, shape: Shape, out: Shape, axis: int) -> Trace | None:
    """What the output sees through one input, along rows (0) or columns (1)."""
    trace: Trace = field[axis]
    if seen == LOST:
        return Trace((0,), (trace.size - 1,), 0)
    sizes = [s[axis - 2] if len(s) > 1 else 1 for s in (shape, out)]
    if seen[axis] is STAY and sizes[0] == 1 < sizes[1]:
        return trace.through(Slide(lambda q: (0,), into=0))  # broadcast
    return trace.through(seen[axis])


def told(field: Field) -> list[int] | str | None:
    """For programs: [rows, columns], "all", or None where it is not known."""
    return [trace.size for trace in field] if isinstance(field, tuple) else field
