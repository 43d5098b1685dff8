"""A GPU that is full: one line says what was asked, what is free and which batch would fit; finished epochs are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_cupy
import numpy as np
import pytest
import tiny
from fake_cupy import CUDARuntimeError, full

import minidl
from minidl import backend, gpu, nn
from minidl.cli import main
from minidl.full import GpuFull, largest_batch, told_when_full
from minidl.memory import forecast
from minidl.modes import modes
from minidl.recipe import Recipe
from minidl.train import Training


@pytest.fixture(autouse=True)
def _libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a made up CuPy registers is forgotten."""
    monkeypatch.setattr(backend, "_LIBRARIES", dict(backend._LIBRARIES))


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (full(5), True),
        (CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"), True),
        (CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered"), False),
        (MemoryError("Unable to allocate 9 GiB"), False),
        (RuntimeError("cudaErrorMemoryAllocation"), False),
    ],
    ids=str,
)
def test_which_errors_mean_that_a_gpu_is_full(error: Exception, is_full: bool) -> None:
    assert gpu.is_full(error) is is_full
    with pytest.raises(GpuFull if is_full else type(error)), told_when_full("strict", lambda there: "stop"):
        raise error


def test_what_was_asked_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch, bytes=80 << 30, free=1 << 30)
    there = backend.room("cuda:0")
    assert there == (6 << 30, 11 << 30, 80 << 30)  # free: 1 GiB, and half of the 10 that the pool holds
    monkeypatch.setattr("minidl.full.room", lambda device: there)
    with pytest.raises(GpuFull) as raised, told_when_full("cuda:0", lambda there: "buy another"):
        raise full(3 << 30)
    assert str(raised.value) == (
        "out of memory on cuda:0: 3.00 GiB were asked for, 6.00 GiB of 80.00 GiB are free; buy another"
    )


class Net(nn.Sequential):
    """The host computes its convolution by Winograd's kernel, a GPU by im2col."""

    input_shape = (32, 12, 12)

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 36, 10))


def test_the_largest_batch_is_the_forecasts() -> None:
    """By a GPU's kernel and of whole batches, whatever the host would choose; Python's own objects blur it by some bytes."""
    model, recipe = Net().to("strict"), Recipe(batch_size=64, optimizer="sgd")
    before = model.state_dict()
    with minidl.conv2d.using(minidl.conv2d.default):
        peaks = {n: forecast(Net(), n, "sgd").peak for n in (1, 20, 40, 64)}
    assert forecast(Net(), 40, "sgd").peak < 0.9 * peaks[40]
    position = minidl.random.stream().position
    enough = {n: int(peak / 0.9) + 2 for n, peak in peaks.items()}
    with minidl.threads(1):
        assert abs(largest_batch(model, recipe, enough[20]) - 20) <= 1
        assert abs(largest_batch(model, recipe, enough[40]) - 40) <= 1
    assert largest_batch(model, recipe, 2 * enough[64]) == 64
    assert largest_batch(model, recipe, enough[1] // 2) == 0
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    assert minidl.random.stream().position == position


def test_where_there_is_no_forecast_half_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fails(*_: object) -> None:
        asked.append(modes().threads)
        raise RuntimeError("the GPU is gone")

    monkeypatch.setattr("minidl.full.forecasts", fails)
    with minidl.threads(2):
        assert largest_batch(Net(), Recipe(batch_size=64), 1 << 40) == 32
    assert asked == [None]  # no slices: a GPU computes batches whole


@pytest.fixture
def small_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The stand-in, with so many bytes, of which the third epoch wants more than there are."""
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path)
    passed, real = [], Training._pass

    def run(most: int, fails_in: int = 3) -> None:
        def run_full(self: Any, epoch: int, on_batch: Any) -> Any:
            if epoch == fails_in and self.device == "strict":
                raise full(1 << 20)
            passed.append(epoch)
            return real(self, epoch, on_batch)

        monkeypatch.setattr(Training, "_pass", run_full)
        monkeypatch.setattr("minidl.full.room", lambda device: backend.Room(most // 2, most, 2 * most))

    return run


TRAIN = "train net.py --limit 200 --no-shifts --lr 0.01 --epochs 4 --out run --quiet --device strict"


def test_a_run_that_fills_the_gpu_says_the_largest_batch_and_goes_on_elsewhere(
    small_gpu: Any, capsys: pytest.CaptureFixture
) -> None:
    small_gpu(60_000)
    assert main(TRAIN.split()) == 2
    _, err = capsys.readouterr()
    start = "minidl: out of memory on strict: 1.0 MiB were asked for, 29.3 KiB of 117 KiB are free; the largest batch "
    assert err.startswith(start)
    assert err.count("\n") == 1
    batch = int(err.partition("--batch-size ")[2].split(",")[0])
    assert 1 < batch < 32
    parts = -(-32 // batch)
    steps = f"or --batch-size {-(-32 // parts)} --accumulate {parts} for steps as before; "
    assert f"that would fit is about {batch}: --batch-size {batch}, {steps}" in err
    assert err.endswith("; run keeps the 2 epochs before that, `minidl train --resume run --device cpu` goes on\n")
    assert json.loads(Path("run/result.json").read_text())["status"] == "stopped"
    assert main(["evaluate", "run"]) == 0
    assert main("train --resume run --device cpu --quiet".split()) == 0
    assert [json.loads(line)["epoch"] for line in Path("run/metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4]
    assert json.loads(Path("run/result.json").read_text())["status"] == "done"


def test_where_not_one_image_fits(small_gpu: Any, capsys: pytest.CaptureFixture) -> None:
    small_gpu(1000, fails_in=1)
    assert main(TRAIN.split()) == 2
    err = capsys.readouterr().err
    assert (
        "; not even one image would fit: take a smaller network or smaller images, or use --device cpu; run keeps the 0" in err
    )
    assert main("train --resume run --device cpu --quiet".split()) == 0


def test_where_the_forecast_says_that_it_fits_half_is_tried(small_gpu: Any, capsys: pytest.CaptureFixture) -> None:
    small_gpu(1 << 40)
    assert main(TRAIN.split()) == 2
    assert "--batch-size 16, or --batch-size 16 --accumulate 2 for steps" in capsys.readouterr().err


def test_a_full_host_keeps_the_epochs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path)
    real = Training._pass

    def run_full(self: Any, epoch: int, on_batch: Any) -> Any:
        if epoch == 2:
            raise MemoryError("Unable to allocate 9 GiB")
        return real(self, epoch, on_batch)

    monkeypatch.setattr(Training, "_pass", run_full)
    assert main(TRAIN.replace("--device strict", "").split()) == 2
    assert capsys.readouterr().err == (
        "minidl: out of memory: Unable to allocate 9 GiB; run keeps the 1 epochs before that, `minidl train --resume run` goes "
        "on; try a smaller --batch-size\n"
    )
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert main("train --resume run --quiet".split()) == 0


@pytest.mark.parametrize("command", ["evaluate run", "predict run seven.png", "train net.py"])
def test_a_command_that_fills_the_gpu_with_the_model_alone(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path)
    assert main(["train", "net.py", *tiny.QUICK, "--out", "run", "--quiet"]) == 0
    capsys.readouterr()

    def run_full(self: Any, device: str) -> None:
        raise full(1 << 30)

    monkeypatch.setattr(nn.Module, "to", run_full)
    assert main([*command.split(), "--device", "strict"]) == 2
    assert capsys.readouterr().err == (
        "minidl: out of memory on strict: 1.00 GiB were asked for; let other programs end, take a smaller network, "
        "or use --device cpu\n"
    )
    assert not Path("runs").exists()
