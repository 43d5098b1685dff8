"""The data set of a command: read with a word on how long it takes, and never measured on what was trained on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from minidl import data
from minidl.data import PARTS, Encoding, Splits, is_built_in, listing, source_of
from minidl.data.real import DIGITS, NONE
from minidl.nn.loaded import shown
from minidl.progress import Reading
from minidl.runs import Run

WITHOUT_FILES = {*DIGITS, NONE}  # sources of real images that are no folder


def load(
    name: str,
    shape: tuple[int, int, int],
    *,
    limit: int | None = None,
    parts: Sequence[str] = PARTS,
    encode: str | Encoding = "zscore",
    quiet: bool = False,
) -> Splits:
    """The data set for a network that reads images of this shape, once they are encoded."""
    C, H, W = shape
    reading = Reading(name, quiet=quiet)
    try:
        with threadpool_limits(1, user_api="blas"):  # images are small: a second thread would only be waited for
            return data.load(name, size=(H, W), channels=C, limit=limit, parts=parts, on_read=reading.on_read, encode=encode)
    finally:
        reading.close()


def class_numbers(run: Run, classes: list[str], name: str) -> np.ndarray:
    """For each class of a data set the number of the run's class of that name; ValueError where the run has none."""
    there = data.classes_of(name)
    if unknown := [c for c in there if c not in classes]:
        known = ", ".join(map(shown, classes[:8])) + ", ..." * (len(classes) > 8)
        raise ValueError(f"{name} has a class {unknown[0]!r} that {run.path} did not learn; it knows {known}")
    return np.array([classes.index(c) for c in there])


def name_for(run: Run, config: dict[str, Any], given: str | None) -> str:
    """The data set to use for a run: the given one, or the run's own if that is still there."""
    own = config["data"]["name"]
    source = source_of(own)
    if given is None and source not in WITHOUT_FILES and not Path(source).exists():
        remedy = "restore them" if is_built_in(own) else "--data gives another place"
        raise FileNotFoundError(f"{source}: the images that {run.path} was trained on are no longer there; {remedy}")
    return own if given is None else given


def refuse_training_images(run: Run, config: dict[str, Any], name: str, split: str) -> None:
    """ValueError, one line, where a part of a data set holds images that the run learnt or chose by under another name.

    The run's own data set is known by its name, or by the names of its files wherever they lie: there each part is what it was
    in training, and may be asked for. Any other may be parted otherwise: its 'test' would be measured on training images. What
    counts is where the real images come from; those that the hybrid set draws differ from part to part whatever its settings.
    """
    own = config["data"]["name"]
    source, mine = source_of(name), source_of(own)
    if source != mine and {source, mine} == set(DIGITS):
        raise ValueError(
            f"{name} parts the digits otherwise than {own}, on which {run.path} was trained: some of its {split} images "
            f"were training images; evaluate on {own}, or train on {name}"
        )
    if not {source, mine} & WITHOUT_FILES and listing(source).digest() != config["data"].get("files"):
        _refuse_training_files(run, mine, source, split)


def _refuse_training_files(run: Run, own: str, name: str, split: str) -> None:
    """The same for a folder whose training files are not those of the run, by their names."""
    if not Path(own).is_dir():
        print(f"minidl: {own} is no longer there: nobody can tell whether {name} holds its training images", file=sys.stderr)
        return
    if os.path.samefile(own, name):
        raise ValueError(
            f"{own} has changed since {run.path} was trained on it (files came, went or were renamed), so its parts are others "
            f"and {split} may hold training images; restore it, or give other images by --data"
        )
    here = listing(name)
    if known := len(here.identities(split) & listing(own).identities("train", "validation")):
        raise ValueError(
            f"{known:,} of the {len(here.parts[split]):,} {split} images of {name} were training or validation images of "
            f"{run.path}, from {own}; give images that it has not seen"
        )
