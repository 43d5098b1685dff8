"""Threads that share a piece of work, with one thread of BLAS each.

    share(work, 3)  ->  [work(0), work(1), work(2)], computed at the same time

The caller does work(0) itself; the others run in threads that are kept for the next time, each in a copy of the caller's
context, so that they see its modes (no_grad, detect_anomaly, np.errstate). Inside, the mode `threads` is off: work that calls
an op computes it whole, waits for nobody, and cannot lock itself out.

BLAS has its own threads, one setting for the whole process. While work is shared they would wait for each other's cores, so
BLAS is set to one thread when the first caller begins, and back when the last one ends (5 microseconds each).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from threading import Lock
from typing import Any, TypeVar

from minidl.modes import MOST_THREADS, threads

R = TypeVar("R")


def share(work: Callable[[int], R], count: int, abandon: Callable[[BaseException], None] | None = None) -> list[R]:
    """[work(0), ..., work(count - 1)], each in a thread of its own.

    Nobody computes any more when it returns or raises. What a thread raised is raised here; of several, the first one's.

    abandon  called with the error if the caller's own part fails, even before it begins (Ctrl-C): to let go who waits for it

    >>> from minidl.workers import share
    >>> share(lambda i: 10 * i, 3)
    [0, 10, 20]
    """
    with _one_blas_thread(), threads(None):
        others: list[Future[R]] = []
        try:
            for i in range(1, count):
                others.append(_pool().submit(copy_context().run, work, i))
            first = work(0)
        except BaseException as error:
            if abandon:
                abandon(error)
            raise
        finally:
            for other in others:
                other.exception()  # waits
        return [first, *(other.result() for other in others)]


@cache
def _pool() -> ThreadPoolExecutor:
    """It starts a thread only when none is idle."""
    return ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="minidl")


# ---- the threads of BLAS ---------------------------------------------------------------------------------------------


class _Blas:
    """How many threads the libraries had before they were set to one, and for how many callers they are."""

    def __init__(self) -> None:
        self.mutex, self.callers, self.before = Lock(), 0, []  # type: tuple[Lock, int, list[int]]


_blas = _Blas()


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    with _blas.mutex:
        if not _blas.callers:
            _blas.before = [library.get_num_threads() for library in blas_libraries()]
            _set_blas_threads([1] * len(_blas.before))
        _blas.callers += 1
    try:
        yield
    finally:
        with _blas.mutex:
            _blas.callers -= 1
            if not _blas.callers:
                _set_blas_threads(_blas.before)


def _set_blas_threads(counts: list[int]) -> None:
    for library, count in zip(blas_libraries(), counts, strict=True):
        library.set_num_threads(count)


@cache
def blas_libraries() -> list[Any]:
    """threadpoolctl's controllers of the BLAS libraries loaded at the first call. Finding them takes a millisecond."""
    from threadpoolctl import ThreadpoolController

    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


def _after_fork() -> None:
    """A forked child has this module's memory, but none of its threads: it begins anew."""
    global _blas  # noqa: PLW0603  (a child process replaces what it inherited)
    forked_while_sharing, before = _blas.callers, _blas.before
    _blas = _Blas()
    _pool.cache_clear()
    if forked_while_sharing:
        _set_blas_threads(before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
