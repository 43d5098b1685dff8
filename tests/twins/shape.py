"""Shapes, indices, padding and joining in PyTorch."""

from typing import Any

import numpy as np


def reshape(x: Any, *, shape: tuple[int, ...]) -> Any:
    return x.reshape(shape)


def permute(x: Any, *, axes: tuple[int, ...]) -> Any:
    return x.permute(axes)


def broadcast_to(x: Any, *, shape: tuple[int, ...]) -> Any:
    return x.broadcast_to(shape)


def getitem(x: Any, *, index: tuple) -> Any:
    import torch

    parts, dim = [], 0
    for part in index:
        if isinstance(part, slice) and (part.step or 1) < 0:  # PyTorch has no negative steps
            x = x.index_select(dim, torch.tensor(range(x.shape[dim])[part]))
            part = slice(None)
        # PyTorch takes an index of shape () as a number, which does not count as an array where NumPy says that it does
        parts.append(torch.from_numpy(np.atleast_1d(part)) if isinstance(part, np.ndarray) else part)
        dim += part is not None
    return x[tuple(parts)]


def pad(x: Any, *, pad: tuple[tuple[int, int], ...], value: float) -> Any:
    from torch.nn import functional

    return functional.pad(x, [size for pair in reversed(pad) for size in pair], value=value)


def concat(*xs: Any, axis: int) -> Any:
    import torch

    return torch.cat(xs, dim=axis)


def stack(*xs: Any, axis: int) -> Any:
    import torch

    return torch.stack(xs, dim=axis)


TWINS = {
    "reshape": reshape,
    "permute": permute,
    "broadcast_to": broadcast_to,
    "getitem": getitem,
    "pad": pad,
    "concat": concat,
    "stack": stack,
}
