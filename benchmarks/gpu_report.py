"""Everything that only a GPU can tell, in one command for a machine that has one and no network.

    python -m benchmarks.gpu_report                      under 9 minutes; writes benchmarks/results/gpu_report.json and .md
    python -m benchmarks.gpu_report --write-verified     and lists the CUDA sources that obey in minidl/cuda/verified.txt
    python -m benchmarks.gpu_report --minutes 20 --only laws,goals
    python -m benchmarks.gpu_report --rehearse           every step on the CPU, at tiny sizes: it shows that the command works

    machine       (a) GPU, driver, CUDA, CuPy, PyTorch; the most that a copy and a product in each precision reach
    laws          (b) law 7 and the other laws, all ops and all CUDA kernels on CuPy arrays
    tests         (c) pytest -m gpu
    curves        (d) a training run on CPU and GPU from one seed
    bandwidth     (e) kernels that memory holds up: GB/s over those of a copy
    steps         (f) AlexNet, VGG-16 and ResNet-50 beside PyTorch, in float32, TF32 and bf16, each apart
    convolutions  (g) single layers beside PyTorch, every kernel, in each precision apart; what the choice costs
    goals         (h) what must be reached: reached, missed, or owed where it was not measured

Each step has its share of the time, and what an earlier one leaves. What does not fit is listed as 'not run: no time left'.
Kernels are chosen by the list of sources that this run's laws wrote, or, where they were not asked for or did not end, by
minidl's own; the report says by which.
Both files are whole after every row, so that a run that is stopped leaves what it measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import options, precision, report
from benchmarks.gpu import bandwidth, ceilings, convolutions, curves, laws, steps, tests, verdicts
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.record import NO_TIME, Record, Run, Step, not_run
from benchmarks.rivals import names, torch_build
from minidl import cuda
from minidl.backend import cuda_problem
from minidl.doctor import available_cores

NAME = "benchmarks.gpu_report"
STEPS: tuple[Step, ...] = (
    ceilings.STEP, laws.STEP, tests.STEP, curves.STEP, bandwidth.STEP, steps.STEP, convolutions.STEP,
    verdicts.STEP,
)  # fmt: skip
MINUTES, LATE = 9.0, 0.96  # what the steps share of the time; the rest is for processes that end
RIVALS = ["torch", "torch-channels-last"]


def main(words: list[str] | None = None) -> int:
    """Run the command; 0, or 1 if something is wrong (a missed figure is not), 2 if it cannot start, 130 if it is stopped."""
    args = parser().parse_args(words)
    if not args.rehearse and (why := cuda_problem()):
        remedy = why.partition(", or use --device")[0]  # there is no such option here
        print(f"{NAME}: {remedy}; --rehearse runs every step on the CPU", file=sys.stderr)
        return 2
    for name in report.TF32_VARIABLES:
        if os.environ.pop(name, None):
            print(f"{name} is set: unset for this run, which names its precisions itself")
    path = args.json or (None if args.rehearse else report.RESULTS / "gpu_report.json")
    with tempfile.TemporaryDirectory() as folder:
        record = Record(path, head(args), minutes=args.minutes, rehearsal=args.rehearse, machine=None)
        run = run_of(args, record, Path(folder))
        try:
            return carry_out(run, record, args.only)
        except KeyboardInterrupt:
            return report.stopped("gpu_report", None if path is None else str(path), record.rows)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = options.Parser(f"python -m {NAME}", description=(__doc__ or "").partition("\n")[0])
    add = p.add_argument
    add("--minutes", type=options.seconds, default=MINUTES, metavar="M", help=f"for all of it ({MINUTES:g})")
    add(
        "--json",
        type=lambda text: Path(options.file(text)),
        metavar="FILE",
        help="the result file; the Markdown lies beside it",
    )
    add("--rehearse", action="store_true", help="on the CPU, at tiny sizes; keeps a file only with --json")
    add("--write-verified", action="store_true", help="list what obeys the laws in minidl/cuda/verified.txt")
    add("--only", type=chosen, default=[step.name for step in STEPS], metavar="A,B", help="some of the steps")
    add("--rivals", type=names.listed, metavar="A,B", help=f"of {', '.join(names.TORCH)} (the first two, if installed)")
    add("--rounds", type=options.whole, metavar="N", help="how often each is timed (6)")
    add("--threads", type=options.threads, default=available_cores(), metavar="N", help="on the host (all cores)")
    add("--seed", type=lambda text: options.whole(text, least=0), default=0, help="of problems, nets and turns")
    return p


def chosen(text: str) -> list[str]:
    """Steps by name, in their order."""
    asked, known = text.split(","), [step.name for step in STEPS]
    for name in asked:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no step {name!r}: choose from {', '.join(known)}")
    return [name for name in known if name in asked]


def run_of(args: argparse.Namespace, record: Record, folder: Path, now: Callable[[], float] | None = None) -> Run:
    """What every step may ask. Until the laws have ended, and if nobody asks for them, minidl's own list rules."""
    own = folder / "verified.txt"
    if cuda.VERIFIED.exists():
        shutil.copyfile(cuda.VERIFIED, own)
    installed = [] if args.rehearse or torch_build.missing() else RIVALS
    boxes = {step.name: step.seconds if step.name in args.only else 0.0 for step in STEPS}
    budget = Budget(LATE * args.minutes, boxes, **({} if now is None else {"now": now}))
    return Run(
        device="cpu" if args.rehearse else "cuda",
        threads=args.threads,
        rounds=args.rounds or (1 if args.rehearse else 6),
        seed=args.seed,
        rivals=installed if args.rivals is None else args.rivals,
        budget=budget,
        rows=record.rows,
        verified=own,
        write_verified=args.write_verified and not args.rehearse,
    )


