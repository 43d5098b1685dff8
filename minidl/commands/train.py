"""`minidl train`: everything that can be wrong is found before the run folder is made; then train, test once, and tell."""

from __future__ import annotations

import platform
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields
from datetime import datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from minidl import data, modelfile, recipe, runs
from minidl import train as training
from minidl.backend import use_device
from minidl.commands import datasets, options, outcome, pretrained, resume
from minidl.commands.speed import at_speed
from minidl.data import Encoding, Splits
from minidl.doctor import available_cores
from minidl.full import GpuFull, smaller, smaller_batch, told_when_full
from minidl.jit import missing
from minidl.modes import MOST_THREADS, detect_anomaly
from minidl.ops import gemm_cuda
from minidl.progress import Display
from minidl.random import manual_seed
from minidl.recipe import Recipe
from minidl.summary import Summary, summarise

KINDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "int": ("N", options.whole),
    "float": ("X", options.number),
    "str": ("NAME", str),
}
DEFAULTS = {"data": "digits", "encode": "zscore", "seed": 0, "classes": None, "limit": None, "threads": None, "device": "cpu"}
DEFAULTS |= pretrained.DEFAULTS | {"compiled": False}
UNVERIFIED = f"matrix products are by {gemm_cuda.SOURCE}, unverified: no GPU has run it under the laws so far"
SMALL = 50_000_000  # multiply-adds of a batch in the heaviest layer


def add_arguments(parser: ArgumentParser) -> None:
    """What to train on what, where, and the recipe's fields. An option that is not given is absent, so that a resumed run
    knows what it is asked to change."""
    options.model_file(parser, nargs="?")
    options.settings(parser)
    add = parser.add_argument
    about = (
        "digits; digits:writers, tested on other writers; hybrid, or with settings hybrid:classes=20,per_class=140,seed=0,"
        "real=digits; or a folder of images, one sub-folder a class; default digits"
    )
    add("--data", default=SUPPRESS, metavar="NAME", help=about)
    about = (
        "how images are encoded for the network: zscore, minmax, log or alpha=0.5; with ,reduce=2 after it they are made twice "
        "as large, and the network reads the means of 2x2 pixels; default zscore"
    )
    add("--encode", type=options.encoding, default=SUPPRESS, metavar="NAME", help=about)
    _add_recipe(parser)
    add("--seed", type=options.whole, default=SUPPRESS, metavar="N", help="equal seeds give equal bits; default 0")
    about = "outputs of the model; default: the classes of the data"
    add("--classes", type=options.whole, default=SUPPRESS, metavar="N", help=about)
    pretrained.add_arguments(parser)
    about = "quick trial: use only N training images, as many of each class as may be"
    add("--limit", type=options.whole, default=SUPPRESS, metavar="N", help=about)
    add("--out", default=SUPPRESS, metavar="DIR", help="run folder, new or empty; default runs/MODEL-1, runs/MODEL-2, ...")
    about = (
        "go on with a stopped run after its last finished epoch, in its folder, with its own model and options; "
        "--epochs may extend it, and the schedule is then planned anew"
    )
    add("--resume", default=SUPPRESS, metavar="RUN", help=about)
    add("--detect-anomaly", action="store_true", help="name the op that first makes a NaN or an infinity; slow")
    add("--quiet", action="store_true", help="only the result")
    about = "on how many threads to compute; default: 1 for small networks, else all cores"
    add("--threads", type=options.whole, default=SUPPRESS, metavar="N", help=about)
    about = "compute by kernels that Numba compiles where there are such; the first step takes longer"
    add("--compiled", action="store_true", default=SUPPRESS, help=about)
    options.device(parser, default=SUPPRESS)


def _add_recipe(parser: ArgumentParser) -> None:
    shifts = parser.add_mutually_exclusive_group()
    for name, kind, about in recipe.options():
        option = f"--{name.replace('_', '-')}"
        add = shifts.add_argument if name == "shifts" else parser.add_argument
        if kind == "switch":
            add(option, action="store_const", const=1, default=SUPPRESS, help=about.partition("; default")[0])
        else:
            metavar, read = KINDS[kind]
            add(option, type=read, default=SUPPRESS, metavar=metavar, help=about)
    about = "the same as --shifts 0"
    shifts.add_argument("--no-shifts", dest="shifts", action="store_const", const=0, default=SUPPRESS, help=about)


