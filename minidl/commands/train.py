"""`minidl train`: everything that can be wrong is found before the run folder is made; then train, test once, and tell."""

from __future__ import annotations

import platform
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from datetime import datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from minidl import data, modelfile, recipe, runs
from minidl import train as training
from minidl.backend import check_device
from minidl.commands import options
from minidl.data import Splits
from minidl.modes import detect_anomaly
from minidl.progress import Display, clock
from minidl.random import manual_seed
from minidl.recipe import Recipe
from minidl.summary import Summary, summarise

KINDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "int": ("N", options.whole),
    "float": ("X", options.number),
    "str": ("NAME", str),
}


SMALL = 50_000_000  # multiply-adds of a batch in the heaviest layer


def add_arguments(parser: ArgumentParser) -> None:
    """The recipe's fields, and what to train on what, where."""
    options.model_file(parser)
    add = parser.add_argument
    add("--data", default="digits", metavar="NAME", help="digits, or digits:writers (tested on other writers); default digits")
    for name, kind, default, about in recipe.options():
        metavar, read = KINDS[kind]
        add(f"--{name.replace('_', '-')}", type=read, default=default, metavar=metavar, help=about)
    add("--no-shifts", dest="shifts", action="store_const", const=0, help="the same as --shifts 0")
    add("--seed", type=options.whole, default=0, metavar="N", help="equal seeds give equal bits; default 0")
    add("--classes", type=options.whole, metavar="N", help="outputs of the model; default: the classes of the data")
    add("--limit", type=options.whole, metavar="N", help="quick trial: use only N training images")
    add("--out", metavar="DIR", help="run folder, new or empty; default runs/MODEL-1, runs/MODEL-2, ...")
    add("--detect-anomaly", action="store_true", help="name the op that first makes a NaN or an infinity; slow")
    add("--quiet", action="store_true", help="only the result")
    add("--threads", type=options.whole, metavar="N", help="BLAS threads; default: 1 for small networks, else all cores")
    options.device(parser)


class Job(NamedTuple):
    """A training that was found to be possible: nothing has been written yet."""

    args: Namespace
    recipe: Recipe
    source: modelfile.ModelFile
    splits: Splits
    classes: list[str]
    model: modelfile.Model
    made_of: Summary
    device: str


def run(args: Namespace) -> int:
    """Train; the exit code."""
    started = time.perf_counter()
    job = _prepare(args)
    out = runs.create(args.out, job.source.path.stem)
    out.write_json("config.json", _config(job, out.keep_model(job.source)))
    _announce(job, out)
    metrics: list[dict[str, float]] = []
    display = Display(job.recipe.epochs, len(job.splits.train), quiet=args.quiet)

    def on_epoch(record: dict[str, float], is_best: bool) -> None:
        metrics.append(record)
        out.add_metrics(record)
        if is_best:
            out.save(job.model)
        display.on_epoch(record, is_best)

    try:
        anomalies = detect_anomaly() if args.detect_anomaly else nullcontext()
        with anomalies, threadpool_limits(_threads(job), user_api="blas"):
            training.fit(job.model, job.splits, job.recipe, device=job.device, on_epoch=on_epoch, on_batch=display.on_batch)
        display.close()
        return _finish(job, out, metrics, started)
    except KeyboardInterrupt:
        display.close()
        return _stopped(out, metrics)
    except training.Diverged as error:
        display.close()
        _write_result(out, "diverged", metrics)
        raise training.Diverged(f"{error}; {out.path} keeps the {len(metrics)} epochs before that") from error
    finally:
        display.close()


def _prepare(args: Namespace) -> Job:
    recipe = Recipe(**{option.name: getattr(args, option.name) for option in fields(Recipe)})
    device = check_device(args.device)
    if args.threads is not None and args.threads < 1:
        raise ValueError(f"threads must be 1 or more, got {args.threads}")
    source = modelfile.load(args.model)
    C, H, W = source.cls.input_shape
    splits = _limited(data.load(args.data, size=(H, W), channels=C), args.limit)
    classes = _class_names(splits.classes, args.classes)
    manual_seed(args.seed)
    model = source.build(len(classes))
    training.probe(model, len(classes))
    return Job(args, recipe, source, splits, classes, model.to(device), summarise(model), device)


def _threads(job: Job) -> int | None:
    """BLAS threads, None for all. A small matrix product is over before a second thread has woken, and where other programs
    keep the cores busy the two wait for each other ten times longer than they compute. A rule, and no timing: equal bits."""
    if job.args.threads is not None:
        return job.args.threads
    heaviest = max((layer.macs for layer in job.made_of.layers), default=0)
    return 1 if heaviest * job.recipe.batch_size < SMALL else None


def _limited(splits: Splits, limit: int | None) -> Splits:
    """The first `limit` training images of an order that mixes the classes."""
    if limit is None:
        return splits
    if not 1 <= limit <= len(splits.train):
        raise ValueError(f"limit must lie between 1 and the {len(splits.train)} training images, got {limit}")
    order = np.random.default_rng(0).permutation(len(splits.train))
    return replace(splits, train=splits.train[order[:limit]])


