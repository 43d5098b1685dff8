"""What users may write, turned into what kernels see.

`split` sorts the arguments of a call into inputs and attributes; `as_arrays` turns Tensors, arrays and numbers into arrays of
one float type on one device. Nothing is cast or moved silently: what does not fit is an error with the remedy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import Array, device_of, is_array, to_device, xp_of
from minidl.random import stream
from minidl.signature import Operand
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.op import Op


def split(op: Op, args: tuple, attrs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Positional and keyword arguments as (inputs, attributes with their defaults)."""
    operands = op.signature.inputs
    if operands[0].variadic:  # concat([a, b, c], axis): the arrays come as one list
        if not args or not isinstance(args[0], list | tuple):
            raise TypeError(f"{op.name}: expected a list of Tensors first; the signature is {op.signature.text}")
        inputs, rest = tuple(args[0]), args[1:]
    else:
        taken = 1 if op.gathers else op.signature.by_position
        inputs, rest = args[:taken], args[taken:]
        if len(inputs) < len(operands):
            inputs += tuple(_missing(op, operand, inputs, attrs) for operand in operands[len(inputs) :])
    if rest:
        attrs = {**_positional(op, rest), **attrs}
    for name, value in attrs.items():
        if name not in op.attrs:
            if any(operand.name == name for operand in operands):
                raise TypeError(f"{op.name}: input {name!r} was given twice, by position and by name")
            raise TypeError(f"{op.name}: no attribute {name!r}; it has {', '.join(op.attrs) or 'none'}")
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
            attrs = {**attrs, name: value.item()}  # a NumPy scalar would make float32 arithmetic float64
    return inputs, {**op.attrs, **attrs}


def _missing(op: Op, operand: Operand, inputs: tuple, attrs: dict[str, Any]) -> Any:
    """An input that was not given by position: by keyword, drawn from the stream, left out, or an error."""
    if operand.name in attrs:
        return attrs.pop(operand.name)
    if operand.kind == "key" and inputs and getattr(inputs[0], "shape", ()):
        return stream().keys(len(inputs[0]))
    if operand.optional:
        return None
    raise TypeError(f"{op.name}: missing input {operand}; the signature is {op.signature.text}")


def _positional(op: Op, rest: tuple) -> dict[str, Any]:
    if op.gathers:  # x.reshape(2, 3) and x.reshape((2, 3))
        return {op.gathers: tuple(rest[0]) if len(rest) == 1 and isinstance(rest[0], tuple | list) else rest}
    if len(rest) > len(op.attrs):
        expected = ", ".join([o.name for o in op.signature.inputs] + list(op.attrs))
        raise TypeError(f"{op.name}: {len(rest) - len(op.attrs)} argument(s) too many; it takes {expected}")
    return dict(zip(op.attrs, rest, strict=False))


def as_arrays(op: Op, inputs: tuple) -> tuple[Array, ...]:
    """The arrays of a call, all floating ones of one type and all on one device."""
    operands = op.signature.expand(len(inputs))
    arrays = [value.data if isinstance(value, Tensor) else value for value in inputs]
    lead = _first_float(operands, arrays)
    common = lead is not None and lead.dtype.kind == "f" and type(lead) is np.ndarray
    for i, operand in enumerate(operands):
        array = arrays[i]
        if type(array) is np.ndarray and (
            operand.kind == "any" or (common and operand.kind == "float" and array.dtype == lead.dtype)
        ):
            continue
        if array is not None:
            arrays[i] = _convert(op, operand, array, lead)
        elif not operand.optional:
            raise TypeError(f"{op.name}: input {operand} is missing (None); the signature is {op.signature.text}")
    if any(type(array) is not np.ndarray for array in arrays if array is not None):
        _refuse_two_devices(op, operands, arrays)
    return tuple(arrays)


def _refuse_two_devices(op: Op, operands: tuple[Operand, ...], arrays: list[Any]) -> None:
    """Nothing is moved silently."""
    there = [(i, operand, device_of(a)) for i, (operand, a) in enumerate(zip(operands, arrays, strict=True)) if a is not None]
    _, first, device = there[0]
    for i, operand, other in there[1:]:
        if other != device:
            names = (f"{operand}", f"{first}") if operand is not first else (f"number {i} of {operand}", "number 0")
            to = other if device == "cpu" else device
            raise ValueError(f"{op.name}: {names[0]} is on {other} but {names[1]} is on {device}; move one with .to({to!r})")


def _first_float(operands: tuple[Operand, ...], arrays: list[Any]) -> Array:
    """The array that sets the float type and the device of a call."""
    for operand, array in zip(operands, arrays, strict=True):
        if operand.kind == "float" and (type(array) is np.ndarray or (not isinstance(array, np.generic) and is_array(array))):
            return array
    return None


_KINDS = {
    "float": ("fc", "floating point", ".astype('float32')"),
    "int": ("iu", "integers", ".astype('int64')"),
    "bool": ("b", "booleans", "a comparison"),
    "key": ("u", "uint64 keys", "minidl.random.stream().keys(n)"),
    "any": ("fciub", "numbers", "an array"),
}


def _beside(value: np.ndarray, lead: Array) -> Array:
    """On lead's device. One number is written there by the kernel that makes the array: nothing is copied."""
    xp = xp_of(lead)
    return (
        value if xp is np else to_device(value, device_of(lead)) if value.ndim else xp.full((), value.item(), dtype=value.dtype)
    )


def _convert(op: Op, operand: Operand, value: Any, lead: Array) -> Array:
    if isinstance(value, int | float | list | tuple | np.generic):  # a number takes the type of what it meets
        if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
            raise TypeError(f"{op.name}: {operand} is a list of Tensors, whose gradients would be lost; use minidl.stack(list)")
        value = np.asarray(value.item() if isinstance(value, np.generic) else value)
        if value.dtype == np.float64 or operand.kind == "float":
            value = value.astype(np.float32 if lead is None else lead.dtype)
        value = value if lead is None else _beside(value, lead)
    elif not is_array(value):
        raise TypeError(f"{op.name}: {operand} expects a Tensor, an array or a number, got {type(value).__name__}")
    kinds, words, remedy = _KINDS[operand.kind]
    if value.dtype.kind not in kinds:
        raise TypeError(f"{op.name}: {operand} expects {words}, got {value.dtype}; use {remedy}")
    if lead is None:
        return value
    if operand.kind == "float" and value.dtype != lead.dtype:
        raise TypeError(
            f"{op.name}: {operand} is {value.dtype} but another input is {lead.dtype}; nothing is cast silently: "
            "cast the data by .astype(...), or the model by model.to(dtype=...)"
        )
    if operand.kind == "key" and device_of(value) == "cpu":
        return to_device(value, device_of(lead))  # keys are drawn on the host and expanded where the data is
    return value
