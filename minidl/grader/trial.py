"""One law on one problem, with everything that a student's arrays may do to it; and the spot checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.grader.pair import Pair
from minidl.grader.submission import Submission
from minidl.grader.worker import Lost
from minidl.laws import Law, arguments_are_left_alone, forward_is_the_definition
from minidl.op import Problem
from minidl.verdicts import Broken, Undecided, same

SPOT_CHECKS = 16  # one call of forward in so many is compared with the definition, whatever the law


class Inconsistent(Broken):
    """forward is the definition when asked about it, and another function at other times."""


class Trial:
    """A submission before the laws."""

    def __init__(self, submission: Submission, seed: int):
        self.submission, self.pair = submission, Pair(submission)
        self.spot_checks = False
        self.rng = np.random.default_rng([seed, 2])

    def run(self, law: Law, problem: Problem, rng: np.random.Generator) -> None:
        """Broken, Undecided or Lost, or nothing if the law holds."""
        self.pair.inputs, self.pair.dy, self.pair.replay = (), None, law is arguments_are_left_alone
        watched = self.spot_checks and law is not forward_is_the_definition and "forward" in self.submission.own
        self.pair.witness = self._spot_check if watched else None
        try:
            law(self.pair.kernel, problem, rng)
        except (Broken, Undecided, Lost):
            raise
        except Exception as error:  # numbers of a kind that the law cannot compute with
            raise Broken(f"the law cannot compute with what came ({type(error).__name__}: {error})") from error

    def on(self, law: Law, draw: Draw, rng: np.random.Generator) -> Problem | None:
        """Run the law on the problem that `draw` answers; None if the signatures cannot express that one."""
        problem = self.submission.pose(draw)
        if problem is not None:
            self.run(law, problem, rng)
        return problem

    def _spot_check(self, inputs: tuple, attrs: dict[str, Any], y: Array) -> None:
        plain = all(x is None or (isinstance(x, np.ndarray) and x.flags.c_contiguous) for x in inputs)
        exact = all(x is None or x.dtype.kind not in "fc" or x.dtype == np.float64 for x in inputs)
        if not (plain and exact) or self.rng.integers(SPOT_CHECKS):
            return
        try:
            expected = self.submission.op.definition(*inputs, **attrs)
        except (ArithmeticError, ValueError):  # a law's small step led out of the domain
            return
        try:
            same("y", y, expected[0] if self.submission.op.signature.aux else expected, 1e-9)
        except Broken as error:
            raise Inconsistent(f"forward is not the same function in every call: in a spot check, {error}") from None
