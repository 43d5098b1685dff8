"""CUDA sources on the CPU: the same text, compiled by g++ under cuda_on_cpu.h, launched on NumPy's arrays.

It holds what a thread computes, how threads wait for each other and what the lanes of a warp show each other. Every launch runs
twice, with blocks and threads in one order and in the other: where the results differ in a bit, threads race. It says nothing
of speed.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from minidl import optim
from minidl.cuda import Source, register_runner
from minidl.cuda.tables import Table, address, arrays_in
from minidl.op import OPS

HEADER = Path(__file__).parent / "cuda_on_cpu.h"
SHARED = 160 << 10  # bytes of shared memory that a block may ask for
PARAMETERS = 4096  # bytes that every driver takes
MARGIN, UNTOUCHED = 1 << 16, 0xA5  # bytes beside a copy of each array, and what is in them
KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(.*?\) )?(\w+)\((.*?)\)\s*\{', re.S)
_ONE_AT_A_TIME = Lock()
C = {np.int32: ctypes.c_int, np.float32: ctypes.c_float, np.float64: ctypes.c_double}
FOLDER = Path(__file__).parent.parent / ".pytest_cache" / "emulation"  # nobody else's: what lies there is loaded


def problem() -> str | None:
    """Why nothing can be emulated here, or None."""
    return None if shutil.which("g++") else "g++ is not installed (Debian: apt install g++)"


def sources() -> list[Source]:
    """Every CUDA source of the engine, once: those of kernels, what these launch too, and those of update rules."""
    kernels = [kernel.source for op in OPS.values() for kernel in op.kernels.values()]
    rules = [getattr(optim, name) for name in optim.__all__]
    found = [s for s in (*kernels, *(getattr(rule, "source", None) for rule in rules)) if s]
    return list({source.path: source for first in found for source in (first, *first.also)}.values())


def register() -> None:
    """Launch on NumPy's arrays from now on."""
    if problem() is None:
        register_runner(np.ndarray, run)


class Wrong(RuntimeError):
    """What a GPU might not forgive."""


