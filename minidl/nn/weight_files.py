"""Safetensors files, opened without trusting them: names, shapes and types first, the numbers of a name when asked for.

    8 bytes   how long the header is, little-endian
    header    JSON: {"fc.weight": {"dtype": "F32", "shape": [10, 512], "data_offsets": [0, 20480]}, ...,
                     "__metadata__": {text: text}}
    numbers   without gaps and overlaps, little-endian, to the end of the file

Reading one runs no code. The safetensors library judges the header; the file is mapped into memory, and only what is asked
for is read. bfloat16 is the upper half of a float32; NumPy has none, so it is read as float32.

Source: the format's description, github.com/huggingface/safetensors. A .pth goes to minidl/nn/pth_files.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from minidl.nn.loaded import Shapes, shown

MOST_HEADER = 10 << 20  # bytes: room for 100,000 names; ResNet-152 has 932
TYPES = {"BF16": "bfloat16", "BOOL": "bool"}
TYPES |= {f"F{bits}": f"float{bits}" for bits in (16, 32, 64)}
TYPES |= {f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)}
INCOMPLETE = ("not fully covered", "MetadataIncompleteBuffer")  # how versions of the library say that a file is cut short
CONVERT = "in PyTorch, safetensors.torch.save_file(model.state_dict(), path) writes a file that every program can read"


@dataclass(frozen=True)
class WeightFile:
    """What a file holds: shapes and types by name, text of its header; `read(name)` gives the numbers."""

    path: Path
    shapes: Shapes
    types: dict[str, str]
    read: Callable[[str], np.ndarray]
    metadata: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_weights(path: str | Path, most_bytes: int) -> WeightFile:
    """The file's contents; FileNotFoundError, ValueError or ImportError, one line, says what is wrong with it."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"weights: {path} {what}")
    if (size := path.stat().st_size) > most_bytes:
        raise ValueError(f"weights: {path} has {size:,} bytes, more than most_bytes={most_bytes:,}")
    if path.suffix in (".pth", ".pt"):
        from minidl.nn.pth_files import open_pth

        return open_pth(path, most_bytes)
    return _open_safetensors(path, size)


def write_safetensors(arrays: Mapping[str, np.ndarray], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a file: equal arrays and text give equal bytes (the library's own order of texts is random), and none is copied."""
    kinds = {name: dtype for dtype, name in TYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # the widest first: so all are aligned
    end = 0
    for name in names:
        array = arrays[name]
        if array.dtype.name not in kinds:
            raise ValueError(f"weights: cannot save {shown(name)}: safetensors has no type {array.dtype}")
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": kinds[array.dtype.name], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            array = np.ascontiguousarray(arrays[name])
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)


def without_prefix(file: WeightFile, prefix: str) -> WeightFile:
    """The same file with a prefix taken off every name, if every name has it."""
    if not file.shapes or not all(name.startswith(prefix) for name in file.shapes):
        return file
    return replace(
        file,
        shapes={name.removeprefix(prefix): shape for name, shape in file.shapes.items()},
        types={name.removeprefix(prefix): dtype for name, dtype in file.types.items()},
        read=lambda name: file.read(prefix + name),
        notes=(*file.notes, f"{prefix!r} taken off every name"),
    )


def _open_safetensors(path: Path, size: int) -> WeightFile:
    text = _header(path, size)
    begin = 8 + len(text)
    header = _judged(path, text, size - begin)
    metadata = header.pop("__metadata__", None) or {}
    types = {name: TYPES.get(entry["dtype"], entry["dtype"]) for name, entry in header.items()}
    numbers = np.memmap(path, np.uint8, "r")

    def read(name: str) -> np.ndarray:
        first, last = header[name]["data_offsets"]
        try:
            return _decoded(numbers[begin + first : begin + last], types[name]).reshape(header[name]["shape"])
        except (TypeError, ValueError) as error:  # float8; 100 dimensions
            raise ValueError(f"weights: {path}: {shown(name)} ({types[name]}) cannot be an array: {error}") from None

    return WeightFile(path, {name: tuple(entry["shape"]) for name, entry in header.items()}, types, read, metadata)


def _header(path: Path, size: int) -> bytes:
    """The header's text, if the file is long enough for it and it is no longer than a header may be."""
    with path.open("rb") as file:
        start = file.read(8)
        length, rest = int.from_bytes(start, "little"), size - 8
        if start[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
            raise _unreadable(
                path, f"it looks like a pickle, as PyTorch writes them; if so, call it .pth, or better: {CONVERT}"
            )
        if rest < 0:
            raise _unreadable(path, f"it has {size} bytes, and the least is 10")
        if length > min(rest, MOST_HEADER):
            limit = f"{rest:,} are there" if length > rest else f"100,000 names need no more than {MOST_HEADER:,}"
            raise _unreadable(path, f"its header claims {length:,} bytes, and {limit}")
        return file.read(length)


def _judged(path: Path, text: bytes, room: int) -> dict[str, dict[str, Any]]:
    """The header, which the library has found sound: no overlaps, no gaps, shapes that need just the bytes they have."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
        return json.loads(text, object_pairs_hook=_each_once)
    except (SafetensorError, ValueError, OSError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
    if not any(words in reason for words in INCOMPLETE):
        raise _unreadable(path, f"its header is unsound, {reason}")
    entries = (entry for name, entry in json.loads(text).items() if name != "__metadata__")
    promised = max((entry["data_offsets"][1] for entry in entries), default=0)
    what = "it was cut short; fetch it again" if promised > room else "something was added to it"
    raise _unreadable(path, f"its header promises {promised:,} bytes of numbers and {room:,} are there: {what}")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are all different: two readers would take two different ones."""
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{shown(twice)} is in it twice")
    return found


def _decoded(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Bytes, little-endian, as numbers."""
    if dtype == "bfloat16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return raw.view(np.dtype(dtype).newbyteorder("<"))


def _unreadable(path: Path, why: str) -> ValueError:
    return ValueError(f"weights: {path} is not a readable safetensors file: {shown(why, 300)}")
