"""How the commands compute: on threads, in slices of the batch, with memory kept. A library does none of it unasked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from threadpoolctl import threadpool_limits

from minidl.allocator import keep_memory
from minidl.doctor import available_cores
from minidl.modes import compiled, threads


@contextmanager
def at_speed(count: int | None = None, *, small: bool = False, by_numba: bool = False) -> Iterator[None]:
    """On so many threads, None: all cores. BLAS has one, so that its own never wait on cores that ours compute on.

    small     there is nothing worth slicing: on one thread, nothing need be asked at every call
    by_numba  with compiled kernels (`minidl.compiled`)
    """
    keep_memory()
    kernels, slices = compiled() if by_numba else nullcontext(), None if small and count == 1 else count or available_cores()
    with threadpool_limits(1, user_api="blas"), threads(slices), kernels:
        yield
