"""Nothing crosses between host and device unasked: a step of every model, and an epoch of the trainer.

What crosses by intent is declared in crossings.py, with its reason.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import emulation
import numpy as np
import pytest
from crossings import (
    INDEX,
    KEY,
    TO_DEVICE,
    TO_HOST,
    WAITS,
    counted,
    device,
    normal,
    places,
    seen_of,
    undeclared,
    watching,
)
from model_table import TABLE

import minidl
from minidl import Tensor, data, nn, optim
from minidl.evaluation import evaluate, loss_of
from minidl.modes import listening
from minidl.recipe import Recipe
from minidl.train import Progress, Training
from models.alexnet_listings import KerasAlexNet, TorchvisionAlexNet
from models.alphanet import AlphaNet32
from models.functional import TwoInTwoOut, profile_of
from models.functional import loss_of as functional_loss
from models.inception import GoogLeNet, InceptionV3
from models.lenet import LeNet5
from models.vgg import VGG11

# ---- models ----------------------------------------------------------------------------------------------------------------

ALPHA = {"depth": 14, "size": 16}
MODELS: dict[str, Callable[[], Any]] = {
    **{f"{row}": lambda row=row: row.build(**row.learns) for row in TABLE if row.learns is not None},  # type: ignore[misc]
    "GoogLeNet, with heads": lambda: GoogLeNet(classes=10, size=79),
    **{f"AlphaNet32, {links}": lambda links=links: AlphaNet32(**ALPHA, links=links) for links in ("redraw", "none")},  # type: ignore[misc]
    **{f"AlphaNet32, {loss}": lambda loss=loss: AlphaNet32(**ALPHA, loss=loss, auxiliary=True) for loss in ("am", "am_linear")},  # type: ignore[misc]
    **{f"AlphaNet32, recompute {what}": lambda what=what: AlphaNet32(**ALPHA, recompute=what) for what in ("block", "stage")},  # type: ignore[misc]
    "AlphaNet32, survival": lambda: AlphaNet32(**ALPHA, structure="residual", survival=0.5),
    "TorchvisionAlexNet": lambda: TorchvisionAlexNet(classes=10, size=63),
    "KerasAlexNet": KerasAlexNet,
    "InceptionV3": lambda: InceptionV3(classes=10, size=75, auxiliary=False),
}


def step_of(model: Any) -> Callable[[], None]:
    """Forward, loss, backward, update, on two images that lie on the device."""
    optimizer = optim.SGD(model.to("strict").parameters(), lr=1e-9, momentum=0.9)
    images, labels = normal(2, *model.input_shape), device([1, 2])

    def step() -> None:
        optimizer.zero_grad()
        loss_of(model, model(images), labels).backward()
        optimizer.step()

    return step


LARGE = ("InceptionV3", "TorchvisionAlexNet", "KerasAlexNet")  # what they are made of, smaller nets of the same files have too


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.nightly if name in LARGE else ()) for name in MODELS])
def test_a_step_of_a_model_lets_only_keys_cross(name: str) -> None:
    model = MODELS[name]()
    step, drawn = step_of(model), []
    index = {(TO_DEVICE, INDEX)} if name == "LeNet1998" else set()  # of Table I, which maps C3 is wired to
    step()
    with watching() as seen, listening(lambda kernel, *_: drawn.append(kernel.op.name)):
        step()
    assert places(seen) <= {(TO_DEVICE, KEY)} | index, seen
    assert sum(crossing.place == KEY for crossing in seen) == sum(drawn.count(op) for op in ("dropout", "stochastic_pool2d"))
    model.eval()
    assert places(seen_of(step)) <= index


def test_every_file_of_models_is_there() -> None:
    files = {type(MODELS[name]()).__module__ for name in ("LeNet5", "AlexNet32", "TorchvisionAlexNet", "ResNet20")}
    files |= {cls.__module__ for cls in (VGG11, GoogLeNet, AlphaNet32, TwoInTwoOut)}
    assert files == {f"models.{path.stem}" for path in (emulation.HEADER.parent.parent / "models").glob("*.py")}


def test_a_step_with_two_inputs_and_two_outputs() -> None:
    model, images, labels = TwoInTwoOut().to("strict"), normal(3, 1, 8, 8), device([1, 2, 3])
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        functional_loss(model(images, profile_of(images)), labels).backward()
        optimizer.step()

    assert seen_of(step) == []


def test_links_stay_on_the_host_and_in_the_file() -> None:
    model = AlphaNet32(depth=20, size=16).to("strict")
    assert {type(buffer): buffer.device for buffer in model.buffers()} == {nn.HostBuffer: "cpu", nn.Buffer: "strict"}
    state = model.state_dict()
    other = AlphaNet32(depth=20, size=16, seed=1).to("strict")
    other.load_state_dict(state)
    sources = {name: array for name, array in other.state_dict().items() if name.endswith("source")}
    assert sources
    assert all(np.array_equal(array, state[name]) for name, array in sources.items())
    assert all(type(b) is nn.HostBuffer for b in copy.deepcopy(model).buffers() if b.dtype == np.int64 and b.device == "cpu")


# ---- the trainer -----------------------------------------------------------------------------------------------------------


def training_of(where: str, **options: Any) -> Training:
    """LeNet-5 on 45 images, batches of 20, 20 and 5."""
    minidl.manual_seed(0)
    splits = data.load("digits", size=(32, 32), channels=1)
    splits = replace(splits, train=splits.train[:45], validation=splits.validation[:30])
    return Training(LeNet5().to(where), splits, Recipe(epochs=2, batch_size=20, **options), device=where)


@pytest.mark.parametrize("options", [{}, {"clip": 0.5}, {"accumulate": 2}], ids=str)
def test_an_epoch_reads_the_loss_once_a_batch(options: dict[str, Any]) -> None:
    training = training_of("strict", **options)
    training.epoch()
    with watching() as seen:
        training.epoch()
    assert undeclared(seen) == []
    read = Counter(crossing.place for crossing in seen if crossing.kind == TO_HOST)
    expected = {"minidl/step.py __call__": 3, "minidl/train.py accuracy": 1, "minidl/evaluation.py _read": 2}
    if "clip" in options:
        expected["minidl/optim/clip.py _joint_norm"] = 3
    state = read.pop("minidl/nn/module.py state_dict", 0)  # where the epoch was the best
    assert (read, state in (0, len(training.model.state_dict()))) == (expected, True)
    assert counted(seen, WAITS) == 0
    assert counted(seen, TO_DEVICE) == 2 * (3 + 1)  # images and labels, of training and of validation


def test_the_accuracy_is_read_only_by_who_asks() -> None:
    training = training_of("strict")
    with watching() as seen:
        training.epoch(lambda p: None)
    asked: list[Progress] = []
    with watching() as seen_too:
        training.epoch(lambda p: asked.append((p.images, p.accuracy)))
    assert counted(seen_too, TO_HOST) - counted(seen, TO_HOST) <= 3
    assert [images for images, _ in asked] == [20, 40, 45]


def test_a_run_is_the_same_on_every_device() -> None:
    """But for rounding: on the host convolutions are computed by another kernel."""
    runs = []
    for where in ("cpu", "strict"):
        training, told = training_of(where), []
        for _ in range(2):
            training.epoch(lambda p, told=told: told.append((p.epoch, p.images, p.loss, p.accuracy)))
        measures = [
            (row["train_loss"], row["train_accuracy"], row["val_loss"], row["val_accuracy"]) for row in training.metrics
        ]
        runs.append((told, measures))
    for ours, theirs in zip(*runs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_evaluating_reads_twice_however_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidl.evaluation.MOST_IMAGES", 8)
    model, test = LeNet5(), data.load("digits", size=(32, 32), channels=1).test[:30]
    whole = evaluate(model, test)
    model.to("strict")
    with watching() as seen:
        found = evaluate(model, test, device="strict")
    assert Counter((c.kind, c.place) for c in seen) == {
        (TO_HOST, "minidl/evaluation.py _read"): 2,
        (TO_DEVICE, "minidl/data/loader.py __iter__"): 2 * 4,
    }
    assert found.loss == whole.loss
    assert np.array_equal(found.confusion, whole.confusion)


def test_answers_of_the_host_are_counted_too() -> None:
    """A model's own `predict` may give class numbers that it made with NumPy."""

    class Own(LeNet5):
        def predict(self, out: Tensor) -> np.ndarray:
            return out.numpy().argmax(axis=1)

    results = []
    for cls in (LeNet5, Own):
        training = training_of("strict")
        training.model.__class__ = cls
        record, _ = training.epoch()
        results.append((record["train_accuracy"], record["val_accuracy"]))
    assert results[0] == results[1]