class Job(NamedTuple):
    """A training that was found to be possible: nothing has been written yet."""

    args: Namespace
    recipe: Recipe
    source: modelfile.ModelFile
    splits: Splits
    classes: list[str]
    model: modelfile.Model
    start: pretrained.Pretrained
    made_of: Summary
    device: str


def run(args: Namespace) -> int:
    """Train; the exit code."""
    started = time.perf_counter()
    if "resume" in args:
        out = runs.open_run(args.resume)
        with out.held():
            return _go_on(out, args, started)
    if args.model is None:
        raise ValueError(f"the following arguments are required: {options.MODEL}; see `minidl train --help`")
    job = _prepare(Namespace(**{**DEFAULTS, **vars(args)}))
    out = runs.create(getattr(args, "out", None), job.source.path.stem)
    with out.held():
        now = training.Training(job.model, job.splits, job.recipe, device=job.device)
        out.write_json("config.json", _config(job, out.keep_model(job.source)))
        out.keep_state(now.state())
        _announce(job, out)
        return _train(job, now, out, started)


def _go_on(out: runs.Run, args: Namespace, started: float) -> int:
    """Train on from where a run stands."""
    resumption = resume.read(out, args)
    job = _prepare(resumption.args)
    now = training.Training(job.model, job.splits, job.recipe, device=job.device)
    resumption.take_up(now, job.splits)
    _announce(job, out, resume=resumption.note(now))
    return _train(job, now, out, started - sum(record["seconds"] for record in now.metrics))


def _train(job: Job, now: training.Training, out: runs.Run, started: float) -> int:
    kept = list(now.metrics)
    display = Display(job.recipe.epochs, len(job.splits.train), done=len(kept), quiet=job.args.quiet)
    try:
        anomalies = detect_anomaly() if job.args.detect_anomaly else nullcontext()
        with anomalies, at_speed(_threads(job), small=_small(job), by_numba=job.args.compiled):
            while not now.finished:
                with told_when_full(job.device, lambda there: smaller_batch(job.model, job.recipe, there)):
                    record, is_best = now.epoch(display.on_batch)
                with runs.uninterrupted():
                    out.keep_epoch(record, now.state(), job.model if is_best else None)
                    kept.append(record)
                display.on_epoch(record, is_best)
        display.close()
        now.take_best()
        with told_when_full(job.device, smaller), now.computing():
            test = training.evaluate(job.model, job.splits.test, classes=len(job.classes), device=job.device)
        outcome.finished(out, kept, test, job.classes, job.made_of.parameters, time.perf_counter() - started)
        return 0
    except KeyboardInterrupt:
        display.close()
        return outcome.stopped(out, kept)
    except training.Diverged as error:
        display.close()
        outcome.write_result(out, "diverged", kept)
        raise training.Diverged(f"{error}; {out.path} keeps the {len(kept)} epochs before that") from error
    except (GpuFull, MemoryError) as error:
        display.close()
        outcome.write_result(out, "stopped", kept)
        elsewhere = " --device cpu" if job.device != "cpu" else ""
        goes_on = f"{out.path} keeps the {len(kept)} epochs before that, `minidl train --resume {out.path}{elsewhere}` goes on"
        raise (GpuFull if isinstance(error, GpuFull) else MemoryError)(f"{error}; {goes_on}") from error
    finally:
        display.close()


# ---- before ----------------------------------------------------------------------------------------------------------------


