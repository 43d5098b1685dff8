"""Data sets by name, as `--data` takes them: `digits`, `hybrid:classes=20,seed=3`, or a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from minidl.data.dataset import Splits
from minidl.data.folder import listing
from minidl.data.hybrid import Mixture, hybrid
from minidl.data.optdigits import CLASSES, digits

DATA_SETS: dict[str, Callable[..., Splits]] = {
    "digits": digits,
    "digits:writers": partial(digits, writers=True),
    "hybrid": hybrid,
}


def mixture_of(name: str) -> Mixture | None:
    """What `hybrid` or `hybrid:settings` is made of, None for other names; ValueError where its settings are wrong."""
    kind, colon, settings = name.partition(":")
    return Mixture.named(settings) if kind == "hybrid" and bool(colon) == bool(settings) else None


def is_built_in(name: str) -> bool:
    """Is it the name of a data set that comes with minidl, and no folder?"""
    return name in DATA_SETS or mixture_of(name) is not None


def full_name(name: str) -> str:
    """The name that means the same everywhere and later: with every setting, a folder by its absolute path."""
    if mixture := mixture_of(name):
        return f"hybrid:{mixture}"
    return name if name in DATA_SETS else str(Path(name).absolute())


def source_of(name: str) -> str:
    """Where its real images come from: digits, digits:writers, a folder, or none."""
    mixture = mixture_of(name)
    return mixture.real if mixture else name


def classes_of(name: str) -> list[str]:
    """The names of the classes of a data set, known before its images are read."""
    if mixture := mixture_of(name):
        return mixture.names()
    return list(CLASSES) if name in DATA_SETS else listing(known_folder(name)).classes


def known_folder(name: str) -> str:
    """The name, if there is such a folder; ValueError that says what there is."""
    if not name or not Path(name).exists():
        raise ValueError(f"no data set {name!r}: choose from {', '.join(DATA_SETS)}, or name a folder of images")
    return name
