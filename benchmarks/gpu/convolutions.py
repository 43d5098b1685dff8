"""(g) Single layers, convolutions and dense ones, beside PyTorch: every kernel of ours, in each precision apart.

Forward, dx and dw by the clock of the device alone (stopwatch.py), in turns with PyTorch's, after their results were compared
(race.py). And what the op's choice costs over the fastest of our kernels.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import report, stats
from benchmarks.gpu import ceilings
from benchmarks.gpu.race import Culprit, Job, Race
from benchmarks.gpu.record import NO_TIME, OWED, Row, Run, Step, not_run
from benchmarks.gpu.steps import PRECISIONS
from benchmarks.rivals import torch_build
from benchmarks.worker import RivalFailed
from benchmarks.workloads import DATA, FORWARD, WEIGHTS

NAME = "convolutions"
OF = {"alexnet": ("conv2", "conv1", "conv3", "conv4", "conv5", "fc6"), "vgg16": ("conv3_2", "conv4_2", "conv2_2")}
OF |= {"resnet50": ("1x1_reduce", "1x1_expand", "3x3", "3x3_stride2", "1x1_stride2", "conv1", "fc")}
OF |= {"convnet_benchmarks": ("L1", "L2", "L3", "L4", "L5")}
OF |= {"googlenet.4a": ("3x3", "5x5", "1x1", "3x3_reduce", "5x5_reduce", "pool_proj")}
LAST = {"vgg16": ("conv1_2", "conv5_1", "conv1_1", "conv2_1", "conv3_1", "conv4_1")}
LAYERS = tuple(f"{net}.{layer}" for nets in (OF, LAST) for net, layers in nets.items() for layer in layers)  # as they matter
REHEARSED = ("alexnet.conv5", "resnet50.fc")
DENSE = ("fc", "fc6")
LEAST = 4.0  # seconds that a layer in a precision needs
NEAR = 1.15  # of the fastest kernel's time: the choice should come within

ARRAYS = "minidl: float32 arrays and sums, "
WORDS = {
    "tf32": f"{ARRAYS}factors of 10 bits behind the point. PyTorch: the same, with TF32 on for products and convolutions.",
    "float32": f"{ARRAYS}IEEE float32 factors. PyTorch: the same, with TF32 off for products and convolutions.",
    "bf16": f"{ARRAYS}factors rounded to bfloat16 where they meet. PyTorch has no such thing on a GPU: under autocast maps and "
    "their gradients are bfloat16 arrays, half the bytes, and results are rounded to bfloat16; weights are float32, and cast "
    "in every forward pass. So it moves less than ours, and keeps less.",
}


def rows(run: Run) -> Iterator[Row]:
    """What is owed beside PyTorch, a row for each layer, precision and kernel, and what the choices cost."""
    rival, why = rival_of(run)
    if why:
        for precision in PRECISIONS:
            yield from not_run([f"PyTorch, {precision}"], why, precision=precision)
    todo, found = jobs(run), []
    with Race(run, NAME, rival) as race:
        while todo and enough(run):
            for row in one(race, todo):
                found.append(row)
                yield row
    for job in todo:
        yield from not_run([str(job)], NO_TIME, precision=job.precision)
    for precision in PRECISIONS:
        yield choices(precision, found, sum(job.precision == precision for job in todo))


def one(race: Race, todo: list[Job]) -> Iterator[Row]:
    """The rows of the first job. It is begun anew without one that ended a process."""
    job = todo.pop(0)
    try:
        yield from race.rows(job)
    except RivalFailed as error:
        late = race.run.budget.left(NAME) <= 0
        if late or isinstance(error, Culprit):
            todo.insert(0, job)
        if not late:
            yield from not_run([str(job)], f"failed: {error}", precision=job.precision)
        race.restart()


def jobs(run: Run) -> list[Job]:
    """Each layer in all precisions, before the next."""
    layers = REHEARSED if run.rehearsal else LAYERS
    return [Job(op_of(layer), layer, precision) for layer in layers for precision in PRECISIONS]


def op_of(layer: str) -> str:
    """Whose workload it is."""
    return "linear" if layer.rpartition(".")[2] in DENSE else "conv2d"


def rival_of(run: Run) -> tuple[str | None, str]:
    """PyTorch's rival, channels-last if that was asked for; or why there is none."""
    if run.rivals:
        return next((name for name in run.rivals if name.endswith("channels-last")), run.rivals[0]), ""
    if run.rehearsal:
        return None, OWED
    return None, f"owed: {torch_build.missing() or 'no rival was asked for'}"


def enough(run: Run) -> bool:
    """Is there time for one more?"""
    return run.budget.left(NAME) > (0.0 if run.rehearsal else LEAST)


def choices(precision: str, found: list[Row], left: int) -> Row:
    """In how many layers the chosen kernel is near the fastest of ours, and where it is farthest; how many were not reached."""
    chosen = [row for row in found if row["precision"] == precision and "chosen" in row]
    near = sum(row["over"]["value"] <= NEAR for row in chosen)
    note = f"within {NEAR - 1:.0%} of the fastest of ours in {near} of {len(chosen)} layers" if chosen else "not measured"
    worst = max(chosen, key=lambda row: row["over"]["value"], default=None)
    if worst is not None and worst["fastest"] != worst["kernel"]:
        farthest = f"{stats.Ratio(**worst['over'])} x {worst['fastest']}, chosen {worst['kernel']}"
        note += f"; farthest in {worst['workload']}: {farthest}"
    note += f"; {left} layers not reached" if left else ""
    figures = {"near": near, "measured": len(chosen), "not_reached": left, "worst": worst and worst["workload"]}
    return {"what": f"the choice, {precision}", "precision": precision, **figures, "note": note}


def with_shares(run: Run) -> Iterator[Row]:
    """The rows, and of each timing the share of what a large product reached in its precision."""
    most = {row["what"]: row["value"] for row in run.of(ceilings.NAME) if "value" in row}
    for row in rows(run):
        ceiling = most.get(f"product, {row['precision']}")
        for timing in [row, *row["phases"].values()] if "phases" in row else []:
            timing["share"] = None if ceiling is None else timing["tflops"] / ceiling
        yield row


def cells(row: Row) -> list[str]:
    """A row of the table."""
    if "near" in row:
        return []
    if "refused" in row:
        return [row["kernel"], f"REFUSED: {row['refused']}"]
    phases = [row["phases"].get(name) for name in (FORWARD, DATA, WEIGHTS)]
    far = "" if row.get("fastest") in (None, row["kernel"]) else f", {stats.Ratio(**row['over'])} x {row['fastest']}"
    return [
        row["kernel"],
        *("" if each is None else f"{1e3 * each['median']:#.3g} ({each['tflops']:#.3g})" for each in phases),
        f"{1e3 * row['median']:#.3g} ({1e3 * row['low']:#.3g}-{1e3 * row['high']:#.3g})",
        f"{row['iqr'] / row['median']:.0%}",
        f"{row['tflops']:#.3g}",
        "" if row["share"] is None else f"{row['share']:.0%}",
        str(stats.Ratio(**row["ratio"])) if "ratio" in row else "",
        f"chosen{far}" if "chosen" in row else "",
    ]


TABLE = report.Table(
    {"layer, precision ": 30, "kernel ": 20, "forward, ms (TFLOP/s)": 21, "dx": 16, "dw": 16, "together, ms (95 %)": 21}
    | {"IQR": 4, "TFLOP/s": 7, "of a product": 12, "x PyTorch": 16, "choice ": 20}
)
STEP = Step(NAME, "Single layers", 55, with_shares, TABLE, cells, WORDS)
