"""Result files: what was measured, by which command, on what machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

import minidl

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
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
        "blas_threads": blas.get("num_threads", 0),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def write(name: str, rows: list[dict[str, Any]], **more: Any) -> Path:
    """benchmarks/results/<name>.json: the command, the machine and the rows."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    command = f"python -m benchmarks.{name} {' '.join(sys.argv[1:])}".strip()
    record = {"command": command, "machine": machine(), **more, "rows": rows}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
