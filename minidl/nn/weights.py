"""Weights in safetensors files: a header of names, types and shapes, then the numbers. Reading one runs no code.

>>> model = nn.Linear(2, 1)
>>> nn.save_weights(model, "linear.safetensors")
>>> nn.load_weights(model, "linear.safetensors")
Loaded(missing_keys=[], unexpected_keys=[])

A file is replaced whole or not at all. Pickles (PyTorch's .pt and .pth) are never read: they can run what their author likes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minidl.nn.module import Loaded, Module

MOST_BYTES = 8 << 30  # VGG-16 in float32 is half a gigabyte


def save_weights(source: Module | Mapping[str, np.ndarray], path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write a model's state, or arrays by name (an optimiser's), with some text by name in the header."""
    from safetensors import SafetensorError
    from safetensors.numpy import save

    arrays, path = source.state_dict() if isinstance(source, Module) else source, Path(path)
    try:
        content = save({name: np.array(a, order="C") for name, a in arrays.items()}, metadata)
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"weights: cannot save {path}: {error}") from None
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def load_weights(model: Module, path: str | Path, strict: bool = True, most_bytes: int = MOST_BYTES) -> Loaded:
    """Load a file into the model: `load_state_dict`, whose error says which names or shapes do not fit."""
    return model.load_state_dict(read_weights(path, most_bytes)[0], strict)


def read_weights(path: str | Path, most_bytes: int = MOST_BYTES) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by name, text of the header); FileNotFoundError or ValueError says what is wrong with the file."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights: there is no file {path}")
    if (size := path.stat().st_size) > most_bytes:
        raise ValueError(f"weights: {path} has {size:,} bytes, more than most_bytes={most_bytes:,}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  (no dict)
    except (SafetensorError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"weights: {path} is not a readable safetensors file: {_why(path, error)}") from None


def _why(path: Path, error: Exception) -> str:
    """The library's reason, or a better one where we know it."""
    if "bfloat16" in str(error):
        return "it holds bfloat16, which NumPy has not; save it as float32"
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"PK", b"\x80\x02"):
        return "it looks like a pickle; write it in PyTorch by safetensors.torch.save_file(model.state_dict(), path)"
    return str(error)
