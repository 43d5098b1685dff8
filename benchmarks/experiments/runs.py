"""One run of the plan: train, test once, and keep what came out in a file of its own.

The file is written beside its place and moved into it, so that it is whole or not there. Whoever stops the command loses the
runs in hand alone; the next call finds the others by their names, which hold a digest of all settings.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from benchmarks import report
from benchmarks.experiments import earlier
from benchmarks.experiments.plan import Cell, Form, Job
from minidl import Tensor, data, modelfile, no_grad
from minidl.commands.speed import at_speed
from minidl.evaluation import evaluate, loss_of
from minidl.train import Diverged, fit

Result = dict[str, Any]
CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")
TURNS = 3  # a net's step is timed
TIMED_IMAGES = 8  # of the batch whose step is timed for an estimate: a deep net's whole batch may not fit into memory


def train(job: Job) -> Result:
    """One run. A loss that is lost on the way to infinity is a result too: `diverged` says where, and there is no accuracy."""
    cell, form = job.cell, job.form
    started = time.perf_counter()
    minidl.manual_seed(job.seed)
    model = model_of(cell, form)
    splits = images(form, cell.encode)
    curves: list[dict[str, float]] = []
    result: Result = {"row": cell.row, "column": cell.column, "seed": job.seed, "net": cell.net, "options": cell.options}
    result |= {"encode": cell.encode, "images": dict(zip(data.PARTS, map(len, splits), strict=True))}
    result |= earlier.facts(cell.net, cell.options, len(splits.classes))
    try:
        with at_speed(1, small=True):
            fitted = fit(model, splits, form.recipe, on_epoch=lambda record, _: curves.append(record))
            renew_statistics(model, splits.train, form.recipe.batch_size)
            test = evaluate(model, splits.test)
        result |= {"test_accuracy": test.accuracy, "test_loss": test.loss, "best_epoch": fitted.best_epoch}
    except Diverged as error:
        result |= {"diverged": str(error)}
    result["curves"] = {name: [float(f"{record[name]:.5g}") for record in curves] for name in CURVES}
    return result | {"seconds": time.perf_counter() - started, "commit": report.commit()}


def renew_statistics(model: modelfile.Model, images: data.Dataset, batch: int) -> None:
    """Set what batch norms predict with to the plain mean over the training images, by the weights as they are now.

    The running means lag behind weights that move fast, and in a short training that alone costs deep nets several points; with
    them a table would compare how far each net's lag. As PyTorch's `update_bn` does it (Izmailov and others 2018, arXiv
    1803.05407, section 3.2).
    """
    norms = [module for module in model.modules() if hasattr(module, "num_batches_tracked")]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.num_batches_tracked.zero_()
        norm.momentum = None
    model.train()
    with no_grad():
        for inputs, _ in data.DataLoader(images, batch):
            model(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def model_of(cell: Cell, form: Form) -> modelfile.Model:
    """The cell's net, its weights drawn anew."""
    return earlier.build(cell.net, cell.options, len(data.classes_of(form.data)))


@cache
def images(form: Form, encode: str) -> data.Splits:
    """The form's images, read once a process."""
    return data.load(form.data, size=(form.size, form.size), channels=3, limit=form.limit, encode=encode)


# ---- kept ------------------------------------------------------------------------------------------------------------


class Store:
    """The folder of the finished runs: a file for each, and one for each estimate."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> Result | None:
        """What was kept under that name; None where there is nothing, or nothing whole."""
        try:
            found = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def keep(self, name: str, result: Result) -> None:
        """Whole or not at all."""
        beside = self.folder / f".{name}.{os.getpid()}.part"
        beside.write_text(json.dumps(result) + "\n", encoding="utf-8")
        os.replace(beside, self.folder / f"{name}.json")

    def run_of(self, job: Job) -> Result | None:
        """The job's run; in whatever table it was made, it is this cell's."""
        found = self.read(job.name)
        return None if found is None else found | {"row": job.cell.row, "column": job.cell.column}

    def hours_of(self, job: Job) -> float:
        """How long a run of the job's cell would take, kept: other seeds and the next call need not time a step again."""
        name = f"estimate-{replace(job, seed=0).name}"
        found = self.read(name)
        if found is None:
            found = {"hours": hours_of_a_run(job)}
            self.keep(name, found)
        return float(found["hours"])


