"""The course's models: their exact sizes, and that they learn. A permanent test of the public names they use."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import Tensor, data, nn, optim
from models.alexnet import AlexNet32
from models.lenet import LeNet5

FOLDER = Path(__file__).parent.parent / "models"
PARAMETERS = {LeNet5: 61_706, AlexNet32: 797_290}
MULTIPLY_ADDS = {LeNet5: 416_520, AlexNet32: 20_528_640}

every_model = pytest.mark.parametrize("model_class", PARAMETERS)


def count(module: nn.Module) -> int:
    return sum(parameter.size for parameter in module.parameters())


def batch(model_class: type[nn.Module], n: int) -> tuple[Tensor, np.ndarray]:
    C, *size = model_class.input_shape
    train = data.load("digits", size=tuple(size), channels=C).train
    return next(iter(data.DataLoader(train, n)))


def multiply_adds(model: nn.Module) -> int:
    """Of one image, as the ops that the forward pass calls report them."""
    total = []

    def hear(kernel, attrs, arrays, out, saved):
        total.append(kernel.op.cost(*[None if a is None else a.shape for a in arrays], **attrs).macs)

    with minidl.no_grad(), minidl.modes.listening(hear):
        model.eval()(Tensor(np.zeros((1, *model.input_shape), np.float32)))
    return sum(total)


@every_model
def test_sizes_are_exact(model_class):
    model = model_class()
    assert count(model) == PARAMETERS[model_class]
    assert multiply_adds(model) == MULTIPLY_ADDS[model_class]


@pytest.mark.parametrize("model_class", PARAMETERS)
def test_the_table_in_the_docstring_is_true(model_class):
    """Parameters of every layer, in order, as the file's docstring prints them; and both totals."""
    table = (FOLDER / f"{model_class.__module__.rpartition('.')[2]}.py").read_text().split('"""')[1]
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\b\d{1,3}(?:,\d{3})+\b", table)]
    assert PARAMETERS[model_class] in numbers
    assert MULTIPLY_ADDS[model_class] in numbers
    printed = re.findall(r"^ {4}\S+ .*?([\d,]+) +[\d,]+$", table, re.MULTILINE)
    layers = [count(m) for m in model_class().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [int(number.replace(",", "")) for number in printed[: len(layers)]] == layers


@every_model
@pytest.mark.parametrize("classes", [10, 3])
def test_one_score_per_class(model_class, classes):
    out = model_class(classes=classes)(Tensor(np.zeros((2, *model_class.input_shape), np.float32)))
    assert out.shape == (2, classes)
    assert out.dtype == np.float32


@every_model
def test_gradients_reach_every_parameter(model_class):
    minidl.manual_seed(0)
    model = model_class()
    images, labels = batch(model_class, 8)
    minidl.softmax_cross_entropy(model(images), labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.shape == parameter.shape, name
        assert parameter.grad.dtype == np.float32, name
        assert np.abs(parameter.grad).max() > 0, name


@every_model
def test_steps_lower_the_loss(model_class):
    minidl.manual_seed(0)
    model = model_class().eval()  # without dropout the loss of one batch is one number
    images, labels = batch(model_class, 16)
    optimizer = optim.SGD(model.parameters(), lr=0.005)
    losses = []
    for _ in range(4):
        loss = minidl.softmax_cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def trained_weights(model_class: type[nn.Module], seed: int) -> dict[str, np.ndarray]:
    minidl.manual_seed(seed)
    C, *size = model_class.input_shape
    train = data.load("digits", size=tuple(size), channels=C).train[:48]
    model = model_class()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for images, labels in data.DataLoader(train, 16, shuffle=True, augment=data.shifts()):
        optimizer.zero_grad()
        minidl.softmax_cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.state_dict()


@every_model
def test_same_seed_same_bits(model_class):
    first, second, other = (trained_weights(model_class, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)


@every_model
def test_first_outputs_are_of_the_order_of_one(model_class):
    """The initialisation keeps signals alive: scores neither vanish nor saturate before training."""
    minidl.manual_seed(0)
    out = model_class().eval()(batch(model_class, 32)[0]).numpy()
    assert 0.1 < out.std() < 3


def test_lenet_with_another_activation():
    minidl.manual_seed(0)
    images, _ = batch(LeNet5, 4)
    assert LeNet5(activation=minidl.relu)(images).shape == (4, 10)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_models_use_only_public_names(path):
    """`import minidl` and `from minidl import nn` and other rooms of the front door; nothing deeper, nothing private."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minidl"):
            assert node.module == "minidl", f"{path.name} imports from {node.module}"
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_"), f"{path.name} uses {node.attr}"


def test_the_readmes_own_model_works():
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        names: dict = {}
        exec(block, names)
        assert names["Net"](classes=7)(Tensor(np.zeros((2, 1, 16, 16), np.float32))).shape == (2, 7)


def test_the_readme_states_the_sizes():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for model_class in PARAMETERS:
        row = next(line for line in text.splitlines() if f"`{model_class.__name__}`" in line)
        assert f"| {PARAMETERS[model_class]:,} | {MULTIPLY_ADDS[model_class]:,} |" in row
