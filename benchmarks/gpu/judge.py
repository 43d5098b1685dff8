"""Judges kernels by the laws on the GPU, in a process of its own: a source that no GPU has run may end it.

A law is asked about drawn problems until enough were decided. Where it is broken, the problem's answers are lowered one by one
while it still is, and the counterexample is told.
"""

from __future__ import annotations

import time
import warnings
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

import minidl
from benchmarks import precision
from benchmarks.gpu import large, optimisers
from benchmarks.gpu.moved import Moved
from benchmarks.workloads import refusal
from minidl import backend, executor
from minidl.backend import Library
from minidl.commands.speed import at_speed
from minidl.draw import Draw, Random, Replay, shrink
from minidl.laws import LAWS, array_library_does_not_matter
from minidl.modes import PRECISIONS
from minidl.op import OPS, Kernel, Problem
from minidl.verdicts import Broken, Undecided, same

OBEYS, BREAKS, UNDECIDED, OUT_OF_TIME = "obeys", "breaks", "undecided", "no time left"
SEVENTH = array_library_does_not_matter.__name__
REDRAWS = 30  # problems drawn for each one wanted
TRIES = 40  # problems on the way to a smaller counterexample
HOST = Library("host", np, lambda x: x.copy(), np.array)  # of a rehearsal
BY_NAME = {law.__name__: law for law in LAWS}