def _prepare(args: Namespace) -> Job:
    """The quickest checks first, the images last."""
    plan = Recipe(**{field.name: getattr(args, field.name) for field in fields(Recipe) if field.name in args})
    device = use_device(args.device)
    if args.threads is not None and not 1 <= args.threads <= MOST_THREADS:
        raise ValueError(f"threads must be a whole number from 1 to {MOST_THREADS}, got {args.threads}")
    if args.compiled and (why := "is for the CPU; leave it out" if device != "cpu" else missing()):
        raise ValueError(f"--compiled {why}")
    if plan.capture and device != "cpu" and args.detect_anomaly:
        raise ValueError("--capture and --detect-anomaly: a recorded step cannot be looked into; leave one of them out")
    if not 0 <= args.seed < 2**64:
        raise ValueError(f"seed must be a whole number from 0 to {2**64 - 1}, got {args.seed}")
    source = modelfile.load(args.model, dict(args.set))
    classes = _class_names(data.classes_of(args.data), args.classes)
    manual_seed(args.seed)
    model = source.build(len(classes))
    start = pretrained.prepare(model, source, len(classes), args)
    plan = plan.for_images(Encoding.named(args.encode).size_read(model.input_shape[1:]))
    training.probe(model, len(classes))
    splits = datasets.load(args.data, model.input_shape, limit=args.limit, encode=args.encode, quiet=args.quiet)
    made_of = summarise(model)
    with told_when_full(device, smaller):
        return Job(args, plan, source, splits, classes, model.to(device), start, made_of, device)


def _threads(job: Job) -> int:
    """How many: all cores, or one for small networks. A small matrix product is over before a second thread has woken, and
    where other programs keep the cores busy the two wait for each other ten times longer than they compute. A rule, and no
    timing: equal bits."""
    if job.args.threads is not None:
        return job.args.threads
    return 1 if _small(job) else min(available_cores(), MOST_THREADS)


def _small(job: Job) -> bool:
    """Is no layer's work on a batch worth a second thread?"""
    return max((layer.macs for layer in job.made_of.layers), default=0) * job.recipe.batch_size < SMALL


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
            "options": job.source.options,
            "classes": job.classes,
            "input_shape": job.model.input_shape,
        },
        "data": {
            "name": data.full_name(job.args.data),
            "files": job.splits.files,
            "mean": normalise.mean,
            "std": normalise.std,
            "encode": job.args.encode,
            **({"brightness": data.brightness(job.splits.train)} if job.args.encode != "zscore" else {}),
            "limit": job.args.limit,
            "images": dict(zip(data.PARTS, map(len, job.splits), strict=True)),
        },
        **job.start.as_json(),
        "recipe": job.recipe.as_json(),
        "seed": job.args.seed,
        "device": job.device,
        "versions": {"minidl": version("minidl"), "numpy": np.__version__, "python": platform.python_version()},
        "threads": _threads(job),
        "compiled": job.args.compiled,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _announce(job: Job, out: runs.Run, **more: str) -> None:
    if job.args.quiet:
        return
    plan, made_of, (train_set, validation, test) = job.recipe, job.made_of, job.splits
    counts = f"{len(train_set):,} training, {len(validation):,} validation, {len(test):,} test images"
    trial = f"; quick trial on {job.args.limit} of the training images" if job.args.limit else ""
    encoded = f"; encoded by {job.args.encode}" if job.args.encode != "zscore" else ""
    note = f"; {job.splits.note}" if job.splits.note else ""
    shape, of = " x ".join(map(str, job.model.input_shape)), f"{job.source.name} of {job.source.path}"
    batches = f"steps of {plan.accumulate} " * (plan.accumulate > 1) + f"batches of {plan.batch_size}"
    captured = ", forward and backward captured" if job.device != "cpu" else ", where there is nothing to capture"
    where = job.device + f" in {plan.precision}" * (plan.precision != "float32") + captured * plan.capture
    moves = f", shifts of up to {plan.shifts} pixels" * bool(plan.shifts) + ", flips" * bool(plan.flips)
    lines = {
        "model": f"{of}: input {shape}, {made_of.parameters:,} parameters, {made_of.macs:,} MACs",
        **job.start.lines(),
        "data": f"{job.args.data}: {counts}, {len(job.classes)} classes{trial}{note}{encoded}",
        "recipe": f"{plan.optimizer}, lr {plan.lr:g} {plan.schedule}, {batches}{moves}, seed {job.args.seed}, on {where}",
        "run": f"{out.path}",
        **({"note": UNVERIFIED} if plan.capture and job.device != "cpu" and not gemm_cuda.SOURCE.verified else {}),
        **more,
    }
    print("\n".join(f"{name:<8}{text}".replace("\n", "\n" + 8 * " ") for name, text in lines.items()) + "\n", flush=True)
