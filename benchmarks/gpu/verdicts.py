"""(h) What must be reached: each line reached, missed, or owed where it was not measured, with its figure.

A line is reached if all that belongs to it was measured and is good enough; missed if anything measured is not; otherwise owed.
PyTorch's time is that of the faster of its layouts that ran, as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import report, stats
from benchmarks.gpu import bandwidth, curves, laws, steps
from benchmarks.gpu.judge import BREAKS, OBEYS
from benchmarks.gpu.record import OWED, Row, Run, Step
from benchmarks.nets import NETS

NAME = "goals"
REACHED, MISSED, NOT_YET = "reached", "missed", "owed"
AGAINST_TORCH = [("alexnet", "tf32", 1.2), ("vgg16", "tf32", 0.7), ("resnet50", "tf32", 0.7)]
AGAINST_TORCH += [(net, "float32", 1.0) for net in ("alexnet", "vgg16", "resnet50")]


def rows(run: Run) -> Iterator[Row]:
    """A row for each line of the goals."""
    yield seventh_law(run)
    yield same_curve(run)
    for net, precision, goal in AGAINST_TORCH:
        yield against_torch(run, net, precision, goal)
    yield memory_bound(run)


def line(run: Run, what: str, goal: str, good: int, bad: int, expected: int, figure: str) -> Row:
    """The verdict of so many good and bad figures, of as many as there should be."""
    if run.rehearsal:
        return {"what": what, "goal": goal, "verdict": NOT_YET, "figure": OWED.removeprefix("owed: ")}
    verdict = MISSED if bad else REACHED if expected and good >= expected else NOT_YET
    if verdict == NOT_YET:
        figure = f"{figure}; {good} of {expected} measured" if good else "not measured"
    return {"what": what, "goal": goal, "verdict": verdict, "figure": figure}


def seventh_law(run: Run) -> Row:
    """For every op and kernel; a CUDA kernel has all eight."""
    found = [row for row in run.of(laws.NAME) if row["part"] in ("law 7", "all laws") or row["cuda"]]
    found = [row for row in found if row["part"] not in ("source", "list")]
    broken = [row["what"] for row in found if row["verdict"] == BREAKS]
    good = sum(row["verdict"] == OBEYS for row in found)
    judged = {(job.what, job.part) for job in laws.jobs(run) if job.part != "other laws" or job.cuda}
    told = f"{good} obey" + (f"; broken: {', '.join(dict.fromkeys(broken))}" if broken else "")
    return line(run, "law 7, every op and kernel", "all obey", good, len(broken), len(judged), told)


def same_curve(run: Run) -> Row:
    """Both nets."""
    found = [row for row in run.of(curves.NAME) if "same" in row]
    failed = sum("failed" in row for row in run.of(curves.NAME))
    good = sum(row["same"] for row in found)
    told = ", ".join(f"{row['what']} {row['difference']:.1e} (rounding {row['rounding']:.1e})" for row in found)
    what, goal = "one seed, two devices, 20 steps", "the same to rounding"
    return line(run, what, goal, good, len(found) - good + failed, len(curves.OF), told or "failed")


def against_torch(run: Run, net: str, precision: str, goal: float) -> Row:
    """PyTorch's step over ours, the faster of the plain and the captured one."""
    batch = steps.NETS_ON_GPU[net]
    what, wanted = f"{NETS[net].title}, batch {batch}, {precision}", f">= {goal} x PyTorch"
    found = [row for row in run.of(steps.NAME) if (row["net"], row["batch"], row["precision"]) == (net, batch, precision)]
    for row in found:
        if "refused" in row:
            return line(run, what, wanted, 0, 1, 1, f"refused: {row['refused']}")
    ratios = [
        (stats.Ratio(**row["ratios"][best]), best, row["rival"]) for row in found if (best := row.get("best", {}).get("stock"))
    ]
    if ratios:
        ratio, best, ours = max(ratios, key=lambda each: each[0].value)
        good = ratio.value >= goal
        return line(run, what, wanted, int(good), int(not good), 1, f"{ours} {ratio} x {best}")
    return line(run, what, wanted, 0, 0, 1, "")


def memory_bound(run: Run) -> Row:
    """Every CUDA kernel without products, on every workload, forward and backward."""
    every = [row for row in run.rows if row["of"] == bandwidth.NAME]
    found = [row for row in every if row.get("cuda") and row.get("share") is not None]
    bad = [row for row in found if row["share"] < bandwidth.GOAL]
    left = sum("not_run" in row and row["cuda"] for row in every)
    worst = min(found, key=lambda row: row["share"], default=None)
    told = f"{len(found) - len(bad)} of {len(found)} timings reach it"
    if worst is not None:
        told += f"; the lowest, {worst['what']} {worst['phase']}, {worst['share']:.0%}"
    expected = len(found) + left if found else 1
    return line(run, "CUDA kernels that memory holds up", f">= {bandwidth.GOAL:.0%} of a copy",
                len(found) - len(bad), len(bad), expected, told)  # fmt: skip


def cells(row: Row) -> list[str]:
    """A row of the table."""
    return [row["goal"], row["verdict"].upper() if row["verdict"] == MISSED else row["verdict"], row["figure"]]


TABLE = report.Table({"what must be reached ": 36, "goal ": 20, "verdict ": 8, "figure ": 50})
STEP = Step(NAME, "What must be reached", 5, rows, TABLE, cells)
