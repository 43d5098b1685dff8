"""(f) Training steps of whole nets beside PyTorch, in each precision apart: `benchmarks.models`, in processes that stay."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import models, report, stats
from benchmarks.gpu.record import NO_TIME, Row, Run, Step, not_run
from benchmarks.nets import NETS
from benchmarks.worker import RivalFailed

NAME = "steps"
NETS_ON_GPU = {"alexnet": 128, "vgg16": 64, "resnet50": 128}
REHEARSED = {"lenet": 2}
PRECISIONS = ("tf32", "float32", "bf16")  # as they matter, should time be short
LEAST = 12.0  # seconds that a net in a precision needs
TURN = 0.1  # seconds of steps in a turn
CONVOLUTIONS = ("conv2d[", "conv_transpose2d[")
LONGEST = 12  # rows of a profile that are kept


def rows(run: Run) -> Iterator[Row]:
    """A row for each net, precision and rival."""
    nets = REHEARSED if run.rehearsal else NETS_ON_GPU
    todo = [(net, batch, name) for net, batch in nets.items() for name in PRECISIONS]
    args = argparse.Namespace(
        threads=run.threads,
        device=run.device,
        rivals=run.rivals,
        compiled=False,
        captured=True,
        rounds=run.rounds,
        seed=run.seed,
        profile=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = models.Bench(args, Path(folder))
        bench.turn = 0.0 if run.rehearsal else TURN
        while todo and enough(run):
            with ExitStack() as stack:
                yield from _with(run, bench, stack, todo)
    yield from not_run((named(*job) for job in todo), NO_TIME)


def enough(run: Run) -> bool:
    """Is there time for one more?"""
    return run.budget.left(NAME) > (0.0 if run.rehearsal else LEAST)


def _with(run: Run, bench: models.Bench, stack: ExitStack, todo: list[tuple[str, int, str]]) -> Iterator[Row]:
    """Rows of one set of processes, until one of them fails or all is done."""
    try:
        workers = bench.workers(stack, verified=str(run.verified))
        for worker in workers.values():
            worker.patience = lambda: run.budget.left(NAME)
    except RivalFailed as error:
        todo.clear()
        yield from not_run(["all nets"], str(error))
        return
    bench.same.clear()
    while todo and enough(run):
        net, batch, precision = todo.pop(0)
        try:
            for row in bench.race(workers, {"net": net, "batch": batch, "precision": precision}):
                yield kept({"what": named(net, batch, precision), **row})
        except RivalFailed as error:
            if run.budget.left(NAME) <= 0:
                yield from not_run([named(net, batch, precision)], NO_TIME)
            elif bench.args.captured:  # the rest is timed without it
                bench.args.captured = False
                todo.insert(0, (net, batch, precision))
                yield from not_run([f"{named(net, batch, precision)}, captured and others"], f"failed, again without: {error}")
            else:
                yield from not_run([named(net, batch, precision)], f"failed: {error}")
            return


def named(net: str, batch: int, precision: str) -> str:
    """As the table has it."""
    return f"{NETS[net].title}, {batch}, {precision}"


def kept(row: Row) -> Row:
    """Of a profile the longest parts, and the share of convolution."""
    if profile := row.pop("profile", None):
        total = sum(part["forward"] + part["backward"] for part in profile)
        convolution = [part for part in profile if part["op"].startswith(CONVOLUTIONS)]
        row["convolution"] = sum(part["forward"] + part["backward"] for part in convolution) / total
        row["profile"] = profile[:LONGEST]
    return row


def cells(row: Row) -> list[str]:
    """A row of the table."""
    if "refused" in row:
        return [row["rival"], f"REFUSED: {row['refused']}"]
    best = row.get("best", {}).get("stock")
    return [
        row["rival"],
        "{:#.4g} ({:#.4g}-{:#.4g})".format(*(1e3 * row[name] for name in ("step", "low", "high"))),
        f"{row['iqr'] / row['step']:.0%}",
        f"{row['images_per_second']:.0f}",
        "" if row["peak"] is None else f"{row['peak'] / 1e6:.0f}",
        f"{row['convolution']:.0%}" if "convolution" in row else "",
        f"{stats.Ratio(**row['ratios'][best])} {best}" if best else "",
    ]


TABLE = report.Table(
    {"net, images, precision ": 26, "rival ": 20, "step, ms (95 %)": 22, "IQR": 4, "images/s": 8, "MB": 6, "convolution": 11}
    | {"x PyTorch ": 30}
)
STEP = Step(NAME, "Training steps", 155, rows, TABLE, cells)
