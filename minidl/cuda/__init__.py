"""CUDA kernels: sources beside their op, compiled when they are first launched.

    SOURCE = Source(__file__, "lrn.cu")                                   # beside the Python file that launches it
    SOURCE.launch("lrn_forward", pixels, x, y, s, pixels, C, H * W, ...)   # one thread for each of so many places

A source is CUDA C++ over two types: T, that of the arrays (float, double), and A, that of sums (float for halves, else T). Its
kernels are `extern "C" __global__ void name(...)`, and each takes its places with a grid stride, so that any grid is right:

    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)

What is launched becomes parameters in its order: an array `const T*` or `T*` (uint8: `unsigned char*`; sums that are wider
than T: `A*`), a table of arrays `const Table<...>`, an int `int`, a float `A`. The first array of floating point says what T
is. Keywords are what the compiler should know: SOURCE.launch(..., R=3) compiles under `constexpr int R = 3;`, and
B=matrix([[1, 0], [0, -1]]) under `constexpr A B[2][2] = ...`. What sources share lies here, included by name:

    half.cuh     the T of float16, which computes in float32     (in front of every source for float16)
    blocks.cuh   sums and maxima over the threads of a block
    columns.cuh  sums of columns in parts, and the parts added up     (after blocks.cuh; launched by ops/columns.py)
    philox.cuh   the random bits of minidl.random
    mma.cuh      tensor cores, and copies into shared memory that nobody waits for
    tiles.cuh    matrix products by tiles: pieces of the factors on their way, and what becomes of sums that were cut
    packs.cuh    V neighbours in memory, read and written at once     (V: packs.py)
    pooling.cuh  windows over maps that are channels-last, and the way back     (launched by ops/pooling_cuda.py)
    tables.cuh   many arrays in one launch     (tables.py, and `Source.launch_over`)
    master.cuh   what an update rule edits: a half parameter's float32 copy     (minidl/optim)

CuPy compiles and runs it (NVRTC, cached on disk). On the host nobody does; the tests register an emulation there, so that the
same source obeys the same laws on a machine without a GPU. What no GPU has run is not chosen by default: `Source.verified`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from minidl.backend import Array, cuda_problem, cupy, is_cupy
from minidl.cuda.tables import CUT, Row, Table, arrays_in, tables_of

BLOCK = 256  # threads of a block, where nothing else is said
MOST_BLOCKS = 1 << 16  # a grid stride takes what is beyond
MOST = 2**31 - 2**25  # places that an int can count, and step over: a stride of all threads is less than 2^25
NAMES = {"float16": ("half", "float"), "float32": ("float", "float"), "float64": ("double", "double")}
HERE = Path(__file__).parent
VERIFIED = HERE / "verified.txt"
INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.M)

Runner = Callable[[str, str, int, int, int, list], None]  # (source, kernel, grid, block, bytes shared, arguments)
_RUNNERS: dict[type, Runner] = {}  # array type -> who launches on such arrays


class Matrix(str):
    """What stands behind the name of a matrix where it is declared: `[2][2] = {{1.0, 0.0}, {0.0, -1.0}}`."""


def matrix(rows: Sequence[Sequence[SupportsFloat]]) -> Matrix:
    """Rows of numbers for the compiler: a product by one of them that is 0 need not be computed."""
    text = ", ".join(f"{{{', '.join(repr(float(number)) for number in row)}}}" for row in rows)
    return Matrix(f"[{len(rows)}][{len(rows[0])}] = {{{text}}}")


Constant = int | Matrix


class Source:
    """A .cu file beside the Python file that launches its kernels.

    numbers    the types that its kernels are written for
    ways       of each type, sets of constants that it is compiled with; where there are none, `constants` is an example
    also       other sources that its Python file launches: it is verified with them, or not at all
    capability compute capability, times ten, below which no GPU can run it
    """

    def __init__(
        self,
        beside: str,
        name: str,
        *,
        numbers: tuple[str, ...] = tuple(NAMES),
        ways: dict[str, list[dict[str, Constant]]] | None = None,
        also: tuple[Source, ...] = (),
        capability: int = 0,
        **constants: Constant,
    ):
        self.path, self.ways = Path(beside).parent / name, ways or {number: [constants] for number in numbers}
        self.numbers, self.also, self.capability = tuple(self.ways), also, capability

    def __repr__(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    @cached_property
    def text(self) -> str:
        """The source as it stands, with what it includes in its place."""
        return INCLUDE.sub(lambda found: _shared(found[1]), self.path.read_text(encoding="utf-8"))

    @property
    def digest(self) -> str:
        """Of all that is compiled: the text, and the type of halves."""
        return hashlib.sha256((_shared("half.cuh") + self.text).encode()).hexdigest()

    @cached_property
    def verified(self) -> bool:
        """Has a GPU run it, as it stands, under the laws? verified.txt lists the digests of those; there is none yet."""
        listed = VERIFIED.exists() and self.digest in VERIFIED.read_text(encoding="utf-8").split()
        return listed and all(other.verified for other in self.also)

    def why_not(self) -> str | None:
        """One line why the GPU that is here cannot run it, or None."""
        if self.capability and (here := _capability()) and here < self.capability:
            return f"needs a GPU of compute capability {self.capability / 10:.1f} or more, this one has {here / 10:.1f}"
        return None

    def complete(self, number: str, **constants: Constant) -> str:
        """The source for one type of numbers, 'float32', and with constants: what is compiled.

        Types and constants are declared: macros would reach into the compiler's own headers, where T is a template's.
        """
        return _completed(self.text, number, tuple(sorted(constants.items())))

    def launch(
        self,
        name: str,
        count: int,
        *args: Array | Table | int | float,
        block: int = BLOCK,
        shared: int = 0,
        **constants: Constant,
    ) -> None:
        """Run a kernel with a thread for each of `count` places, in blocks of `block` threads.

        shared  bytes of `extern __shared__` memory of each block; what a source declares with its size is not counted

        TypeError where the arrays are of no type that can be launched on; ValueError where one is not C-contiguous, or has more
        numbers than an int counts, or lies on a GPU that is not the current one.
        """
        arrays = arrays_in(args)
        for a in arrays:
            if not a.flags.c_contiguous or a.size > MOST:
                wrong = f"{a.size:,} numbers" if a.flags.c_contiguous else f"{list(a.shape)} in strides {a.strides}"
                raise ValueError(f"{name} of {self!r}: expected C-contiguous arrays of at most {MOST:,} numbers, got {wrong}")
        run = _RUNNERS.get(type(arrays[0])) or _runner_of(arrays[0], self)
        number = next(a.dtype.name for a in arrays if a.dtype.kind == "f")
        scalar = np.float64 if number == "float64" else np.float32
        kinds = ((int | np.integer, np.int32), (float | np.floating, scalar))
        given = [next((kind(a) for types, kind in kinds if isinstance(a, types)), a) for a in args]
        if count:
            run(self.complete(number, **constants), name, min(-(-count // block), MOST_BLOCKS), block, shared, given)

    def launch_over(self, name: str, rows: Sequence[Row], *numbers: int | float) -> None:
        """Run a kernel over many arrays at once, `name(const Table<...> table, numbers...)`: see tables.cuh.

        rows  tuples of arrays: of one size in a row, of the same types in each row; a launch takes about 4,000 / (8 arrays + 8)

        Raises what `launch` raises; ValueError, too, where the rows do not go together.
        """
        for table in tables_of(rows):
            self.launch(name, BLOCK * table.pieces, table, *numbers, **CUT)


def threads_for(row: int) -> int:
    """Of a block that takes a row of so many numbers: whole warps, no more than have work."""
    return max(32, min(BLOCK, -(-row // 32) * 32))


def register_runner(array_type: type, runner: Runner) -> None:
    """Let arrays of this type be launched on."""
    _RUNNERS[array_type] = runner


def can_launch(array: Array) -> bool:
    """Is there somebody who runs CUDA sources on such arrays?"""
    return type(array) in _RUNNERS or is_cupy(array)


def _runner_of(array: Array, source: Source) -> Runner:
    if not can_launch(array):
        raise TypeError(f"{source!r} is computed by a GPU: expected CuPy arrays, got {type(array).__module__}'s; x.to('cuda')")
    register_runner(type(array), _run_by_cupy)
    return _run_by_cupy


@cache
def _completed(text: str, number: str, constants: tuple[tuple[str, Constant], ...]) -> str:
    (t, sums), half = NAMES[number], _shared("half.cuh") if number == "float16" else ""
    return f"{half}\ntypedef {t} T; typedef {sums} A;{''.join(_declared(*c) for c in constants)}\n{text}"


def _declared(name: str, value: Constant) -> str:
    return f" __device__ constexpr A {name}{value};" if isinstance(value, Matrix) else f" constexpr int {name} = {value};"


@cache
def _shared(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@cache
def _capability() -> int:
    """Compute capability of the current GPU, times ten; 0 where there is none."""
    return 0 if cuda_problem() else int(cupy().cuda.Device().compute_capability)


def _run_by_cupy(text: str, name: str, grid: int, block: int, shared: int, args: list[Any]) -> None:
    current = cupy().cuda.runtime.getDevice()
    if elsewhere := {a.device.id for a in arrays_in(args)} - {current}:
        there = f"cuda:{elsewhere.pop()}"
        raise ValueError(
            f"{name}: its arrays are on {there}, and the current GPU is cuda:{current}; use_device({there!r}) before"
        )
    function = _compiled(text, name, current)
    if shared and shared > function.max_dynamic_shared_size_bytes:  # asked of the driver
        function.max_dynamic_shared_size_bytes = shared
    given = tuple(a.by_value() if isinstance(a, Table) else a for a in args)
    function((grid,), (block,), given, shared_mem=shared)


@cache
def _compiled(text: str, name: str, device: int) -> Any:
    """A kernel of the source, as the current device runs it: what is found once need not be looked for in every step."""
    return _module(text).get_function(name)


@cache
def _module(text: str) -> Any:
    return cupy().RawModule(code=text, options=("-std=c++17",))
