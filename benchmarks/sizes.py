"""Does each Alpha-Net fit? Memory and time of a training step of v1 to v4, in all three structures.

    python -m benchmarks.sizes                    all; what results/sizes.json has is kept, the file grows row by row
    python -m benchmarks.sizes --small            the nets for 32x32 alone
    python -m benchmarks.sizes --only 224 v4      rows with these words in their names
    python -m benchmarks.sizes --again            measure also what is there

8 images of 32x32, 1 of 224x224; forward, backward and an update by SGD with momentum 0.9, on threads and in slices as in
`minidl train`. Every row has a process of its own and takes two steps: the first makes what is made once, the second is timed.
v4 alpha for 224x224 is asked for its forward pass alone, as in predicting; beside it stands what its training would need.

peak      the most that the process held, by Linux's own count (VmHWM); Python and the libraries are part of it (`before`: what
          was held before the net was built)
forecast  what `minidl summary --memory` says that training needs, libraries not counted

A row is not begun where more is forecast than the machine has free (of the forward pass alone: the weights and the workspace);
the next call tries it again. A row that fails or is killed is told and kept so, and the others go on. Where one update ends in
NaN it is said: in plain nets from v2 on, whose gradients grow in every layer (`python -m benchmarks.signals`).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minidl
from benchmarks import memory, report
from benchmarks.options import Parser
from benchmarks.options import threads as thread_count
from benchmarks.worker import ROOT, RivalFailed, Worker
from minidl import Tensor, optim
from minidl.commands.speed import at_speed
from minidl.doctor import available_cores
from minidl.evaluation import loss_of, predicting
from models import alphanet

GIB = 2**30
STRUCTURES, BATCHES = ("plain", "residual", "alpha"), {32: 8, 224: 1}
CHILD = "benchmarks.sizes:Measured"
GOALS = {"32x32 v4 alpha, recomputed": 12}  # GiB
TABLE = report.Table({"net ": 30, "images": 6, "step, s": 8, "peak, GiB": 9, "forecast, GiB": 13, "remark ": 44})


class Row(NamedTuple):
    """A net of models/alphanet.py by its class and options, on so many images; `forward`: without backward and update."""

    name: str
    net: str
    batch: int
    options: dict[str, Any]
    forward: bool = False


def rows() -> list[Row]:
    """All nets for 32x32, then those for 224x224; the two deepest of these trade time for memory."""
    small = [_row(32, version, structure) for version in alphanet.VERSIONS for structure in STRUCTURES]
    large = [_row(224, version, structure, version > 2) for version in alphanet.VERSIONS for structure in STRUCTURES]
    return [*small, _row(32, 4, "alpha", True), *large]


def _row(size: int, version: int, structure: str, recomputed: bool = False) -> Row:
    name = f"{size}x{size} v{version} {structure}" + ", recomputed" * recomputed
    options: dict[str, Any] = {"version": version, "structure": structure} | ({"recompute": "block"} if recomputed else {})
    largest = (size, version, structure) == (224, 4, "alpha")
    return Row(name, "AlphaNet32" if size == 32 else "AlphaNet", BATCHES[size], options, forward=largest)


# ---- in a process of its own -----------------------------------------------------------------------------------------


class Measured:
    """What the child answers with."""

    def __init__(self, threads: int):
        self.threads = threads
        with suppress(OSError):  # where memory ends, this process is the one to go
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")

    def measure(self, net: str, batch: int, options: dict[str, Any], forward: bool) -> dict[str, Any]:
        """Two steps: seconds of the second, the peak over both, and what was held before there was a net."""
        before = memory.resident()
        with at_speed(self.threads), np.errstate(all="ignore"):  # the loss says whether numbers ended
            step = (forward_of if forward else training_of)(net, batch, options)
            step()
            started = time.perf_counter()
            value = step()
            seconds = time.perf_counter() - started
        return {"seconds": seconds, "peak": memory.peak(), "before": before, "finite": math.isfinite(value)}


def training_of(net: str, batch: int, options: dict[str, Any]) -> Callable[[], float]:
    """A step of training: forward, backward, update. It gives the loss."""
    model, images, labels = _made(net, batch, options)
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(model, model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def forward_of(net: str, batch: int, options: dict[str, Any]) -> Callable[[], float]:
    """A forward pass as in predicting. It gives the sum of the scores."""
    model, images, _ = _made(net, batch, options)

    def step() -> float:
        with predicting(model):
            return float(model(images).sum().item())

    return step


def _made(net: str, batch: int, options: dict[str, Any]) -> tuple[alphanet.AlphaNet, Tensor, np.ndarray]:
    minidl.manual_seed(0)
    model = getattr(alphanet, net)(**options)
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((batch, *model.input_shape), dtype=np.float32))
    return model, images, rng.integers(model.usual_classes, size=batch)


# ---- row by row --------------------------------------------------------------------------------------------------------


def forecast(row: Row) -> dict[str, Any]:
    """What `minidl summary --memory` says, in bytes; RivalFailed where it says nothing."""
    words = ["summary", f"models/alphanet.py:{row.net}", "--memory", "--json"]
    words += ["--batch-size", str(row.batch), "--optimizer", "sgd"]
    words += [word for name, value in row.options.items() for word in ("--set", f"{name}={value}")]
    done = subprocess.run([sys.executable, "-m", "minidl", *words], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RivalFailed(f"forecast: {said[-1]}")
    return json.loads(done.stdout)["memory"]


def measured(row: Row, threads: int) -> dict[str, Any]:
    """The row's figures, or why there are none: `not_run` or `failed`."""
    found: dict[str, Any] = {**row._asdict(), "threads": threads, "commit": report.commit()}
    try:
        promised = forecast(row)
        found["forecast"] = promised["peak"]
        needed, free = promised["weights"] + promised["workspace"] if row.forward else promised["peak"], memory.free()
        if free is not None and needed > free:
            return found | {"not_run": f"needs about {needed / GIB:.1f} GiB, {free / GIB:.1f} free"}
        with Worker(CHILD, threads=threads) as child:
            asked = {"net": row.net, "batch": row.batch, "options": row.options, "forward": row.forward}
            return found | child.call("measure", **asked)
    except RivalFailed as error:
        return found | {"failed": str(error).removeprefix(f"{CHILD} ended: ")}


