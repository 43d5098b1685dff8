"""(e) Kernels that memory holds up: GB/s of what must be read and written once, over those of a copy.

Of every op without products: its CUDA kernels on all its workloads, and the default's formulas, which cost a pass over memory
for each operation in them. By the clock of the device alone (stopwatch.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import report, stats
from benchmarks.gpu import ceilings
from benchmarks.gpu.judge import BREAKS
from benchmarks.gpu.record import NO_TIME, Row, Run, Step, not_run
from benchmarks.worker import RivalFailed, Worker
from minidl.draw import Random
from minidl.op import OPS, Kernel, Op

NAME = "bandwidth"
RIVAL = "benchmarks.rivals.minidl_ops:MinidlOps"
REHEARSED, TINY = ("lrn", "relu"), 1  # ops and images of a rehearsal
VIEW = 4e-6  # seconds below which nothing of such a size was moved
LEAST = 5.0  # seconds that a workload may need
GOAL = 0.8  # of a copy


def rows(run: Run) -> Iterator[Row]:
    """A row for each kernel, workload and phase."""
    copy = next((row["value"] for row in run.of(ceilings.NAME) if row["what"] == ceilings.COPY), None)
    broken = {row["what"] for row in run.of("laws") if row.get("verdict") == BREAKS}
    todo = jobs(run)
    start: dict[str, Any] = {"threads": run.threads, "device": run.device, "patience": lambda: run.budget.left(NAME)}
    while todo and run.budget.left(NAME) > LEAST:
        with Worker(RIVAL, **start) as worker:
            while todo and run.budget.left(NAME) > LEAST:
                op, workload = todo.pop(0)
                try:
                    yield from of_workload(run, worker, op, workload, copy, broken)
                except RivalFailed as error:
                    why = NO_TIME if run.budget.left(NAME) <= 0 else f"failed: {error}"
                    yield from not_run([f"{op.name} {workload}"], why, cuda=has_cuda(op))
                    break
    for op, workload in todo:
        yield from not_run([f"{op.name} {workload}"], NO_TIME, cuda=has_cuda(op))


def jobs(run: Run) -> list[tuple[Op, str]]:
    """Ops with CUDA kernels first, on all workloads; the others on their first, which is the largest net's."""
    ops = [op for op in OPS.values() if op.workloads and (not run.rehearsal or op.name in REHEARSED)]
    ops = [op for op in ops if not has_products(op)]
    with_cuda = [op for op in ops if has_cuda(op) and not run.rehearsal]
    found = [(op, workload) for op in with_cuda for workload in op.workloads]
    return found + [(op, next(iter(op.workloads))) for op in ops if op not in with_cuda]


def has_products(op: Op) -> bool:
    """Has it multiply-adds, as convolutions have?"""
    problem = op.ask(Random(0))
    return op.cost(*(None if x is None else x.shape for x in problem.inputs), **problem.attrs).macs > 0


def has_cuda(op: Op) -> bool:
    """Has it a CUDA kernel?"""
    return any(kernel.source for kernel in op.kernels.values())


def of_workload(run: Run, worker: Worker, op: Op, workload: str, copy: float | None, broken: set[str]) -> Iterator[Row]:
    """Its rows."""
    loaded = worker.call("load", op=op.name, workload=workload, batch=TINY if run.rehearsal else None)
    for kernel in (k for k in op.kernels.values() if k.name == op.default or (k.source and not run.rehearsal)):
        what = f"{kernel} {workload}"
        if why := refused(worker, kernel, broken):
            yield from not_run([what], why, cuda=bool(kernel.source))
            continue
        for phase, work in loaded["phases"].items():
            seconds = worker.call("device_times", kernel=kernel.name, phase=phase, rounds=run.rounds)
            row = {"what": what, "kernel": str(kernel), "workload": workload, "phase": phase, "cuda": bool(kernel.source)}
            yield row | figures(seconds, work["bytes"], copy)


def refused(worker: Worker, kernel: Kernel, broken: set[str]) -> str | None:
    """Why it is not timed."""
    return "it breaks a law" if str(kernel) in broken else worker.call("prepare", kernel=kernel.name, limit=2.0)


def figures(seconds: list[float], size: int, copy: float | None) -> Row:
    """What the timings say of so many bytes."""
    middle = stats.median(seconds)
    row = {"median": middle, "iqr": stats.spread(seconds), "gbs": 1e-9 * size / middle, "bytes": size, "seconds": seconds}
    view = middle < VIEW
    return row | {"view": view, "share": None if copy is None or view else 1e-9 * size / middle / copy}


def cells(row: Row) -> list[str]:
    """A row of the table."""
    share = "a view" if row["view"] else "" if row["share"] is None else f"{row['share']:.0%}"
    spread = f"{row['iqr'] / row['median']:.0%}"
    return [row["phase"], f"{1e6 * row['median']:.1f}", spread, f"{row['gbs']:.0f}", share]


TABLE = report.Table({"kernel and workload ": 50, "phase ": 9, "us": 9, "IQR": 5, "GB/s": 6, "of a copy": 9})
STEP = Step(NAME, "Kernels that memory holds up", 65, rows, TABLE, cells)
