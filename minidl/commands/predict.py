"""`minidl predict`: the likeliest classes of image files. All are read before anything is said."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

import numpy as np

from minidl import data, runs
from minidl import train as training
from minidl.backend import use_device
from minidl.commands import options
from minidl.commands.speed import at_speed
from minidl.full import smaller, told_when_full
from minidl.nn.loaded import shown

DARK, BRIGHT = 0.4, 0.6  # mean brightness, 0 black to 1 white; photographs lie between


def add_arguments(parser: ArgumentParser) -> None:
    """A run and image files."""
    options.run_folder(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--top", type=options.whole, default=3, metavar="K", help="how many classes to show; default 3")
    parser.add_argument("--invert", action="store_true", help="swap black and white: digits are learnt as white ink on black")
    options.device(parser)
    options.as_json(parser)


def run(args: Namespace) -> int:
    """Predict; the exit code."""
    device, trained = use_device(args.device), runs.open_run(args.folder)
    if args.top < 1:
        raise ValueError(f"top must be 1 or more, got {args.top}")
    with told_when_full(device, smaller):
        model, classes = trained.model().to(device), trained.config()["model"]["classes"]
    C, H, W = model.input_shape
    normalise = trained.normalise(C)
    size = normalise.encoding.size_read((H, W))
    images = np.stack([data.read_image(path, size=size, channels=C) for path in args.images])
    images = 1 - images if args.invert else images
    _warn_of_negatives(dict(zip(args.images, images, strict=True)), trained.brightness(), trained, args.invert)
    with told_when_full(device, smaller), at_speed():
        scores = training.predict(model, normalise(images), device=device)
    found = [_likeliest(row, classes, args.top) for row in scores]
    rows = [{"image": image, "classes": top} for image, top in zip(args.images, found, strict=True)]
    options.show(args, rows, lambda: _as_text(rows, probabilities=not hasattr(model, "predict")))
    return 0


def _warn_of_negatives(images: dict[str, np.ndarray], learnt: float, trained: runs.Run, inverted: bool) -> None:
    """A word on stderr for images that are mostly white where training was mostly black, or the other way round."""
    for name, image in images.items():
        mean = float(image.mean())
        if (mean > BRIGHT and learnt < DARK) or (mean < DARK and learnt > BRIGHT):
            shade, other = ("white", "black") if mean > learnt else ("black", "white")
            remedy = "leave out --invert" if inverted else "try --invert"
            word = f"{name} is mostly {shade}{' once inverted' if inverted else ''}"
            print(f"minidl: {word}, but {trained.path} learnt from images that are mostly {other}; {remedy}", file=sys.stderr)


def _likeliest(scores: np.ndarray, classes: list[str], top: int) -> list[dict[str, Any]]:
    if scores.ndim == 0:  # the model's own `predict` gives class numbers
        return [{"class": classes[int(scores)]}]
    order = np.argsort(-scores, kind="stable")[:top]
    return [{"class": classes[i], "score": float(scores[i])} for i in order]


def _as_text(rows: list[dict[str, Any]], probabilities: bool) -> str:
    images = [shown(row["image"], most=4096) for row in rows]
    width = max(map(len, images))
    show = "{:.1%}".format if probabilities else "{:.3f}".format
    lines = []
    for image, row in zip(images, rows, strict=True):
        words = [f"{shown(c['class'])} {show(c['score']):>6}" if "score" in c else shown(c["class"]) for c in row["classes"]]
        lines.append(f"{image:<{width}}  " + "   ".join(words))
    return "\n".join(lines)
