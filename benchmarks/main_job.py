"""The main job, over three seeds: LeNet-5 on digits, with and without shifts.

python -m benchmarks.main_job          runs `minidl train models/lenet.py` six times, writes results/main_job.json
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report

SEEDS = (0, 1, 2)


def main() -> None:
    """Train, collect, print, write."""
    rows = [run(seed, shifts) for shifts in (True, False) for seed in SEEDS]
    means = {}
    for name, shifts in (("with shifts", True), ("without shifts", False)):
        tests = [row["test_accuracy"] for row in rows if row["shifts"] is shifts]
        seconds = [row["wall_seconds"] for row in rows if row["shifts"] is shifts]
        means[name] = {"test_accuracy": statistics.mean(tests), "slowest_seconds": max(seconds)}
        each = " / ".join(f"{100 * t:.2f}" for t in tests)
        print(f"{name:15} test {each} %, mean {100 * statistics.mean(tests):.2f} %; slowest run {max(seconds):.1f} s")
    print(report.write("main_job", rows, means=means))


def run(seed: int, shifts: bool) -> dict[str, Any]:
    """One run of the command line, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "train",
            "models/lenet.py",
            "--seed",
            str(seed),
            "--out",
            f"{folder}/run",
            *([] if shifts else ["--no-shifts"]),
        ]
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, "-m", "minidl", *words], stdout=subprocess.PIPE) as process:
            lines = iter(process.stdout or ())
            next(lines, None)
            first = time.perf_counter() - start
            for _ in lines:
                pass
        wall = time.perf_counter() - start
        if process.returncode != 0:
            raise SystemExit(f"minidl {' '.join(words)} ended with exit code {process.returncode}")
        result = json.loads((Path(folder) / "run/result.json").read_text(encoding="utf-8"))
    return {"seed": seed, "shifts": shifts, "wall_seconds": wall, "first_output_seconds": first, **result}


if __name__ == "__main__":
    main()
