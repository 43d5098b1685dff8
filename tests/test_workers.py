"""Threads that share work: order, errors, modes, BLAS and forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import minidl
from minidl import workers
from minidl.modes import grad_enabled, modes
from minidl.workers import blas_libraries, share


def test_every_thread_does_its_part_and_the_caller_the_first() -> None:
    found = share(lambda i: (i, threading.get_ident()), 4)
    assert [i for i, _ in found] == [0, 1, 2, 3]
    here = threading.get_ident()
    assert [thread == here for _, thread in found] == [True, False, False, False]


def test_they_compute_at_the_same_time() -> None:
    meet = threading.Barrier(3, timeout=10)
    share(lambda _: meet.wait(), 3)  # a barrier that breaks raises


def test_they_see_the_callers_modes_but_compute_whole() -> None:
    with minidl.no_grad(), minidl.threads(2):
        assert share(lambda _: (grad_enabled(), modes().threads), 3) == [(False, None)] * 3
        assert modes().threads == 2


def test_the_first_error_is_raised_when_all_are_done() -> None:
    done = []

    def work(i: int) -> None:
        if i in (1, 2):
            raise KeyError(i)
        done.append(i)

    with pytest.raises(KeyError, match="1"):
        share(work, 4)
    assert sorted(done) == [0, 3]

    def interrupted(i: int) -> None:
        if i == 0:
            raise KeyboardInterrupt
        done.append(10 + i)

    with pytest.raises(KeyboardInterrupt):
        share(interrupted, 3)
    assert sorted(done) == [0, 3, 11, 12]


@pytest.mark.parametrize("in_step", [False, True])
def test_who_waits_for_the_caller_is_let_go_when_it_fails_before_it_begins(in_step: bool) -> None:
    """Ctrl-C between the submission of the work and the caller's own part; in a process of its own, which must end."""
    kernel = "batch_norm(x)[0]" if in_step else "relu(x)"
    code = f"""
import numpy as np, minidl
from minidl import workers
pool = workers._pool()
submit = pool.submit

def interrupted(*args):
    submit(*args)
    raise KeyboardInterrupt

pool.submit = interrupted
x = np.ones((4, 2, 3, 3), np.float32)
try:
    with minidl.threads(2, images=1):
        minidl.{kernel}
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "interrupted\n"


def test_work_inside_work_does_not_lock_itself_out() -> None:
    assert share(lambda i: sum(share(lambda j: 10 * i + j, 5)), 5) == [10 * 5 * i + 10 for i in range(5)]


def test_blas_has_one_thread_meanwhile_and_its_own_number_after(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = blas_libraries()
    if not libraries:
        pytest.skip("threadpoolctl sees no BLAS library here")
    before = [library.get_num_threads() for library in libraries]
    try:
        for library in libraries:
            library.set_num_threads(2)
        assert share(lambda _: [library.get_num_threads() for library in libraries], 2) == [[1] * len(libraries)] * 2
        with pytest.raises(ZeroDivisionError):
            share(lambda i: 1 // i, 2)
        assert [library.get_num_threads() for library in libraries] == [2] * len(libraries)
    finally:
        for library, count in zip(libraries, before, strict=True):
            library.set_num_threads(count)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    share(lambda i: i, 3)
    pid = os.fork()
    if pid == 0:  # no pytest in the child
        os._exit(0 if share(lambda i: i, 3) == [0, 1, 2] and workers._blas.callers == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_matrix_products_in_threads_are_right() -> None:
    a = np.random.default_rng(0).standard_normal((64, 64))
    for product in share(lambda i: a @ (a + i), 4):
        assert product.shape == (64, 64)
    np.testing.assert_array_equal(share(lambda i: a @ (a + i), 4)[3], a @ (a + 3))
