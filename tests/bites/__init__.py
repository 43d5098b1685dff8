"""Planted bugs outside of the kernels: one place of a file each, and the tests that must notice.

One file per room, each with `TESTS`, the words that pytest is given, and `BUGS`: file -> [(old text, new text)], the old text
found exactly once. The first bug of a room runs by day, so it is one that is noticed in a second; all others run nightly.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import NamedTuple


class Bug(NamedTuple):
    """One planted bug."""

    room: str
    file: str  # "models/alphanet.py"
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}: {self.old.strip()} -> {self.new.strip() or 'nothing'}"

    def planted(self, text: str) -> str:
        """The file's text with this bug in it."""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self}: the old text stands {count} times, expected once")
        return text.replace(self.old, self.new)


ROOMS = {m.name: importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)}


def bugs_of(room: str) -> list[Bug]:
    """In the order of the table."""
    return [Bug(room, file, old, new) for file, bugs in ROOMS[room].BUGS.items() for old, new in bugs]
