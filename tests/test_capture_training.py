"""`minidl train --capture`: the same training, and what the command line says of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from captures import DEVICES
from crossings import places, undeclared, watching

import minidl
from minidl import Tensor, data, nn
from minidl.capture import Captured
from minidl.cli import main
from minidl.commands import train
from minidl.recipe import Recipe
from minidl.train import Training

pytestmark = pytest.mark.usefixtures("graphs")


class Small(nn.Module):
    """For digits as they are."""

    input_shape = (1, 8, 8)

    def __init__(self) -> None:
        self.conv, self.norm, self.dropout = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2)
        self.dense = nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.dropout(self.norm(self.conv(x), relu=True)).reshape(len(x), -1))


def metrics(where: str, **options: Any) -> tuple[Training, list[dict[str, float]]]:
    """Three epochs on 45 images, in batches of 20, 20 and 5."""
    minidl.manual_seed(0)
    splits = data.digits()
    splits = replace(splits, train=splits.train[:45], validation=splits.validation[:30])
    training = Training(Small().to(where), splits, Recipe(epochs=3, batch_size=20, shifts=0, **options), device=where)
    with minidl.own_products():
        while not training.finished:
            training.epoch()
    timed = {"seconds", "images_per_second"}
    return training, [{name: value for name, value in row.items() if name not in timed} for row in training.metrics]


@pytest.mark.parametrize("options", [{}, {"clip": 0.5, "precision": "fp16"}], ids=str)
@pytest.mark.parametrize("where", DEVICES)
def test_a_training_is_the_same_with_and_without(where: str, options: dict[str, Any], quick: None) -> None:
    (_, plain), (training, recorded) = metrics(where, **options), metrics(where, **options, capture=1)
    assert plain == recorded
    assert isinstance(training.step.gradients, Captured)


def test_an_epoch_of_recorded_steps_reads_the_loss_alone(quick: None) -> None:
    training, _ = metrics("strict", capture=1)
    training.metrics.clear()
    with minidl.own_products(), watching() as seen:
        training.epoch()
    assert undeclared(seen) == []
    assert ("to the device", "minidl/arguments.py _convert") not in places(seen)


def test_recorded_steps_are_of_one_batch() -> None:
    with pytest.raises(ValueError, match="capture records a step of one batch, and accumulate is 2; leave one of them out"):
        Recipe(capture=1, accumulate=2)


@pytest.mark.parametrize("where", ["cpu", "strict"])
def test_the_command_line_says_what_is_captured(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET, encoding="utf-8")
    words = ["train", "net.py", "--limit", "60", "--epochs", "2", "--batch-size", "30", "--out", "run", "--device", where]
    assert main([*words, "--capture", "--detect-anomaly"]) == (0 if where == "cpu" else 2)
    shutil.rmtree("run", ignore_errors=True)
    capsys.readouterr()
    assert main([*words, "--capture"]) == 0
    said = capsys.readouterr().out
    on = "on cpu, where there is nothing to capture" if where == "cpu" else "on strict, forward and backward captured"
    assert f", {on}\n" in said
    assert (train.UNVERIFIED in said) == (where != "cpu")
    assert json.loads(Path("run/config.json").read_text(encoding="utf-8"))["recipe"]["capture"] == 1


NET = """
from minidl import nn

class Net(nn.Module):
    input_shape = (1, 8, 8)

    def __init__(self, classes):
        self.dense = nn.Linear(64, classes)

    def forward(self, x):
        return self.dense(x.reshape(len(x), -1))
"""
