"""Kernels of one layer beside PyTorch's function: first their results are compared, then they take turns.

One process has our kernels, another has PyTorch. A kernel that ends its process, or leaves it with a GPU that computes no more,
is named, and the race is run again without it; after MOST_FAILURES all are. So it is with PyTorch.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import kernels, precision, stats
from benchmarks.gpu.judge import BREAKS
from benchmarks.gpu.record import OWED, Row, Run, not_run
from benchmarks.rivals import names
from benchmarks.worker import RivalFailed, Worker

OURS, THEIRS = "benchmarks.rivals.minidl_layers:MinidlLayers", "benchmarks.rivals.torch_layers:TorchLayers"
MOST_FAILURES = 2


class Job(NamedTuple):
    """A layer in a precision."""

    op: str
    workload: str
    precision: str

    def __str__(self) -> str:
        return f"{self.workload}, {self.precision}"


class Culprit(RivalFailed):
    """It is known who: the race can be run again without."""


class Race:
    """The processes, and what is known of who runs in them.

    step   whose time it is
    rival  PyTorch's, or None
    """

    def __init__(self, run: Run, step: str, rival: str | None):
        self.run, self.step, self.rival = run, step, rival
        self.broken = {row["what"] for row in run.of("laws") if row.get("verdict") == BREAKS}
        self.failures: Counter[str] = Counter()
        self.out: set[tuple[Job, str]] = set()  # kernels that failed in a race
        self.stack, self.processes, self.lost = ExitStack(), ExitStack(), ""

    def __enter__(self) -> Race:
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.restart()
        return self

    def __exit__(self, *_: object) -> None:
        self.processes.close()
        self.stack.close()

    def restart(self) -> None:
        """End both processes; the next race has fresh ones."""
        self.processes.close()
        self.ours: Worker | None = None
        self.theirs: Worker | None = None
        self.at: tuple[str, str] | None = None

    def rows(self, job: Job) -> Iterator[Row]:
        """A row for each kernel that can do the layer in the precision, and one for PyTorch; RivalFailed if a process ends."""
        self._load(job)
        chosen = self._ask("use", precision=job.precision)
        if owed := self.rival and self.run.rehearsal and job.precision == "tf32":
            yield from not_run([f"{job}, {self.rival}"], OWED, precision=job.precision)  # it has none on the CPU
        elif self.theirs:
            self._beside("use", precision=job.precision)
        if self.lost:
            yield from not_run([f"{job}, {self.rival}"], f"failed: {self.lost}", precision=job.precision)
            self.lost = ""
        right: dict[str, Row] = {}
        for kernel in self.about["kernels"]:
            found = self._compared(job, kernel)
            if "not_run" in found or "refused" in found:
                yield {"what": f"{job}, {kernel}", "kernel": kernel, **job._asdict(), **found}
            elif found:
                right[kernel] = found
        if right:
            yield from self._timed(job, right, chosen, None if owed else self.theirs)

    # ---- processes -----------------------------------------------------------------------------------------------------

    def _start(self, rival: str, **how: Any) -> Worker:
        start: dict[str, Any] = {"threads": self.run.threads, "device": self.run.device}
        start["patience"] = lambda: self.run.budget.left(self.step)
        return self.processes.enter_context(Worker(rival, **start, **how))

    def _ask(self, method: str, **arguments: Any) -> Any:
        """Ours."""
        self.ours = self.ours or self._start(OURS, verified=str(self.run.verified))
        return self.ours.call(method, **arguments)

    def _ask_kernel(self, job: Job, method: str, kernel: str, **arguments: Any) -> Any:
        """Ours, about a kernel; Culprit if that is its end."""
        try:
            return self._ask(method, kernel=kernel, **arguments)
        except RivalFailed as error:
            self.failures[f"{job.op}[{kernel}]"] += 1
            self.out.add((job, kernel))
            raise Culprit(f"{kernel}: {error}") from error

    def _ask_rival(self, process: Worker, method: str) -> Any:
        try:
            return process.call(method, name=self.rival)
        except RivalFailed as error:
            self.failures[str(self.rival)] += 1
            raise Culprit(f"{self.rival}: {error}") from error

    def _beside(self, method: str, **arguments: Any) -> None:
        """PyTorch; where it fails, it is ended, and the next layer has another."""
        try:
            if self.theirs is None:
                self.theirs = self._start(THEIRS, **names.options(str(self.rival)))
            self.theirs.call(method, **arguments)
        except RivalFailed as error:
            if self.theirs is not None:
                self.theirs.close()
            self.theirs, self.lost = None, str(error)
            self.failures[str(self.rival)] += 1
            if self.run.budget.left(self.step) <= 0:
                raise

    def _load(self, job: Job) -> None:
        """The layer in both processes; and float32 results, PyTorch's if it is there, which all are held to."""
        if self.at == (job.op, job.workload):
            return
        place = {"op": job.op, "workload": job.workload, "tiny": self.run.rehearsal}
        self.about = self._ask("layer", **place)
        if self.rival and self.failures[self.rival] < MOST_FAILURES:
            self._beside("layer", **place)
            for method, more in (("use", {"precision": precision.FULL}), ("ready", {"path": self._file("right")})):
                if self.theirs:
                    self._beside(method, **more)
        self.judge = str(self.rival)
        if not self.theirs:
            self.judge = self.about["judge"]
            self._ask("use", precision=precision.FULL)
            self._ask("ready", kernel=self.judge, path=self._file("right"))
        self.at = (job.op, job.workload)

    def _file(self, name: str) -> str:
        return str(self.folder / f"{name}.npz")

    # ---- a race --------------------------------------------------------------------------------------------------------

    def _compared(self, job: Job, kernel: str) -> Row:
        """How far its results are off, or why it does not run; nothing where it cannot."""
        named = f"{job.op}[{kernel}]"
        if named in self.broken:
            return {"not_run": "it breaks a law"}
        if (job, kernel) in self.out:
            return {}
        if self.failures[named] >= MOST_FAILURES:
            return {"not_run": f"left out: it failed {self.failures[named]} times"}
        if self._ask_kernel(job, "ready", kernel, path=self._file("mine")):
            return {}
        name, error = kernels.largest_difference(Path(self._file("mine")), Path(self._file("right")))
        if not error <= precision.of_results(job.precision, products=True):
            return {"refused": f"{name} differs from float32's of {self.judge} by {error:.1e} of the largest"}
        return {"compared_with": self.judge, "difference": error}

    def _timed(self, job: Job, right: dict[str, Row], chosen: str, theirs: Worker | None) -> Iterator[Row]:
        """The rows of all who are right, and of PyTorch."""
        turns = {kernel: partial(self._ask_kernel, job, "turn", kernel) for kernel in right}
        for kernel in right:
            self._ask_kernel(job, "plan", kernel)
        if theirs:
            turns[str(self.rival)] = partial(self._ask_rival, theirs, "turn")
            self._ask_rival(theirs, "plan")
        laps = stats.take_turns(turns, self.run.rounds, self.run.seed)
        weighed, phases = self.about["weighed"], self.about["phases"]
        seconds = {who: {phase: [lap[phase] for lap in each] for phase in phases} for who, each in laps.items()}
        whole = {who: [sum(lap[phase] for phase in weighed) for lap in each] for who, each in laps.items()}
        of_ours = {kernel: seconds[kernel] for kernel in right}
        for who in laps:
            row = {"what": str(job), "kernel": who, **job._asdict(), **right.get(who, {}), "weighed": weighed}
            row["phases"] = {p: figures(seconds[who][p], phases[p]["flops"]) for p in phases}
            row |= figures(whole[who], sum(phases[p]["flops"] for p in weighed))
            if theirs and who in right:
                row["ratio"] = stats.ratio(whole[who], whole[str(self.rival)])._asdict()
            if who == chosen:
                row |= {name: kernels.choice_of(chosen, of_ours, weighed)[name] for name in ("chosen", "fastest", "over")}
            yield row


def figures(seconds: list[float], flops: int) -> Row:
    """What the timings say of so many operations."""
    middle, (low, high, _) = stats.median(seconds), stats.bootstrap(seconds)
    found = {"median": middle, "iqr": stats.spread(seconds), "low": low, "high": high}
    return found | {"tflops": 1e-12 * flops / middle, "seconds": seconds}
