"""(a) The machine, and the most that a copy and a matrix product reach on it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

import minidl
from benchmarks import report, stats
from benchmarks.gpu import stopwatch
from benchmarks.gpu.record import OWED, Row, Run, Step
from benchmarks.rivals import torch_build
from benchmarks.worker import Worker
from minidl.backend import cupy, to_device, xp_of
from minidl.commands.speed import at_speed
from minidl.ops.gemm import gemm

NAME = "machine"
COPY = "copy"
PRODUCTS = ("float32", "tf32", "bf16", "float16")
SIZES = {"cuda": (8192, 1 << 28), "cpu": (256, 1 << 20)}  # of a product; numbers that are copied


class Ceilings:
    """In a process of its own, as all that computes on the GPU."""

    def __init__(self, threads: int, device: str):
        self.device = device
        self.speed = at_speed(threads)
        self.speed.__enter__()

    def about(self) -> dict[str, Any]:
        """The machine as every benchmark tells it, and what only a GPU has."""
        return report.machine(self.device) | ({} if self.device == "cpu" else about_gpu())

    def copy(self, rounds: int) -> list[float]:
        """GB/s, read and written."""
        source = to_device(np.ones(SIZES[self.device][1], np.float32), self.device)
        target, xp = source.copy(), xp_of(source)
        return [
            2e-9 * source.nbytes / s for s in stopwatch.device_times(lambda: xp.copyto(target, source), rounds, self.device)
        ]

    def product(self, kind: str, rounds: int) -> list[float]:
        """TFLOP/s of a product of two square matrices: float32 arrays in a precision, or float16 arrays."""
        n = SIZES[self.device][0]
        a = to_device(np.random.default_rng(0).standard_normal((n, n), dtype=np.float32), self.device)
        if kind == "float16":
            a = a.astype(np.float16)
        with minidl.precision("float32" if kind == "float16" else kind):
            times = stopwatch.device_times(lambda: gemm(a, a), rounds, self.device)
        return [2e-12 * n**3 / s for s in times]


def about_gpu() -> dict[str, Any]:
    """Versions, and the memory."""
    runtime = cupy().cuda.runtime
    free, total = runtime.memGetInfo()
    cuda = {"driver_cuda": runtime.driverGetVersion() / 1000, "runtime_cuda": runtime.runtimeGetVersion() / 1000}
    return {**cuda, "driver": driver(), "nvrtc": ".".join(map(str, cupy().cuda.nvrtc.getVersion())), "memory": [free, total]}


def driver() -> str:
    """The driver's version, as it tells."""
    with suppress(OSError, subprocess.SubprocessError):
        words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0]
    return "unknown"


def rows(run: Run) -> Iterator[Row]:
    """The machine in words, then its ceilings."""
    rounds = 2 if run.rehearsal else max(run.rounds, 5)
    start: dict[str, Any] = {"device": run.device, "patience": lambda: run.budget.left(NAME)}
    with Worker("benchmarks.gpu.ceilings:Ceilings", threads=run.threads, **start) as worker:
        about = worker.call("about")
        yield {"what": "GPU", "told": about["gpu"]} if "gpu" in about else {"what": "GPU", "told": f"none; {OWED}"}
        if "gpu" in about:
            free, total = about["memory"]
            yield {"what": "its memory", "told": f"{total / 1e9:.1f} GB, {free / 1e9:.1f} GB free"}
            cuda = f"driver {about['driver']} (CUDA {about['driver_cuda']:g}), runtime CUDA {about['runtime_cuda']:g}"
            yield {"what": "CUDA", "told": f"{cuda}, NVRTC {about['nvrtc']}"}
        yield {"what": "host", "told": f"{about['processor']}, cores: {about['cores']}, threads: {about['minidl_threads']}"}
        yield {"what": "versions", "told": versions(about), "about": about}
        yield {"what": "PyTorch", "told": str(torch_build.build() or "not installed")}
        yield measured(COPY, "GB/s", worker.call("copy", rounds=rounds))
        for kind in PRODUCTS:
            yield measured(f"product, {kind}", "TFLOP/s", worker.call("product", kind=kind, rounds=rounds))


def versions(about: dict[str, Any]) -> str:
    """Of what computes."""
    found = {name: about[name] for name in ("python", "numpy", "minidl", "cupy") if name in about}
    return ", ".join(f"{name} {version}" for name, version in found.items())


def measured(what: str, unit: str, values: list[float]) -> Row:
    """The median and the spread of some rounds."""
    return {"what": what, "value": stats.median(values), "iqr": stats.spread(values), "unit": unit, "values": values}


def cells(row: Row) -> list[str]:
    """A row of the table."""
    if "told" in row:
        return [row["told"]]
    return [f"{row['value']:.4g} {row['unit']}, IQR {row['iqr'] / row['value']:.0%}"]


STEP = Step(NAME, "The machine", 30, rows, report.Table({"what ": 18, "is ": 70}), cells)
