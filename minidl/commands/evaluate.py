"""`minidl evaluate`: a run's loss and accuracy on one part of a data set, class by class."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import Any

import numpy as np

from minidl import runs
from minidl import train as training
from minidl.backend import use_device
from minidl.commands import datasets, options
from minidl.commands.speed import at_speed
from minidl.data import PARTS, Dataset
from minidl.full import smaller, told_when_full
from minidl.nn.loaded import shown


def add_arguments(parser: ArgumentParser) -> None:
    """A run, and what to evaluate it on."""
    options.run_folder(parser)
    about = "another data set or folder of images than the run was trained on, or the new place of its own"
    parser.add_argument("--data", metavar="NAME", help=about)
    parser.add_argument("--split", default="test", metavar="PART", help="train, validation or test; default test")
    options.device(parser)
    options.as_json(parser)


def run(args: Namespace) -> int:
    """Evaluate; the exit code."""
    device, trained = use_device(args.device), runs.open_run(args.folder)
    if args.split not in PARTS:
        raise ValueError(f"split must be one of {', '.join(PARTS)}, got {args.split!r}")
    config = trained.config()
    with told_when_full(device, smaller):
        model = trained.model().to(device)
    classes, name = config["model"]["classes"], datasets.name_for(trained, config, args.data)
    normalise, numbers = trained.normalise(model.input_shape[0]), datasets.class_numbers(trained, classes, name)
    datasets.refuse_training_images(trained, config, name, args.split)
    splits = datasets.load(name, model.input_shape, parts=(args.split,), encode=normalise.encoding)
    dataset: Dataset = getattr(splits, args.split)
    dataset = replace(dataset, labels=numbers[dataset.labels], normalise=normalise)
    with told_when_full(device, smaller), at_speed():
        found = training.evaluate(model, dataset, classes=len(classes), device=device)
    title = f"{config['model']['class']} of {trained.path} on {name}, {len(dataset):,} {args.split} images"
    options.show(args, _as_json(found, classes, name, args.split), lambda: _as_text(found, classes, title))
    return 0


def _as_json(found: training.Evaluation, classes: list[str], name: str, split: str) -> dict[str, Any]:
    count, right = found.confusion.sum(axis=1), np.diag(found.confusion)
    per_class = {c: int(r) / int(n) if n else None for c, r, n in zip(classes, right, count, strict=True)}
    return {
        "data": name,
        "split": split,
        "images": int(count.sum()),
        "loss": found.loss,
        "accuracy": found.accuracy,
        "per_class": per_class,
        "confusion": found.confusion.tolist(),
    }


def _as_text(found: training.Evaluation, classes: list[str], title: str) -> str:
    classes = [shown(name) for name in classes]
    width = max(5, *map(len, classes))
    lines = [
        title,
        f"accuracy {found.accuracy:.2%}, loss {found.loss:.4f}",
        "",
        f"{'class':<{width}}  images    right  taken for",
    ]
    for i, row in enumerate(found.confusion):
        wrong = [(n, classes[j]) for j, n in enumerate(row) if n and j != i]
        others = ", ".join(f"{name} ({n})" for n, name in sorted(wrong, key=lambda pair: -pair[0])[:4])
        right = f"{row[i] / row.sum():.1%}" if row.sum() else "-"
        lines.append(f"{classes[i]:<{width}}  {row.sum():>6,}  {right:>7}  {others}".rstrip())
    return "\n".join(lines)