def told(found: list[dict[str, Any]]) -> list[str]:
    """The table, and what was to be reached."""
    lines = [*TABLE.head(), *map(line, found)]
    for row in found:
        if row["name"] in GOALS and row.get("peak") is not None:
            lines += ["", f"{row['name']}: {_gib(row['peak'])} GiB; goal: under {GOALS[row['name']]}."]
    return lines


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    remarks = {"not_run": "not run: {}", "failed": "failed: {}"}
    remark = next((text.format(row[key]) for key, text in remarks.items() if key in row), "")
    if "seconds" in row and row["forward"]:
        remark = "forward alone; the forecast is of training"
    if not row.get("finite", True):
        remark = "the first update ends in NaN: see signals"
    seconds = f"{row['seconds']:.2f}" if "seconds" in row else ""
    return TABLE.row([row["name"], str(row["batch"]), seconds, _gib(row.get("peak")), _gib(row.get("forecast")), remark])


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.2f}"


# ---- the command -------------------------------------------------------------------------------------------------------


def chosen(small: bool, words: list[str]) -> list[Row]:
    """The rows, those for 32x32 if `small`, whose names have all the words; 32 stands for 32x32."""
    fits = (row for row in rows() if row.net == "AlphaNet32" or not small)
    return [row for row in fits if set(words) <= {*row.name.replace(",", "").split(), row.name.partition("x")[0]}]


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of the file by their names, without those that were not run."""
    found = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return {row["name"]: row for row in found if "not_run" not in row}


def write(path: Path, found: dict[str, dict[str, Any]], threads: int) -> None:
    """The rows in their order, beside the file's place and moved into it: whoever stops the command leaves it whole."""
    order = [row.name for row in rows()]
    in_order = sorted(found.values(), key=lambda row: order.index(row["name"]) if row["name"] in order else len(order))
    about = report.machine() | {"memory": memory.total()}
    beside = path.with_suffix(".part")
    report.save(beside, "sizes", in_order, command="python -m benchmarks.sizes", machine=about, threads=threads)
    os.replace(beside, path)


def parser() -> Parser:
    """The command's options."""
    p = Parser("python -m benchmarks.sizes", description=(__doc__ or "").partition("\n")[0])
    add = p.add_argument
    add("--small", action="store_true", help="the nets for 32x32 alone")
    add("--only", nargs="+", default=[], metavar="WORD", help="rows with these words: 32x32, 224, v4, alpha, recomputed")
    add("--again", action="store_true", help="measure also what is there")
    add("--threads", type=thread_count, default=available_cores(), metavar="N", help="default: the machine's cores")
    add("--out", type=Path, default=report.RESULTS, help="folder for sizes.json; default benchmarks/results")
    return p


def main(words: list[str] | None = None) -> int:
    """Measure, print and write, row by row; 1 where a row has no figures."""
    args = parser().parse_args(words)
    path, todo = args.out / "sizes.json", chosen(args.small, args.only)
    if not todo:
        parser().error(f"no row has the words {' '.join(args.only)!r}; the names are {'; '.join(row.name for row in rows())}")
    found = kept(path)
    print(*TABLE.head(), sep="\n", flush=True)
    try:
        for row in todo:
            if args.again or row.name not in found:
                found[row.name] = measured(row, args.threads)
                write(path, found, args.threads)
            print(line(found[row.name]), flush=True)
    except KeyboardInterrupt:
        return report.stopped("sizes", str(path), list(found.values()))
    return 0 if all("seconds" in found[row.name] for row in todo) else 1


if __name__ == "__main__":
    raise SystemExit(main())
