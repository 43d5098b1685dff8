"""Right kernels are never called wrong: 20,000 draws over all ops (nightly), 300 in the daily suite."""

from __future__ import annotations

from collections import Counter

import emulation
import numpy as np
import pytest

import minidl  # noqa: F401  (declares every op)
from minidl.draw import Random
from minidl.laws import LAWS, Undecided, array_library_does_not_matter
from minidl.op import OPS, Kernel

EMULATED = emulation.problem() is None
KERNELS = [kernel for op in OPS.values() for kernel in op.kernels.values() if EMULATED or not kernel.source]


def judge(kernel: Kernel, seed: int) -> int:
    """Run every law on one problem; the number of laws that could not decide."""
    problem = kernel.op.ask(Random(seed))
    if kernel.why_not(tuple(None if x is None else x.shape for x in problem.inputs), problem.attrs):
        return 0
    undecided = 0
    for law in LAWS:
        try:
            law(kernel, problem, np.random.default_rng(seed))
        except Undecided:
            undecided += not (kernel.source and law is array_library_does_not_matter)  # that is for a GPU to say
    return undecided


def sweep(draws: int, first_seed: int) -> None:
    undecided: Counter[str] = Counter()
    for i in range(draws):
        undecided[str(KERNELS[i % len(KERNELS)])] += judge(KERNELS[i % len(KERNELS)], first_seed + i)
    print(f"{draws} draws over {len(KERNELS)} kernels and {len(LAWS)} laws: no false alarm, {undecided.total()} undecided")
    each = draws / len(KERNELS)
    assert not {name: n for name, n in undecided.items() if n > max(2, 0.05 * each)}


def test_300_draws_raise_no_false_alarm() -> None:
    sweep(300, first_seed=1_000_000)


@pytest.mark.nightly
def test_20000_draws_raise_no_false_alarm() -> None:
    sweep(20_000, first_seed=2_000_000)
