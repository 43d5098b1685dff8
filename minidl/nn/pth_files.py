"""PyTorch's own files, .pth and .pt: a pickle, which is a program and can do whatever its author likes.

They are opened by torch.load(weights_only=True), where PyTorch is installed: it builds tensors and containers, and refuses all
else. minidl never unpickles on its own.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minidl.nn.loaded import shown, some
from minidl.nn.weight_files import CONVERT, WeightFile

ARCHIVE = b"PK\x03\x04"  # with these torch.load takes a file for an archive
SAFE = (2, 6)  # before it, a pickle could get round weights_only=True: CVE-2025-32434
WRAPPINGS = ("state_dict", "model")  # under which checkpoints keep the weights, beside an optimiser's state


def open_pth(path: Path, most_bytes: int) -> WeightFile:
    """The file's contents, as safetensors files give them; ValueError or ImportError, one line, says what is wrong."""
    torch = _torch(path)
    _check_unpacked(path, most_bytes)
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or malicious pickle leads to
        raise ValueError(f"weights: {path} is refused: {_why(error)}") from None
    state, notes = _state_in(content)
    if strange := [f"{name} ({type(t).__name__})" for name, t in state.items() if not isinstance(t, torch.Tensor)]:
        raise ValueError(f"weights: {path} is no state_dict, tensors by name; it holds {some(strange)}")
    tensors = {str(name): tensor.detach() for name, tensor in state.items()}
    types = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}

    def read(name: str) -> np.ndarray:
        try:
            return (tensors[name].float() if types[name] == "bfloat16" else tensors[name]).numpy()
        except (TypeError, RuntimeError) as error:  # sparse, quantised
            what = f"{shown(name)} ({types[name]})"
            raise ValueError(f"weights: {path}: {what} cannot be an array: {shown(str(error))}") from None

    return WeightFile(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, types, read, notes=notes)


def _torch(path: Path) -> Any:
    """PyTorch, if it is installed and its weights_only can be relied on."""
    try:
        import torch
    except ImportError:
        lacking = f"{path} is a pickle, which is left to PyTorch to open, and that is not installed"
        raise ImportError(f"weights: {lacking}: pip install torch, or {CONVERT}") from None
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE:
        old = f"PyTorch {torch.__version__} can be made to run a pickle's code (CVE-2025-32434)"
        raise ImportError(f"weights: {path}: {old}; install torch 2.6 or newer")
    return torch


def _check_unpacked(path: Path, most_bytes: int) -> None:
    """ValueError for an archive that unpacks to more memory than allowed."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except Exception as error:  # torch.load is less strict, and would unpack what was not counted
        with path.open("rb") as file:
            if file.read(len(ARCHIVE)) != ARCHIVE:
                return  # the older format, or no weights at all: torch.load will say
        broken = shown(str(error) or type(error).__name__)
        raise ValueError(f"weights: {path} is refused: it is a broken archive ({broken}); fetch it again") from None
    if size > most_bytes:
        raise ValueError(f"weights: {path} unpacks to {size:,} bytes, more than most_bytes={most_bytes:,}")


def _why(error: Exception) -> str:
    """PyTorch's reason in a few words; never its advice to try again with weights_only=False."""
    if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it asks for code, {named[1]}, and weights need none; {CONVERT}"
    reason = shown(str(error).partition(". ")[0])
    return f"PyTorch cannot read it as weights ({type(error).__name__}{': ' if reason else ''}{reason})"


def _state_in(content: Any) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    """Names and tensors of a checkpoint, and a note of where in it they lay."""
    if not isinstance(content, Mapping):
        return {"one object": content}, ()
    for key in WRAPPINGS:
        if isinstance(content.get(key), Mapping):
            return content[key], (f"taken from the file's {key!r}",)
    return content, ()
