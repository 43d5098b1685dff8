"""Does the benchmark tell alike from different on this machine, now?

    python -m benchmarks.kernels --calibrate

In every trial the same kernel takes turns with itself in another process, and with itself slowed by a tenth, by the method and
for the rounds of the benchmark. It should be told from itself in at most 5 % of the trials, and from the slowed one in 95 %.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any

from benchmarks import clock, report, stats
from benchmarks.worker import Worker, rest

RIVAL = "benchmarks.rivals.minidl_ops:MinidlOps"
SLOWER = 0.1
SUBJECTS = (("conv2d", "lenet.C3", None), ("lrn", "alexnet.norm2", 4))  # one bound by arithmetic, one by memory; milliseconds


def run(args: argparse.Namespace) -> int:
    """Print the counts; write them where --json says."""
    with ExitStack() as stack:
        pair = [stack.enter_context(Worker(RIVAL, threads=args.threads, device=args.device)) for _ in range(2)]
        about, rows = pair[0].call("about"), []
        print(report.header(about, args.threads))
        for op, workload, batch in SUBJECTS:
            rows.append(trials(pair, op, workload, batch, args))
            print(told(rows[-1]), flush=True)
    if args.json:
        report.save(args.json, "kernels", rows, machine=about, rounds=args.rounds, threads=args.threads)
    return 0


def trials(pair: list[Worker], op: str, workload: str, batch: int | None, args: argparse.Namespace) -> dict[str, Any]:
    """How often a kernel is told from itself, and from itself slowed."""
    for worker in pair:
        worker.call("load", op=op, workload=workload, batch=batch)
        kernel = worker.call("kernels_of", op=op)[0]
        worker.call("prepare", kernel=kernel, limit=60.0)
    call = {"kernel": kernel, "phase": "forward"}
    call["repeats"] = clock.repeats_for(pair[0].call("time", **call, repeats=2))
    turns = {
        "a": lambda: pair[0].call("time", **call),
        "b": lambda: pair[1].call("time", **call),
        "slowed": lambda: pair[1].call("time", **call, slower=SLOWER),
    }
    alike, slowed = [], []
    for trial in range(args.trials):
        seconds = stats.take_turns(turns, args.rounds, args.seed + trial, rest)
        alike.append(stats.ratio(seconds["a"], seconds["b"]))
        slowed.append(stats.ratio(seconds["a"], seconds["slowed"]))
    return {
        "op": op,
        "workload": workload,
        "trials": args.trials,
        "told_from_itself": sum(r.differs for r in alike),
        "found_slower": sum(r.differs and r.value > 1 for r in slowed),
        "planted": 1 + SLOWER,
        "measured": stats.median([r.value for r in slowed]),
    }


def told(row: dict[str, Any]) -> str:
    """A row in words."""
    return (
        f"{row['op']} {row['workload']}: told from itself in {row['told_from_itself']} of {row['trials']} trials, "
        f"a slowdown to {row['planted']:.2f} found in {row['found_slower']} (measured {row['measured']:.3f})"
    )
