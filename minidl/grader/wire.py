"""Frames between the grader and the process that computes: a JSON header and the raw bytes of arrays. Never pickle.

    frame   header's length (4 bytes), payload's length (8 bytes), header (JSON), payload (the arrays' bytes, one after another)
    header  {"id": 7, ..., "value": tree, "arrays": [description, ...]}
    tree    null, true, 3, 0.5 and "text" as they are; {"tuple": [...]}, {"list": [...]}, {"dict": [[key, tree], ...]},
            {"slice": [start, stop, step]}, {"ellipsis": null}, {"dtype": name}, {"complex": [re, im]} and {"array": index}

An array keeps its memory layout on the way: the bytes it spans travel with shape, strides and offset, so that a transposed or
a broadcast array is one on the other side too. What comes from the child is not trusted: every size is bounded
before memory is taken, every type is on a list, and NumPy checks that shape and strides stay inside the bytes.
"""

from __future__ import annotations

import ctypes
import json
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl.backend import Array, device_of, is_array, to_device, to_numpy

LENGTHS = struct.Struct("<IQ")
MOST_HEADER = 1 << 20
MOST_BYTES = 16 << 20  # of all arrays in one frame, as sent and as seen: the laws' problems are a thousand times smaller
MOST_DIMS = 64
DEEPEST = 32
DTYPES = {
    name: np.dtype(name)
    for name in ("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128".split())
}
ALLOWED = "arrays, numbers, strings, True, False, None, dtypes, slices, and tuples, lists and dicts of these"
_SEQUENCES: dict[str, Callable[[list], Any]] = {"tuple": tuple, "list": list, "slice": lambda parts: slice(*parts)}


class Refused(TypeError):
    """A value that cannot travel; the message says which and what may."""


class Garbage(Exception):
    """What came is no frame of this protocol."""


# ---- values to trees ---------------------------------------------------------------------------------------------------


def pack(value: Any, where: str, arrays: list[Array], depth: int = 0) -> Any:
    """The tree of a value; its arrays are appended to `arrays`. Refused, naming the place, for what cannot travel."""
    if is_array(value):
        _check(value, where)
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is complex:
        return {"complex": [value.real, value.imag]}
    if isinstance(value, np.dtype) and DTYPES.get(value.name) == value:
        return {"dtype": value.name}
    if value is Ellipsis:
        return {"ellipsis": None}
    if type(value) is slice:
        return {"slice": [pack(part, where, arrays, depth + 1) for part in (value.start, value.stop, value.step)]}
    if depth == DEEPEST:
        raise Refused(f"{where} is nested more than {DEEPEST} deep")
    if type(value) in (tuple, list):
        items = [pack(item, f"{where}[{i}]", arrays, depth + 1) for i, item in enumerate(value)]
        return {type(value).__name__: items}
    if type(value) is dict:
        if strange := [key for key in value if type(key) not in (bool, int, float, str, type(None))]:
            raise Refused(f"{where} is a dict with {_kind(strange[0])} as a key; use strings or numbers")
        return {"dict": [[key, pack(item, f"{where}[{key!r}]", arrays, depth + 1)] for key, item in value.items()]}
    raise Refused(f"{where} is {_kind(value)}; it may hold {ALLOWED}")


def unpack(tree: Any, arrays: Iterator[tuple[int, Array]], depth: int = 0) -> Any:
    """The value of a tree that names each array once, in order; or Garbage."""
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if not isinstance(tree, dict) or len(tree) != 1 or depth > DEEPEST + 2:
        raise Garbage("a tree of no known form")
    (kind, body), deeper = *tree.items(), depth + 1
    try:
        if kind == "array":
            index, array = next(arrays, (None, None))
            if index != body:
                raise IndexError("an array that is not there, or is named twice")
            return array
        if kind == "complex":
            return complex(*body)
        if kind == "ellipsis":
            return Ellipsis
        if kind == "dtype":
            return DTYPES[body]
        if kind in _SEQUENCES:
            return _SEQUENCES[kind]([unpack(item, arrays, deeper) for item in body])
        if kind == "dict":
            return {key: unpack(item, arrays, deeper) for key, item in body}
    except (TypeError, ValueError, LookupError) as error:
        raise Garbage(f"{kind} that is none") from error
    raise Garbage("a tree of no known form")


