"""Training steps of whole nets, beside PyTorch.

    python -m benchmarks.models                                                 all nets, minidl alone
    python -m benchmarks.models alexnet --rivals torch,torch-channels-last      side by side
    python -m benchmarks.models lenet --batch 8,32,128 --crossover lenet.png    batch size against images per second
    python -m benchmarks.models resnet50 --profile                              where our time goes, op by op
    python -m benchmarks.models googlenet --compiled                            with and without compiled kernels
    python -m benchmarks.models vgg16 --batch 64 --device cuda --precision tf32 --rivals torch    on a GPU, on tensor cores
    python -m benchmarks.models resnet50 --device cuda --captured               also with steps that are CUDA graphs

Every rival has a process of its own with the same number of threads, the same weights and the same images. First all do one
pass with dropout off, in float32: where the first loss or a first gradient differs, nothing is timed. In a lower precision they
do another, of which the loss is compared: through many layers its gradients say little. Then they take turns, in shuffled
order (benchmarks/stats.py), at forward pass with loss, backward pass, and SGD with momentum 0.9 and weight decay. Columns:

    forward ...  median of the rounds, ms        images/s   of the whole step's median
    step         the same, and its interval      peak       MB that training holds at most: weights, gradients, momentum,
                 (bootstrap)                                maps, and what comes and goes (benchmarks/memory.py); on a GPU
                                                            what the library's pool took from it
    x torch      PyTorch's step over ours, the faster layout of those asked for: the median of the rounds' ratios, and its
                 interval (sign test)
    x tuned      the same beside PyTorch without page faults and with fused SGD (benchmarks/rivals/names.py)
    memory       our peak over PyTorch's, of the layout in 'x torch'

Of a captured step forward and backward are one launch, whose time stands under 'backward'.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import charts, clock, options, precision, report, stats
from benchmarks.nets import NETS, batches_up_to
from benchmarks.options import CannotStart
from benchmarks.rivals import names
from benchmarks.worker import RivalFailed, Worker, rest

OURS, THEIRS = "benchmarks.rivals.minidl_nets:MinidlNets", "benchmarks.rivals.torch_nets:TorchNets"
PHASES = ("forward", "backward", "optimiser", "step")
COMPILED, CAPTURED = "minidl-compiled", "minidl-captured"
OURS_NAMES = ("minidl", COMPILED, CAPTURED)
SMALL = "lenet"  # the net of the warm-up
TURN = 0.3  # seconds of steps in a turn, at least
TABLE = report.Table(
    {"net ": 9, "batch": 5, "rival ": 25, "forward": 8, "backward": 8, "optimiser": 9, "step, ms (95 %)": 22, "images/s": 8}
    | {"peak": 6, "x torch": 16, "x tuned": 16, "memory": 6}
)
PROFILE = report.Table({"op ": 34, "inputs ": 40, "calls": 5, "forward": 8, "backward": 8, "of the step": 11})
LONGEST = 30  # rows of a profile

Row = dict[str, Any]


def main(words: list[str] | None = None) -> int:
    """Run the command; 0, or 1 if a net was refused or a rival failed, or 2 if it cannot start."""
    args = parser().parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if args.captured and args.device == "cpu":
                raise CannotStart("--captured is for a GPU; leave it out, or use --device cuda")
            bench = Bench(args, Path(folder))
            bench.meet()
        except (CannotStart, RivalFailed) as error:
            print(f"benchmarks.models: {error}", file=sys.stderr)
            return 2
        print(report.header(bench.about, args.threads), precision.told(args.precision, args.device), sep="\n")
        print("", *TABLE.head(), sep="\n", flush=True)
        more = {"machine": bench.about, "rounds": args.rounds, "threads": args.threads, "precision": args.precision}
        rows: list[Row] = []
        try:
            for row in bench.rows():
                rows.append(row)
                print(line(row), flush=True)
                if args.json:  # at once: what is measured is not lost, whatever comes after it
                    report.save(args.json, "models", rows, **more)
        except KeyboardInterrupt:
            return report.stopped("models", args.json, rows)
    for row in rows:
        if "profile" in row:
            print("", *profile(row), sep="\n")
    if args.plot:
        charts.models(rows, args.plot)
    if args.crossover:
        charts.crossover(rows, args.crossover)
    return int(any("refused" in row for row in rows))


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = options.parser("models", __doc__, rounds=7)
    p.add_argument("nets", metavar="NET", nargs="*", type=a_net, help=f"of {', '.join(NETS)} (all)")
    p.add_argument("--batch", type=options.wholes, metavar="N,N", help="images in a batch (32, 8, 16, 8, 128, 128)")
    p.add_argument(
        "--crossover",
        type=options.picture,
        metavar="FILE.png",
        help="draw batch size against images/s; without --batch, of five sizes",
    )
    p.add_argument("--compiled", action="store_true", help="with a second minidl, whose loops Numba compiles")
    p.add_argument("--captured", action="store_true", help="with one more minidl, whose steps are CUDA graphs (on a GPU)")
    p.add_argument("--profile", action="store_true", help="show where our time goes, op by op")
    return p


def a_net(name: str) -> str:
    """The name, if there is such a net."""
    if name not in NETS:
        raise argparse.ArgumentTypeError(f"no net {name!r}: choose from {', '.join(NETS)}")
    return name


class Bench:
    """One run, and the rows that it makes. Each net and batch size has fresh processes, so that peaks of memory are its own."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.args, self.folder, self.turn = args, folder, TURN
        self.about: Row = {}
        self.warm: dict[str, Worker] = {}  # those that trained the small net already
        self.same: set[tuple[str, int]] = set()  # nets and batches whose first gradients were compared

    def meet(self) -> None:
        """Ask all rivals for their versions and threads, and whether they can compute in the precision."""
        with ExitStack() as stack:
            for worker in self.workers(stack).values():
                worker.call("use", precision=self.args.precision)
                told = worker.call("about")
                report.same_threads(told, self.args.threads)
                self.about |= told

    def rows(self) -> Iterator[Row]:
        """Row by row, in the order of the table."""
        for net in self.args.nets or NETS:
            few = batches_up_to(NETS[net].batch) if self.args.crossover else [NETS[net].batch]
            for batch in self.args.batch or few:
                place = {"net": net, "batch": batch, "precision": self.args.precision}
                try:
                    self.same.clear()  # fresh processes
                    with ExitStack() as stack:
                        yield from self.race(self.workers(stack), place)
                except RivalFailed as error:
                    yield place | {"rival": "-", "refused": f"failed: {error}"}

    def workers(self, stack: ExitStack, **ours: Any) -> dict[str, Worker]:
        """Rival -> its process, ours first; `ours` are more options for it. All have been warmed up on a small net."""
        start = {"threads": self.args.threads, "device": self.args.device}
        workers = {"minidl": stack.enter_context(Worker(OURS, **start, **ours))}
        if self.args.compiled:
            workers[COMPILED] = stack.enter_context(Worker(OURS, compiled=True, **start))
        if self.args.captured:
            workers[CAPTURED] = stack.enter_context(Worker(OURS, captured=True, **start, **ours))
        for name in self.args.rivals:
            workers[name] = stack.enter_context(Worker(THEIRS, **names.options(name), **start))
        return workers

    def race(self, workers: dict[str, Worker], place: Row) -> Iterator[Row]:
        """Compare, then time."""
        small, weights, named = self._weights(SMALL), self._weights(place["net"]), place["precision"]
        firsts, losses = {}, {}
        for name, worker in workers.items():
            if name not in self.warm or self.warm[name] is not worker:
                worker.call("warm_up", net=SMALL, weights=str(small))
                self.warm[name] = worker
            worker.call("use", precision=precision.FULL)
            worker.call("load", net=place["net"], batch=place["batch"], weights=str(weights))
            why = None
            if (place["net"], place["batch"]) not in self.same:
                firsts[name] = worker.call("first")
                why = difference(NETS[place["net"]].rounding, firsts[name], firsts["minidl"])
            worker.call("use", precision=named)
            losses[name] = worker.call("first", gradients=False)
            why = why or other_loss(losses[name], losses["minidl"], precision.of_losses(named))
            if why:
                yield place | {"rival": name, "refused": why}
                return
        self.same.add((place["net"], place["batch"]))
        peaks = {name: worker.call("peak") for name, worker in workers.items()}
        laps = self._laps(workers)
        for name, worker in workers.items():
            if not math.isfinite(loss := worker.call("loss")):
                yield place | {"rival": name, "refused": f"the loss became {loss} while it was timed"}
                return
        rows = []
        for name in workers:
            found = {"rival": name, "first_loss": losses[name]["loss"], "peak": peaks[name]}
            rows.append(place | found | figures(laps[name], place["batch"]))
        for row in rows:
            if row["rival"] in OURS_NAMES:
                row |= ratios(row["rival"], laps, peaks)
                if self.args.profile and row["rival"] != CAPTURED:  # Python passes through none of its ops
                    row["profile"] = workers[row["rival"]].call("profile")
        yield from rows

    def _laps(self, workers: dict[str, Worker]) -> dict[str, dict[str, list[float]]]:
        """Rival -> phase -> seconds, round by round."""
        repeats = {name: clock.repeats_for(w.call("time", repeats=2)["step"], self.turn) for name, w in workers.items()}
        turns = {name: lambda w=w, n=repeats[name]: w.call("time", repeats=n) for name, w in workers.items()}
        laps = stats.take_turns(turns, self.args.rounds, self.args.seed, rest)
        return {name: {phase: [lap[phase] for lap in each] for phase in PHASES} for name, each in laps.items()}

    def _weights(self, net: str) -> Path:
        """The file that all rivals take their weights from, drawn by a process that does nothing else."""
        path = self.folder / f"{net}.npz"
        if not path.exists():
            for old in set(self.folder.iterdir()) - {self.folder / f"{SMALL}.npz"}:
                old.unlink()
            with Worker(OURS, threads=self.args.threads) as worker:
                worker.call("draw", net=net, path=str(path))
        return path


