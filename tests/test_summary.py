"""The table of a model: every number on small models, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

import minidl
from minidl import nn
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


def test_every_number_of_a_small_net() -> None:
    table = summarise(Net())
    assert (table.model, table.input) == ("Net", [2, 6, 6])
    rows = [(layer.name, layer.op, layer.output, layer.parameters, layer.macs) for layer in table.layers]
    assert rows == [
        ("features.0", "conv2d", [1, 4, 4, 4], 4 * 2 * 9 + 4, 4 * 16 * 2 * 9),
        ("features.1", "relu", [1, 4, 4, 4], 0, 0),
        ("", "reshape", [1, 64], 0, 0),
        ("", "matmul", [1, 64], 64 * 64, 64 * 64),
        ("", "matmul", [1, 64], 0, 64 * 64),
        ("output", "linear", [1, 3], 3 * 64 + 3, 3 * 64),
    ]
    assert table.unused_parameters == 7
    assert table.parameters == sum(p.size for p in Net().parameters())
    assert table.macs == sum(row[-1] for row in rows)


def test_saved_bytes_are_what_the_tape_holds_once() -> None:
    class Twice(nn.Module):  # tanh saves its output; the second tanh saves its own, and nothing holds x
        input_shape = (1, 4, 4)

        def __init__(self, classes: int = 16):
            pass

        def forward(self, x: Tensor) -> Tensor:
            y = minidl.tanh(x)
            return minidl.multiply(y, y).flatten(1)  # saves y twice more: the memory is counted already

    assert [layer.saved_bytes for layer in summarise(Twice()).layers] == [64, 0, 0]
    assert summarise(Twice(), batch_size=5).saved_bytes == 5 * 64


def test_a_batch_costs_so_many_times_an_image() -> None:
    one, many = summarise(Net()), summarise(Net(), batch_size=4)
    assert many.macs == 4 * one.macs
    assert many.parameters == one.parameters
    assert many.layers[0].output == [4, 4, 4, 4]


def test_the_model_is_left_as_it_was() -> None:
    model, position = Net(), minidl.random.stream().position
    model.features.eval()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    summarise(model)
    assert not any("forward" in vars(module) for module in model.modules())
    assert (model.training, model.features.training) == (True, False)
    assert minidl.random.stream().position == position
    assert all((array == before[name]).all() for name, array in model.state_dict().items())


def test_also_when_the_pass_fails() -> None:
    model = Net()
    model.output = nn.Linear(63, 3)
    with pytest.raises(ValueError, match="linear"):
        summarise(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_json_holds_what_the_table_shows() -> None:
    table = summarise(Net())
    value = json.loads(json.dumps(table.as_json()))
    assert list(value)[:2] == ["model", "input"]
    assert {"parameters", "macs", "layers"} <= set(value)
    assert [Layer(**layer) for layer in value["layers"]] == table.layers
    text = str(table)
    assert text.splitlines()[0] == "Net, input 2 x 6 x 6"
    assert f"{value['parameters']:,}" in text.splitlines()[-1]
    assert f"{value['macs']:,}" in text.splitlines()[-1]
    assert "(not used in this pass)" in text


def test_lenet_is_exact_to_the_last_parameter() -> None:
    table = summarise(load("models/lenet.py").build())
    assert (table.parameters, table.macs) == (61_706, 416_520)
    weighted = [(layer.name, layer.parameters, layer.macs) for layer in table.layers if layer.parameters]
    assert weighted == [
        ("C1", 156, 117_600),
        ("C3", 2_416, 240_000),
        ("C5", 48_120, 48_000),
        ("F6", 10_164, 10_080),
        ("output", 850, 840),
    ]
