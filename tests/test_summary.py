"""The table of a model: every number on small models, by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.cli import main
from minidl.memory import forecast
from minidl.modelfile import load
from minidl.nn import Parameter
from minidl.summary import Layer, summarise
from minidl.tensor import Tensor


class Net(nn.Module):
    """A conv and a dense layer inside a Sequential, a weight used twice, one never used, and an op without a layer."""

    input_shape = (2, 6, 6)

    def __init__(self, classes: int = 3):
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU())
        self.square = Parameter(np.eye(64, dtype=np.float32))
        self.idle = Parameter(np.zeros(7))
        self.output = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)
        x = minidl.matmul(minidl.matmul(x, self.square), self.square)
        return self.output(x)


class Aided(nn.Module):
    """A net with a head that only helps training, and dropout in between."""

    input_shape = (1, 4, 4)

    def __init__(self, classes: int = 3):
        self.hidden, self.drop = nn.Linear(16, 8), nn.Dropout(0.5)
        self.aux, self.output = nn.Linear(8, classes), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.drop(minidl.tanh(self.hidden(x.flatten(1))))
        return (self.output(x), self.aux(x)) if self.training else self.output(x)

    def loss(self, out: Tensor | tuple[Tensor, Tensor], labels: np.ndarray) -> Tensor:
        if not isinstance(out, tuple):
            return minidl.softmax_cross_entropy(out, labels)
        return minidl.softmax_cross_entropy(out[0], labels) + 0.3 * minidl.softmax_cross_entropy(out[1], labels)


def test_a_model_on_another_device_is_summed_up_where_it_lies() -> None:
    """As `minidl train --device cuda` does; the strict stand-in refuses to meet an array of the host's."""
    assert summarise(Net().to("strict")) == summarise(Net())


def test_every_number_of_a_small_net() -> None:
    table = summarise(Net())
    assert (table.model, table.input) == ("Net", [2, 6, 6])
    assert table.layers == [
        Layer("features.0", "conv2d", [1, 4, 4, 4], 4 * 2 * 9 + 4, 4 * 16 * 2 * 9, [3, 3]),
        Layer("features.1", "relu", [1, 4, 4, 4], 0, 0, [3, 3]),
        Layer("", "reshape", [1, 64], 0, 0, [3, 3]),
        Layer("", "matmul", [1, 64], 64 * 64, 64 * 64, "all"),
        Layer("", "matmul", [1, 64], 0, 64 * 64, "all"),
        Layer("output", "linear", [1, 3], 3 * 64 + 3, 3 * 64, "all"),
    ]
    assert table.auxiliary_parameters == 7
    assert table.parameters + 7 == sum(p.size for p in Net().parameters())
    assert table.macs == sum(layer.macs for layer in table.layers)


def test_a_model_of_shapes_has_the_same_table() -> None:
    with minidl.shapes_only():
        model = Net()
    assert summarise(model) == summarise(Net())


def test_parameters_are_those_that_predict() -> None:
    table = summarise(Aided().train())
    assert (table.parameters, table.auxiliary_parameters) == (16 * 8 + 8 + 8 * 3 + 3, 8 * 3 + 3)
    assert table.macs == 16 * 8 + 8 * 3
    lines = str(table).splitlines()
    assert lines[-1] == "auxiliary: parameters that predicting does not use, not in the total"
    rows = [line.split() for line in lines]
    assert ["auxiliary", "27"] in rows
    assert ["total", "163", "152"] in rows


def test_nothing_is_computed_and_the_model_is_left_as_it_was() -> None:
    model, position = Net(), minidl.random.stream().position
    model.features.eval()
    nn.init.constant_(model.features[0].weight, np.nan)
    before = model.state_dict()
    with minidl.detect_anomaly():
        summarise(model)
    assert not any("forward" in vars(module) for module in model.modules())
    assert (model.training, model.features.training) == (True, False)
    assert minidl.random.stream().position == position
    assert all(np.array_equal(array, before[name], equal_nan=True) for name, array in model.state_dict().items())


def test_images_larger_than_memory_need_none() -> None:
    class Wide(nn.Module):
        input_shape = (3, 10**6, 10**6)

        def forward(self, x: Tensor) -> Tensor:
            return minidl.max_pool2d(x, 1000)

    assert summarise(Wide()).layers[0].output == [1, 3, 1000, 1000]


