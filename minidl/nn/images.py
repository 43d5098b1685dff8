"""Checks of the images a model is given, so that a net says what it expects and not the window that did not fit.

The first line of a model's `forward` states the sizes that work; the channels are those of its `input_shape`:

>>> class Net(nn.Module):
...     input_shape = (3, 32, 32)
...     def forward(self, x):
...         nn.check_images(self, x, least=7)
>>> Net()(Tensor([[[[0.0] * 9] * 5] * 3]))
Traceback (most recent call last):
minidl.signature.ShapeError: Net: expected images [N,3,H,W] of at least 7x7, got [1,3,5,9]; resize them
"""

from __future__ import annotations

from typing import Any

from minidl.nn.checks import whole
from minidl.nn.module import Module
from minidl.signature import ShapeError, brackets


def check_images(model: Module, x: Any, least: int, most: int | None = None, smallest: int | None = None) -> None:
    """ShapeError, one line, unless x is [N, C, H, W] with C = model.input_shape[0] and H, W from `least` to `most`.

    least     the smallest height and width that the net can take
    most      the largest, where a dense layer fixes the size of the last maps
    smallest  the least `size` that the net can be built for, where it has that option: the error may then advise it
    """
    shape, C = tuple(x.shape), model.input_shape[0]  # type: ignore[attr-defined]
    if len(shape) == 4 and shape[1] == C and all(least <= size <= (most or size) for size in shape[2:]):
        return
    if len(shape) != 4:
        remedy = "; for one image add the batch dimension, x[None]" if len(shape) == 3 else ""
    elif shape[1] != C:
        remedy = {(1, 3): "; repeat the grey channel", (3, 1): "; take the mean of the colours"}.get((shape[1], C), "")
    else:
        H, W = shape[2:]
        remedy = "; resize them" + (f", or build it with size={H}" if smallest is not None and H == W >= smallest else "")
    raise ShapeError(f"{_expected(model, least, most)}, got {brackets(shape)}{remedy}")


def check_size(model: Module, size: Any, least: int) -> int:
    """The `size` a model is built for, as an int; ValueError, one line, if the net cannot take images of that size."""
    if whole(model, "size", size) < least:
        raise ValueError(f"{_expected(model, least, None)}, got size={size}")
    return int(size)


def _expected(model: Module, least: int, most: int | None) -> str:
    C = model.input_shape[0]  # type: ignore[attr-defined]
    sizes = f"at least {least}x{least}" if most is None else f"{least}x{least}"
    sizes += f" to {most}x{most}" if most is not None and most > least else ""
    return f"{type(model).__name__}: expected images [N,{C},H,W] of {sizes}"