def _class_names(names: list[str], classes: int | None) -> list[str]:
    if classes is None:
        return names
    if classes < len(names):
        raise ValueError(f"classes must be at least the {len(names)} of the data, got {classes}")
    return names + [f"class {i}" for i in range(len(names), classes)]


def _config(job: Job, file: str) -> dict[str, Any]:
    normalise = job.splits.normalise
    return {
        "format": runs.FORMAT,
        "model": {
            "file": file,
            "class": job.source.name,
            "source": str(job.source.path.resolve()),
            "classes": job.classes,
            "input_shape": job.source.cls.input_shape,
        },
        "data": {
            "name": job.args.data,
            "mean": normalise.mean,
            "std": normalise.std,
            "limit": job.args.limit,
            "images": dict(zip(("train", "validation", "test"), map(len, job.splits), strict=True)),
        },
        "recipe": job.recipe.as_json(),
        "seed": job.args.seed,
        "device": job.device,
        "versions": {"minidl": version("minidl"), "numpy": np.__version__, "python": platform.python_version()},
        "threads": _threads(job),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _announce(job: Job, out: runs.Run) -> None:
    if job.args.quiet:
        return
    recipe, made_of, (train_set, validation, test) = job.recipe, job.made_of, job.splits
    counts = f"{len(train_set):,} training, {len(validation):,} validation, {len(test):,} test images"
    trial = f"; quick trial on {job.args.limit} of the training images" if job.args.limit else ""
    shape, of = " x ".join(map(str, job.source.cls.input_shape)), f"{job.source.name} of {job.source.path}"
    moves = f", shifts of up to {recipe.shifts} pixels" if recipe.shifts else ""
    lines = {
        "model": f"{of}: input {shape}, {made_of.parameters:,} parameters, {made_of.macs:,} MACs",
        "data": f"{job.args.data}: {counts}, {len(job.classes)} classes{trial}",
        "recipe": f"{recipe.optimizer}, lr {recipe.lr:g} {recipe.schedule}, batches of {recipe.batch_size}{moves}, "
        f"seed {job.args.seed}, on {job.device}",
        "run": f"{out.path}",
    }
    print("\n".join(f"{name:<8}{text}" for name, text in lines.items()) + "\n", flush=True)


def _finish(job: Job, out: runs.Run, metrics: list[dict[str, float]], started: float) -> int:
    """Read the test images, once, with the weights of the best validation epoch; write and say what came out."""
    test = training.evaluate(job.model, job.splits.test, classes=len(job.classes), device=job.device)
    pictures = _draw(out, metrics, test.confusion, job.classes)
    seconds = time.perf_counter() - started
    best = _write_result(
        out,
        "done",
        metrics,
        test_accuracy=test.accuracy,
        test_loss=test.loss,
        parameters=job.made_of.parameters,
        seconds=seconds,
    )
    right, n = int(np.trace(test.confusion)), len(job.splits.test)
    print(f"\nbest    epoch {best['epoch']}, chosen on validation: {best['val_accuracy']:.2%}")
    print(f"test    {test.accuracy:.2%}, {right} of {n} images right, loss {test.loss:.4f}")
    print(f"time    {clock(seconds)}")
    print(f"run     {out.path}: checkpoint.safetensors, metrics.jsonl, result.json{pictures}", flush=True)
    return 0


def _draw(out: runs.Run, metrics: list[dict[str, float]], confusion: np.ndarray | None, classes: list[str]) -> str:
    """Draw the pictures; what to add to the list of files, or why they are missing."""
    from minidl import plots

    try:
        plots.curves(metrics, out.path / "curves.png")
        if confusion is None:
            return ", curves.png"
        plots.confusion(confusion, classes, out.path / "confusion.png")
    except ImportError as error:
        return f" (no pictures: {error})"
    return ", curves.png, confusion.png"


def _best(metrics: list[dict[str, float]]) -> dict[str, Any]:
    return max(metrics, key=lambda record: (record["val_accuracy"], -record["val_loss"]))


def _write_result(out: runs.Run, status: str, metrics: list[dict[str, float]], **more: Any) -> dict[str, Any]:
    """result.json; returns the record of the best epoch, {} where none ended."""
    best = _best(metrics) if metrics else {}
    kept = {"best_epoch": best["epoch"], "val_accuracy": best["val_accuracy"], "val_loss": best["val_loss"]} if best else {}
    out.write_json("result.json", {"status": status, **more, **kept, "epochs": len(metrics)})
    return best


def _stopped(out: runs.Run, metrics: list[dict[str, float]]) -> int:
    """After Ctrl-C: keep what was learnt, say where, and leave the test images unread."""
    best = _write_result(out, "stopped", metrics)
    if not best:
        print(f"\nminidl: stopped before the first epoch ended; {out.path} holds no weights", file=sys.stderr)
        return 130
    _draw(out, metrics, None, [])
    kept = f"epoch {best['epoch']}, {best['val_accuracy']:.2%} on validation"
    print(f"\nminidl: stopped after {len(metrics)} epochs; {out.path} keeps the best, {kept}", file=sys.stderr)
    return 130
