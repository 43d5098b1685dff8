"""From a problem that breaks a law to the smallest one that does, with numbers that can be redone by hand.

Greedy replay lowers one named answer at a time (minidl.draw.shrink); then the values are made round, if the law stays
broken by them and minidl's own kernel keeps it there.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import derivative, executor
from minidl.draw import Draw, Random, Replay, shrink
from minidl.grader.trial import Inconsistent, Trial
from minidl.grader.worker import Lost
from minidl.laws import Law, backward_is_the_derivative, forward_is_the_definition, strides_do_not_matter
from minidl.op import Kernel, Problem
from minidl.verdicts import Broken, Undecided

RETRIES = 4  # what a law draws itself (dy, which gradients to ask for) is drawn so often before a problem counts as fine
TINY = 16  # arrays of at most so many numbers are shown whole


@dataclass
class Counterexample:
    """A problem that breaks a law: where it was found, what it is, and what came where."""

    seed: int
    problem: Problem
    message: str
    tries: int = 0
    dy: Any = None  # where the law is about one backward
    strides: dict[str, tuple[int, ...]] = field(default_factory=dict)  # inputs in another memory layout
    results: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # name -> (came, expected)


class Rounded(np.random.Generator):
    """A generator for sums by hand: normals are +-0.5, +-1, +-1.5, ..., never 0 or faint; uniforms have one decimal."""

    def standard_normal(self, *args: Any, **kwargs: Any) -> Any:
        """Standard normals, away from zero to the next half."""
        x = super().standard_normal(*args, **kwargs)
        return np.copysign(np.ceil(2 * np.abs(x)) / 2, x)

    def uniform(self, *args: Any, **kwargs: Any) -> Any:
        """Uniforms, rounded to one decimal."""
        return np.round(super().uniform(*args, **kwargs), 1)


def search(trial: Trial, law: Law, seed: int, error: Broken) -> Counterexample:
    """The smallest counterexample that greedy replay finds from the problem of `seed`."""
    draw = Random(seed)
    found = Counterexample(seed, trial.submission.pose(draw) or Problem((), {}), str(error))
    _note(found, trial, law)
    if isinstance(error, Inconsistent):  # found out once is enough: the other laws judge what it does
        trial.spot_checks = False
        return found
    answers = draw.answers

    def still_broken(smaller: dict[str, int]) -> bool:
        nonlocal answers
        found.tries += 1
        rngs = (np.random.Generator(bits) for bits in _bits(seed))
        if broken := any(_breaks(found, trial, law, Replay(smaller, seed), rng) for rng in rngs):
            answers = smaller
        return broken

    spot_checks, trial.spot_checks = trial.spot_checks, False
    with suppress(Lost):  # it hangs on a smaller problem: what was found stays
        shrink(answers, draw.least, still_broken)
        _round(found, trial, law, answers)
        _compute(found, trial, law)
    trial.spot_checks = spot_checks
    return found


def _bits(seed: int) -> list[np.random.PCG64]:
    """What a law draws from: first the stream with which the problem was found, then others."""
    return [np.random.PCG64(seed), *(np.random.PCG64([seed, i]) for i in range(1, RETRIES))]


def _breaks(found: Counterexample, trial: Trial, law: Law, draw: Draw, rng: np.random.Generator) -> bool:
    """Does the problem that `draw` answers break the law? Then it is the counterexample."""
    if (problem := trial.submission.pose(draw)) is None:
        return False
    kept = Problem(tuple(None if x is None else x.copy() for x in problem.inputs), problem.attrs)
    try:
        trial.run(law, problem, rng)
    except Undecided:
        return False
    except Broken as error:
        found.problem, found.message = kept, str(error)
        _note(found, trial, law)
        return True
    return False


def _note(found: Counterexample, trial: Trial, law: Law) -> None:
    """Keep what the law gave to the kernel beside the problem."""
    found.dy = trial.pair.dy if law is backward_is_the_derivative else None
    if law is strides_do_not_matter:
        named = zip((*trial.pair.names(trial.pair.inputs), "dy"), (*trial.pair.inputs, trial.pair.dy), strict=True)
        found.strides = {name: x.strides for name, x in named if x is not None and not x.flags.c_contiguous}


def _round(found: Counterexample, trial: Trial, law: Law, answers: dict[str, int]) -> None:
    """Take round values instead, if they break the law too and minidl's own kernel keeps it there."""

    def draw() -> Replay:
        draw = Replay(answers, found.seed)
        draw.rng = Rounded(np.random.PCG64([found.seed, 1]))
        return draw

    own, problem = trial.submission.other, trial.submission.pose(draw())
    if problem is None or own.why_not(tuple(None if x is None else x.shape for x in problem.inputs), problem.attrs):
        return
    for bits, same_bits in zip(_bits(found.seed), _bits(found.seed), strict=True):
        with suppress(Broken, Undecided):
            law(own, trial.submission.pose(draw()) or problem, Rounded(bits))
            if _breaks(found, trial, law, draw(), Rounded(same_bits)):
                return


def _compute(found: Counterexample, trial: Trial, law: Law) -> None:
    """What came and what was expected, whole, where the arrays are tiny."""
    arrays = [x for x in (*found.problem.inputs, found.dy) if x is not None]
    if any(x.size > TINY for x in arrays):
        return
    kernel, problem = trial.pair.kernel, found.problem
    trial.pair.replay, trial.pair.witness = False, None
    with suppress(Broken):
        y, saved, _ = executor.forward(kernel, problem.inputs, problem.attrs)
        if law is forward_is_the_definition:
            expected = kernel.op.definition(*problem.inputs, **problem.attrs)
            found.results["y"] = (y, expected[0] if kernel.op.signature.aux else expected)
        elif found.dy is not None and found.dy.shape == y.shape:
            needs = tuple(x is not None and x.dtype.kind == "f" for x in problem.inputs)
            grads = executor.backward(kernel, found.dy, saved, needs, problem.attrs)
            if not isinstance(grads, tuple):
                return
            for i, (name, dx) in enumerate(zip(trial.pair.names(needs), grads, strict=False)):
                if dx is not None and needs[i] and dx.shape == problem.inputs[i].shape:
                    found.results[f"d{name}"] = (dx, _measured(kernel, problem, i, found.dy))


def _measured(kernel: Kernel, problem: Problem, i: int, dy: np.ndarray) -> np.ndarray:
    """The derivative of <dy, forward> by every element of input i."""
    x = problem.inputs[i]
    slopes = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        unit = np.zeros(x.shape)
        unit[index] = 1.0

        def at(t: float, unit: np.ndarray = unit) -> np.ndarray:
            moved = (*problem.inputs[:i], x + t * unit, *problem.inputs[i + 1 :])
            return executor.forward(kernel, moved, problem.attrs)[0]

        slopes[index] = derivative.measure(at, dy).value
    return slopes
