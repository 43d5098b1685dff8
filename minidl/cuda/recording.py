"""Launches noted down instead of being run, and then run together, as often as somebody asks: a CUDA graph.

    recorder = recorder_of(array)                  # None on the CPU, where a launch costs nothing
    result, launch = recorder.record(function)     # calls function(); what it launches is noted, and nothing is computed
    launch()                                       # computes, into the very memory that function() was given and gave

Why: Python needs longer to launch a small kernel than a GPU needs to run it. A graph is launched once for all its kernels.

What is noted are addresses and numbers as they were. So the memory of a recorded function is never given to anybody else: it
comes from a pool of its own, which all functions of one recorder share, because they run one after the other. What would have
to wait for the GPU cannot be noted: CuPy raises, and so it does where cuBLAS is asked (github.com/cupy/cupy/issues/6290), whose
products `minidl.own_products` replaces. A copy from the host CuPy would let pass, and each launch would read memory that has
been given to others since: it is refused here.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from minidl.backend import Array, cupy, is_cupy

Launch = Callable[[], None]


class Recorder(Protocol):
    """Who can note down launches on some kind of arrays."""

    @property
    def reserved(self) -> int:
        """Bytes that are kept for what was recorded."""

    def record(self, function: Callable[[], Any]) -> tuple[Any, Launch]:
        """What function() gives, and what runs the launches that it made."""


_RECORDERS: dict[type, Callable[[], Recorder]] = {}  # array type -> maker of recorders


def register_recorder(array_type: type, maker: Callable[[], Recorder]) -> None:
    """Let launches on arrays of this type be recorded."""
    _RECORDERS[array_type] = maker


def recorder_of(array: Array) -> Recorder | None:
    """A new recorder for launches on such arrays; None where there are none to record."""
    if is_cupy(array):
        return CudaGraphs()
    return _RECORDERS[type(array)]() if type(array) in _RECORDERS else None


class CudaGraphs:
    """Records on a stream of its own, with a pool of its own; a graph is launched on whichever stream is current."""

    def __init__(self) -> None:
        self._stream, self._pool = cupy().cuda.Stream(non_blocking=True), cupy().cuda.MemoryPool(_allocate)

    @property
    def reserved(self) -> int:
        """See Recorder."""
        return int(self._pool.total_bytes())

    def record(self, function: Callable[[], Any]) -> tuple[Any, Launch]:
        """See Recorder. OutOfMemoryError, CuPy's, where the pool cannot grow."""
        cuda = cupy().cuda
        cupy().get_default_memory_pool().free_all_blocks()
        with _nothing_dies(), _no_copies(), cuda.using_allocator(self._pool.malloc), self._stream:
            self._stream.begin_capture()
            try:
                result = function()
            except BaseException:
                with suppress(cuda.runtime.CUDARuntimeError):  # what cannot be noted makes the whole void
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()
        return result, graph.launch


@contextmanager
def _nothing_dies() -> Iterator[None]:
    """No other graph, module or stream is collected inside the block: the driver does not let them go while one is captured."""
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def _no_copies() -> Iterator[None]:
    """Inside the block nothing is copied from the host: CuPy has no memory to do it from."""

    def refuse(size: int) -> Any:
        raise RuntimeError(f"{size:,} bytes would be copied from the host (an index, a list, a NumPy array)")

    cupy().cuda.set_pinned_memory_allocator(refuse)
    try:
        yield
    finally:
        cupy().cuda.set_pinned_memory_allocator(cupy().get_default_pinned_memory_pool().malloc)


def _allocate(size: int) -> Any:
    """Memory for the pool. Where there is none, the error that CuPy's pools pass on: at its own, a pool would first give back
    blocks that are free now, and that earlier launches of the same graph will use."""
    cuda = cupy().cuda
    try:
        return cuda.MemoryPointer(cuda.Memory(size), 0)
    except cuda.runtime.CUDARuntimeError as error:
        raise cuda.memory.OutOfMemoryError(size, cupy().get_default_memory_pool().used_bytes()) from error