def carry_out(run: Run, record: Record, only: list[str]) -> int:
    """All steps, one after another: one that fails is a row, and the others go on."""
    print(*record.head, sep="\n")
    say_what_rules(run, record)
    for step in STEPS:
        record.begin(step)
        if step.name not in only:
            rows = not_run(["all of it"], "not asked for")
        elif run.budget.left(step.name) <= 0:
            rows = not_run(["all of it"], NO_TIME)
        else:
            rows = step.rows(run)
        try:
            for row in rows:
                record.add(row)
        except Exception as error:
            record.add({"what": "the step itself", "not_run": f"failed: {type(error).__name__}: {error}"})
        say_what_rules(run, record)
    record.done = True
    record.write()
    kept = (
        f"{record.path} and, to be read, {record.path.with_suffix('.md').name}" if record.path else "nothing kept: --json FILE"
    )
    print("", f"{run.budget.taken():.0f} s; {kept}", sep="\n")
    return int(any(wrong(row) for row in record.rows))


def say_what_rules(run: Run, record: Record) -> None:
    """The last line of the head: by which list kernels are chosen. Printed when it is another than before."""
    before, now = record.more.get("ruling"), laws.ruling(run)
    if now != before:
        record.head[:] = [*(line for line in record.head if line != before), now]
        record.more["ruling"] = now
        print("", now, sep="\n")


def wrong(row: dict) -> bool:
    """Is it a defect, and no mere figure?"""
    failed = str(row.get("not_run", "")).startswith("failed")
    return failed or row.get("verdict") == "breaks" or row.get("exit", 0) not in (0, tests.NONE) or "refused" in row


def head(args: argparse.Namespace) -> list[str]:
    """Lines above the tables."""
    kind = "A rehearsal on the CPU, at tiny sizes: no figure here says anything of a GPU." if args.rehearse else ""
    lines = [kind] * args.rehearse + [f"At most {args.minutes:g} minutes; code of {report.commit() or 'no clone'}."]
    return [*lines, *(f"- {precision.told(name, 'cuda')}" for name in steps.PRECISIONS)]


if __name__ == "__main__":
    sys.exit(main())