# ---- how long ----------------------------------------------------------------------------------------------------------


def hours_of_a_run(job: Job) -> float:
    """A step's time on a few images, times all images of all epochs; predicting is taken for a third of training."""
    form, few = job.form, min(job.form.recipe.batch_size, TIMED_IMAGES)
    step = step_of(job.cell, form, few)
    with at_speed(1, small=True), np.errstate(all="ignore"):
        step()  # what is made once
        seconds = min(step(), step())
    trained, validated = counts(form)
    return seconds / few * form.recipe.epochs * (trained + validated / 3) / 3600


def step_times(cells: Sequence[Cell], form: Form) -> list[dict[str, Any]]:
    """Seconds of a whole batch's step on one thread, of each cell's net: the nets in turns, of three turns the least."""
    least = [math.inf] * len(cells)
    for _ in range(TURNS):
        for i, cell in enumerate(cells):
            step = step_of(cell, form, form.recipe.batch_size)
            with at_speed(1, small=True), np.errstate(all="ignore"):
                step()  # what is made once
                least[i] = min(least[i], step())
    return [{"row": cell.row, "column": cell.column, "seconds": s} for cell, s in zip(cells, least, strict=True)]


def step_of(cell: Cell, form: Form, count: int) -> Callable[[], float]:
    """A training step of the cell's net on so many images, which says how many seconds it took."""
    minidl.manual_seed(0)
    model = model_of(cell, form)
    optimizer = form.recipe.build_optimizer(model.parameters())
    rng = np.random.default_rng(0)
    x, labels = Tensor(rng.standard_normal((count, *model.input_shape), dtype=np.float32)), np.arange(count) % 2

    def step() -> float:
        started = time.perf_counter()
        optimizer.zero_grad()
        loss_of(model, model(x), labels).backward()
        optimizer.step()
        return time.perf_counter() - started

    return step


def counts(form: Form) -> tuple[int, int]:
    """Training and validation images; of a folder known by its names alone."""
    if data.is_built_in(form.data):
        trained, validated, _ = map(len, images(form, "zscore"))
        return trained, validated
    parts = data.listing(form.data).parts
    return min(len(parts["train"]), form.limit or len(parts["train"])), len(parts["validation"])


# ---- many --------------------------------------------------------------------------------------------------------------


def work(todo: Sequence[tuple[Job, float]], store: Store, processes: int, until: float | None = None) -> Iterator[Job]:
    """Train each job that is expected to end in time, several at once, and yield it when its file is there.

    todo   jobs, each with the hours that it is expected to take
    until  when the time is up, by time.time(); None for no limit

    A run computes on one thread: two small nets beside each other keep two cores busier than one net in slices, and what a run
    computes depends on its seed alone, not on what is beside it. What Ctrl-C stops leaves no file.
    """
    tasks = [(job, str(store.folder), None if until is None else until - 3600 * hours) for job, hours in todo]
    if processes == 1 or len(tasks) < 2:
        yield from (job for job in map(_task, tasks) if job)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(processes, len(tasks)), initializer=_leave_interrupts) as pool:
        yield from (job for job in pool.imap_unordered(_task, tasks) if job)


def _leave_interrupts() -> None:
    """Ctrl-C is the parent's to answer: it ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _task(task: tuple[Job, str, float | None]) -> Job | None:
    """Train and keep, unless it would not end in time; the job, or None."""
    job, folder, start_before = task
    if start_before is not None and time.time() > start_before:
        return None
    Store(folder).keep(job.name, train(job))
    return job
