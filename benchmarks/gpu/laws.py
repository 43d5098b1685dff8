"""(b) The laws on the GPU: every kernel of every op, and every CUDA source.

First law 7 of all, then what CUDA kernels do with large problems, then the other laws of the CUDA kernels, then those of the
formulas, as far as time allows. Several processes judge side by side, for most of the time goes into compiling. One that a
kernel ends, or leaves with a GPU that computes no more, is replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from benchmarks import report
from benchmarks.gpu import large, optimisers, verified
from benchmarks.gpu.judge import BREAKS, LAWS, OBEYS, OUT_OF_TIME, SEVENTH, UNDECIDED
from benchmarks.gpu.record import NO_TIME, OWED, Row, Run, Step, not_run
from benchmarks.worker import RivalFailed, Worker
from minidl import cuda
from minidl.cuda import Source
from minidl.op import OPS, Kernel

NAME = "laws"
JUDGE = "benchmarks.gpu.judge:Judge"
CASES = {"law 7": 4, "CUDA": 10, "formula": 2}  # problems of each law
REHEARSED = ("relu", "softmax", "lrn", "batch_norm")
LONGEST = 60.0  # seconds for one kernel
JUDGES = 6
VERIFIED, UNVERIFIED = "verified", "unverified"
RULING = "Kernels are chosen by"
OTHERS = [law.__name__ for law in LAWS if law.__name__ != SEVENTH]


class Job(NamedTuple):
    """A kernel, or an optimiser, and what is asked of it."""

    what: str
    part: str  # law 7, large, other laws, all laws
    call: dict[str, Any]  # of the judge
    cuda: bool


def kernels() -> list[Kernel]:
    """All that compute on a GPU: those of Numba do not."""
    return [kernel for op in OPS.values() for kernel in op.kernels.values() if not kernel.compiles]


def jobs(run: Run) -> list[Job]:
    """In the order in which they are begun; a rehearsal has few, and no CUDA."""
    every = [k for k in kernels() if not run.rehearsal or (k.op.name in REHEARSED and not k.source)]
    every.sort(key=lambda kernel: not kernel.source)  # CUDA first
    ways = "law 7", "CUDA", "formula"
    cases = dict.fromkeys(ways, 1) if run.rehearsal else CASES

    def job(kernel: Kernel, part: str, laws: list[str], way: str) -> Job:
        call = {"method": "judge", "op": kernel.op.name, "kernel": kernel.name, "laws": laws, "cases": cases[way]}
        return Job(str(kernel), part, call | {"seed": run.seed}, kernel.source is not None)

    seventh = [job(k, "law 7", [SEVENTH], "CUDA" if k.source else "law 7") for k in every if not run.rehearsal]
    others = [job(k, "other laws", OTHERS, "CUDA" if k.source else "formula") for k in every]
    names = [] if run.rehearsal else optimisers.with_sources()
    rules = [Job(f"{name}[cuda]", "all laws", {"method": "judge_optimiser", "name": name}, True) for name in names]
    ask = {"method": "judge_large", "seed": run.seed}
    at_large = [Job(str(k), "large", {**ask, "op": k.op.name, "kernel": k.name}, True) for k in every if str(k) in large.WAYS]
    return [*seventh, *rules, *at_large, *others]


def rows(run: Run) -> Iterator[Row]:
    """A row for each job, as they end; then what becomes of the list of verified sources."""
    if run.rehearsal:
        owed = [str(kernel) for kernel in kernels() if kernel.source] + [f"{name}[cuda]" for name in optimisers.with_sources()]
        yield from not_run([f"law 7, {len(kernels())} kernels", *owed], OWED, part="owed", cuda=True)
    todo, found = jobs(run), []
    for row in judged(run, todo):
        found.append(row)
        yield row
    if not run.rehearsal:
        yield from listing(run, todo, found)


def judged(run: Run, todo: list[Job]) -> Iterator[Row]:
    """The rows of the jobs; those for which there is no time say so."""
    count = 1 if run.rehearsal else max(1, min(JUDGES, (os.cpu_count() or 2) // 2))
    with ThreadPoolExecutor(count) as pool, Judges(run) as judges:
        futures = [pool.submit(judges.ask, job) for job in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class Judges:
    """Processes that wait for work, one for each thread that asks."""

    def __init__(self, run: Run):
        self.run = run
        self.free: SimpleQueue[Any] = SimpleQueue()

    def __enter__(self) -> Judges:
        return self

    def __exit__(self, *_: object) -> None:
        while not self.free.empty():
            self.free.get().close()

    def ask(self, job: Job) -> Row:
        """A row with the verdict, whatever becomes of the process."""
        row = {"what": job.what, "part": job.part, "cuda": job.cuda}
        left = min(self.run.budget.left(NAME), LONGEST)
        if left <= 1:
            return row | {"not_run": NO_TIME}
        judge = None
        try:
            with suppress(Empty):
                judge = self.free.get_nowait()
            judge = judge or start(self.run)
            call = {**job.call, "seconds": left - 1} if job.part != "all laws" else dict(job.call)
            row |= told(judge.call(call.pop("method"), **call))
            whole = row["verdict"] != BREAKS or judge.call("alive")
        except RivalFailed as error:
            whole = False
            late = self.run.budget.left(NAME) <= 1
            row |= {"not_run": NO_TIME} if late else {"verdict": BREAKS, "lesson": f"the process ended: {error}"}
        if judge is not None:
            self.free.put(judge) if whole else judge.close()
        return row


def start(run: Run) -> Any:
    """A judge; tests have one in this process."""
    return Worker(JUDGE, threads=1, device=run.device, patience=lambda: min(run.budget.left(NAME), LONGEST) + 1)


def told(answer: dict[str, Any]) -> Row:
    """One verdict of those of several laws, the worst first."""
    laws = answer if all(isinstance(value, dict) for value in answer.values()) else {"its rule": answer}
    for verdict in (BREAKS, OUT_OF_TIME, UNDECIDED):
        bad = {name: about for name, about in laws.items() if about["verdict"] == verdict}
        if bad:
            name, about = next(iter(bad.items()))
            lesson = f"{name.replace('_', ' ')}: {about.get('lesson', verdict)}"
            return {"verdict": verdict, "lesson": lesson, "broken": list(bad) if verdict == BREAKS else [], "laws": laws}
    return {"verdict": OBEYS, "laws": laws}


# ---- what is verified --------------------------------------------------------------------------------------------------


def listing(run: Run, todo: list[Job], found: list[Row]) -> Iterator[Row]:
    """A row for each source: verified, or why not. The list for this run's later steps; minidl's own, if that was asked for.

    Verified is what all who launch it were asked for and obeyed; who was not asked has not obeyed.
    """
    obey, others, told = {}, set(), {(row["what"], row["part"]): row.get("verdict") for row in found}
    for name, (source, users) in sources().items():
        asked = [(job.what, job.part) for job in todo if job.what in users]
        asked += [(user, "no law") for user in users if user not in {job.what for job in todo}]
        bad = {key: told.get(key) or "was not judged" for key in asked if told.get(key) != OBEYS}
        row = {"what": name, "part": "source", "cuda": True}
        if not bad:
            obey[name] = verified.digest_of(source)
            yield row | {"verdict": VERIFIED}
        else:
            others |= {name} if BREAKS in bad.values() else set()
            why = ", ".join(f"{what} {verdict} ({part})" for (what, part), verdict in bad.items())
            yield row | {"verdict": UNVERIFIED, "lesson": why}
    after, changes = verified.merged(verified.listed(cuda.VERIFIED), obey, others)
    verified.write(run.verified, after)
    if run.write_verified and changes:
        verified.write(cuda.VERIFIED, after)
    done = "written" if run.write_verified else "--write-verified would write"
    lesson = f"{done}: {'; '.join(changes) or 'nothing new'}"
    yield {"what": cuda.VERIFIED.name, "part": "list", "cuda": True, "verdict": "", "lesson": lesson, "changes": changes}


def ruling(run: Run) -> str:
    """By which list steps choose CUDA kernels now, and how much it has of what there is."""
    lines, every = verified.listed(run.verified), sources()
    count = sum(lines.get(name) == verified.digest_of(source) for name, (source, _) in every.items())
    judged = any(row["of"] == NAME and row.get("part") == "list" for row in run.rows)
    if not lines:
        whose = "no list" + (", for nothing obeyed" if judged else f", for there is no {cuda.VERIFIED.name}")
        return f"{RULING} {whose}: formulas, and no CUDA source."
    whose = "this run's list" if judged else f"minidl's own {cuda.VERIFIED.name}, not by this run's laws"
    return f"{RULING} {whose}: {count} of {len(every)} CUDA sources."


def sources() -> dict[str, tuple[Source, list[str]]]:
    """Name of every CUDA source -> itself, and who launches it."""
    users: dict[str, tuple[Source, list[str]]] = {}
    launching = [(kernel.source, str(kernel)) for kernel in kernels() if kernel.source]
    launching += [(source, f"{name}[cuda]") for name, source in optimisers.with_sources().items()]
    for first, user in launching:
        for source in (first, *first.also):
            users.setdefault(repr(source), (source, []))[1].append(user)
    return users


def cells(row: Row) -> list[str]:
    """A row of the table."""
    return [row["part"], row["verdict"], row.get("lesson", "")]


TABLE = report.Table({"kernel ": 34, "judged by ": 10, "verdict ": 10, "lesson ": 40})
STEP = Step(NAME, "The laws on the GPU", 140, rows, TABLE, cells)
