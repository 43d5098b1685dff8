"""What minidl asks of CuPy to record a CUDA graph, in which order: on a CuPy that is made up."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minidl.cuda import recording
from minidl.cuda.recording import CudaGraphs, recorder_of


class CUDARuntimeError(RuntimeError):
    """CuPy's."""


class OutOfMemoryError(MemoryError):
    """CuPy's."""


class MadeUp:
    """As much of cupy and cupy.cuda as is asked for; `said` is what was called, in its order."""

    def __init__(self, room: int = 100):
        self.said: list[str] = []
        self.room, self.cuda, self.memory = room, self, self
        self.runtime, self.OutOfMemoryError = SimpleNamespace(CUDARuntimeError=CUDARuntimeError), OutOfMemoryError

    def Stream(self, non_blocking: bool = False) -> MadeUp:  # noqa: N802  (CuPy's names)
        self.said.append(f"stream {non_blocking=}")
        return self

    def MemoryPool(self, allocator: Any) -> Any:  # noqa: N802
        return SimpleNamespace(malloc=allocator, total_bytes=lambda: 4096)

    def Memory(self, size: int) -> int:  # noqa: N802
        if size > self.room:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        return size

    def MemoryPointer(self, memory: int, offset: int) -> tuple[int, int]:  # noqa: N802
        return memory, offset

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_all_blocks=lambda: self.said.append("free"), used_bytes=lambda: 7)

    def get_default_pinned_memory_pool(self) -> Any:
        return SimpleNamespace(malloc="as ever")

    def set_pinned_memory_allocator(self, allocator: Any) -> None:
        self.pinned = allocator

    def using_allocator(self, malloc: Any) -> MadeUp:
        self.said.append("pool")
        self.malloc = malloc
        return self

    def __enter__(self) -> MadeUp:
        self.said.append("in")
        return self

    def __exit__(self, *_: object) -> None:
        self.said.append("out")

    def begin_capture(self) -> None:
        self.said.append("begin")

    def end_capture(self) -> Any:
        self.said.append("end")
        return SimpleNamespace(launch=lambda: self.said.append("launch"))


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    made_up = MadeUp()
    monkeypatch.setattr(recording, "cupy", lambda: made_up)
    return made_up


def test_a_function_is_recorded_on_a_stream_and_from_a_pool_of_its_own(cupy: MadeUp) -> None:
    graphs = CudaGraphs()
    result, launch = graphs.record(lambda: cupy.said.append("function") or 5)
    assert result == 5
    assert cupy.said == ["stream non_blocking=True", "free", "pool", "in", "in", "begin", "function", "end", "out", "out"]
    launch()
    launch()
    assert cupy.said[-2:] == ["launch", "launch"]


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_copied_from_the_host_meanwhile(cupy: MadeUp, fails: bool) -> None:
    def copies() -> None:
        if fails:
            raise KeyError("mine")
        cupy.pinned(1024)

    graphs = CudaGraphs()
    with pytest.raises(
        KeyError if fails else RuntimeError, match="mine" if fails else "1,024 bytes would be copied from the host"
    ):
        graphs.record(copies)
    assert cupy.pinned == "as ever"


def test_nothing_is_collected_meanwhile(cupy: MadeUp) -> None:
    graphs = CudaGraphs()
    assert graphs.record(gc.isenabled)[0] is False
    assert gc.isenabled()
    gc.disable()
    try:
        graphs.record(gc.isenabled)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("void", [False, True])
def test_a_capture_is_ended_where_the_function_fails(cupy: MadeUp, void: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise KeyboardInterrupt

    def ends() -> None:
        cupy.said.append("end")
        if void:
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated")

    graphs = CudaGraphs()
    monkeypatch.setattr(cupy, "end_capture", ends)
    with pytest.raises(KeyboardInterrupt):
        graphs.record(fails)
    assert cupy.said[-4:] == ["begin", "end", "out", "out"]


def test_a_full_memory_is_told_and_nothing_is_given_back_for_it(cupy: MadeUp) -> None:
    """CuPy's pools catch CUDARuntimeError alone, and would give free blocks back then."""
    graphs = CudaGraphs()
    assert graphs.record(lambda: cupy.malloc(100))[0] == (100, 0)
    with pytest.raises(OutOfMemoryError) as caught:
        graphs.record(lambda: cupy.malloc(101))
    assert caught.value.args == (101, 7)


def test_what_is_kept_for_recordings_is_the_pools(cupy: MadeUp) -> None:
    assert CudaGraphs().reserved == 4096


def test_on_the_host_there_is_nothing_to_record() -> None:
    assert recorder_of(np.ones(3)) is None
