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
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minidl import optim
from minidl.cuda import Source, register_runner
from minidl.op import OPS

HEADER = Path(__file__).parent / "cuda_on_cpu.h"
SHARED = 160 << 10  # bytes of shared memory that a block may ask for
MARGIN, UNTOUCHED = 1 << 16, 0xA5  # bytes beside a copy of each array, and what is in them
KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(.*?\) )?(\w+)\((.*?)\)\s*\{', re.S)
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
    start = _library(text)[f"cpu_{name}"]
    start.restype = ctypes.c_char_p
    copies = {id(a): _with_margins(a) for a in args if isinstance(a, np.ndarray)}
    other = [copies[id(a)][0] if id(a) in copies else a for a in args]
    for backwards, given in ((True, other), (False, args)):
        if (wrong := start(grid, block, backwards, *_as_c(given))) is not None:
            raise Wrong(f"{name}: {wrong.decode()}")
        for i, a in enumerate(args):
            if id(a) in copies and (copies[id(a)][1] != UNTOUCHED).any():
                raise Wrong(f"{name}: argument {i} is written to beyond its ends")
    for i, (a, b) in enumerate(zip(args, other, strict=True)):
        if isinstance(a, np.ndarray) and a.tobytes() != b.tobytes():
            raise Wrong(f"{name}: argument {i} depends on the order of threads; one reads what another writes, without waiting")


def _with_margins(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A copy, and the bytes before and behind it, which nobody should touch."""
    room = np.full(MARGIN + a.nbytes + MARGIN, UNTOUCHED, np.uint8)
    copy = room[MARGIN : MARGIN + a.nbytes].view(a.dtype).reshape(a.shape)
    copy[...] = a
    ends = np.lib.stride_tricks.as_strided(room, (2, MARGIN), (MARGIN + a.nbytes, 1), writeable=False)
    return copy, ends


def _as_c(args: list[Any]) -> list[Any]:
    pointers: list[Any] = []
    for a in args:
        if isinstance(a, np.ndarray):
            pointers.append(ctypes.c_void_p(a.ctypes.data))
        else:
            pointers.append({"int32": ctypes.c_int, "float32": ctypes.c_float, "float64": ctypes.c_double}[a.dtype.name](a))
    return pointers


@cache
def _library(text: str) -> ctypes.CDLL:
    folder, text = _together(), translated(text)
    built = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            code = Path(place) / "kernel.cpp"
            code.write_text(text, encoding="utf-8")
            _compile(built, "-include", str(HEADER), str(code))
    return ctypes.CDLL(str(built))


@cache
def _together() -> Path:
    """Load what the threads of a block do together; the folder where kernels go that were compiled with it."""
    texts = [path.read_bytes() for path in (HEADER, HEADER.with_suffix(".cpp"))]
    folder = FOLDER / hashlib.sha256(b"".join(texts)).hexdigest()[:20]
    folder.mkdir(parents=True, exist_ok=True)
    built = folder / "together.so"
    if not built.exists():
        _compile(built, "-O1", str(HEADER.with_suffix(".cpp")))
    ctypes.CDLL(str(built), mode=ctypes.RTLD_GLOBAL)
    return folder


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
    text = re.sub(r"extern __shared__ (.*?)\[\];", rf"static \1[{SHARED}];", text)
    entries = []
    for name, parameters in KERNEL.findall(text):
        names = [parameter.split()[-1].strip("*") for parameter in parameters.split(",")]
        waits = "true" if re.search(r"_sync\w*\(|__sync\w+\(", text) else "false"
        call = f"return launch_on_cpu(grid, block, {waits}, backwards, [=] {{ {name}({', '.join(names)}); }});"
        entries.append(f'extern "C" const char* cpu_{name}(int grid, int block, int backwards, {parameters}) {{ {call} }}')
    assert entries, 'no kernel found: expected extern "C" __global__ void name(...)'
    return "\n".join([text, *entries, ""])
