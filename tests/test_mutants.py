"""The mutator over every kernel: what survives the laws is listed in tests/survivors.txt, each with a reason."""

from __future__ import annotations

import faulthandler
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import ModuleType

import emulation
import numpy as np
import pytest
from mutator import mutants
from patches import like, run_module

import minidl  # noqa: F401  (declares every op)
from minidl.draw import Random
from minidl.laws import LAWS, Broken, Undecided
from minidl.op import OPS, Kernel, Problem, separate_registry

SURVIVORS = Path(__file__).parent / "survivors.txt"
KERNELS = [kernel for op in OPS.values() for kernel in op.kernels.values()]
MODULES = sorted({k.forward.__module__ for k in KERNELS} | {k.op.definition.__module__ for k in KERNELS})


def listed() -> dict[str, str]:
    """survivors.txt: lines `module | mutant | reason`."""
    rows = [
        line.split(" | ") for line in SURVIVORS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]
    return {f"{module} | {mutant}": reason for module, mutant, reason in rows}


def surviving(module: str, most: int | None = None, draws: int = 40) -> Iterator[str]:
    """Mutants of a module that no law catches on `draws` problems that a kernel it serves does not refuse."""
    for i, (label, source) in enumerate(mutants(inspect.getsource(importlib.import_module(module)))):
        if most is not None and i >= most:
            return
        try:
            with _alarm(60):
                kernels = _planted(module, source)
                judge = _in_a_child if any(kernel.source for kernel in kernels) else any
                caught = judge(_caught(kernel, draws) for kernel in kernels)
        except Exception:  # it does not even import or run: noticed
            caught = True
        if not caught:
            yield f"{module} | {label}"


def _planted(module: str, source: str) -> list[Kernel]:
    """The kernels that the mutated module declares, or, for a rival's own file, those whose functions it holds."""
    with separate_registry() as ops:
        broken = run_module(module, source)
    declared = [_like(OPS[op.name].kernels[k.name], k, broken) for op in ops.values() for k in op.kernels.values()]
    rivals = [k for k in KERNELS if k.forward.__module__ == module and k.op.name not in ops]
    return declared + [_like(k, broken, broken) for k in rivals]


def _like(k: Kernel, mutant: Kernel | ModuleType, module: ModuleType) -> Kernel:
    return like(k, f"{k.name}, mutated", mutant, module)


def _in_a_child(verdicts: Iterator[bool]) -> bool:
    """any(verdicts), asked in a process of its own: what writes beside an array dies there, alone, and is noticed too."""
    if (child := os.fork()) == 0:
        faulthandler.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        try:
            os._exit(any(verdicts))
        except BaseException:
            os._exit(True)
    return os.waitpid(child, 0)[1] != 0


def _caught(kernel: Kernel, draws: int) -> bool:
    with np.errstate(all="ignore"):
        for seed, problem in islice(_problems(kernel), draws):
            for law in LAWS:
                try:
                    law(kernel, problem, np.random.default_rng(seed))
                except (Broken, MemoryError):
                    return True
                except Undecided:
                    pass
    return False


def _problems(kernel: Kernel) -> Iterator[tuple[int, Problem]]:
    """Problems that the kernel does not refuse, with their seeds; of a few in a thousand draws, or none."""
    for seed in range(1000):
        problem = kernel.op.ask(Random(seed))
        if not kernel.why_not(tuple(None if x is None else x.shape for x in problem.inputs), problem.attrs):
            yield seed, problem


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    """A mutant that loops for ever is noticed too."""

    def ring(*_: object) -> None:
        raise TimeoutError

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


@pytest.mark.filterwarnings("ignore")
def test_no_mutant_of_lrn_survives_unlisted() -> None:
    assert set(surviving("minidl.ops.lrn")) <= set(listed())


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", MODULES)
def test_no_mutant_survives_unlisted(module: str) -> None:
    assert set(surviving(module)) - set(listed()) == set()


if __name__ == "__main__":  # python tests/test_mutants.py minidl.ops.lrn: prints what survives
    emulation.register()
    for name in sys.argv[1:] or MODULES:
        for line in surviving(name):
            print(line, flush=True)
