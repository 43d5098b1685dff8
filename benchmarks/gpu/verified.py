"""The list of CUDA sources that a GPU has run under the laws: minidl/cuda/verified.txt, read by `minidl.cuda.Source.verified`.

One line for each, sorted by name: the digest of the text, two blanks, the name. A source that was edited since is not on it.
"""

from __future__ import annotations

import os
from pathlib import Path

from minidl.cuda import Source

Lines = dict[str, str]  # name -> digest


def digest_of(source: Source) -> str:
    """Of the text as it stands, with what it includes."""
    return source.digest


def listed(path: Path) -> Lines:
    """What a list has; nothing where there is none."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines()) if name}


def merged(before: Lines, obey: Lines, others: set[str]) -> tuple[Lines, list[str]]:
    """The list with those that obey and without those that were judged and do not; and what changes, in words."""
    after = {name: digest for name, digest in before.items() if name not in others} | obey
    changes = [f"+ {name}" for name in sorted(obey) if name not in before]
    changes += [f"~ {name}, edited since" for name in sorted(obey) if name in before and before[name] != obey[name]]
    return after, changes + [f"- {name}" for name in sorted(others & set(before))]


def write(path: Path, lines: Lines) -> None:
    """The list, in one go."""
    fresh = path.with_suffix(".part")
    fresh.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items())), encoding="utf-8")
    os.replace(fresh, path)
