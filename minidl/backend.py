"""Where arrays live: NumPy on the host, CuPy on the GPU.

Every kernel is written once against `xp`, the module that made its arrays:

>>> import numpy as np
>>> from minidl.backend import xp_of
>>> def relu(x):
...     xp = xp_of(x)  # numpy, cupy, or the strict stand-in of the tests
...     return xp.maximum(x, 0)
>>> relu(np.array([-1.0, 2.0])).tolist()
[0.0, 2.0]

This is the only file that imports CuPy, and it does so on first use: `import minidl` never pays for it.
A third library (the strict stand-in of the tests) joins through `register_library`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minidl import gpu
from minidl.extras import install

Array = Any  # numpy.ndarray, cupy.ndarray or a registered stand-in: one formula serves them all


class Library(NamedTuple):
    """An array library: its module and how arrays come from NumPy and go back."""

    name: str
    xp: Any
    from_numpy: Callable[[np.ndarray], Array]
    to_numpy: Callable[[Array], np.ndarray]


_LIBRARIES: dict[type, Library] = {}  # array type -> library, for all but NumPy


def register_library(array_type: type, library: Library) -> None:
    """Make arrays of `array_type` known to the engine."""
    _LIBRARIES[array_type] = library


def other_libraries() -> list[Library]:
    """The libraries beside NumPy that can compute on this machine (CuPy only where a GPU answers)."""
    if cuda_problem() is None:
        cupy()
    return list(_LIBRARIES.values())


def _library_of(array: Array) -> Library | None:
    library = _LIBRARIES.get(type(array))
    if library is None and type(array).__module__.partition(".")[0] == "cupy":
        cupy()
        library = _LIBRARIES.get(type(array))
    return library


def xp_of(*arrays: Array) -> Any:
    """The module whose functions compute on these arrays (numpy if none says otherwise)."""
    for array in arrays:
        if not isinstance(array, np.ndarray):
            library = _library_of(array)
            if library is not None:
                return library.xp
    return np


def is_array(value: object) -> bool:
    """Is this an array of a library we know? (NumPy scalars count: reductions return them.)"""
    return isinstance(value, np.ndarray | np.generic) or _library_of(value) is not None


def cupy() -> ModuleType:
    """The CuPy module, or an ImportError that says what to install."""
    try:
        import cupy as module
    except ImportError as error:
        if getattr(error, "name", "") == "cupy":
            raise ImportError(f"CuPy is not installed: {install('cuda13')} (cuda12 for an older driver)") from error
        raise ImportError(str(gpu.not_loaded(error))) from error
    if module.ndarray not in _LIBRARIES:
        register_library(module.ndarray, Library("cupy", module, module.asarray, module.asnumpy))
    return module


def is_cupy(array: Array) -> bool:
    """Is it a CuPy array?"""
    return type(array).__module__.partition(".")[0] == "cupy"


@contextmanager
def cublas_in(precision: str) -> Iterator[None]:
    """Inside the block two-dimensional float32 products of CuPy take their factors as 'tf32' or 'bf16'.

    CuPy keeps this by process, and offers it under a name that begins with an underscore; the tests of the GPU hold it to that.
    """
    core = cupy()._core
    kinds = {"tf32": core._routines_linalg.COMPUTE_TYPE_TF32, "bf16": core._routines_linalg.COMPUTE_TYPE_BF16}
    before = core.get_compute_type(np.float32)
    core.set_compute_type(np.float32, kinds[precision])
    try:
        yield
    finally:
        core.set_compute_type(np.float32, before)


def cuda_problem() -> str | None:
    """None where a GPU can be used; otherwise one line that says what is missing and what to do."""
    if "cupy" not in sys.modules:
        import importlib.util

        if importlib.util.find_spec("cupy") is None:
            return f"CuPy is not installed: {install('cuda13')} (cuda12 for an older driver), or use --device cpu"
    try:
        module = cupy()
    except ImportError as error:
        return str(error)
    trouble = (gpu.no_library(module) or gpu.other_float32()) if module.is_available() else gpu.no_gpu(module)
    return None if trouble is None else str(trouble)


def device_of(array: Array) -> str:
    """'cpu', 'cuda:0', ... or the name of a stand-in library."""
    if isinstance(array, np.ndarray | np.generic):
        return "cpu"
    library = _library_of(array)
    if library is None:
        raise TypeError(f"device_of: expected an array, got {type(array).__name__}")
    return f"cuda:{array.device.id}" if library.name == "cupy" else library.name


def _cuda_index(device: str) -> int:
    _, _, number = device.partition(":")
    if (problem := cuda_problem()) is not None:
        raise ValueError(f"device {device!r}: {problem}")
    index, count = int(number or 0), cupy().cuda.runtime.getDeviceCount()
    if index >= count:
        raise ValueError(gpu.no_such_number(device, count))
    if (trouble := gpu.too_old(cupy(), index)) is not None:
        raise ValueError(f"device {device!r}: {trouble}")
    return index


def check_device(device: str) -> str:
    """The device's name if it can be used here, otherwise a ValueError with the remedy."""
    kind, _, number = str(device).partition(":")
    if device == "cpu" or any(device == library.name for library in _LIBRARIES.values() if library.name != "cupy"):
        return device
    if kind != "cuda" or (number and not (number.isascii() and number.isdigit())):
        raise ValueError(f"device {device!r} is not known: use 'cpu', 'cuda' or 'cuda:0'")
    return f"cuda:{_cuda_index(device)}"


