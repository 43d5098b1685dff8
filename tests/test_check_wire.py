"""Frames between the grader and its child: what travels arrives as it was, and what does not belong is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minidl.grader import wire


def trip(value: Any) -> Any:
    """What arrives."""
    frame, _ = wire.encode({"id": 1}, value)
    return read(frame)


def read(frame: bytes) -> Any:
    header, payload = wire.lengths(frame[:12])
    body = memoryview(frame)[12:]
    return wire.decode(bytes(body[:header]), body[header : header + payload])[1]


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.complex_numbers()
VALUES = st.recursive(
    SCALARS | st.sampled_from([..., slice(1, None, 2), np.dtype("float32")]),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)


@given(VALUES)
def test_values_arrive_as_they_were(value: Any) -> None:
    assert repr(trip(value)) == repr(value)  # NaN is not equal to itself


@given(st.data())
def test_arrays_arrive_with_their_memory_layout(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(sorted(wire.DTYPES)))
    x = data.draw(arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, max_side=4)))
    if data.draw(st.booleans()):
        x = x.T
    if x.ndim:
        x = x[:: data.draw(st.sampled_from([1, -1, 2]))]
    if data.draw(st.booleans()):
        x = np.broadcast_to(x, (2, *x.shape))
    got = trip((x, 1))[0]
    assert got.dtype == x.dtype
    assert got.flags.writeable == x.flags.writeable
    np.testing.assert_array_equal(got, x)
    if x.size > 1 and not x.flags.c_contiguous:
        assert got.strides == x.strides


def test_numpys_scalars_stay_scalars() -> None:
    got = trip([np.float32(0.1), np.array(2.0), np.bool_(True)])
    assert [type(v) for v in got] == [np.float32, np.ndarray, np.bool_]


STRANGERS = [
    (object(), "saved is an object; it may hold arrays, numbers"),
    (([1, {"f": print}],), "saved[0][1]['f'] is a builtin_function_or_method"),
    (np.array(["text"]), "saved is an array of <U4; numbers and bools may travel"),
    (np.zeros(2, ">f8"), "saved is an array of >f8"),
    (np.ma.array([1.0]), "make it a plain array with np.asarray"),
    ({(1, 2): 3}, "a dict with a tuple as a key"),
    (10**5000, "digits"),
    (np.broadcast_to(np.zeros(1), 10**8), "saved holds 763 MiB of arrays; at most 16 MiB"),
    (["text" * 9] * 10**5, "too many things"),
]


@pytest.mark.parametrize(("value", "words"), STRANGERS, ids=[words[:30] for _, words in STRANGERS])
def test_what_cannot_travel_is_named_with_its_place(value: Any, words: str) -> None:
    with pytest.raises(wire.Refused, match=r".*") as error:
        wire.encode({}, value, "saved")
    assert words in str(error.value)


def test_what_holds_itself_cannot_travel() -> None:
    endless: list = []
    endless.append(endless)
    with pytest.raises(wire.Refused, match="nested more than 32 deep"):
        wire.encode({}, endless)


ARRAY = {
    "dtype": "float64",
    "shape": [1],
    "strides": None,
    "offset": 0,
    "bytes": 8,
    "writeable": True,
    "scalar": False,
    "device": "cpu",
}
FORGED = {
    "no dictionary": [],
    "no arrays": {"value": 1},
    "a tree of no form": {"value": {"pickle": "gASV"}, "arrays": [ARRAY]},
    "a tree that is deep": b'{"value":' * 50_000,
    "an array named twice": {"value": {"list": [{"array": 0}, {"array": 0}]}, "arrays": [ARRAY]},
    "an array that is not there": {"value": {"array": 1}, "arrays": [ARRAY]},
    "an unhashable key": {"value": {"dict": [[[1], 2]]}, "arrays": [ARRAY]},
    "objects": {"value": {"array": 0}, "arrays": [{**ARRAY, "dtype": "object"}]},
    "more than was sent": {"value": {"array": 0}, "arrays": [{**ARRAY, "shape": [2]}]},
    "a negative shape": {"value": {"array": 0}, "arrays": [{**ARRAY, "shape": [-1]}]},
    "strides that leave the bytes": {"value": {"array": 0}, "arrays": [{**ARRAY, "shape": [2], "strides": [-8]}]},
    "an offset outside": {"value": {"array": 0}, "arrays": [{**ARRAY, "offset": 8}]},
    "a huge view of few bytes": {"value": {"array": 0}, "arrays": [{**ARRAY, "shape": [10**7, 10], "strides": [0, 0]}]},
    "a million dimensions": {"value": {"array": 0}, "arrays": [{**ARRAY, "shape": [1] * 100_000}]},
    "bools that are neither": {"value": {"array": 0}, "arrays": [{**ARRAY, "dtype": "bool", "shape": [8]}]},
    "a description that lacks one": {"value": {"array": 0}, "arrays": [{k: ARRAY[k] for k in ARRAY if k != "strides"}]},
    "an unknown device": {"value": {"array": 0}, "arrays": [{**ARRAY, "device": "tape"}]},
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_frame_is_garbage(name: str) -> None:
    header = FORGED[name]
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with pytest.raises(wire.Garbage):
        read(wire.LENGTHS.pack(len(text), 8) + text + b"\x07" * 8)


def test_a_huge_frame_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(wire.Garbage, match="a frame of"):
        wire.lengths(wire.LENGTHS.pack(10, 2**60))


@given(st.data())
def test_a_damaged_frame_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    x = np.arange(6.0).reshape(2, 3)
    frame = bytearray(wire.encode({"id": 1}, (x, x.T[::-1], {"a": [1, None, 2j, ...]}, x > 2))[0])
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(12, len(frame) - 1))] = data.draw(st.sampled_from(b'0123456789-,[]{}":eE.\xff'))
    try:
        value = read(bytes(frame))
    except wire.Garbage:
        return
    for array in value if isinstance(value, tuple) else ():
        if isinstance(array, np.ndarray):
            assert math.prod(array.shape) <= wire.MOST_BYTES
            np.array(array)  # every element can be read
