"""A strict stand-in for CuPy: NumPy behind a shell that refuses what a GPU array refuses.

A StrictArray is not a numpy.ndarray, has no `__array__`, and mixes with no NumPy array. The module holds only names that
CuPy has, and its functions accept only StrictArrays and Python numbers. So NumPy-only code in a kernel is found on a
machine without a GPU. It proves that a formula keeps to one library; only a GPU proves that the library computes it.

What on a GPU would carry numbers between host and device, or make the host wait for the device, is told to `HEARERS`
(tests/crossings.py listens):

    to the device   from_numpy; array(), asarray(), full() and others of a list
    to the host     to_numpy, item, tolist, bool(), float(), int(), an index, a condition, printing
    waits           results whose size the device must tell first: nonzero, unique, bincount, x[mask]

No crossing, but told too: what CuPy would hand to cuBLAS, which a capture of a step refuses.

    a product       @, matmul, dot, einsum, tensordot

What it computes is told to `NOTERS` too, so that it can be done again on the same memory (tests/strict_recording.py).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from minidl.backend import Library, register_library

TO_DEVICE, TO_HOST, WAITS, PRODUCT = "to the device", "to the host", "waits", "a product"
HEARERS: list[Callable[[str, str], None]] = []  # each is told the kind of a crossing, and by which name it came
NOTERS: list[Callable[[Callable, tuple, dict, Any], None]] = []  # each is told function, NumPy arguments, result
BEFORE_WRITING: list[Callable[[np.ndarray], None]] = []  # each is told what is about to be edited


def _tell(kind: str, name: str) -> None:
    for hear in HEARERS:
        hear(kind, name)


def _compute(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """All that makes an array."""
    args, kwargs = _unwrap(args), {name: _unwrap(value) for name, value in kwargs.items()}
    if (out := kwargs.get("out")) is not None:
        edit(lambda *_: function(*args, **kwargs), out)
        return StrictArray(out)
    result = _wrap(function(*args, **kwargs))
    for note in NOTERS:
        note(function, args, kwargs, result)
    return result


def edit(function: Callable, target: np.ndarray, *args: Any) -> None:
    """All that writes into an array."""
    for hear in BEFORE_WRITING:
        hear(target)
    function(target, *args)
    for note in NOTERS:
        note(function, (target, *args), {}, None)


class StrictArray:
    """An array that only this module can compute with."""

    __slots__ = ("_a",)
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray):
        object.__setattr__(self, "_a", np.asarray(array))

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("implicit conversion of a device array to NumPy; compute with xp = xp_of(x)")

    @property
    def data(self) -> SimpleNamespace:
        """What CuPy says of an array's memory: where it begins."""
        return SimpleNamespace(ptr=self._a.ctypes.data)

    def __getattr__(self, name: str) -> Any:
        if name in _ATTRIBUTES:
            return _compute(getattr, self, name)
        if name in _METHODS:
            return lambda *args, **kwargs: _call(name, getattr(np.ndarray, name), (self, *args), kwargs)
        raise AttributeError(f"device arrays have no {name!r}")

    def __getitem__(self, index: Any) -> Any:
        if _has_mask(index):
            _tell(WAITS, "x[mask]")
        return _compute(np.ndarray.__getitem__, self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if _has_mask(index) and isinstance(value, StrictArray) and value.ndim:
            _tell(WAITS, "x[mask] = array")
        edit(np.ndarray.__setitem__, self._a, _unwrap(index), _unwrap(value))

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Any:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))


def _read(name: str) -> Any:
    def method(self: StrictArray, *args: Any) -> Any:
        _tell(TO_HOST, name)
        return getattr(self._a, name)(*args)

    return method


for _name in "__bool__ __complex__ __float__ __format__ __index__ __int__ __repr__ __str__".split():
    setattr(StrictArray, _name, _read(_name))


_ATTRIBUTES = {"T", "dtype", "flags", "imag", "itemsize", "nbytes", "ndim", "real", "shape", "size", "strides"}
_METHODS = set(
    (
        "all any argmax argmin astype clip conj copy cumsum dot fill item max mean min nonzero prod ravel repeat "
        "reshape round squeeze std sum swapaxes take tolist trace transpose var view"
    ).split()
)
_READS, _EDITORS = {"item", "tolist"}, {"fill", "put_along_axis"}
_PRODUCTS = {"dot", "einsum", "matmul", "tensordot"}
_MAKERS, _FILLERS = {"array", "asarray", "ascontiguousarray", "atleast_1d"}, {"full", "full_like"}
_SIZED_BY_DEVICE = {"bincount", "nonzero", "unique"}
# names NumPy and CuPy 14 share and kernels may use; add one only after finding it in CuPy's reference
_FUNCTIONS = set(
    (
        "abs absolute add all any arange arctan argmax argmin argsort array asarray ascontiguousarray atleast_1d "
        "bincount broadcast_to ceil clip concatenate copysign cos cosh count_nonzero cumprod cumsum diag divide dot "
        "einsum empty empty_like equal exp expand_dims expm1 eye flip float_power floor floor_divide full full_like "
        "greater greater_equal invert isfinite isinf isnan kron less less_equal linspace log log1p log2 logical_and "
        "logical_not logical_or matmul max maximum mean min minimum moveaxis multiply nan_to_num negative nonzero "
        "not_equal ones ones_like outer pad power prod put_along_axis ravel reciprocal repeat reshape roll sign sin "
        "sinh split sqrt square squeeze stack std subtract sum swapaxes take take_along_axis tan tanh tensordot tile "
        "transpose tril triu unique var where zeros zeros_like"
    ).split()
)
_TYPES = set("bool_ float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 complex64 complex128".split())
_PLAIN = set("dtype newaxis inf nan pi e finfo iinfo ndim issubdtype floating integer result_type".split())