def _check(array: Array, where: str) -> None:
    dtype = array.dtype
    if isinstance(array, np.ndarray) and type(array) is not np.ndarray:
        raise Refused(f"{where} is {_kind(array)}; make it a plain array with np.asarray")
    if DTYPES.get(dtype.name) != dtype:
        raise Refused(f"{where} is an array of {dtype.str if dtype.name in DTYPES else dtype}; numbers and bools may travel")


def _kind(value: Any) -> str:
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"a {name}" if name[0] not in "aeiou" else f"an {name}"


# ---- arrays to bytes and back ------------------------------------------------------------------------------------------


def describe(array: Array) -> tuple[dict[str, Any], bytes]:
    """(description, bytes) of an array; on the host with its memory layout, from a device in C order."""
    host = to_numpy(array)
    told: dict[str, Any] = {"dtype": host.dtype.name, "shape": host.shape, "device": device_of(array)}
    told["scalar"] = isinstance(array, np.generic)
    told["writeable"] = bool(host.flags.writeable) or told["scalar"]
    if told["device"] != "cpu" or host.flags.c_contiguous:
        return {**told, "strides": None, "offset": 0, "bytes": host.nbytes}, host.tobytes()
    low, high = np.lib.array_utils.byte_bounds(host)
    start = host.__array_interface__["data"][0]
    return {**told, "strides": host.strides, "offset": start - low, "bytes": high - low}, ctypes.string_at(low, high - low)


def rebuild(told: Any, block: memoryview) -> Array:
    """The array of a description and its bytes, or Garbage."""
    try:
        dtype, shape = DTYPES[told["dtype"]], tuple(_natural(size) for size in told["shape"])
        strides = None if told["strides"] is None else tuple(int(step) for step in told["strides"])
        array = np.ndarray(shape, dtype, bytearray(block), _natural(told["offset"]), strides)
        if dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
            raise ValueError("a bool that is neither 0 nor 1")
        array.flags.writeable = bool(told["writeable"])
        if told["device"] != "cpu":
            return to_device(array, told["device"])
        return array[()] if told["scalar"] and not shape else array
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Garbage(f"an array that is none: {error}") from error


def _natural(number: Any) -> int:
    if type(number) is not int or not 0 <= number <= MOST_BYTES:
        raise ValueError("not a size")
    return number


# ---- frames ------------------------------------------------------------------------------------------------------------


def encode(header: dict[str, Any], value: Any = None, where: str = "value") -> tuple[bytes, list[Array]]:
    """The frame that carries `header` and `value`, and the arrays in it; Refused where it is too large or of another kind."""
    arrays: list[Array] = []
    tree = pack(value, where, arrays)
    if (total := sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)) > MOST_BYTES:
        raise Refused(f"{where} holds {total / 2**20:,.0f} MiB of arrays; at most {MOST_BYTES >> 20} MiB may travel at once")
    told = [describe(array) for array in arrays]
    try:
        text = json.dumps({**header, "value": tree, "arrays": [t for t, _ in told]}, separators=(",", ":")).encode()
    except ValueError as error:  # an integer of more digits than Python prints
        raise Refused(f"{where}: {error}") from error
    payload = b"".join(block for _, block in told)
    if len(text) > MOST_HEADER or len(payload) > MOST_BYTES:
        raise Refused(f"{where} holds too many things, or arrays spread too far in memory")
    return LENGTHS.pack(len(text), len(payload)) + text + payload, arrays


def lengths(prefix: bytes) -> tuple[int, int]:
    """(header's, payload's) length from the first bytes of a frame, or Garbage."""
    header, payload = LENGTHS.unpack(prefix)
    if header > MOST_HEADER or payload > MOST_BYTES:
        raise Garbage(f"a frame of {header + payload:,} bytes")
    return header, payload


def decode(text: bytes, payload: memoryview) -> tuple[dict[str, Any], Any, list[Array]]:
    """(header, value, its arrays) of a frame, or Garbage."""
    try:
        header = json.loads(text)
        tree, told = header.pop("value"), header.pop("arrays")
        sizes = [_natural(t["bytes"]) for t in told]
        seen = sum(math.prod(map(_natural, t["shape"][:MOST_DIMS])) * DTYPES[t["dtype"]].itemsize for t in told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Garbage(f"a header that is none: {type(error).__name__}") from error
    if sum(sizes) != len(payload) or seen > MOST_BYTES:
        raise Garbage("arrays whose sizes do not add up")
    ends = np.cumsum([0, *sizes]).tolist()
    arrays = [rebuild(t, payload[a:b]) for t, a, b in zip(told, ends, ends[1:], strict=False)]
    return header, unpack(tree, enumerate(arrays)), arrays
