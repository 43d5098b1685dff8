"""Result files: what was measured, by which command, on what machine; and the tables made of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

import minidl
from benchmarks.options import CannotStart
from minidl.doctor import available_cores
from minidl.modes import modes

RESULTS = Path(__file__).parent / "results"
TF32_VARIABLES = ("CUPY_TF32", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
BUSY = 0.5  # load before the start, per core, from which timings are doubtful


def machine(device: str = "cpu") -> dict[str, Any]:
    """What a figure depends on, beside the code."""
    blas = next((pool for pool in threadpool_info() if pool["user_api"] == "blas"), {})
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "minidl": minidl.__version__,
        "blas": blas.get("internal_api", "unknown"),
        "blas_core_type": blas.get("architecture", "unknown"),
        "blas_threads": _blas_threads(),
        "minidl_threads": computing_threads(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **({} if device == "cpu" else _gpu()),
    }


def computing_threads() -> int:
    """Threads that minidl computes on: its own, which leave BLAS one, or those of BLAS."""
    return modes().threads or _blas_threads()


def _blas_threads() -> int:
    return next((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), 0)


def warnings(load: float | None) -> list[str]:
    """Why the figures may mislead, one line each."""
    found = []
    if pinned := os.environ.get("OPENBLAS_CORETYPE"):
        found.append(f"OPENBLAS_CORETYPE={pinned} is set: our matrix products may run at half speed; unset it")
    for name in TF32_VARIABLES:
        if os.environ.get(name):
            found.append(f"{name}={os.environ[name]} is set: products may not be of the precision that is named; unset it")
    if load is not None and load > BUSY * available_cores():
        found.append(f"the load is {load:.1f} on {available_cores()} cores: other programs run, so trust ratios at most")
    return found


def header(about: dict[str, Any], threads: int) -> str:
    """The machine in two lines, and the warnings."""
    versions = [f"{name} {about[name]}" for name in ("python", "numpy", "minidl", "torch", "cupy") if name in about]
    lines = [
        f"{about['processor']}, {available_cores()} cores; {about.get('gpu', 'CPU')}; every rival on {threads} threads",
        f"{', '.join(versions)}, {about['blas']} ({about['blas_core_type']})",
        *(f"WARNING: {line}" for line in warnings(about["load_before"])),
    ]
    return "\n".join(lines)


def same_threads(about: dict[str, Any], threads: int) -> None:
    """CannotStart unless every library reports the number of threads asked for."""
    for library in ("minidl_threads", "torch_threads"):
        if library in about and about[library] != threads:
            raise CannotStart(f"unequal threads: {library} is {about[library]}, not {threads}; no comparison would be fair")


def write(name: str, rows: list[dict[str, Any]], **more: Any) -> Path:
    """benchmarks/results/<name>.json: the command, the machine and the rows."""
    RESULTS.mkdir(exist_ok=True)
    return save(RESULTS / f"{name}.json", name, rows, machine=machine(), **more)


def save(path: str | Path, name: str, rows: list[dict[str, Any]], **more: Any) -> Path:
    """The same into any file; `more` has the machine."""
    Path(path).write_text(json.dumps({**origin(name), **more, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return Path(path)


def origin(name: str) -> dict[str, Any]:
    """Where a result file comes from."""
    command = f"python -m benchmarks.{name} {' '.join(sys.argv[1:])}".strip()
    when = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"command": command, "date": when, "commit": commit()}


@cache
def commit() -> str | None:
    """Of the code that is measured, with '-dirty' where it was edited since; None outside a clone. Results are no code."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(RESULTS.parent.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        edited = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!*.md")
        return git("rev-parse", "--short", "HEAD") + ("-dirty" if edited else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def stopped(name: str, path: str | None, rows: list[dict[str, Any]]) -> int:
    """One line for Ctrl-C; the exit code."""
    kept = f"; {path} has the {len(rows)} rows until here" if path and rows else ""
    print(f"benchmarks.{name}: stopped{kept}", file=sys.stderr)
    return 130


class Table:
    """A Markdown table with columns of fixed widths, printed row by row as the figures come.

    columns  heading -> width; a heading that ends in a blank is of words, set to the left
    """

    def __init__(self, columns: dict[str, int]):
        self.columns = columns

    def head(self) -> list[str]:
        """The heading and the rule below it."""
        rule = [("-" * width) + ("-" if name.endswith(" ") else ":") for name, width in self.columns.items()]
        return [self.row([name.strip() for name in self.columns]), "|" + "|".join(f" {line}" for line in rule) + "|"]

    def row(self, cells: Sequence[str]) -> str:
        """One line; the cells that are missing at the end are empty."""
        padded = [*cells, *[""] * (len(self.columns) - len(cells))]
        each = zip(self.columns.items(), padded, strict=True)
        return "| " + " | ".join(f"{c:<{w}}" if name.endswith(" ") else f"{c:>{w}}" for (name, w), c in each) + " |"


def tables_of(lines: Iterable[str]) -> list[str]:
    """The rows of all tables, without their padding: two tables say the same if these are the same."""
    return [" ".join(line.split()) for line in lines if line.startswith("|") and not set(line) <= set("|-: ")]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _gpu() -> dict[str, str]:
    from minidl.backend import cupy

    properties = cupy().cuda.runtime.getDeviceProperties(0)
    return {"gpu": properties["name"].decode(), "cupy": cupy().__version__}
