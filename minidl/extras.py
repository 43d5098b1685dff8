"""The command that installs what an optional part of minidl needs: one wording for every message.

>>> from minidl.extras import install
>>> install("train")  # doctest: +SKIP
"pip install -e '/home/ada/minidl[train]'"
"""

from __future__ import annotations

from pathlib import Path


def install(extra: str = "") -> str:
    """For a clone, the clone's own folder, from wherever it is typed; otherwise the package by its name."""
    folder, wanted = Path(__file__).resolve().parent.parent, f"[{extra}]" if extra else ""
    return f"pip install -e '{folder}{wanted}'" if (folder / "pyproject.toml").is_file() else f"pip install 'minidl{wanted}'"
