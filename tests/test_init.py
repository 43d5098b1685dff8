"""Initialisers: variances, bounds, orthogonality, AlexNet's start, seeds, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import init
from minidl.random import manual_seed, stream
from minidl.tensor import Tensor

SHAPE = (64, 48, 3, 3)
FAN_IN, FAN_OUT = 48 * 9, 64 * 9


def weight(*shape: int, dtype: type = np.float32) -> nn.Parameter:
    return nn.Parameter(np.zeros(shape or SHAPE, dtype))


STD: dict[str, tuple[Callable, float]] = {
    "normal": (lambda w: init.normal_(w, 0.0, 0.3), 0.3),
    "uniform": (lambda w: init.uniform_(w, -0.6, 0.6), 0.6 / math.sqrt(3)),
    "glorot uniform": (init.glorot_uniform_, math.sqrt(2 / (FAN_IN + FAN_OUT))),
    "glorot normal, tanh": (
        lambda w: init.xavier_normal_(w, init.calculate_gain("tanh")),
        5 / 3 * math.sqrt(2 / (FAN_IN + FAN_OUT)),
    ),
    "he normal": (init.he_normal_, math.sqrt(2 / FAN_IN)),
    "he normal, fan_out": (lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / FAN_OUT)),
    "he uniform": (init.he_uniform_, math.sqrt(2 / FAN_IN)),
    "he uniform, slope": (lambda w: init.kaiming_uniform_(w, a=0.5), math.sqrt(2 / 1.25 / FAN_IN)),
    "lecun normal": (init.lecun_normal_, math.sqrt(1 / FAN_IN)),
    "lecun uniform": (init.lecun_uniform_, math.sqrt(1 / FAN_IN)),
    "orthogonal": (init.orthogonal_, math.sqrt(1 / FAN_IN)),
    "PyTorch's default": (lambda w: init.default_(w, None), 1 / math.sqrt(3 * FAN_IN)),
}
UNIFORM = {"uniform", "glorot uniform", "he uniform", "he uniform, slope", "lecun uniform", "PyTorch's default"}


@pytest.mark.parametrize("name", STD)
def test_mean_and_variance(name: str) -> None:
    manual_seed(0)
    (fill, std), w = STD[name], weight()
    fill(w)
    values = w.numpy().astype(np.float64)
    n = values.size
    assert abs(values.mean()) < 4 * std / math.sqrt(n)
    assert values.std() == pytest.approx(std, rel=4 / math.sqrt(n))  # the estimate errs by std / sqrt(2 n) or less
    reach = np.abs(values).max() / std
    assert reach <= math.sqrt(3) + 1e-6 if name in UNIFORM else reach > 3


@pytest.mark.parametrize("name", STD)
def test_the_same_seed_gives_the_same_bits_in_every_type(name: str) -> None:
    drawn = []
    for w in (weight(), weight(), weight(dtype=np.float64)):
        manual_seed(7)
        STD[name][0](w)
        drawn.append(w.numpy())
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2].astype(np.float32))


def test_two_draws_differ() -> None:
    w, v = weight(), weight()
    init.normal_(w)
    init.normal_(v)
    assert not np.array_equal(w.numpy(), v.numpy())


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3, 3)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    w = weight(*shape, dtype=np.float64)
    init.orthogonal_(w, gain=2.0)
    matrix = w.numpy().reshape(shape[0], -1)
    few = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(few, 4 * np.eye(len(few)), atol=1e-12)


def test_orthogonal_is_uniform_over_signs() -> None:
    """Without the sign fix the QR of LAPACK gives every first column the same sign on the diagonal."""
    diagonal = [init.orthogonal_(weight(2, 2)).numpy()[0, 0] for _ in range(200)]
    assert 60 < sum(value > 0 for value in diagonal) < 140


def test_plain_values_and_the_tensor_itself_come_back() -> None:
    w = weight(3)
    assert init.constant_(w, 1.5) is w
    np.testing.assert_array_equal(w.numpy(), [1.5] * 3)
    np.testing.assert_array_equal(init.ones_(w).numpy(), [1.0] * 3)
    np.testing.assert_array_equal(init.zeros_(w).numpy(), [0.0] * 3)
    assert w.requires_grad
    assert w.version == 3


def test_on_another_device() -> None:
    manual_seed(3)
    w = init.he_normal_(Tensor(np.zeros((4, 3), np.float32), True, device="strict"))
    manual_seed(3)
    assert w.device == "strict"
    np.testing.assert_array_equal(w.numpy(), init.he_normal_(weight(4, 3)).numpy())


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 40, 11)
        self.norm = nn.BatchNorm2d(40)
        self.fc = nn.Linear(4000, 30)


def test_alexnet() -> None:
    model = init.alexnet_(TwoLayers(), ones=["fc"])
    assert model.fc.weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert model.conv.weight.numpy().std() == pytest.approx(0.01, rel=0.05)
    for tensor, value in ((model.fc.bias, 1), (model.conv.bias, 0), (model.norm.bias, 0), (model.norm.weight, 1)):
        np.testing.assert_array_equal(tensor.numpy(), np.full(tensor.shape, value))
    init.alexnet_(model, ones=["conv"], std=0.005, bias=0.1)
    assert model.fc.weight.numpy().std() == pytest.approx(0.005, rel=0.02)
    assert model.conv.bias.numpy()[0] == np.float32(0.1)


def test_layers_start_by_the_stream() -> None:
    minidl.random.manual_seed(1)
    first = nn.Conv2d(3, 4, 3).state_dict()
    position = stream().position
    minidl.random.manual_seed(1)
    second = nn.Conv2d(3, 4, 3).state_dict()
    assert position == stream().position == 2
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


REFUSED: dict[str, Callable] = {
    "init: fans need a weight of 2 or more dimensions, got [3]; for a bias use constant_ or uniform_": lambda: init.he_normal_(
        weight(3)
    ),
    "init: orthogonal_ needs 2 or more dimensions, got [3]": lambda: init.orthogonal_(weight(3)),
    "init: mode must be 'fan_in' or 'fan_out', got 'fan'": lambda: init.kaiming_normal_(weight(), mode="fan"),
    "init: no gain for 'mish'; choose from leaky_relu, linear, conv2d, sigmoid, tanh, relu, selu": lambda: init.calculate_gain(
        "mish"
    ),
    "alexnet_: no layer 'conv2' with a bias; there are conv, norm, fc": lambda: init.alexnet_(TwoLayers(), ones=["conv2"]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_in_one_line(message: str) -> None:
    with pytest.raises(ValueError) as caught:
        REFUSED[message]()
    assert str(caught.value) == message
