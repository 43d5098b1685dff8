"""Which PyTorch is installed, and whether it can compute on a GPU: read from its files, for importing it takes seconds."""

from __future__ import annotations

import runpy
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

REMEDY = "install one with CUDA for the figures beside it"


class Build(NamedTuple):
    """`cuda` is the version that it was built for; '' where it was built without, '?' where it does not say."""

    version: str
    cuda: str

    def __str__(self) -> str:
        return f"{self.version}, {f'built for CUDA {self.cuda}' if self.cuda else 'a build without CUDA'}"


@cache
def build() -> Build | None:
    """None where there is none."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        told = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    except (OSError, SyntaxError):
        return Build("of unknown version", "?")  # it may have one: who asks it will see
    return Build(str(told.get("__version__", "of unknown version")), str(told.get("cuda") or ""))


def missing() -> str | None:
    """One line why PyTorch computes nothing on a GPU here, or None."""
    found = build()
    if found is None:
        return f"PyTorch is not installed: {REMEDY}"
    return None if found.cuda else f"PyTorch {found}: {REMEDY}"
