"""`benchmarks.gpu_report`: the layers that are timed by themselves are their workloads, and the same for both libraries."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_runs import CONV, Here, emulated, failed, in_this_process

from benchmarks.gpu import convolutions, layers, race
from benchmarks.gpu.record import Run
from benchmarks.rivals.minidl_layers import MinidlLayers
from minidl import cuda
from minidl.op import OPS


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return in_this_process(tmp_path, monkeypatch)


def test_every_layer_of_these_nets_is_there() -> None:
    nets = tuple(f"{net}." for net in ("alexnet", "vgg16", "resnet50", "googlenet", "convnet_benchmarks"))
    named = {name for name in OPS["conv2d"].workloads if name.startswith(nets)} | {"alexnet.fc6", "resnet50.fc"}
    assert set(convolutions.LAYERS) == named
    assert len(convolutions.LAYERS) == len(named)
    assert all(layer in OPS[convolutions.op_of(layer)].workloads for layer in convolutions.LAYERS)


@pytest.mark.parametrize("name", convolutions.LAYERS)
def test_a_layer_is_its_workload(name: str) -> None:
    op = OPS[convolutions.op_of(name)]
    (x, w, b), attrs = layers.layer(op, name, tiny=False)
    answers = op.workloads[name]
    assert x.shape[0] == answers["N"]
    assert w.shape[0] == answers["K"]
    assert (b is not None) == answers["bias"]
    asked = {**op.attrs, **{key: answers[key] for key in op.attrs if key in answers}}
    assert attrs == op.settle((x.shape, w.shape, None if b is None else b.shape), asked)[0]
    assert {part.dtype for part in (x, w) if part is not None} == {np.dtype(np.float32)}
    assert x.strides == (0,) * x.ndim  # no memory yet


def test_numbers_repeat_after_primes(run: Run) -> None:
    for period in layers.PERIODS:
        assert all(period % n for n in range(2, math.isqrt(period) + 1))
    assert len(set(layers.PERIODS)) == len(layers.PERIODS)
    ours = Here(race.OURS, threads=1, device="cpu", verified=str(run.verified))
    with ours:
        found = ours.call("repeated", operand=layers.DY, shape=(3, 500_000))
    flat, period = found.ravel(), layers.PERIODS[layers.DY]
    assert flat[0] == flat[period]
    assert flat[1] == layers.numbers(layers.DY)[1]
    assert flat[:period].std() == pytest.approx(1, abs=0.01)


@pytest.mark.parity
@emulated
def test_pytorch_itself_agrees_in_every_precision(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.rivals.torch_layers import TorchLayers

    def there(environment: Any, **options: Any) -> TorchLayers:
        return TorchLayers(**options)

    monkeypatch.setitem(Here.kinds, race.THEIRS, there)
    monkeypatch.setattr(convolutions, "REHEARSED", (CONV, "resnet50.1x1_stride2", "resnet50.fc"))
    rows = list(convolutions.rows(run))
    assert failed(rows) == []
    assert not any("refused" in row for row in rows)
    for precision in ("float32", "bf16"):
        for layer in convolutions.REHEARSED:
            assert {"torch-channels-last"} < {row.get("kernel") for row in rows if row["what"] == f"{layer}, {precision}"}


@pytest.mark.gpu
def test_a_gpu_times_a_layer_by_its_own_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Here, "started", [], raising=False)
    monkeypatch.setattr(Here, "kinds", {race.OURS: MinidlLayers}, raising=False)
    monkeypatch.setattr(cuda, "VERIFIED", tmp_path / "none.txt")
    with Here(race.OURS, threads=1, device="cuda", verified=str(tmp_path / "none.txt")) as ours:
        about = ours.call("layer", op="conv2d", workload=CONV, tiny=True)
        for precision in convolutions.PRECISIONS:
            assert ours.call("use", precision=precision) in about["kernels"]
            for kernel in about["kernels"]:
                if not ours.call("ready", kernel=kernel, path=str(tmp_path / "mine.npz")):
                    ours.call("plan", kernel=kernel)
                    assert all(0 < seconds < 1 for seconds in ours.call("turn", kernel=kernel).values())
