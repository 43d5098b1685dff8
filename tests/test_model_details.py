"""What the twins cannot see: the models' dropout, which parity turns off, and their first weights, which it copies."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from model_table import TABLE, Row, each

import minidl
from minidl import Tensor
from minidl.modes import listening
from models.inception import GoogLeNet, InceptionV3
from models.lenet import LeNet5, LeNet1998
from models.resnet import ResNet18, ResNet20
from models.vgg import VGG11

# ---- dropout -----------------------------------------------------------------------------------------------------------------

DROPOUTS = {  # class and variant -> (probability, features) of each call in training
    "AlexNet": [(0.5, 4096)] * 2,
    "AlexNet32": [(0.5, 512)] * 2,
    "KerasAlexNet": [(0.4, 4096)] * 2,
    **{name: [(0.5, 9216), (0.5, 4096)] for name in ("SlidesAlexNet", "TorchvisionAlexNet", "SixClassAlexNet")},
    **{name: [(0.5, 4096)] * 2 for name in ("VGG11", "VGG13", "VGG16", "VGG19")},
    "GoogLeNet": [(0.4, 1024), (0.7, 1024), (0.7, 1024)],
    "GoogLeNet auxiliary=False": [(0.4, 1024)],
    "GoogLeNet variant=torchvision": [(0.2, 1024), (0.7, 1024), (0.7, 1024)],
    "GoogLeNet variant=torchvision auxiliary=False": [(0.2, 1024)],
    "InceptionV3": [(0.5, 2048)],
}


@each(TABLE)
def test_dropout_is_where_the_papers_have_it(row: Row) -> None:
    heard = []

    def hear(kernel: Any, attrs: dict[str, Any], arrays: tuple, out: Any, saved: Any) -> None:
        if kernel.op.name == "dropout":
            heard.append((attrs["p"], arrays[0].shape[1]))

    with minidl.shapes_only(), listening(hear):
        model = row.build().train()
        model(Tensor(np.zeros((2, *model.input_shape), np.float32)))
    assert heard == DROPOUTS.get(str(row), DROPOUTS.get(row.cls.__name__, []))


# ---- first weights -----------------------------------------------------------------------------------------------------------


def he(fan_in: int) -> float:
    return math.sqrt(2 / fan_in)


def lecun(fan_in: int) -> float:
    return math.sqrt(1 / fan_in)


def fixed(std: float) -> Callable[[int], float]:
    return lambda fan_in: std


GOOGLENET = {"": he, "fc": fixed(0.01), "aux1.fc2": fixed(0.01), "aux2.fc2": fixed(0.01)}
INCEPTION_V3 = {"": fixed(0.1), "AuxLogits.conv1": fixed(0.01), "AuxLogits.fc": fixed(0.001)}


@pytest.mark.parametrize(
    ("build", "stds"),  # beginning of a name -> the spread of its weights; the longest that fits has the say
    [
        pytest.param(LeNet5, {"": lecun}, id="LeNet5"),
        pytest.param(partial(VGG11, size=32), {"": he, "classifier.6": fixed(0.01)}, id="VGG11"),
        pytest.param(partial(GoogLeNet, size=79), GOOGLENET, id="GoogLeNet"),
        pytest.param(partial(GoogLeNet, variant="torchvision"), {"": fixed(0.01)}, id="GoogLeNet torchvision"),
        pytest.param(InceptionV3, INCEPTION_V3, id="InceptionV3"),
        pytest.param(ResNet18, {"": he}, id="ResNet18"),
        pytest.param(ResNet20, {"": he}, id="ResNet20"),
    ],
)
def test_the_first_weights_spread_as_the_docstring_says(build: Callable, stds: dict[str, Callable[[int], float]]) -> None:
    """Biases are 0. (AlexNet's conventions: test_alexnet_notes.py.)"""
    minidl.manual_seed(0)
    for name, parameter in build().named_parameters():
        values = parameter.numpy()
        if values.ndim == 1:
            assert (values == (0 if name.endswith("bias") else 1)).all(), name
        elif values.size > 2000:
            std = stds[max((start for start in stds if name.startswith(start)), key=len)]
            assert values.std() == pytest.approx(std(values[0].size), rel=0.08), name


def test_lenet_of_1998_starts_within_the_papers_bounds() -> None:
    minidl.manual_seed(0)
    model = LeNet1998()
    for layer, fan_in in ((model.C1, 25), (model.S4, 4), (model.C3, 25 * 60 / 16), (model.C5, 400), (model.F6, 120)):
        values = np.concatenate([parameter.numpy().ravel() for parameter in layer.parameters()])
        assert 0.9 * 2.4 / fan_in < np.abs(values).max() <= np.float32(2.4 / fan_in)