class Judge:
    """One kernel after another."""

    def __init__(self, threads: int, device: str):
        self.device, self.modes = device, ExitStack()
        self.modes.enter_context(at_speed(threads, small=True))
        self.library = HOST if device == "cpu" else _cupy()

    def judge(self, op: str, kernel: str, laws: list[str], cases: int, seed: int, seconds: float) -> dict[str, Any]:
        """Law -> its verdict, how many problems were tried, and the counterexample where it is broken."""
        subject, ends = OPS[op].kernels[kernel], time.monotonic() + seconds
        found: dict[str, Any] = {}
        for name in laws:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = self._judge(subject, name, cases, seed, ends)
            if found[name]["verdict"] == BREAKS and not self.alive():
                break
        return found

    def judge_large(self, op: str, kernel: str, seed: int, seconds: float) -> dict[str, Any]:
        """The same for what it does with large problems (`large`), in each of its precisions: y and all gradients."""
        subject, ends, tried = OPS[op].kernels[kernel], time.monotonic() + seconds, 0
        way, rng = large.WAYS[str(subject)], np.random.default_rng(seed)
        for problem in way.problems(rng):
            if time.monotonic() > ends:
                return {"large problems": {"verdict": OUT_OF_TIME, "tried": tried}}
            tried += 1
            try:
                with way.taken(), np.errstate(all="ignore"):
                    as_precise_as_it_says(subject, problem, rng, self.library)
            except Exception as error:
                verdict = UNDECIDED if isinstance(error, Undecided) else BREAKS
                kind = "" if isinstance(error, Broken | Undecided) else f"{type(error).__name__}: "
                lesson = f"{kind}{_first_line(error)} {_shown(problem, seed)}"
                return {"large problems": {"verdict": verdict, "tried": tried, "lesson": lesson}}
        return {"large problems": {"verdict": OBEYS, "tried": tried}}

    def judge_optimiser(self, name: str) -> dict[str, Any]:
        """The same for an optimiser's CUDA source, which is held to its own rule on the host."""
        try:
            optimisers.agrees(name, self.library)
        except Undecided as error:
            return {"verdict": UNDECIDED, "tried": 0, "lesson": str(error)}
        except (Broken, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            return {"verdict": BREAKS, "tried": 1, "lesson": f"{type(error).__name__}: {_first_line(error)}"}
        return {"verdict": OBEYS, "tried": optimisers.CASES}

    def alive(self) -> bool:
        """Does the device still compute? After an access to memory that is not there it never does again in this process."""
        if self.device == "cpu":
            return True
        with suppress(Exception):
            return float(self.library.to_numpy(self.library.xp.ones(3).sum())) == 3
        return False

    def _judge(self, kernel: Kernel, name: str, cases: int, seed: int, ends: float) -> dict[str, Any]:
        tried, decided, doubt = 0, 0, "every problem that was drawn is refused"
        for number in range(seed, seed + REDRAWS * cases):
            if decided == cases:
                break
            if time.monotonic() > ends:
                return {"verdict": OUT_OF_TIME, "tried": tried}
            draw = Random(number)
            problem = kernel.op.ask(draw)
            if refusal(kernel, problem):
                continue
            tried += 1
            try:
                self._ask(kernel, name, problem, number)
                decided += 1
            except Undecided as error:
                doubt = str(error)
            except Broken as error:
                return {"verdict": BREAKS, "tried": tried, "lesson": self._smallest(kernel, name, draw, number, error)}
        return {"verdict": OBEYS if decided else UNDECIDED, "tried": tried} | ({} if decided else {"lesson": doubt})

    def _ask(self, kernel: Kernel, name: str, problem: Problem, seed: int) -> None:
        """Broken or Undecided, or it obeys. A source that does not compile, or a device that gives up, breaks what is asked."""
        try:
            self._ask_law(kernel, name, problem, np.random.default_rng(seed))
        except (Broken, Undecided):
            raise
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {_first_line(error)}") from error

    def _ask_law(self, kernel: Kernel, name: str, problem: Problem, rng: np.random.Generator) -> None:
        exact = not kernel.source or "float64" in kernel.source.numbers
        if not (exact and precision.FULL in kernel.precisions):
            as_precise_as_it_says(kernel, problem, rng, self.library)
        if not exact:
            return
        if name == SEVENTH and not (self.device == "cpu" and kernel.source):
            BY_NAME[name](kernel, problem, rng)
        elif name == SEVENTH:
            raise Undecided("needs a GPU")
        else:
            BY_NAME[name](Moved(kernel, self.library).kernel, problem, rng)

    def _smallest(self, kernel: Kernel, name: str, draw: Draw, seed: int, first: Broken) -> str:
        """The lesson, on the smallest problem that was found to teach it."""
        told: dict[str, Any] = {"lesson": _first_line(first), "answers": dict(draw.answers)}
        ends = time.monotonic() + 5

        def fails(answers: dict[str, int]) -> bool:
            smaller = Replay(answers, seed)
            problem = kernel.op.ask(smaller)
            if time.monotonic() > ends or refusal(kernel, problem):
                return False
            try:
                self._ask(kernel, name, problem, seed)
            except Undecided:
                return False
            except Broken as error:
                told["lesson"], told["answers"] = _first_line(error), dict(smaller.answers)
                return True
            return False

        if self.alive():
            with suppress(ValueError, KeyError):
                shrink(draw.answers, draw.least, fails, TRIES)
        return f"{told['lesson']} {_shown(kernel.op.ask(Replay(told['answers'], seed)), seed)}"


def as_precise_as_it_says(kernel: Kernel, problem: Problem, rng: np.random.Generator, library: Library) -> None:
    """Of a kernel that has no float64, or no full precision: float32 results, in each of its precisions, are those of the op's
    plain kernel in float64, as near as the precision allows. The other laws need more digits than it has."""
    op = kernel.op
    plain, exact = op.kernels[op.default], problem
    rounded = Problem(tuple(None if x is None else as_float32(x) for x in problem.inputs), problem.attrs)
    needs = tuple(_is_float(x) for x in problem.inputs)
    y, saved, _ = executor.forward(plain, *exact)
    dy = np.asarray(rng.standard_normal(y.shape))
    grads = executor.backward(plain, dy, saved, needs, exact.attrs)
    moved = Moved(kernel, library).kernel
    for name in kernel.precisions or PRECISIONS:  # what is chosen by name alone has all of them
        allowed = precision.of_results(name, products=True)
        with minidl.precision(name):
            y2, saved2, _ = executor.forward(moved, *rounded)
            same(f"y in {name}", y2.astype(np.float64), y, allowed, floor=float(np.abs(y).max(initial=0.0)))
            grads2 = executor.backward(moved, dy.astype(np.float32), saved2, needs, rounded.attrs)
        for i, dx in enumerate(grads):
            if dx is not None:
                largest = float(np.abs(dx).max(initial=0.0))
                same(f"gradient {i} in {name}", grads2[i].astype(np.float64), dx, allowed, floor=largest)


def as_float32(x: np.ndarray) -> np.ndarray:
    """Real numbers in float32; others as they are."""
    return x.astype(np.float32) if _is_float(x) else x


def _cupy() -> Library:
    return next(library for library in backend.other_libraries() if library.name == "cupy")


def _shown(problem: Problem, seed: int) -> str:
    """A problem in a line."""
    shapes = ", ".join("none" if x is None else f"{x.dtype}{list(x.shape)}" for x in problem.inputs)
    attrs = "".join(f", {name}={value!r}" for name, value in problem.attrs.items())
    return f"[problem: {shapes}{attrs}; seed {seed}]"


def _is_float(x: Any) -> bool:
    return x is not None and x.dtype.kind == "f"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
