"""Groups of channels: a grouped convolution is several small ones side by side (Krizhevsky et al. 2012, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from numbers import Integral
from typing import Any

import numpy as np

from minidl.backend import Array, xp_of
from minidl.signature import ShapeError


def groups_of(groups: int, C: int, K: int) -> list[tuple[slice, slice]]:
    """For each group the slice of the C channels and of the K filters that are its own."""
    c, k = C // groups, K // groups
    return [(slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)) for g in range(groups)]


def joined(parts: Sequence[Array], axis: int) -> Array:
    """Arrays side by side; a single one is not copied. One after the other where CuPy would copy a list of their places to
    the GPU, which no captured step may."""
    if len(parts) == 1 or len(parts) <= 8 or type(parts[0]) is np.ndarray:
        return parts[0] if len(parts) == 1 else xp_of(*parts).concatenate(parts, axis=axis)
    ends = list(accumulate(part.shape[axis] for part in parts))
    shape = list(parts[0].shape)
    shape[axis] = ends[-1]
    out = xp_of(*parts).empty(shape, dtype=np.result_type(*(part.dtype for part in parts)))
    for part, end in zip(parts, ends, strict=True):
        out[(slice(None),) * (axis % out.ndim) + (slice(end - part.shape[axis], end),)] = part
    return out


def check_groups(groups: Any, **sizes: int) -> None:
    """A ShapeError unless `groups` is a positive int that divides every size: check_groups(2, C=4, K=6)."""
    if not isinstance(groups, Integral) or groups < 1:
        raise ShapeError(f"groups must be a positive int, got {groups!r}")
    for letter, size in sizes.items():
        if size % groups:
            raise ShapeError(
                f"groups={groups} does not divide {letter}={size}; use groups=1, or {letter} a multiple of {groups}"
            )
