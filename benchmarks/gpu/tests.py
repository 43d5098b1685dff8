"""(c) The tests that need a GPU: `pytest -q -m gpu` over the files that have any."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from benchmarks import report
from benchmarks.gpu.record import NO_TIME, Row, Run, Step, not_run
from benchmarks.worker import ROOT

NAME = "tests"
MARK = "mark." + "gpu"
NONE = 5  # pytest's exit code where no test was chosen
NEEDED = ("pytest", "hypothesis")


def rows(run: Run) -> Iterator[Row]:
    """One row, with pytest's last line and the tests that failed."""
    words = ["pytest", "-q", "-m", "gpu"]
    what = " ".join(words)
    files = [str(path) for path in sorted((ROOT / "tests").glob("test_*.py")) if MARK in path.read_text(encoding="utf-8")]
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing or not files:
        why = f"{', '.join(missing)} not installed: pip install 'minidl[test]'" if missing else "no test is marked gpu"
        yield from not_run([what], why)
        return
    command = [sys.executable, "-m", *words, "-p", "no:cacheprovider", *files]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=run.budget.left(NAME), check=False, cwd=ROOT, env=env
        )
    except subprocess.TimeoutExpired:
        yield from not_run([what], NO_TIME)
        return
    lines = [line.strip("= ") for line in done.stdout.splitlines() if line.strip()]
    failed = [line for line in lines if re.match(r"(FAILED|ERROR) ", line)]
    summary = lines[-1] if lines else (done.stderr.strip().splitlines() or ["no output"])[-1]
    yield {"what": what, "summary": summary, "exit": done.returncode, "failed": failed}


def cells(row: Row) -> list[str]:
    """A row of the table."""
    return ["ok" if row["exit"] in (0, NONE) else "FAILED", row["summary"], "; ".join(row["failed"])]


TABLE = report.Table({"command ": 20, "": 6, "its last line ": 50, "failed ": 6})
STEP = Step(NAME, "The tests that need a GPU", 55, rows, TABLE, cells)
