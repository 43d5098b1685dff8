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
from minidl.data import DATA_SETS, PARTS, Splits, listing
from minidl.nn.loaded import shown
from minidl.progress import Reading
from minidl.runs import Run


def load(
    name: str,
    shape: tuple[int, int, int],
    *,
    limit: int | None = None,
    parts: Sequence[str] = PARTS,
    quiet: bool = False,
) -> Splits:
    """The data set for a network that reads images of this shape."""
    C, H, W = shape
    reading = Reading(name, quiet=quiet)
    try:
        with threadpool_limits(1, user_api="blas"):  # images are small: a second thread would only be waited for
            return data.load(name, size=(H, W), channels=C, limit=limit, parts=parts, on_read=reading.on_read)
    finally:
        reading.close()


def class_numbers(run: Run, classes: list[str], name: str) -> np.ndarray:
    """For each class of a data set the number of the run's class of that name; ValueError where the run has none."""
    there = data.classes_of(name)
    if unknown := [c for c in there if c not in classes]:
        known = ", ".join(map(shown, classes[:8])) + ", ..." * (len(classes) > 8)
        raise ValueError(f"{name} has a class {unknown[0]!r} that {run.path} did not learn; it knows {known}")
    return np.array([classes.index(c) for c in there])


def full_name(name: str) -> str:
    """What config.json keeps: a folder by its absolute path."""
    return name if name in DATA_SETS else str(Path(name).absolute())


def name_for(run: Run, config: dict[str, Any], given: str | None) -> str:
    """The data set to use for a run: the given one, or the run's own if that is still there."""
    own = config["data"]["name"]
    if given is None and own not in DATA_SETS and not Path(own).exists():
        raise FileNotFoundError(
            f"{own}: the images that {run.path} was trained on are no longer there; --data gives another place"
        )
    return own if given is None else given


def refuse_training_images(run: Run, config: dict[str, Any], name: str, split: str) -> None:
    """ValueError, one line, where a part of a data set holds images that the run learnt or chose by under another name.

    The run's own data set is known by its name, or by the names of its files wherever they lie: there each part is what it was
    in training, and may be asked for. Any other may be parted otherwise: its 'test' would be measured on training images.
    """
    own = config["data"]["name"]
    if name != own and {name, own} <= DATA_SETS.keys():
        raise ValueError(
            f"{name} parts the digits otherwise than {own}, on which {run.path} was trained: some of its {split} images "
            f"were training images; evaluate on {own}, or train on {name}"
        )
    if not {name, own} & DATA_SETS.keys() and listing(name).digest() != config["data"].get("files"):
        _refuse_training_files(run, own, name, split)


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
