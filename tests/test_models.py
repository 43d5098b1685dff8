"""The course's models: their exact sizes, the images they take, and that they learn. A permanent test of public names.

The models and their figures are in model_table.py.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from model_table import TABLE, Row, each

import minidl
from minidl import Tensor, data, nn, optim
from minidl.nn.weights import options_of
from minidl.summary import Layer, summarise
from minidl.train import loss_of
from models import inception
from models.lenet import LeNet5, LeNet1998

FOLDER = Path(__file__).parent.parent / "models"


every_model = each(TABLE)
every_learner = each([row for row in TABLE if row.learns is not None])


def count(module: nn.Module) -> int:
    return sum(parameter.size for parameter in module.parameters())


def blank(model: Any, n: int = 1, size: int | None = None) -> Tensor:
    C, H, W = model.input_shape
    return Tensor(np.zeros((n, C, *((H, W) if size is None else (size, size))), np.float32))


# ---- sizes -----------------------------------------------------------------------------------------------------------------


@every_model
def test_sizes_are_exact(row: Row) -> None:
    with minidl.shapes_only():
        model = row.build()
        table = summarise(model)
    assert (table.parameters, table.macs, table.auxiliary_parameters) == (row.parameters, row.macs, row.auxiliary)
    assert sum(layer.parameters for layer in table.layers) == row.parameters
    assert sum(layer.macs for layer in table.layers) == row.macs
    assert count(model) == row.parameters + row.auxiliary


@every_model
@pytest.mark.parametrize("classes", [10, 3])
def test_one_score_per_class(row: Row, classes: int) -> None:
    with minidl.shapes_only():
        model = row.build(classes=classes).eval()
        out = model(blank(model, 2))
        out = model.predict(out) if hasattr(model, "predict") else out
    assert out.shape == (2, classes)
    assert out.dtype == np.float32


# ---- the tables in the docstrings ------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line of a docstring's table, as its cells: a name, what it puts out, ..., parameters, multiply-adds."""

    cells: list[str]

    @property
    def counts(self) -> tuple[int, ...]:
        """Parameters and multiply-adds."""
        return tuple(0 if cell == "-" else int(cell.replace(",", "")) for cell in self.cells[-2:])


def lines_of(doc: str) -> Iterator[Line]:
    """The lines that end in two counts."""
    for line in doc.splitlines():
        cells = re.split(r" {2,}", re.sub(r" x +", " x ", line.strip()))
        if len(cells) > 1 and all(re.fullmatch(r"\d{1,3}(,\d{3})*|-", cell) for cell in cells[-2:]):
            yield Line(cells)


def documented() -> Iterator[Any]:
    """(the model that a docstring speaks of, its lines), for every docstring with a table."""
    for path in sorted(FOLDER.glob("*.py")):
        module = importlib.import_module(f"models.{path.stem}")
        own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
        models = [value for value in own if issubclass(value, nn.Module) and hasattr(value, "input_shape")]
        for source in (module, *own):
            if lines := list(lines_of(source.__doc__ or "")):
                model = source if source in models else getattr(module, "default", models[0])
                yield pytest.param(model, lines, id=f"{path.stem}-{source.__name__.rpartition('.')[2]}")


@pytest.mark.parametrize(("model_class", "lines"), list(documented()))
def test_the_tables_in_the_docstrings_are_true(model_class: Any, lines: list[Line]) -> None:
    """Of a layer: output, parameters, multiply-adds; of a model or of the whole table: both totals."""
    with minidl.shapes_only():
        layers = summarise(model_class()).layers
    models = {str(row): row for row in TABLE}
    for line in lines:
        if len(line.cells) == 2 or line.cells[0] in models:
            row = models[line.cells[0] if len(line.cells) > 2 else model_class.__name__]
            assert line.counts == (row.parameters, row.macs), row
        else:
            name, output = line.cells[:2]
            assert (output.replace(",", ""), *line.counts) == layer_of(layers, name), name


def layer_of(layers: list[Layer], name: str) -> tuple[str, int, int]:
    """Output (`96 x 55x55` or `4096`), parameters and multiply-adds of a module and all that is inside it."""
    inside = [layer for layer in layers if layer.name == name or layer.name.startswith(f"{name}.")]
    assert inside, f"no layer {name}; there are {[layer.name for layer in layers]}"
    C, *size = inside[-1].output[1:]
    output = f"{C} x {'x'.join(map(str, size))}" if size else str(C)
    return output, sum(layer.parameters for layer in inside), sum(layer.macs for layer in inside)


