"""What max pooling and average pooling share: the forms of their attributes, where windows start, and drawn problems."""

from __future__ import annotations

from typing import Any

from minidl.draw import Draw
from minidl.receptive_field import Seen, window
from minidl.signature import Shape, ShapeError
from minidl.window import Pair, Sides, Windows, least_image, pair, sides, span


def canonical(shapes: tuple, attrs: dict[str, Any]) -> dict[str, Any]:
    """kernel_size, stride, padding and, where there is one, dilation in their one form."""
    if attrs["kernel_size"] is None:
        raise ShapeError("kernel_size is missing; give an int or a pair")
    size = pair("kernel_size", attrs["kernel_size"])
    stride = size if attrs["stride"] is None else pair("stride", attrs["stride"])
    dilation = pair("dilation", attrs.get("dilation", 1))
    padding = sides(attrs["padding"], shapes[0][2:], size, stride, dilation)
    for covered, amount in zip(span(size, dilation), (max(padding[:2]), max(padding[2:])), strict=True):
        if amount > covered // 2:
            raise ShapeError(
                f"padding {amount} is more than half of a window that covers {covered}; use at most {covered // 2}"
            )
    new = {"kernel_size": size, "stride": stride, "padding": padding, "dilation": dilation}
    return {name: new.get(name, value) for name, value in attrs.items()}


def shape(
    x: Shape, *, kernel_size: Pair, stride: Pair, padding: Sides, ceil_mode: bool, dilation: Pair = (1, 1), **_: Any
) -> Shape:
    """[N, C, P, Q]."""
    return (*x[:2], *Windows.over(x, kernel_size, stride, padding, dilation, ceil_mode).grid)


def sees(x: Shape, *, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair = (1, 1), **_: Any) -> Seen:
    """Of the image below, a window."""
    return window(kernel_size, stride, padding, dilation)


def starts(length: int, size: int, step: int, padding: tuple[int, ...], gap: int, ceil_mode: bool) -> range:
    """Where the windows start along one axis, for the definitions: while they fit, or (ceil_mode) while one does not reach
    the end of the last, if it starts before the image ends."""
    before, after = padding
    last = length + after - gap * (size - 1)  # one past the last start that fits
    return range(-before, min(last + step - 1, length) if ceil_mode else last, step)


def ask(d: Draw, dilations: tuple = ()) -> tuple[tuple[int, int, int, int], dict[str, Any]]:
    """The shape of x and the attributes of a problem, each in a form that a user may write; simplest first."""
    N, C = d.size("N", 3), d.size("C", 3)
    attrs = {
        "kernel_size": d.one_of("kernel_size", (1, 2, 3, (2, 3), (3, 1))),
        "stride": d.one_of("stride", (None, 1, 2, (1, 2), (3, 1))),
    }
    if dilations:
        attrs["dilation"] = d.one_of("dilation", dilations)
    size, dilation = pair("kernel_size", attrs["kernel_size"]), pair("dilation", attrs.get("dilation", 1))
    half = [covered // 2 for covered in span(size, dilation)]
    forms = (0, 1, (0, 1), (1, 0), (1, 0, 0, 1), (0, 1, 2, 1), "same", "valid")
    attrs["padding"] = d.one_of("padding", [form for form in forms if _at_most(half, form)])
    attrs["ceil_mode"] = d.flag("ceil_mode")
    H, W = least_image(attrs["padding"] if dilation == (1, 1) else 0, size, (1, 1), dilation)  # no window sees padding alone
    if attrs["ceil_mode"] and dilation == (1, 1):  # a first window may reach beyond the image by less than a step
        H, W = (max(1, n - step + 1) for n, step in zip((H, W), pair("stride", attrs["stride"] or size), strict=True))
    return (N, C, d.size("H", 6, least=H), d.size("W", 6, least=W)), attrs


def _at_most(half: list[int], form: Any) -> bool:
    if isinstance(form, str):
        return True
    top, bottom, left, right = sides(form, (1, 1), (1, 1), (1, 1), (1, 1))
    return max(top, bottom) <= half[0] and max(left, right) <= half[1]
