"""Groups of channels: a grouped convolution is several small ones side by side (Krizhevsky et al. 2012, section 3.2)."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from minidl.backend import Array, xp_of
from minidl.signature import ShapeError


def groups_of(groups: int, C: int, K: int) -> list[tuple[slice, slice]]:
    """For each group the slice of the C channels and of the K filters that are its own."""
    c, k = C // groups, K // groups
    return [(slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)) for g in range(groups)]


def joined(parts: list[Array], axis: int) -> Array:
    """The groups' results side by side; a single one is not copied."""
    return parts[0] if len(parts) == 1 else xp_of(parts[0]).concatenate(parts, axis=axis)


def check_groups(groups: Any, **sizes: int) -> None:
    """A ShapeError unless `groups` is a positive int that divides every size: check_groups(2, C=4, K=6)."""
    if not isinstance(groups, Integral) or groups < 1:
        raise ShapeError(f"groups must be a positive int, got {groups!r}")
    for letter, size in sizes.items():
        if size % groups:
            raise ShapeError(
                f"groups={groups} does not divide {letter}={size}; use groups=1, or {letter} a multiple of {groups}"
            )
