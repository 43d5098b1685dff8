"""Every kernel on the shapes that real networks use, beside PyTorch.

    python -m benchmarks.kernels                                        all ops and kernels, on all their workloads (hours)
    python -m benchmarks.kernels conv2d lrn --workload alexnet          workloads that have this word in their name
    python -m benchmarks.kernels conv2d --kernel im2col,shifts --rivals torch,torch-channels-last --batch 32
    python -m benchmarks.kernels conv2d --with mine.py                  a file of yours that registers more kernels
    python -m benchmarks.kernels conv2d --device cuda --precision tf32  of float32 products and convolutions, for every rival
    python -m benchmarks.kernels --calibrate                            does it tell alike from different on this machine?

A kernel is first held to the laws on a small sibling of the workload, then its results to PyTorch's on the workload itself;
one that is wrong is refused, not timed. Rivals live in processes of their own with the same number of threads and take turns,
in shuffled order (benchmarks/stats.py). Columns:

    ms         median over the rounds, and its interval (bootstrap)     IQR        interquartile range, of the median
    GFLOP/s    2 per multiply-add of the definition, however few the kernel gets by with
    GB/s       of what must be read and written at least once
    roof       the least time by this machine's ceilings, measured in this run, over the median
    saved      MB that backward is handed, inputs included              work       MB that come and go within the call
    auto       the kernel that the op chooses by itself, and its time over that of the fastest (compiled ones left out)
    x torch    PyTorch's time over this one's, the faster layout of those asked for: the median of the rounds' ratios, and its
    x tuned    interval; the same beside PyTorch without page faults (benchmarks/rivals/names.py)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import calibrate, charts, clock, options, precision, report, stats
from benchmarks.options import CannotStart
from benchmarks.rivals import names
from benchmarks.worker import RivalFailed, Worker, rest
from benchmarks.workloads import Work
from minidl.op import OPS

OURS, THEIRS = "benchmarks.rivals.minidl_ops:MinidlOps", "benchmarks.rivals.torch_ops:TorchOps"
OUR_NAME = "minidl"
LAYOUTS = ("channels-last", "contiguous")
TABLE = report.Table(
    {"op ": 10, "workload ": 24, "kernel ": 25, "phase ": 16, "ms (95 %)": 22, "IQR": 4, "GFLOP/s": 7, "GB/s": 5}
    | {"roof": 5, "saved": 6, "work": 6, "x torch": 16, "x tuned": 16}
)

Row = dict[str, Any]
WITH_WORKLOADS = [name for name, op in OPS.items() if op.workloads]


def main(words: list[str] | None = None) -> int:
    """Run the command; 0, or 1 if a kernel was wrong or a rival failed, or 2 if it cannot start."""
    args = parser().parse_args(words)
    rows: list[Row] = []
    try:
        return calibrate.run(args) if args.calibrate else compare(args, rows)
    except KeyboardInterrupt:
        return report.stopped("kernels", args.json, rows)
    except (CannotStart, RivalFailed) as error:
        print(f"benchmarks.kernels: {error}", file=sys.stderr)
        return 2


def compare(args: argparse.Namespace, rows: list[Row]) -> int:
    """Print, and write, what was asked for; add to `rows`."""
    with ExitStack() as stack:
        bench = Bench(args, stack)
        print(report.header(bench.about, args.threads), precision.told(args.precision, args.device), sep="\n")
        print("ceilings: {gflops:.0f} GFLOP/s in a matrix product, {gbs:.1f} GB/s in a copy\n".format(**bench.ceilings))
        print(*TABLE.head(), sep="\n", flush=True)
        more = {"machine": bench.about, "ceilings": bench.ceilings, "rounds": args.rounds, "threads": args.threads}
        more |= {"layout": args.layout, "precision": args.precision}
        for row in bench.rows():
            rows.append(row | {"precision": args.precision})
            print(line(row), flush=True)
            if args.json:  # at once: what is measured is not lost, whatever comes after it
                report.save(args.json, "kernels", rows, **more)
    if args.plot:
        charts.kernels(rows, args.plot)
    return int(any(row.get("wrong") for row in rows))


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = options.parser("kernels", __doc__, rounds=21)
    p.add_argument("ops", metavar="OP", nargs="*", type=an_op, help="conv2d, lrn, ... (all that have workloads)")
    p.add_argument("--kernel", default="", metavar="A,B", help="only these kernels (all)")
    p.add_argument("--workload", default="", metavar="W", help="only workloads with this in their name (all)")
    p.add_argument("--with", dest="plugin", metavar="FILE.py", help="a file that registers kernels: op.kernel(name, ...)")
    p.add_argument("--batch", type=options.whole, metavar="N", help="images, in place of the workload's own number")
    p.add_argument(
        "--layout", choices=LAYOUTS, default=LAYOUTS[0], help="how our maps lie in memory: as within a net, or as NCHW"
    )
    p.add_argument("--limit", type=options.seconds, default=10.0, metavar="SECONDS", help="leave out a slower kernel (10)")
    p.add_argument("--calibrate", action="store_true", help="time a kernel against itself, and against itself slowed by 10 %%")
    p.add_argument("--trials", type=options.whole, default=40, metavar="N", help="of --calibrate (40)")
    return p


def an_op(name: str) -> str:
    """The name, if there is such an op and it has workloads."""
    if name not in WITH_WORKLOADS:
        raise argparse.ArgumentTypeError(f"no op {name!r} with workloads: choose from {', '.join(WITH_WORKLOADS)}")
    return name


class Bench:
    """The rivals of one run, and the rows that they make."""

    def __init__(self, args: argparse.Namespace, stack: ExitStack):
        self.args, self.stack = args, stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        start: Row = {"threads": args.threads, "device": args.device, "precision": args.precision}
        self.starts = {
            OUR_NAME: (OURS, start | {"plugin": args.plugin and str(Path(args.plugin).resolve()), "layout": args.layout})
        }
        self.starts |= {name: (THEIRS, start | names.options(name)) for name in args.rivals}
        self.workers: dict[str, Worker] = {}
        self.about: Row = {}
        for name in self.starts:
            self._start(name)
            told = self.workers[name].call("about")
            report.same_threads(told, args.threads)
            self.about |= told
        self.jobs = self._jobs()
        self.ceilings = self.ours.call("ceilings")

    @property
    def ours(self) -> Worker:
        """The process that has our kernels."""
        return self.workers[OUR_NAME]

    def rows(self) -> Iterator[Row]:
        """Row by row, in the order of the table."""
        for op, workload in self.jobs:
            place = {"op": op, "workload": workload}
            try:
                yield from self._workload(place)
            except RivalFailed as error:
                yield place | {"kernel": "-", "refused": f"failed: {error}", "wrong": True}
                for name, worker in self.workers.items():
                    if not worker.alive:
                        self._start(name)

    def _start(self, name: str) -> None:
        rival, how = self.starts[name]
        self.workers[name] = self.stack.enter_context(Worker(rival, **how))

    def _jobs(self) -> list[tuple[str, str]]:
        """Ops and their workloads, of those asked for."""
        ops = self.args.ops or WITH_WORKLOADS
        there = {kernel for op in ops for kernel in self.ours.call("kernels_of", op=op)}
        for name in self._asked():
            if name not in there:
                raise CannotStart(f"no kernel {name!r}: choose from {', '.join(sorted(there))}")
        jobs = [(op, workload) for op in ops for workload in OPS[op].workloads if self.args.workload in workload]
        if not jobs:
            known = ", ".join(workload for op in ops for workload in OPS[op].workloads)
            raise CannotStart(f"no workload has {self.args.workload!r} in its name: {known}")
        return jobs

    def _asked(self) -> list[str]:
        return [name for name in self.args.kernel.split(",") if name]

    def _workload(self, place: Row) -> Iterator[Row]:
        """Check all, compare all, then time all that are right."""
        loaded = self.ours.call("load", batch=self.args.batch, **place)
        theirs, notes = self._load_rivals(place)
        yield from notes
        right: list[Row] = []
        for kernel in self._kernels(place["op"]):
            row = place | {"kernel": kernel} | self.ours.call("check", kernel=kernel, **place)
            why = row.pop("broken")
            refused = {"refused": why, "wrong": True} if why else self._ready(kernel, theirs, loaded)
            if "refused" in refused:
                yield row | refused
            else:
                right.append(row | refused)
        seconds: dict[str, dict[str, list[float]]] = {row["kernel"]: {} for row in right if not row["compiled"]}
        for phase, work in loaded["phases"].items() if right else ():
            for row in self._phase(right, theirs, phase, work, place | {"shapes": loaded["shapes"]}):
                seconds.get(row["kernel"], {})[phase] = row["seconds"]
                yield row
        if len(seconds) > 1 and (chosen := loaded["choice"]) in seconds:
            yield place | choice_of(chosen, seconds, loaded["weighed"])

    def _kernels(self, op: str) -> list[str]:
        """The kernels asked for."""
        asked = self._asked()
        return [name for name in self.ours.call("kernels_of", op=op) if not asked or name in asked]

    def _load_rivals(self, place: Row) -> tuple[dict[str, bool], list[Row]]:
        """Rival -> can its results be compared; and a row for each that is not there."""
        theirs: dict[str, bool] = {}
        notes: list[Row] = []
        for name in self.args.rivals:
            loaded = self.workers[name].call("load", batch=self.args.batch, **place)
            if loaded is None:
                notes.append(place | {"kernel": name, "refused": "PyTorch has no such function"})
            else:
                theirs[name] = loaded["comparable"]
        return theirs, notes

    def _ready(self, kernel: str, theirs: dict[str, bool], loaded: Row) -> Row:
        """Prepare a kernel, and compare its results with a rival's, or with those of the op's default."""
        if why := self.ours.call("prepare", kernel=kernel, limit=self.args.limit):
            return {"refused": why}
        judge = next((name for name, comparable in theirs.items() if comparable), loaded["judge"])
        if judge == kernel:
            return {}
        mine, other = self.folder / "mine.npz", self.folder / "other.npz"
        self.ours.call("save", kernel=kernel, path=str(mine))
        if judge in theirs:
            self.workers[judge].call("save", path=str(other))
        else:
            self.ours.call("save", kernel=judge, path=str(other))
        name, error = largest_difference(mine, other)
        products = any(work["flops"] for work in loaded["phases"].values())
        if not error <= precision.of_results(self.args.precision, products):
            return {"refused": f"{name} differs from {judge}'s by {error:.1e} of the largest", "wrong": True}
        return {"compared_with": judge, "difference": error}

    def _phase(self, right: list[Row], theirs: dict[str, bool], phase: str, work: Row, place: Row) -> Iterator[Row]:
        """Time one phase of all that are there, in turns."""
        calls = {row["kernel"]: (self.ours, {"kernel": row["kernel"], "phase": phase}) for row in right}
        calls |= {name: (self.workers[name], {"phase": phase}) for name in theirs}
        repeats = {name: clock.repeats_for(w.call("time", repeats=2, **a)) for name, (w, a) in calls.items()}
        turns = {name: lambda w=w, a=a, n=repeats[name]: w.call("time", repeats=n, **a) for name, (w, a) in calls.items()}
        seconds = stats.take_turns(turns, self.args.rounds, self.args.seed, rest)
        best = names.best({name: stats.median(seconds[name]) for name in theirs})
        for row in right:
            kernel = row["kernel"]
            memory = self.ours.call("memory", kernel=kernel, phase=phase)
            ratios = {name: stats.ratio(seconds[kernel], seconds[name])._asdict() for name in theirs}
            found = {"phase": phase, **memory, "repeats": repeats[kernel], "best": best, "ratios": ratios}
            yield place | row | found | self._figures(seconds[kernel], work)
        for name in theirs:
            yield place | {"kernel": name, "phase": phase} | self._figures(seconds[name], work)

    def _figures(self, seconds: list[float], work: Row) -> Row:
        """What the timings say."""
        middle, (low, high, _) = stats.median(seconds), stats.bootstrap(seconds)
        roofline = Work(**work).floor(**self.ceilings) / middle
        figures = {"median": middle, "iqr": stats.spread(seconds), "low": low, "high": high, "roofline": roofline}
        return figures | {"gflops": 1e-9 * work["flops"] / middle, "gbs": 1e-9 * work["bytes"] / middle, "seconds": seconds}


def largest_difference(mine: Path, other: Path) -> tuple[str, float]:
    """The array that differs most, and by how much of its largest value."""
    worst = ("y", 0.0)
    with np.load(mine) as ours, np.load(other) as theirs:
        if set(ours.files) != set(theirs.files):
            return f"the set of gradients ({', '.join(ours.files)})", float("inf")
        for name in ours.files:
            a, b = ours[name], theirs[name]
            if a.shape != b.shape:
                return f"the shape of {name}", float("inf")
            error = float(np.abs(a - b).max(initial=0.0)) / max(float(np.abs(b).max(initial=0.0)), 1e-30)
            worst = max(worst, (name, error), key=lambda found: found[1] if found[1] == found[1] else float("inf"))
    return worst


def choice_of(chosen: str, seconds: dict[str, dict[str, list[float]]], phases: list[str]) -> Row:
    """What the op's choice costs over the fastest kernel: phases together, round by round."""
    sums = {kernel: np.sum([times[phase] for phase in phases], axis=0) for kernel, times in seconds.items()}
    fastest = min(sums, key=lambda kernel: stats.median(sums[kernel]))
    over = stats.ratio(sums[fastest], sums[chosen])._asdict()
    return {"kernel": "auto", "phase": "+".join(phases), "chosen": chosen, "fastest": fastest, "over": over}


