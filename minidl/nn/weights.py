"""Weights in files: saved as safetensors, loaded from safetensors or from PyTorch's .pth.

>>> model = nn.Linear(2, 1)
>>> nn.save_weights(model, "linear.safetensors")
>>> print(nn.load_weights(nn.Linear(2, 1), "linear.safetensors"))
2 arrays loaded into Linear

Names are PyTorch's, so torchvision's files load by name; minidl/nn/weight_files.py says how files are opened. All is checked
before the first number is copied, so a model is loaded whole or stays as it was.

What names and shapes cannot tell, such as where a ResNet has its strides, is in the header of files saved here: the model's
class and its options, which are those keywords of its constructor that it keeps as attributes of the same names.
"""

from __future__ import annotations

import inspect
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minidl.nn.loaded import Loaded, compare, inside, shown, some
from minidl.nn.module import Module
from minidl.nn.transfer import parts_of
from minidl.nn.weight_files import WeightFile, open_weights, without_prefix, write_safetensors
from minidl.tensor import Tensor

MOST_BYTES = 8 << 30  # VGG-16 in float32 is half a gigabyte
MODEL, OPTIONS = "minidl.model", "minidl.options"  # in the header
HARMLESS = {"classes", "size", "dropout"}  # options that change no number a trained net computes, or that shapes tell
PIECE = 1 << 20  # numbers looked at together
OTHERS = (".pth", ".pt", ".bin", ".pkl", ".pickle", ".npz", ".npy", ".h5", ".hdf5")  # endings that promise other formats


class Refused(ValueError):
    """Why a file is not loaded. `in_short` lacks the remedies, arguments of load_weights that the shell has not."""

    def __init__(self, in_short: str, *remedies: str):
        super().__init__("; ".join([in_short, *remedies]))
        self.in_short = in_short


def save_weights(source: Module | Mapping[str, np.ndarray], path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write a model's state, or arrays by name (an optimiser's), with some text by name in the header.

    A file of that name is replaced, whole or not at all; where the name is a link, the file it leads to.
    """
    if not isinstance(source, Module | Mapping):
        raise TypeError(f"save_weights: expected a model, or arrays by name, got {type(source).__name__}")
    target = _target(path)
    arrays = source.state_dict() if isinstance(source, Module) else source
    metadata = {**(_header(source) if isinstance(source, Module) else {}), **(metadata or {})}
    beside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        write_safetensors(arrays, beside, metadata)
        beside.replace(target)
    except OSError as error:
        raise type(error)(f"save_weights: cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def load_weights(
    model: Module,
    path: str | Path,
    strict: bool = True,
    *,
    heads: Iterable[str] = (),
    allow_nan: bool = False,
    most_bytes: int = MOST_BYTES,
) -> Loaded:
    """Load a file into the model by name; print the result to read what was loaded, cast, left out or left open.

    strict     every name must match, and a file that names its model must name this one; otherwise the result says what did not
    heads      parts such as "classifier.6" that keep their fresh values where the file has another number of classes
    allow_nan  also load NaN and infinity

    FileNotFoundError, ValueError or ImportError, one line, says why a file is refused; then the model is as it was.
    """
    heads = parts_of(model, "load_weights", [heads] if isinstance(heads, str) else heads)
    if not isinstance(path, str | os.PathLike):
        came = type(path).__name__
        raise TypeError(f"load_weights: expected the name of a file, got {came}; model.load_state_dict takes arrays by name")
    ours, file = dict(model._tensors()), open_weights(path, most_bytes)
    if not any(name.startswith("module.") for name in ours):
        file = without_prefix(file, "module.")  # DataParallel's
    found = compare(type(model).__name__, {name: tensor.shape for name, tensor in ours.items()}, file.shapes, heads)
    other, misfits = _other_model(model, file.metadata), found.misfits(strict)
    if misfits or (strict and other):
        told = "; ".join([*([other] if other else []), *misfits, *_diagnosis(found)])
        raise Refused(f"weights: {path} does not fit {found.model}, nothing was loaded: {told}", *_remedy(found))
    arrays = {name: file.read(name) for name in found.loaded_keys}
    _check_numbers(arrays, ours, file, allow_nan)
    with np.errstate(over="ignore"):  # refused above, or asked for
        model.load_state_dict(arrays, strict=False)
    found.notes += [*file.notes, *_casts(found, ours, file), *([other] if other else []), *_left_open(model, file)]
    return found


def read_weights(path: str | Path, most_bytes: int = MOST_BYTES) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by name, text of the header); FileNotFoundError or ValueError says what is wrong with the file."""
    file = open_weights(path, most_bytes)
    return {name: np.array(file.read(name)) for name in file.shapes}, file.metadata