def test_what_the_docstring_of_inception_says_of_heads_and_of_1x1() -> None:
    text = " ".join((inception.__doc__ or "").split())
    heads = [row.auxiliary for row in TABLE if row.auxiliary]
    assert "auxiliary heads ({:,}, {:,} and {:,} parameters more)".format(*heads) in text
    with minidl.shapes_only():
        nets = [
            nn.Sequential(nn.Conv2d(480, 48, 5, padding=2)),
            nn.Sequential(nn.Conv2d(480, 16, 1), nn.Conv2d(16, 48, 5, padding=2)),
        ]
        for net in nets:
            net.input_shape = (480, 14, 14)
        macs = [summarise(net).macs for net in nets]
    assert macs == [112_896_000, 1_505_280 + 3_763_200]
    assert "5x5 on 14x14x480 to 48 maps costs {:,} multiply-adds, through 16 maps in between {:,}".format(*macs) in text


def test_every_file_has_such_a_table() -> None:
    found = {f"models.{param.id.partition('-')[0]}" for param in documented()}
    assert found >= {row.cls.__module__ for row in TABLE}


def test_the_readme_states_the_sizes() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for row in TABLE:
        if not row.options:
            line = next(line for line in text.splitlines() if f"`{row}`" in line)
            assert f"| {row.parameters:,} | {row.macs:,} |" in line


# ---- the images they take ----------------------------------------------------------------------------------------------------


@each(TABLE, deepest=False)
def test_the_smallest_and_the_largest_images_pass(row: Row) -> None:
    with minidl.shapes_only():
        for model in (row.build().eval(), row.build().train()):
            for size in (row.least, row.most or 2 * row.least):
                model(blank(model, 2, size))


@each(TABLE, deepest=False)
def test_other_images_are_told_which_sizes_pass(row: Row) -> None:
    sizes = f"at least {row.least}x{row.least}" if row.most is None else f"{row.least}x{row.least} to {row.most}x{row.most}"
    with minidl.shapes_only():
        model = row.build()
        C = model.input_shape[0]
        words = f"{row.cls.__name__}: expected images [N,{C},H,W] of {sizes}, got "
        for size in (row.least - 1, *([row.most + 1] if row.most else [])):
            with pytest.raises(ValueError, match=re.escape(f"{words}[2,{C},{size},{size}]; resize them")):
                model(blank(model, 2, size))
            with pytest.raises(ValueError, match=re.escape(f"{words}[2,{C},{size},{row.least}]")):
                model(blank(model, 2, row.least)[:, :, :1].broadcast_to(2, C, size, row.least))
        with pytest.raises(ValueError, match=re.escape(f"{words}[{C},{row.least},{row.least}]; for one image")):
            model(blank(model, 1, row.least)[0])
        with pytest.raises(ValueError, match=re.escape(f"{words}[1,{C + 1},")):
            model(Tensor(np.zeros((1, C + 1, row.least, row.least), np.float32)))


@each([row for row in TABLE if row.smallest], deepest=False)
def test_a_model_is_built_for_any_size_that_it_can_take(row: Row) -> None:
    assert row.smallest is not None
    with minidl.shapes_only():
        for size in (row.smallest, row.smallest + 1, 2 * row.smallest + 3):
            model = row.build(size=size)
            assert model.input_shape[1:] == (size, size)
            model(blank(model, 2))
        words = f"expected images [N,{model.input_shape[0]},H,W] of at least {row.smallest}x{row.smallest}, got size="
        words = words if row.smallest > 1 else "size must be a whole number of 1 or more, got "
        with pytest.raises(ValueError, match=re.escape(f"{row.cls.__name__}: {words}{row.smallest - 1}")):
            row.build(size=row.smallest - 1)


@each([row for row in TABLE if row.smallest], deepest=False)
def test_the_advice_to_build_it_for_another_size_can_be_followed(row: Row) -> None:
    assert row.smallest is not None
    with minidl.shapes_only():
        model = row.build()
        for size in (8, row.smallest - 1, row.smallest, row.least - 1, 2 * row.least + 100):
            try:
                model(blank(model, 2, size))
            except ValueError as error:
                if advised := re.search(r"build it with size=(\d+)$", str(error)):
                    row.build(size=int(advised[1]))(blank(model, 2, size))


