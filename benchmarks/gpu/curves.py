"""(d) One seed, two devices: the losses of the first 20 steps on the host and on the GPU.

They cannot be equal in every bit: sums are taken in another order, and training makes small differences grow. How fast, the
host itself tells: its float32 curve beside its own float64 curve. On the GPU the same net must stay as near.

    difference  largest |gpu - cpu| / |cpu| over the steps
    rounding    the same of cpu in float32 and in float64
    allowed     10 x rounding, but at least 2e-6 and at most 1e-3
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from benchmarks import report
from benchmarks.gpu.record import Row, Run, Step
from benchmarks.nets import MOMENTUM, NETS, WEIGHT_DECAY, batch_of
from benchmarks.worker import RivalFailed, Worker
from minidl import Tensor, cuda, optim
from minidl.backend import to_device
from minidl.commands.speed import at_speed
from minidl.evaluation import loss_of

NAME = "curves"
OF = {"lenet": 1e-2, "resnet20": 1e-4}  # and its learning rate: so small that what is wrong shows and rounding does not
STEPS, BATCH = 20, 32
TINY = 3, 4  # steps and images of a rehearsal
TIMES, LEAST, MOST = 10.0, 2e-6, 1e-3


class Curves:
    """Trains nets from a seed."""

    def __init__(self, threads: int, verified: str):
        self.modes = ExitStack()
        self.modes.enter_context(at_speed(threads))
        cuda.VERIFIED = Path(verified)

    def losses(self, net: str, device: str, dtype: str, steps: int, batch: int, seed: int) -> list[float]:
        """The loss of each step; every step has images of its own."""
        minidl.manual_seed(seed)
        module, _, name = NETS[net].ours.partition(":")
        model = getattr(import_module(module), name)(NETS[net].classes).to(dtype=dtype).to(device).train()
        rule = optim.SGD(model.parameters(), OF[net], MOMENTUM, weight_decay=WEIGHT_DECAY)
        images, labels = batch_of(net, steps * batch)
        found = []
        for i in range(steps):
            few = slice(i * batch, (i + 1) * batch)
            x = Tensor(to_device(images[few].astype(dtype), device))
            loss = loss_of(model, model(x), to_device(labels[few], device))
            loss.backward()
            rule.step()
            rule.zero_grad()
            found.append(float(loss.item()))
        return found


def rows(run: Run) -> Iterator[Row]:
    """A row for each net."""
    steps, batch = TINY if run.rehearsal else (STEPS, BATCH)
    about: dict[str, Any] = {"steps": steps, "batch": batch, "seed": run.seed}
    start: dict[str, Any] = {"verified": str(run.verified), "patience": lambda: run.budget.left(NAME)}
    with Worker("benchmarks.gpu.curves:Curves", threads=run.threads, **start) as worker:
        for net in OF:
            try:
                kinds = {"cpu": ("cpu", "float32"), "exact": ("cpu", "float64"), "gpu": (run.device, "float32")}
                curves = {
                    kind: worker.call("losses", net=net, device=device, dtype=dtype, **about)
                    for kind, (device, dtype) in kinds.items()
                }
            except RivalFailed as error:
                yield {"what": NETS[net].title, "failed": str(error)}
                return
            note = "a rehearsal: the host beside itself" if run.rehearsal else ""
            yield {"what": NETS[net].title, **about, **judged(**curves), "curves": curves, "note": note}


def judged(cpu: list[float], exact: list[float], gpu: list[float]) -> Row:
    """The three figures, and whether the curve is the same."""
    difference, rounding = apart(gpu, cpu), apart(cpu, exact)
    allowed = min(MOST, max(LEAST, TIMES * rounding))
    return {"difference": difference, "rounding": rounding, "allowed": allowed, "same": difference <= allowed}


def apart(a: list[float], b: list[float]) -> float:
    """The largest difference, as a part of b; infinity where a loss is no number."""
    gaps = np.abs(np.subtract(a, b)) / np.maximum(np.abs(b), 1e-30)
    return float(gaps.max()) if np.isfinite(gaps).all() else float("inf")


def cells(row: Row) -> list[str]:
    """A row of the table."""
    if "failed" in row:
        return [f"failed: {row['failed']}"]
    return [str(row["steps"]), *(f"{row[name]:.1e}" for name in ("difference", "rounding", "allowed"))]


TABLE = report.Table({"net ": 12, "steps": 6, "difference": 10, "rounding": 10, "allowed": 10})
STEP = Step(NAME, "One seed, two devices", 35, rows, TABLE, cells)
