"""The laws over drawn problems: which hold, which are broken, which could not be judged, and why.

Problem i of a grading is `Random(seed + i)`. Behaving only while a law asks about it does not help: in all laws, some calls
of forward are compared with the definition, and a changed argument is remembered whenever it happens.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import numpy as np

from minidl import backend
from minidl.draw import Random
from minidl.grader import worker
from minidl.grader.counterexample import Counterexample, search
from minidl.grader.submission import CannotGrade, Submission
from minidl.grader.trial import Trial
from minidl.grader.worker import Limits, Lost
from minidl.laws import (
    LAWS,
    Law,
    arguments_are_left_alone,
    array_library_does_not_matter,
    batches_are_independent,
    forward_is_the_definition,
)
from minidl.verdicts import Broken, Undecided

REDRAWS = 50  # problems drawn for each one wanted, before giving up on what the signatures cannot express
ORDER = (*(law for law in LAWS if law is not arguments_are_left_alone), arguments_are_left_alone)  # it hears of the others


@dataclass
class Judgement:
    """What became of one law: 'ok', 'FAIL' or '--' (not judged), with the reason or the lesson."""

    law: Law
    verdict: str
    message: str = ""
    counterexample: Counterexample | None = None

    @property
    def name(self) -> str:
        """The law as a sentence: backward is the derivative."""
        return self.law.__name__.replace("_", " ")


class Grading:
    """All laws over `cases` problems each; iterate to get the judgements as they are made."""

    def __init__(self, submission: Submission, seed: int, cases: int):
        self.submission, self.seed, self.trial = submission, seed, Trial(submission, seed)
        self.cases, self.seeds = cases, self._expressible(cases)
        self.trial.pair.kind = self._kind_of_y()
        self._at = seed  # of the problem in hand

    def __iter__(self) -> Iterator[Judgement]:
        for law in ORDER:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                judgement = self._judge(law)
            if law is forward_is_the_definition:
                self.trial.spot_checks = judgement.verdict == "ok"
            yield judgement

    def notes(self) -> list[str]:
        """What was not graded."""
        fewer = [f"only {len(self.seeds)} of the drawn problems fit the signatures"] if len(self.seeds) < self.cases else []
        return self.submission.notes() + fewer

    def _expressible(self, cases: int) -> list[int]:
        """The first seeds whose problems the signatures can express."""
        drawn = range(self.seed, self.seed + REDRAWS * cases)
        seeds = list(islice((seed for seed in drawn if self.submission.pose(Random(seed)) is not None), cases))
        if not seeds:
            left = ", ".join(self.submission.fixed + self.submission.integers) or self.submission.other
            raise CannotGrade(
                f"{self.submission.file.name}: none of {len(drawn)} problems of {self.submission.op.name} fits it; "
                f"too much is left out of its signatures, or taken as an int ({left})"
            )
        return seeds

    def _judge(self, law: Law) -> Judgement:
        if lost := next((f"{half} {w.lost}" for half, w in self.submission.workers.items() if w.lost), ""):
            return Judgement(law, "--", f"not judged: {lost}")
        if reason := self._not_about(law):
            return Judgement(law, "--", f"not judged: {reason}")
        try:
            if law is array_library_does_not_matter:
                return self._judge_on_gpu(law)
            return self._judge_on(law, self.trial)
        except Lost as error:
            return Judgement(law, "FAIL", str(error), self._where_lost())

    def _judge_on(self, law: Law, trial: Trial) -> Judgement:
        doubt, decided = "", 0
        for seed in self.seeds:
            self._at = seed
            try:
                trial.on(law, Random(seed), np.random.default_rng(seed))
                decided += 1
            except Undecided as error:
                doubt = str(error)
            except Broken as error:
                found = search(trial, law, seed, error)
                return Judgement(law, "FAIL", found.message, found)
        if law is arguments_are_left_alone and trial.pair.changes:
            return Judgement(law, "FAIL", next(iter(trial.pair.changes.values())))
        if decided:
            return Judgement(law, "ok")
        if self._own_kernel_decides(law):
            return Judgement(law, "FAIL", f"no problem could decide, where minidl's own kernel leaves no doubt: {doubt}")
        return Judgement(law, "--", f"not judged: {doubt}")

    def _judge_on_gpu(self, law: Law) -> Judgement:
        """CUDA needs more addresses than a memory limit leaves, so this law has processes of its own."""
        libraries = {library.name for library in backend.other_libraries()}
        if "cupy" not in libraries and not (libraries and worker.LIBRARIES):
            return Judgement(law, "--", "not judged: no array library beside NumPy on this machine (needs CuPy and a GPU)")
        own = self.submission
        limits = Limits(own.limits.seconds, None)
        with Submission(own.op, own.file, own.other, limits) as unlimited:
            return self._judge_on(law, Trial(unlimited, self.seed))

    def _not_about(self, law: Law) -> str:
        """Why a law does not apply, or ''."""
        if law is forward_is_the_definition and "forward" not in self.submission.own:
            return f"the file has no forward; {self.submission.other}'s was used"
        if law is batches_are_independent and not self.submission.op.batched:
            signature = self.submission.op.signature
            if signature.output.dims[:1] == ("N",):
                return f"{self.submission.op.name} looks across the batch"
            return f"{self.submission.op.name} has no batch dimension N in its output ({signature.output})"
        return ""

    def _kind_of_y(self) -> str:
        """The kind of numbers that minidl's own kernel gives: 'f', or 'i' for argmax."""
        problem, own = self.submission.pose(Random(self.seeds[0])), self.submission.op.chosen()
        if problem is None or own.why_not(tuple(None if x is None else x.shape for x in problem.inputs), problem.attrs):
            return ""
        return own.forward(*problem.inputs, **problem.attrs)[0].dtype.kind

    def _own_kernel_decides(self, law: Law) -> bool:
        for seed in self.seeds[:5]:
            problem = self.submission.pose(Random(seed))
            with suppress(Undecided, Broken):
                if problem:
                    law(self.submission.op.chosen(), problem, np.random.default_rng(seed))
                    return True
        return False

    def _where_lost(self) -> Counterexample | None:
        problem = self.submission.pose(Random(self._at))
        return Counterexample(self._at, problem, "") if problem else None