def line(row: Row) -> str:
    """A row of the table."""
    who = [row["op"], row["workload"], row["kernel"]]
    if "refused" in row:
        return TABLE.row([*who, "REFUSED" if row.get("wrong") else "-"]) + f" {row['refused']}"
    if "chosen" in row:
        took = f"{stats.Ratio(**row['over'])} x the time of the fastest, {row['fastest']}; all phases"
        return TABLE.row([*who, "-"]) + f" chooses {row['chosen']}: {took}"
    cells = [
        row["phase"],
        "{:#.3g} ({:#.3g}-{:#.3g})".format(*(1e3 * row[name] for name in ("median", "low", "high"))),
        f"{row['iqr'] / row['median']:.0%}",
        f"{row['gflops']:.0f}" if row["gflops"] else "",
        f"{row['gbs']:.1f}",
        f"{row['roofline']:.0%}",
        *("" if row.get(name) is None else f"{row[name] / 1e6:.1f}" for name in ("saved", "workspace")),
        *compared(row),
    ]
    return TABLE.row([*who, *cells])


def compared(row: Row) -> list[str]:
    """PyTorch's best time over this kernel's, and that of the tuned one; empty where nobody is to compare with."""
    best = row.get("best", {})
    return [str(stats.Ratio(**row["ratios"][best[kind]])) if best.get(kind) else "" for kind in ("stock", "tuned")]


if __name__ == "__main__":
    sys.exit(main())