def difference(rounding: float, theirs: Row, ours: Row) -> str | None:
    """One line on what the first pass of a rival has that ours has not, or None. `rounding` is the net's."""
    if why := other_loss(theirs, ours, precision.LOSS):
        return why
    a, b = theirs["gradients"], ours["gradients"]
    if a.keys() != b.keys():
        return f"its parameters are not minidl's: {', '.join(sorted(a.keys() ^ b.keys())[:3])}"
    least = rounding * math.hypot(*(norm for norm, *_ in b.values())) / len(b)  # of small gradients rounding is a larger part
    for key in b:
        gap, allowed = math.dist(a[key][1:], b[key][1:]), max(rounding * b[key][0], least)
        if not gap <= allowed:
            return f"the first gradient of {key} is {gap / max(b[key][0], 1e-30):.1e} of its norm away from minidl's"
    return None


def other_loss(theirs: Row, ours: Row, part: float) -> str | None:
    """One line where two first losses differ by more than this part, or None."""
    if abs(theirs["loss"] - ours["loss"]) <= part * abs(ours["loss"]):
        return None
    return f"the first loss is {theirs['loss']:.6g}, minidl's {ours['loss']:.6g}; not the same net, so nothing was timed"


def figures(laps: dict[str, list[float]], batch: int) -> Row:
    """What the timings say."""
    middle, (low, high, _) = {phase: stats.median(laps[phase]) for phase in PHASES}, stats.bootstrap(laps["step"])
    interval = {"low": low, "high": high, "iqr": stats.spread(laps["step"])}
    return middle | interval | {"images_per_second": batch / middle["step"], "seconds": laps}