def run(text: str, name: str, grid: int, block: int, shared: int, args: list[Any]) -> None:
    """What a GPU would do, slowly. Wrong where the order of threads shows, where they wait for ever or write too far."""
    if block > 1024 or shared > SHARED:
        raise Wrong(f"{name}: {block} threads, {shared} bytes shared; at most 1024 and {SHARED}")
    if (takes := _kinds(text)[name]) != (got := [_kind_of(a) for a in args]):
        raise Wrong(f"{name}: its {len(takes)} parameters are {takes}, what it got is {got}")
    library = _library(text)
    start = library[f"cpu_{name}"]
    start.restype = ctypes.c_char_p
    copies = {id(a): _with_margins(a) for a in arrays_in(args)}
    other = [_copied(a, copies) for a in args]
    with _ONE_AT_A_TIME:
        beyond = _not_asked_for(library, shared)
        for backwards, given in ((True, other), (False, args)):
            lie = [end for a in arrays_in(given) for end in (address(a), address(a) + a.nbytes)]
            ends = (ctypes.c_size_t * len(lie))(*lie)
            _together()[1].arrays_lie(ends, len(lie) // 2)
            if (wrong := start(grid, block, backwards, *_as_c(name, given))) is not None:
                raise Wrong(f"{name}: {wrong.decode()}")
            for what, a in _named(args):
                if (copies[id(a)][1] != UNTOUCHED).any():
                    raise Wrong(f"{name}: {what} is written to beyond its ends")
        if (beyond != UNTOUCHED).any():
            raise Wrong(f"{name}: shared memory is written to beyond the {shared} bytes that were asked for")
    for what, a in _named(args):
        if a.tobytes() != copies[id(a)][0].tobytes():
            raise Wrong(f"{name}: {what} depends on the order of threads; one reads what another writes, without waiting")


def _named(args: list[Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Every array, and which one it is."""
    for i, a in enumerate(args):
        if isinstance(a, Table):
            yield from ((f"argument {i}, row {r}, array {k}", x) for r, row in enumerate(a.rows) for k, x in enumerate(row))
        elif isinstance(a, np.ndarray):
            yield f"argument {i}", a


def _copied(a: Any, copies: dict[int, tuple[np.ndarray, np.ndarray]]) -> Any:
    if isinstance(a, Table):
        return Table([[copies[id(x)][0] for x in row] for row in a.rows])
    return copies[id(a)][0] if id(a) in copies else a


def _not_asked_for(library: ctypes.CDLL, shared: int) -> np.ndarray:
    """The rest of what `extern __shared__` memory there is, marked; nothing where a source has none."""
    if not hasattr(library, "cpu_shared"):
        return np.empty(0, np.uint8)
    library.cpu_shared.restype = ctypes.POINTER(ctypes.c_uint8)
    rest = np.ctypeslib.as_array(library.cpu_shared(), (SHARED,))[shared:]
    rest[...] = UNTOUCHED
    return rest


@cache
def _kinds(text: str) -> dict[str, list[str]]:
    """Of each kernel, whether its parameters are "int", "A", "array" or "table"."""
    return {name: [_declared(parameter.split()[-2]) for parameter in p.split(",")] for name, p in KERNEL.findall(text)}


def _declared(word: str) -> str:
    return word if word in ("int", "A") else "table" if word.startswith("Table<") else "array"


def _kind_of(a: Any) -> str:
    if isinstance(a, np.ndarray | Table):
        return "table" if isinstance(a, Table) else "array"
    return "int" if type(a) is np.int32 else "A"


def _with_margins(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A copy, and the bytes before and behind it, which nobody should touch."""
    room = np.full(MARGIN + a.nbytes + MARGIN, UNTOUCHED, np.uint8)
    copy = room[MARGIN : MARGIN + a.nbytes].view(a.dtype).reshape(a.shape)
    copy[...] = a
    ends = np.lib.stride_tricks.as_strided(room, (2, MARGIN), (MARGIN + a.nbytes, 1), writeable=False)
    return copy, ends


def _as_c(name: str, args: list[Any]) -> list[Any]:
    given = [_one_as_c(a) for a in args]
    if (size := sum(map(ctypes.sizeof, given))) > PARAMETERS:
        raise Wrong(f"{name}: {size} bytes of parameters; at most {PARAMETERS}")
    return given


def _one_as_c(a: Any) -> Any:
    if isinstance(a, Table):
        value = a.by_value()
        return _struct(value.nbytes).from_buffer(value)
    if isinstance(a, np.ndarray):
        return ctypes.c_void_p(a.ctypes.data)
    return C[type(a)](a)


@cache
def _struct(size: int) -> type[ctypes.Structure]:
    """What C passes by value: so many bytes, of pointers and numbers."""
    return type("Struct", (ctypes.Structure,), {"_fields_": [("words", ctypes.c_uint64 * (size // 8))]})


@cache
def _library(text: str) -> ctypes.CDLL:
    (folder, _), text = _together(), translated(text)
    built = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            code = Path(place) / "kernel.cpp"
            code.write_text(text, encoding="utf-8")
            _compile(built, "-nostdlib", "-include", str(HEADER), str(code), "-lm", "-lgcc")  # no C++ library: a fifth faster
    return ctypes.CDLL(str(built))


@cache
def _together() -> tuple[Path, ctypes.CDLL]:
    """The folder where kernels go, and what the threads of a block do together, with which they are compiled."""
    texts = [path.read_bytes() for path in (HEADER, HEADER.with_suffix(".cpp"))]
    folder = FOLDER / hashlib.sha256(b"".join(texts)).hexdigest()[:20]
    folder.mkdir(parents=True, exist_ok=True)
    built = folder / "together.so"
    if not built.exists():
        _compile(built, "-O1", str(HEADER.with_suffix(".cpp")))
    return folder, ctypes.CDLL(str(built), mode=ctypes.RTLD_GLOBAL)


def _compile(to: Path, *words: str) -> None:
    """All of it or nothing: other processes may be compiling the same."""
    with tempfile.TemporaryDirectory(dir=to.parent) as place:
        fresh = Path(place) / to.name
        command = ["g++", "-std=c++17", "-shared", "-fPIC", *words, "-o", str(fresh)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"the source does not compile:\n{done.stderr[:3000]}")
        fresh.replace(to)


def translated(text: str) -> str:
    """The source with an entry for C behind it for each of its kernels."""
    pool = re.search(r"extern __shared__ .*?(\w+)\[\];", text)
    text = re.sub(r"extern __shared__ (.*?)\[\];", rf"static \1[{SHARED}];", text)
    entries = [f'extern "C" void* cpu_shared() {{ return {pool[1]}; }}'] if pool else []
    for name, parameters in KERNEL.findall(text):
        names = [parameter.split()[-1].strip("*") for parameter in parameters.split(",")]
        waits = "true" if re.search(r"_sync\w*\(|__sync\w+\(", text) else "false"
        call = f"return launch_on_cpu(grid, block, {waits}, backwards, [=] {{ {name}({', '.join(names)}); }});"
        entries.append(f'extern "C" const char* cpu_{name}(int grid, int block, int backwards, {parameters}) {{ {call} }}')
    assert len(entries) > bool(pool), 'no kernel found: expected extern "C" __global__ void name(...)'
    return "\n".join([text, *entries, ""])