# ---- they learn --------------------------------------------------------------------------------------------------------------


def batch(model: Any, n: int) -> tuple[Tensor, np.ndarray]:
    C, *size = model.input_shape
    train = data.load("digits", size=tuple(size), channels=C).train
    return next(iter(data.DataLoader(train, n)))


def settle(model: nn.Module, images: Tensor) -> None:
    """Evaluation mode, with the statistics of these images in every batch norm."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.AlphaBatchNorm2d):
            module.momentum = 1.0
    with minidl.no_grad():
        model.train()(images)
    model.eval()


@every_learner
def test_gradients_reach_every_parameter(row: Row) -> None:
    minidl.manual_seed(0)
    model = row.build(**row.learns)
    images, labels = batch(model, 8)
    loss_of(model, model(images), labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.shape == parameter.shape, name
        assert parameter.grad.dtype == np.float32, name
        assert np.abs(parameter.grad).max() > 0, name


@every_learner
def test_steps_lower_the_loss(row: Row) -> None:
    minidl.manual_seed(0)
    model = row.build(**row.learns)
    images, labels = batch(model, 8)
    settle(model, images)  # without dropout the loss of one batch is one number
    optimizer = optim.SGD(model.parameters(), lr=0.0005)
    losses = []
    for _ in range(3):
        loss = loss_of(model, model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def trained_weights(row: Row, seed: int) -> dict[str, np.ndarray]:
    minidl.manual_seed(seed)
    model = row.build(**row.learns)
    C, *size = model.input_shape
    train = data.load("digits", size=tuple(size), channels=C).train[:16]
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for images, labels in data.DataLoader(train, 8, shuffle=True, augment=data.shifts()):
        optimizer.zero_grad()
        loss_of(model, model(images), labels).backward()
        optimizer.step()
    return model.state_dict()


@each([row for row in TABLE if row.learns == {}])
def test_same_seed_same_bits(row: Row) -> None:
    first, second = trained_weights(row, 1), trained_weights(row, 1)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@every_learner
def test_first_outputs_are_of_the_order_of_one(row: Row) -> None:
    """The initialisation keeps signals alive: scores neither vanish nor saturate before training."""
    minidl.manual_seed(0)
    model = row.build(**row.learns)
    images, _ = batch(model, 32)
    settle(model, images)
    out = model(images).numpy()
    assert 0.1 < out.std() < 3


def test_lenet_with_another_activation() -> None:
    minidl.manual_seed(0)
    model = LeNet5(activation=minidl.relu)
    assert model(batch(model, 4)[0]).shape == (4, 10)


def test_an_activation_may_be_named() -> None:
    assert LeNet5(activation="relu").activation is minidl.relu
    assert options_of(LeNet5(activation="relu")) == options_of(LeNet5(activation=minidl.relu))


def test_the_loss_of_1998_is_equation_9() -> None:
    distances = np.random.default_rng(0).uniform(0, 15, (4, 10))
    labels = np.array([3, 0, 9, 3])
    near = np.log(np.exp(-LeNet1998.J) + np.exp(-distances).sum(axis=1))
    loss = LeNet1998().loss(Tensor(distances), labels).item()
    assert loss == pytest.approx((distances[np.arange(4), labels] + near).mean(), rel=1e-12)


def test_the_drawings_of_1998_are_far_from_each_other() -> None:
    codes = LeNet1998(classes=30).drawings.numpy()
    assert codes.shape == (30, 84)
    assert (np.abs(codes) == 1).all()
    assert min((a != b).sum() for i, a in enumerate(codes) for b in codes[:i]) > 10
    assert (LeNet1998(classes=3).drawings.numpy() == codes[:3]).all()


# ---- they are course material ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_models_use_only_public_names(path: Path) -> None:
    """`import minidl` and `from minidl import nn` and other rooms of the front door; nothing deeper, nothing private."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minidl"):
            assert node.module == "minidl", f"{path.name} imports from {node.module}"
        if isinstance(node, ast.Attribute):
            assert not re.match("_(?!_)", node.attr), f"{path.name} uses {node.attr}"


def test_the_readmes_own_model_works() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        names: dict = {}
        exec(block, names)
        assert names["Net"](classes=7)(Tensor(np.zeros((2, 1, 16, 16), np.float32))).shape == (2, 7)
