"""Safetensors files that lie, each made by hand: one clear line, nothing allocated for it, the model as it was."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl import nn
from minidl.nn import load_weights, read_weights

EIGHT = bytes(8)


def made(tensors: dict[str, tuple[str, list, bytes]]) -> bytes:
    """A sound file of name -> (dtype, shape, bytes)."""
    header, numbers = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(numbers), len(numbers) + len(raw)]}
        numbers += raw
    return file(header, numbers)


def file(header: Any, numbers: bytes = EIGHT, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + numbers


def one(shape: Any = (1, 2), offsets: Any = (0, 8), dtype: str = "F32", **more: Any) -> dict[str, Any]:
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


def two(first: tuple[int, int], second: tuple[int, int]) -> dict[str, Any]:
    pair = {"weight": first, "bias": second}
    return {n: {"dtype": "F32", "shape": [(o[1] - o[0]) // 4], "data_offsets": o} for n, o in pair.items()}


TWICE = b'{"weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, '
SOUND = made({"weight": ("F32", [1, 2], np.ones(2, "<f4").tobytes())})
UNSOUND = "its header is unsound, "  # and then the library's reason
HOSTILE: dict[str, tuple[bytes, str]] = {  # what the file is -> its bytes, and what is said of it
    "empty": (b"", "it has 0 bytes, and the least is 10"),
    "five bytes": (b"12345", "it has 5 bytes, and the least is 10"),
    "text": (b"these are no weights at all, only words", "its header claims 8,241,904,413,164,529,780 bytes, and 31 are"),
    "pickle": (b"\x80\x02}q\x00." + EIGHT, "it looks like a pickle"),
    "zip": (b"PK\x03\x04" + bytes(100), "it looks like a pickle"),
    "header of 2^63 bytes": (
        file(b"{}", length=1 << 63),
        "its header claims 9,223,372,036,854,775,808 bytes, and 10 are there",
    ),
    "header one byte too long": (file({}, b"", length=3), "its header claims 3 bytes, and 2 are there"),
    "header of zeros": (file(bytes(64)), UNSOUND),
    "header no JSON": (file(b"{weight: 1}"), UNSOUND),
    "header no UTF-8": (file(b'{"\xff\xfe": 1}'), UNSOUND),
    "header a list": (file([one()]), UNSOUND),
    "header a number": (file(7), UNSOUND),
    "header of brackets": (file(b"[" * 100_000), UNSOUND),
    "entry of brackets": (file(b'{"weight": ' + b"[" * 100_000), UNSOUND),
    "entry a number": (file({"weight": 7}), UNSOUND),
    "no shape": (file({"weight": {"dtype": "F32", "data_offsets": [0, 8]}}), UNSOUND),
    "unknown type": (file(one(dtype="F31")), UNSOUND),
    "metadata of numbers": (file({"__metadata__": {"epoch": 3}, **one()}), UNSOUND),
    "metadata a list": (file({"__metadata__": [], **one()}), UNSOUND),
    "overlap": (file(two((0, 8), (4, 12)), bytes(12)), UNSOUND),
    "same place": (file(two((0, 8), (0, 8))), UNSOUND),
    "gap": (file(two((0, 8), (12, 20)), bytes(20)), UNSOUND),
    "not from the start": (file(one(offsets=(4, 12)), bytes(12)), UNSOUND),
    "backwards": (file(one(offsets=(8, 0))), UNSOUND),
    "negative offset": (file(one(offsets=(-8, 0))), UNSOUND),
    "offset of halves": (file(one(offsets=(0, 8.5))), UNSOUND),
    "three offsets": (file(one(offsets=(0, 8, 16))), UNSOUND),
    "out of the file": (
        file(one((100,), (0, 400))),
        "its header promises 400 bytes of numbers and 8 are there: it was cut short",
    ),
    "offset of 2^64": (file(one((1 << 60,), (0, 1 << 64))), UNSOUND),
    "shape too large": (file(one((3, 2))), UNSOUND),
    "shape too small": (file(one((1,))), UNSOUND),
    "negative shape": (file(one((-1, -2))), UNSOUND),
    "shape of 2^62 by 2^62": (file(one((1 << 62, 1 << 62))), UNSOUND),
    "shape a number": (file(one(2)), UNSOUND),
    "cut short": (SOUND[:-3], "its header promises 8 bytes of numbers and 5 are there: it was cut short; fetch it again"),
    "cut short, with text": (
        file({"__metadata__": {"data_offsets": "ab"}, **one((3,), (0, 12))}),
        "its header promises 12 bytes of numbers and 8 are there: it was cut short; fetch it again",
    ),
    "bytes added": (SOUND + b"more", "its header promises 8 bytes of numbers and 12 are there: something was added to it"),
    "a name twice": (file(TWICE + TWICE[1:-2] + b"}"), "its header is unsound, weight is in it twice"),
    "a field twice": (
        file(b'{"weight": {"dtype": "F32", "dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}'),
        UNSOUND,
    ),
    "a name of escapes": (file({"\x1b[2J\nall is well": one(offsets=(4, 12))["weight"]}, bytes(12)), UNSOUND),
    "a name of a megabyte": (file({"a" * 1_000_000: one(offsets=(4, 12))["weight"]}, bytes(12)), UNSOUND),
}


def said(path: Path, kind: type[Exception] = ValueError, **how: Any) -> str:
    """What is said of the file; the model is as it was."""
    model = nn.Linear(2, 1)
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    with pytest.raises(kind) as caught:
        load_weights(model, path, **how)
    assert {name: array.tobytes() for name, array in model.state_dict().items()} == before
    text = str(caught.value)
    assert text.startswith(f"weights: {path} ")
    assert text.isprintable()
    assert len(text) < 700 + len(str(path))
    return text


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_one_clear_line(what: str, tmp_path: Path) -> None:
    content, words = HOSTILE[what]
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    told = said(path)
    assert "is not a readable safetensors file: " in told
    assert words in told
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        read_weights(path)


def test_a_sound_file_made_by_the_same_hand_loads(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(SOUND)
    model = nn.Linear(2, 1, bias=False)
    load_weights(model, tmp_path / "w.safetensors")
    assert model.weight.numpy().tolist() == [[1, 1]]


def test_what_is_no_file(tmp_path: Path) -> None:
    assert said(tmp_path / "none", FileNotFoundError).endswith("none does not exist")
    assert said(tmp_path, FileNotFoundError).endswith("is a folder, not a file")
    os.mkfifo(tmp_path / "pipe")
    assert said(tmp_path / "pipe", FileNotFoundError).endswith("pipe is no regular file")
    (tmp_path / "large").write_bytes(SOUND)
    assert said(tmp_path / "large", most_bytes=10).endswith(f"has {len(SOUND)} bytes, more than most_bytes=10")


def test_a_million_names_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as lying:
        lying.write((86_000_000).to_bytes(8, "little"))
        lying.truncate(100_000_000)  # a header that could be: the file is as long as it says
    tracemalloc.start()
    told = said(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "its header claims 86,000,000 bytes, and 100,000 names need no more than 10,485,760" in told
    assert peak < 1_000_000


def test_many_unknown_names_are_one_short_line(tmp_path: Path) -> None:
    names = {f"n{i}": {"dtype": "U8", "shape": [], "data_offsets": [i, i + 1]} for i in range(20_000)}
    (tmp_path / "w.safetensors").write_bytes(file(names, bytes(20_000)))
    assert "unexpected: n0, n1, n2, n3, n4 and 19,995 more" in said(tmp_path / "w.safetensors")


def test_only_what_the_model_asks_for_is_read(tmp_path: Path) -> None:
    """A large tensor that no name of the model asks for costs nothing, whatever its type and shape."""
    path = tmp_path / "w.safetensors"
    header = {
        **one(),
        "float8": {"dtype": "F8_E4M3", "shape": [400_000_000], "data_offsets": [8, 400_000_008]},
        "flat": {"dtype": "F32", "shape": [0, 1 << 62, 1 << 62], "data_offsets": [400_000_008, 400_000_008]},
        "deep": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [400_000_008, 400_000_012]},
    }
    with path.open("wb") as sparse:
        sparse.write(file(header))
        sparse.truncate(sparse.tell() + 400_000_004)
    model = nn.Linear(2, 1, bias=False)
    tracemalloc.start()
    found = load_weights(model, path, strict=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.loaded_keys, found.unexpected_keys) == (["weight"], ["float8", "flat", "deep"])
    assert peak < 10_000_000
    with pytest.raises(ValueError, match=r"float8 \(F8_E4M3\) cannot be an array"):
        read_weights(path)


def test_shapes_that_no_array_can_have(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for shape in ([0, 1 << 62, 1 << 62], [0] * 100):
        path.write_bytes(file(one(shape, (0, 0)), b""))
        assert "weight expects [1,2], got [0," in said(path)
        with pytest.raises(ValueError, match=r"weight \(float32\) cannot be an array: "):
            read_weights(path)


def test_a_file_that_fails_while_it_is_read_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two arrays cannot be read: the first is not yet copied."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(made({"weight": ("F32", [1, 2], EIGHT), "bias": ("F8_E5M2", [1], b"1")}))
    model = nn.Linear(2, 1)
    before = model.weight.numpy().copy()
    with pytest.raises(ValueError, match=r"bias \(F8_E5M2\) cannot be an array"):
        load_weights(model, path)
    np.testing.assert_array_equal(model.weight.numpy(), before)


def test_whatever_is_changed_it_is_one_line_or_sound(tmp_path: Path) -> None:
    """Bytes of a file's header set at random, cut out and put in twice: it loads whole, or not at all and in one line."""
    rng, path = np.random.default_rng(0), tmp_path / "w.safetensors"
    weight, bias = rng.standard_normal((2, 2)).astype("<f4").tobytes(), np.ones(2, "<f4").tobytes()
    sound = made({"weight": ("F32", [2, 2], weight), "bias": ("F32", [2], bias)})
    loaded = 0
    for _ in range(400):
        content, at = bytearray(sound), int(rng.integers(len(sound) - 24))
        match rng.integers(3):
            case 0:
                content[at] = rng.integers(256)
            case 1:
                del content[at : at + int(rng.integers(1, 9))]
            case 2:
                content[at:at] = content[at : at + int(rng.integers(1, 9))]
        path.write_bytes(content)
        model = nn.Linear(2, 2)
        before, told = model.weight.numpy().tobytes() + model.bias.numpy().tobytes(), ""
        try:
            load_weights(model, path)
        except ValueError as error:
            told = str(error)
        loaded += not told
        assert told.isprintable()
        assert model.weight.numpy().tobytes() + model.bias.numpy().tobytes() == (before if told else weight + bias)
    assert 0 < loaded < 100