class _At:
    """xp.add.at, the one ufunc method that CuPy has for scatter-adds."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _call("add", np.add, args, kwargs)

    @staticmethod
    def at(target: StrictArray, index: Any, values: Any) -> None:
        edit(np.add.at, target._a, _unwrap(index), _unwrap(values))


class _Tricks:
    @staticmethod
    def as_strided(x: StrictArray, shape: tuple, strides: tuple) -> StrictArray:
        return _compute(np.lib.stride_tricks.as_strided, x, shape, strides)

    @staticmethod
    def sliding_window_view(x: StrictArray, window_shape: Any, axis: Any = None) -> StrictArray:
        return _compute(np.lib.stride_tricks.sliding_window_view, x, window_shape, axis)


class _Lib:
    stride_tricks = _Tricks


class _Fourier:
    """xp.fft, as much of it as kernels use."""

    def __getattr__(self, name: str) -> Any:
        if name in ("rfft2", "irfft2"):
            return lambda *args, **kwargs: _call(name, getattr(np.fft, name), args, kwargs)
        raise AttributeError(f"xp.fft.{name}: not among the names that CuPy shares with NumPy (tests/strict_xp.py)")


class StrictModule:
    """What `xp_of` gives for a StrictArray."""

    ndarray = StrictArray
    lib = _Lib
    fft = _Fourier()
    add = _At()

    def __getattr__(self, name: str) -> Any:
        if name in _FUNCTIONS:
            return lambda *args, **kwargs: _call(name, getattr(np, name), args, kwargs)
        if name in _TYPES or name in _PLAIN:
            return getattr(np, name)
        raise AttributeError(f"xp.{name}: not among the names that CuPy shares with NumPy (tests/strict_xp.py)")


def _wrap(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return StrictArray(np.asarray(value))
    if isinstance(value, tuple | list) and any(isinstance(v, np.ndarray) for v in value):
        return type(value)(_wrap(v) for v in value)
    return value


def _unwrap(value: Any) -> Any:
    if isinstance(value, StrictArray):
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError("a NumPy array met a device array; make constants with xp = xp_of(x)")
    if isinstance(value, tuple | list):
        return type(value)(_unwrap(v) for v in value)
    return value


def _has_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, StrictArray) and part.dtype == np.bool_ for part in parts)


def _call(name: str, function: Any, args: tuple, kwargs: dict) -> Any:
    if name in _READS:
        _tell(TO_HOST, name)
        return function(*_unwrap(args))
    if name in _SIZED_BY_DEVICE or (name == "where" and len(args) == 1):
        _tell(WAITS, name)
    if name in ("concatenate", "stack") and len(args[0]) > 8:
        _tell(TO_DEVICE, f"{name} of more than 8")  # CuPy copies a list of where they lie
    if name in _PRODUCTS:
        _tell(PRODUCT, name)
    if _of_numbers(args, name):
        _tell(TO_DEVICE, f"{name}() of a list")
    if name in _EDITORS:
        edit(function, *_unwrap(args))
        return None
    return _compute(function, *args, **kwargs)


def _of_numbers(args: tuple, name: str) -> bool:
    """Are these numbers of the host, which the device has not seen? (One number is a kernel's argument; a shape is none.)"""
    value = args[0] if args and name in _MAKERS else args[1] if name in _FILLERS and len(args) > 1 else None
    return isinstance(value, list | tuple) or (name in _MAKERS and isinstance(value, int | float))


def _operator(name: str) -> Any:
    def method(self: StrictArray, *others: Any) -> Any:
        if "matmul" in name:
            _tell(PRODUCT, "@")
        return _compute(getattr(np.ndarray, name), self, *others)

    return method


def _in_place(name: str) -> Any:
    def method(self: StrictArray, other: Any) -> StrictArray:
        edit(getattr(np.ndarray, name), self._a, _unwrap(other))
        return self

    return method


for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(StrictArray, f"__r{_name}__", _operator(f"__r{_name}__"))
    if _name != "matmul":
        setattr(StrictArray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in "neg pos abs invert lt le eq ne gt ge".split():
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))

XP = StrictModule()


def from_numpy(array: np.ndarray) -> StrictArray:
    """A copy on the device."""
    _tell(TO_DEVICE, "from_numpy")
    return StrictArray(np.array(array, order="K"))


def to_numpy(array: StrictArray) -> np.ndarray:
    """A copy on the host."""
    _tell(TO_HOST, "to_numpy")
    return np.array(array._a)


LIBRARY = Library("strict", XP, from_numpy, to_numpy)


def register() -> None:
    """Make the stand-in known to the engine (conftest.py does)."""
    register_library(StrictArray, LIBRARY)