def _target(path: str | Path) -> Path:
    """The file to write, links followed; ValueError or OSError, one line, where it can be none."""
    if not os.fspath(path):
        raise ValueError("save_weights: the path is empty; name a file such as mine.safetensors")
    target, name = Path(os.path.realpath(path)), Path(path)
    if name.suffix.lower() in OTHERS:
        raise ValueError(f"save_weights writes safetensors: name it {name.with_suffix('.safetensors')}, not {path}")
    if target.exists() and not target.is_file():
        kind, what = (IsADirectoryError, "is a folder") if target.is_dir() else (OSError, "exists and is no regular file")
        raise kind(f"save_weights: {path} {what}; name a file such as mine.safetensors")
    return target


# ---- the numbers -----------------------------------------------------------------------------------------------------------


def _check_numbers(arrays: dict[str, np.ndarray], ours: dict[str, Tensor], file: WeightFile, allow_nan: bool) -> None:
    """ValueError for integers where the model has floating point (quantised weights), NaN, infinity, and variances below 0."""
    kinds = {"f": "f", "i": "iu", "u": "iu", "b": "b"}
    if wrong := [n for n, array in arrays.items() if array.dtype.kind not in kinds[ours[n].dtype.kind]]:
        listed = some([f"{name} is {file.types[name]} and the model's is {ours[name].dtype}" for name in wrong])
        raise ValueError(f"weights: {file.path}: {listed}; nothing was loaded: save them in the model's type first")
    if not allow_nan and (wrong := [name for name, array in arrays.items() if not _finite(array, ours[name].dtype)]):
        told = f"holds NaN or infinity, or what is infinite in the model's type: {some(wrong)}; nothing was loaded"
        raise Refused(f"weights: {file.path} {told}", "allow_nan=True loads it all the same")
    if wrong := [name for name, array in arrays.items() if name.endswith("running_var") and (array < 0).any()]:
        raise ValueError(f"weights: {file.path} holds variances below 0: {some(wrong)}; nothing was loaded: the file is broken")


def _finite(array: np.ndarray, dtype: np.dtype) -> bool:
    """Are all numbers finite, also once they are cast? Piece by piece: no copy of a large array."""
    flat = array.reshape(-1)
    with np.errstate(over="ignore"):
        return all(np.isfinite(flat[i : i + PIECE].astype(dtype, copy=False)).all() for i in range(0, flat.size, PIECE))


def _casts(found: Loaded, ours: dict[str, Tensor], file: WeightFile) -> list[str]:
    pairs = Counter((file.types[name], str(ours[name].dtype)) for name in found.loaded_keys)
    return [f"{count:,} of them cast from {theirs} to {mine}" for (theirs, mine), count in pairs.items() if theirs != mine]


# ---- which model it was ----------------------------------------------------------------------------------------------------


def options_of(model: Module) -> dict[str, Any]:
    """The keywords of the model's constructor that it keeps as attributes of the same names, as JSON can say them.

    So `self.version = version` in `__init__` is all that a model does to have it noted in its files.
    """
    keywords = inspect.signature(type(model).__init__).parameters
    kept = {name: value for name, value in vars(model).items() if name in keywords and not isinstance(value, Module | Tensor)}
    return json.loads(json.dumps(kept, default=_named, skipkeys=True))


def _named(value: Any) -> str:
    """What JSON has no word for, such as a function, by its name."""
    return str(getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__)


def _header(model: Module) -> dict[str, str]:
    return {MODEL: type(model).__name__, OPTIONS: json.dumps(options_of(model))}


def _other_model(model: Module, metadata: dict[str, str]) -> str | None:
    """Words for a file that names another model, or other options that change what the net computes."""
    name = metadata.get(MODEL)
    if name is None:
        return None
    mine, theirs = options_of(model), _parsed(metadata.get(OPTIONS, "{}"))
    if name not in [cls.__name__ for cls in type(model).__mro__]:
        return f"it was saved from {shown(name)}, which may compute otherwise even where names and shapes fit"
    if differing := [key for key in theirs if key in mine and theirs[key] != mine[key] and key not in HARMLESS]:
        was, this = (", ".join(f"{shown(key)}={shown(repr(side[key]))}" for key in differing) for side in (theirs, mine))
        pair = f"it was saved from {shown(name)}({was}) and this is {type(model).__name__}({this})"
        return f"{pair}; build it with {was}, by --set in the shell"
    return None


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _left_open(model: Module, file: WeightFile) -> list[str]:
    """What the model says that names and shapes cannot tell, where the header does not tell it either."""
    text = "" if MODEL in file.metadata else getattr(model, "shapes_cannot_tell", "")
    return [f"what shapes cannot tell: {text}"] if text else []


def _diagnosis(found: Loaded) -> list[str]:
    return [] if found.loaded_keys else ["no name and shape fits: these are the weights of another net"]


def _remedy(found: Loaded) -> list[str]:
    """Arguments of load_weights that may help."""
    wrong = [w for w in found.wrong_shapes if not inside(w.name, found.anew)]
    parts = {w.name.rpartition(".")[0] for w in wrong}
    if not found.loaded_keys:
        return []
    if wrong and len(parts) == 1 and all(w.may_be_classes() for w in wrong):
        return [f"another number of classes? heads=[{shown(parts.pop())!r}] lets that part start anew"]
    return [] if wrong else ["strict=False loads what fits"]
