"""Runs of `benchmarks.gpu_report` that the tests make up, and judges and rivals in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import emulation
import numpy as np
import pytest

from benchmarks import clock, gpu_report, report
from benchmarks.gpu import convolutions, layers, race
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.judge import HOST, Judge
from benchmarks.gpu.record import OWED, Row, Run, Step
from benchmarks.rivals.minidl_layers import MinidlLayers
from benchmarks.worker import RivalFailed
from minidl import cuda

emulated = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")
CONV = "alexnet.conv5"
TABLE = report.Table({"what ": 10, "told ": 10})


def run_with(rows: list[Row], folder: Path, **changes: Any) -> Run:
    """A run on a GPU, as the steps see it; its clock stands still."""
    budget = Budget(9.0, {step.name: step.seconds for step in gpu_report.STEPS}, now=lambda: 0.0)
    run = Run("cuda", 1, 6, 0, ["torch"], budget, rows, folder / "here.txt")
    return run._replace(**changes)


def planted(name: str, rows: Callable[[Run], Iterator[Row]], seconds: float = 60) -> Step:
    return Step(name, f"Step {name}", seconds, rows, TABLE, lambda row: [row["told"]])


class InProcess:
    """A judge in this process, where the emulation is, in the place of a worker."""

    def __init__(self) -> None:
        self.judge = Judge.__new__(Judge)
        self.judge.device, self.judge.library = "cpu", HOST

    def call(self, method: str, **arguments: Any) -> Any:
        return getattr(self.judge, method)(**arguments)

    def close(self) -> None:
        pass


class Here:
    """What `race.Worker` starts, in this process, where the emulation is."""

    started: list[str]
    kinds: dict[str, Callable[..., Any]]

    def __init__(self, rival: str, *, threads: int, device: str, patience: Any = None, **options: Any):
        self.started.append(rival)
        self.rival = self.kinds[rival](threads=threads, device=device, **options)

    def call(self, method: str, **arguments: Any) -> Any:
        try:
            return getattr(self.rival, method)(**arguments)
        except Exception as error:
            raise RivalFailed(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        for modes in (getattr(self.rival, "precise", None), getattr(self.rival, "modes", None)):
            if hasattr(modes, "close"):
                modes.close()

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Beside(MinidlLayers):
    """Stands in for PyTorch: the formulas of minidl."""

    def __init__(self, threads: int, device: str, environment: Any, layout: str, tuned: bool):
        super().__init__(threads, device, str(cuda.VERIFIED))

    def use(self, precision: str) -> str:
        name = super().use(precision)
        self.cases = {"torch": self.case(self.op.kernels[self.op.default])}
        return name

    def ready(self, path: str) -> None:  # type: ignore[override]
        np.savez(path, **layers.compared(self.results("torch")))

    def plan(self, name: str) -> None:
        self.cases[name] = self.cases["torch"]
        super().plan(name)

    def turn(self, name: str) -> dict[str, float]:
        return super().turn(name)


def in_this_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A rehearsal of single layers, whose processes are this one; PyTorch is minidl."""
    monkeypatch.setattr(Here, "started", [], raising=False)
    monkeypatch.setattr(Here, "kinds", {race.OURS: MinidlLayers, race.THEIRS: Beside}, raising=False)
    monkeypatch.setattr(race, "Worker", Here)
    monkeypatch.setattr(cuda, "VERIFIED", folder / "none.txt")
    monkeypatch.setattr(cuda.Source, "verified", property(vars(cuda.Source)["verified"].func))  # by that list, each time
    monkeypatch.setattr(convolutions, "REHEARSED", (CONV,))
    monkeypatch.setattr(clock, "no_garbage_collection", nullcontext)
    return run_with([], folder, device="cpu", rounds=2, rivals=["torch", "torch-channels-last"])


def by_kernel(rows: list[Row], precision: str) -> dict[str, Row]:
    return {row["kernel"]: row for row in rows if row.get("precision") == precision and "phases" in row}


def failed(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row["what"], row["not_run"]) for row in rows if row.get("not_run", OWED) != OWED]