def full_like(like: Array, shape: tuple[int, ...], value: float = 0) -> Array:
    """An array of another shape, all `value`, with its axes in memory in the order of `like`'s: images stay channels-last.

    >>> import numpy as np
    >>> from minidl.backend import full_like
    >>> x = np.ones((2, 5, 5, 3)).transpose(0, 3, 1, 2)
    >>> full_like(x, (2, 3, 7, 7)).transpose(0, 2, 3, 1).flags.c_contiguous
    True
    """
    axes = range(len(shape))
    order = sorted(axes, key=lambda axis: -abs(like.strides[axis])) if like.ndim == len(shape) else list(axes)
    there = xp_of(like).full(tuple(shape[axis] for axis in order), value, dtype=like.dtype)
    return there.transpose([order.index(axis) for axis in axes])


def blank(shape: tuple[int, ...], dtype: Any, xp: Any = np) -> Array:
    """An array of zeros that takes no memory: one 0, seen everywhere. What is written into it is lost."""
    if xp is np:
        return np.ndarray(shape, dtype, np.zeros(1, dtype), strides=(0,) * len(shape))
    return xp.broadcast_to(xp.zeros((), dtype=dtype), shape)


def to_device(array: Array, device: str) -> Array:
    """The array on `device`; the same array if it is there already."""
    device = check_device(device)
    if device_of(array) == device:
        return array
    if device == "cpu":
        return to_numpy(array)
    if device.startswith("cuda"):
        with cupy().cuda.Device(_cuda_index(device)):
            return cupy().asarray(array)
    library = next(library for library in _LIBRARIES.values() if library.name == device)
    return library.from_numpy(to_numpy(array))


def to_numpy(array: Array) -> np.ndarray:
    """The array on the host; a NumPy array is returned as it is."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    library = _library_of(array)
    if library is None:
        raise TypeError(f"to_numpy: expected an array, got {type(array).__name__}")
    return library.to_numpy(array)


def use_device(device: str) -> str:
    """`check_device`, and from now on this thread computes there: CuPy computes on its current device, wherever arrays lie."""
    device = check_device(device)
    if device.startswith("cuda"):
        cupy().cuda.Device(_cuda_index(device)).use()
    return device


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Arrays that are made inside the block lie on this GPU, and kernels run there; nothing for other devices.

    With one GPU there is no need of it: the current device is cuda:0 until something else is said.
    """
    with cupy().cuda.Device(_cuda_index(device)) if device.startswith("cuda") else nullcontext():
        yield


class Room(NamedTuple):
    """A device's memory, in bytes."""

    free: int
    ours: int  # what this process could have, once it has let go of all that it holds
    total: int


def room(device: str) -> Room | None:
    """The memory of a GPU; None for other devices."""
    if not device.startswith("cuda"):
        return None
    with on_device(device):
        (free, total), pool = cupy().cuda.runtime.memGetInfo(), cupy().get_default_memory_pool()
        return Room(free + pool.free_bytes(), free + pool.total_bytes(), total)


def synchronise(device: str = "cpu") -> None:
    """Wait until everything queued on `device` has run; needed before reading a clock."""
    if device.startswith("cuda"):
        with cupy().cuda.Device(_cuda_index(device)):
            cupy().cuda.get_current_stream().synchronize()