def ratios(ours: str, laps: dict[str, dict[str, list[float]]], peaks: dict[str, int | None]) -> Row:
    """PyTorch's time over ours, by rival and by phase, which rival is best, and our memory over theirs."""
    theirs = [name for name in laps if name not in OURS_NAMES]
    each = {name: {phase: stats.ratio(laps[ours][phase], laps[name][phase])._asdict() for phase in PHASES} for name in theirs}
    best = names.best({name: stats.median(laps[name]["step"]) for name in theirs})
    memory = {name: peaks[ours] / peaks[name] for name in theirs if peaks[ours] and peaks[name]}
    steps = {name: each[name]["step"] for name in theirs}
    return {"ratios": steps, "phase_ratios": each, "best": best, "memory_ratios": memory}


def line(row: Row) -> str:
    """A row of the table."""
    who = [row["net"], str(row["batch"]), row["rival"]]
    if "refused" in row:
        return TABLE.row([*who, "REFUSED"]) + f" {row['refused']}"
    cells = [
        *(f"{1e3 * row[phase]:#.3g}" for phase in PHASES[:3]),
        "{:#.4g} ({:#.4g}-{:#.4g})".format(*(1e3 * row[name] for name in ("step", "low", "high"))),
        f"{row['images_per_second']:#.3g}",
        "" if row["peak"] is None else f"{row['peak'] / 1e6:.0f}",
        *compared(row),
    ]
    return TABLE.row([*who, *cells])


def compared(row: Row) -> list[str]:
    """PyTorch's best step over ours, the tuned one's, and our memory over theirs; empty where nobody is to compare with."""
    best = row.get("best", {})
    cells = [str(stats.Ratio(**row["ratios"][best[kind]])) if best.get(kind) else "" for kind in ("stock", "tuned")]
    memory = row.get("memory_ratios", {}).get(best.get("stock") or best.get("tuned"))
    return [*cells, "" if memory is None else f"{memory:.2f}"]


def profile(row: Row) -> list[str]:
    """A table of where our time goes in a step, the longest first."""
    total = sum(part["forward"] + part["backward"] for part in row["profile"])
    kind = ", compiled" if row["rival"] == COMPILED else ""
    lines = [f"{NETS[row['net']].title}, {row['batch']} images{kind}: our step by op, ms", "", *PROFILE.head()]
    for part in row["profile"][:LONGEST]:
        times = [f"{1e3 * part[phase]:.2f}" for phase in ("forward", "backward")]
        share = (part["forward"] + part["backward"]) / total
        lines.append(PROFILE.row([part["op"], part["shapes"], str(part["calls"]), *times, f"{share:.1%}"]))
    return lines


if __name__ == "__main__":
    sys.exit(main())