def test_also_when_the_pass_fails() -> None:
    model = Net()
    model.output = nn.Linear(63, 3)
    with pytest.raises(ValueError, match="linear"):
        summarise(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_forward_that_returns_nothing_is_told() -> None:
    class Forgetful(Net):
        def forward(self, x: Tensor) -> None:
            super().forward(x)

    with pytest.raises(ValueError, match=r"^Forgetful\.forward returned None; did you forget `return`\?$"):
        summarise(Forgetful())


def test_json_holds_what_the_table_shows() -> None:
    table = summarise(Net())
    value = json.loads(json.dumps(table.as_json()))
    assert list(value) == ["model", "input", "parameters", "macs", "auxiliary_parameters", "layers"]
    assert [Layer(**layer) for layer in value["layers"]] == table.layers
    lines = str(table).splitlines()
    assert lines[0] == "Net, input 2x6x6"
    assert lines[2].split() == ["layer", "op", "output", "parameters", "MACs", "sees"]
    assert lines[4].split() == ["features.0", "conv2d", "4x4x4", "76", "1,152", "3"]
    assert lines[-6].split() == ["total", f"{value['parameters']:,}", f"{value['macs']:,}"]


def test_lenet_is_exact_to_the_last_parameter() -> None:
    table = summarise(load("models/lenet.py:LeNet5").build())
    assert (table.parameters, table.macs) == (61_706, 416_520)
    weighted = [(layer.name, layer.parameters, layer.macs) for layer in table.layers if layer.parameters]
    assert weighted == [
        ("C1", 156, 117_600),
        ("C3", 2_416, 240_000),
        ("C5", 48_120, 48_000),
        ("F6", 10_164, 10_080),
        ("output", 850, 840),
    ]


# ---- with memory -----------------------------------------------------------------------------------------------------


def test_memory_adds_a_column_and_the_rows_of_training() -> None:
    table = replace(summarise(Aided()), memory=forecast(Aided(), batch_size=5))
    saved, more = table.saved(table.memory)
    assert [layer.op for layer in table.layers] == ["reshape", "linear", "tanh", "dropout", "linear"]
    assert saved == [0, 5 * 16 * 4, 5 * 8 * 4, 5 * 16, 5 * 8 * 4]  # the images, tanh's y, a key an image, output's x
    heads = ["softmax_cross_entropy", "softmax_cross_entropy", "multiply", "add"]
    assert [(row.name, row.op) for row in more] == [("aux", "linear"), *(("(loss)", op) for op in heads)]
    lines = [line.split() for line in str(table).splitlines()]
    assert lines[2][-2:] == ["saved", "bytes"]
    assert ["hidden", "linear", "8", "136", "128", "all", "320"] in lines
    assert ["aux", "*", "linear", "3", "-", "-", "-", "-"] in lines
    assert next(line for line in lines if line[:1] == ["total"])[-1] == f"{table.memory.saved:,}"


@pytest.mark.parametrize("then", [{}, {"relu": True}], ids=str)
def test_batch_norm_of_training_and_of_predicting_is_one_layer(then: dict[str, bool]) -> None:
    class Normed(Aided):
        input_shape = (1, 8, 8)

        def __init__(self, classes: int = 3):
            self.conv, self.bn, self.output = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(minidl.global_avg_pool2d(self.bn(self.conv(x), **then)).flatten(1))

    table = replace(summarise(Normed()), memory=forecast(Normed(), batch_size=5))
    saved, more = table.saved(table.memory)
    assert table.layers[1].op == "batch_norm_inference"
    assert saved[1] >= 5 * 2 * 6 * 6 * 4
    assert [row.op for row in more] == ["softmax_cross_entropy"]


def test_memory_in_json() -> None:
    table = replace(summarise(Aided()), memory=forecast(Aided(), batch_size=5))
    value = json.loads(json.dumps(table.as_json()))
    assert {"batch_size", "optimizer", "measured_at", "weights", "saved", "peak", "peak_at", "only_in_training"} <= set(
        value["memory"]
    )
    saved = [layer["saved_bytes"] for layer in value["layers"]]
    assert sum(saved) + sum(row["saved_bytes"] for row in value["memory"]["only_in_training"]) == value["memory"]["saved"]


def test_the_command(capsys: pytest.CaptureFixture) -> None:
    assert main(["summary", "models/lenet.py:LeNet5", "--classes", "7"]) == 0
    out = capsys.readouterr().out
    assert "total                              61,451  416,268" in out
    assert "saved bytes" not in out
    assert main(["summary", "models/lenet.py:LeNet5", "--memory", "--batch-size", "16", "--optimizer", "sgd", "--json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert (memory["batch_size"], memory["optimizer"]) == (16, "sgd")
    assert memory["weights"] == memory["gradients"] == memory["optimizer_state"] == 61_706 * 4


def test_options_reach_the_constructor(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from minidl import nn\n"
        "class Net(nn.Module):\n"
        "    input_shape = (1, 8, 8)\n"
        "    def __init__(self, classes=10, *, size=8):\n"
        "        self.input_shape = (1, size, size)\n"
        "        self.dense = nn.Linear(size * size, classes)\n"
        "    def forward(self, x):\n"
        "        return self.dense(x.flatten(1))\n"
    )
    assert main(["summary", str(file), "--set", "size=12", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["input"], value["parameters"]) == ([1, 12, 12], 1450)
