"""Named workloads are true: one that bears a model's name is a call that this model makes, in training or in prediction."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.draw import Table
from minidl.evaluation import loss_of
from minidl.modes import listening
from minidl.op import OPS, Kernel, Op
from models.alexnet import AlexNet
from models.alphanet import AlphaNet, AlphaNet32
from models.inception import GoogLeNet, InceptionV3
from models.lenet import LeNet5
from models.resnet import ResNet20, ResNet50
from models.vgg import VGG16

N = 2  # images, whatever the workload says

# first word of a workload's name -> the models that may make the call
MODELS: dict[str, list[Callable[[], nn.Module]]] = {
    "lenet": [LeNet5],
    "alexnet": [AlexNet],
    "vgg16": [VGG16, lambda: VGG16(batch_norm=True)],
    "googlenet": [GoogLeNet, lambda: GoogLeNet(variant="torchvision")],
    "inception_v3": [InceptionV3],
    "resnet20": [ResNet20],
    "resnet50": [ResNet50],
    "alphanet": [
        AlphaNet,
        AlphaNet32,
        lambda: AlphaNet32(structure="residual"),
        lambda: AlphaNet(loss="am_linear"),
        lambda: AlphaNet32(loss="am_linear", s=30),
    ],
}
NAMED = [(op, name) for op in OPS.values() for name in op.workloads if name.partition(".")[0] in MODELS]

# what a benchmark times with the shapes of every net that has such a layer
POOLS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "global_avg_pool2d")
LAYERS = ("conv2d", "linear", *POOLS, "lrn", "dropout", "stochastic_pool2d")
LAYERS += ("batch_norm", "batch_norm_relu", "batch_norm_inference")


class Call(Table):
    """A workload's answers for N images; arrays are shapes without memory."""

    def array(self, *shape: int) -> np.ndarray:
        return np.broadcast_to(np.float64(0), shape)

    def labels(self, n: int, classes: int) -> np.ndarray:
        return np.zeros(n, np.int64)


def described(op: Op, arrays: tuple, attrs: dict[str, Any]) -> tuple[str, str, str]:
    """A call in words, to be compared."""
    shapes = [None if a is None else tuple(a.shape) for a in arrays]
    return op.name, repr(shapes), repr(sorted(attrs.items()))


@cache
def calls(prefix: str) -> set[tuple[str, str, str]]:
    """All calls that the models of this name make for N images: in training with the loss, and in prediction."""
    heard = set()

    def hear(kernel: Kernel, attrs: dict[str, Any], arrays: tuple, out: Any, saved: Any) -> None:
        heard.add(described(kernel.op, arrays, attrs))

    with minidl.shapes_only(), listening(hear):
        for build in MODELS[prefix]:
            model = build()
            images = np.zeros((N, *model.input_shape), np.float32)
            loss_of(model, model.train()(images), np.zeros(N, np.int64))
            getattr(model, "predict", lambda out: out)(model.eval()(images))
    return heard


@pytest.mark.parametrize(("op", "name"), NAMED, ids=[f"{op.name}-{name}" for op, name in NAMED])
def test_the_model_makes_this_call(op: Op, name: str) -> None:
    inputs, attrs = op.ask(Call({**op.workloads[name], "N": N}, op.attrs))
    call, made = described(op, inputs, attrs), calls(name.partition(".")[0])
    of_this_op = "\n".join(sorted(f"{shapes} {settings}" for who, shapes, settings in made if who == op.name))
    assert call in made, f"not made:\n{call[1]} {call[2]}\nmade:\n{of_this_op}"


@pytest.mark.parametrize("op", LAYERS)
def test_every_model_with_such_a_layer_is_among_the_workloads(op: str) -> None:
    callers = {prefix for prefix in MODELS if any(who == op for who, _, _ in calls(prefix))}
    assert callers
    assert {name.partition(".")[0] for name in OPS[op].workloads} >= callers
