"""fit, evaluate, predict: what they promise, on a model that learns in a fraction of a second."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import minidl
from minidl import data, nn
from minidl.random import stream
from minidl.recipe import Recipe
from minidl.tensor import Tensor
from minidl.train import Diverged, evaluate, fit, predict, probe

TIMES = {"seconds", "images_per_second"}
QUICK = Recipe(epochs=2, lr=0.01, shifts=0)


class Tiny(nn.Module):
    input_shape = (1, 8, 8)

    def __init__(self, classes: int = 10):
        self.hidden, self.drop, self.output = nn.Linear(64, 16), nn.Dropout(0.1), nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.drop(minidl.tanh(self.hidden(x.flatten(1)))))


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    whole = data.digits(size=8)
    return replace(whole, train=whole.train[:200])


def fitted(splits: data.Splits, recipe: Recipe = QUICK, seed: int = 0) -> tuple[Tiny, list[dict[str, float]]]:
    minidl.manual_seed(seed)
    model = Tiny()
    metrics = fit(model, splits, recipe).metrics
    return model, [{name: value for name, value in record.items() if name not in TIMES} for record in metrics]


def test_it_learns_and_says_how(splits: data.Splits) -> None:
    _, metrics = fitted(splits, replace(QUICK, epochs=4))
    assert [record["epoch"] for record in metrics] == [1, 2, 3, 4]
    assert set(metrics[0]) == {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"}
    assert metrics[-1]["val_accuracy"] > 0.5
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"] < 3


def test_one_seed_one_result_bit_for_bit(splits: data.Splits) -> None:
    recipe = replace(QUICK, shifts=1)
    (one, metrics), (two, again), (other, _) = (fitted(splits, recipe, seed) for seed in (7, 7, 8))
    assert metrics == again
    for name, array in one.state_dict().items():
        assert array.tobytes() == two.state_dict()[name].tobytes()
        assert array.tobytes() != other.state_dict()[name].tobytes()


def test_the_model_is_left_with_the_best_epoch(splits: data.Splits) -> None:
    minidl.manual_seed(0)
    model, told = Tiny(), []
    result = fit(model, splits, replace(QUICK, epochs=5, lr=0.3), on_epoch=lambda record, best: told.append((record, best)))
    best = max(result.metrics, key=lambda record: (record["val_accuracy"], -record["val_loss"]))
    assert result.best_epoch == best["epoch"] == [record["epoch"] for record, is_best in told if is_best][-1]
    assert evaluate(model, splits.validation).accuracy == best["val_accuracy"]


def test_training_never_reads_the_test_images(splits: data.Splits) -> None:
    class Sealed:
        def __getattribute__(self, name: str) -> None:
            raise AssertionError(f"fit read test.{name}")

    fitted(replace(splits, test=Sealed()))


def test_evaluating_leaves_no_trace(splits: data.Splits) -> None:
    model = Tiny()
    position = stream().position
    model.drop.eval()
    loss, accuracy, confusion = evaluate(model, splits.validation)
    assert stream().position == position
    assert (model.training, model.drop.training, model.output.training) == (True, False, True)
    assert confusion.sum() == len(splits.validation)
    assert accuracy == np.trace(confusion) / len(splits.validation)
    assert (confusion.sum(axis=1) == np.bincount(splits.validation.labels)).all()
    assert math.isclose(loss, mean_cross_entropy(model, splits.validation), rel_tol=1e-5)


def mean_cross_entropy(model: Tiny, dataset: data.Dataset) -> float:
    p = predict(model, dataset.normalise(dataset.images))
    return float(-np.log(p[np.arange(len(p)), dataset.labels]).mean())


def test_predictions_are_probabilities(splits: data.Splits) -> None:
    p = predict(Tiny(), splits.test.images[:300])
    assert p.shape == (300, 10)
    assert np.allclose(p.sum(axis=1), 1)


def test_a_model_brings_its_own_loss_and_prediction(splits: data.Splits) -> None:
    class Distances(Tiny):  # the nearest of the one-hot targets, by squared distance
        def loss(self, out: Tensor, labels: np.ndarray) -> Tensor:
            return ((out - np.eye(10, dtype=np.float32)[labels]) ** 2).mean()

        def predict(self, out: Tensor) -> np.ndarray:
            return out.numpy().argmax(axis=1)

    minidl.manual_seed(0)
    model = Distances()
    metrics = fit(model, splits, replace(QUICK, epochs=4)).metrics
    assert metrics[-1]["val_loss"] < 0.1
    assert metrics[-1]["val_accuracy"] > 0.4
    assert predict(model, splits.test.images[:5]).shape == (5,)


def test_a_loss_that_explodes_is_said_in_words(splits: data.Splits) -> None:
    with pytest.raises(
        Diverged, match=r"^epoch 1, step \d+: the loss is (nan|inf); try a smaller lr than 1e\+38, or detect_anomaly"
    ):
        fitted(splits, Recipe(epochs=2, optimizer="sgd", lr=1e38, shifts=0))


def test_also_when_it_explodes_in_validation(splits: data.Splits) -> None:
    class Fragile(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1.0 if self.training else math.inf)

    with pytest.raises(Diverged, match=r"^epoch 1, validation: the loss is nan; try a smaller lr than 0.01"):
        fit(Fragile(), splits, QUICK)


def test_the_op_that_made_a_nan_is_named(splits: data.Splits) -> None:
    class Log(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return minidl.log(super().forward(x))

    with (
        np.errstate(all="ignore"),
        minidl.detect_anomaly(),
        pytest.raises(Diverged, match=r"epoch 1, step 1: log\[.*holds NaN"),
    ):
        fit(Log(), splits, QUICK)


def test_evaluation_does_not_change_training(splits: data.Splits) -> None:
    """Randomness drawn by a model while it is evaluated comes from another stream."""
    minidl.manual_seed(3)
    plain = Tiny()
    fit(plain, splits, QUICK)
    minidl.manual_seed(3)
    watched = Tiny()
    fit(watched, splits, QUICK, on_epoch=lambda *_: evaluate(watched, splits.train) and None)
    assert all((a == watched.state_dict()[name]).all() for name, a in plain.state_dict().items())


@pytest.mark.parametrize(
    ("schedule", "rates"),
    {
        "constant": (1, 1, 1, 1, 1, 1),
        "step": (1, 1, 0.1, 0.1, 0.01, 0.01),
        "cosine": tuple((1 + math.cos(math.pi * t / 6)) / 2 for t in range(6)),
    }.items(),
)
def test_schedules(schedule: str, rates: tuple, splits: data.Splits) -> None:
    _, metrics = fitted(splits, replace(QUICK, epochs=6, schedule=schedule))
    assert np.allclose([record["lr"] for record in metrics], [0.01 * rate for rate in rates])


def test_warm_up_rises_to_the_schedule(splits: data.Splits) -> None:
    _, metrics = fitted(splits, replace(QUICK, epochs=5, warmup=3, schedule="constant"))
    assert np.allclose([record["lr"] for record in metrics], [0.0025, 0.005, 0.0075, 0.01, 0.01])


def test_plateau_follows_the_validation_loss(splits: data.Splits) -> None:
    _, metrics = fitted(splits, replace(QUICK, epochs=8, lr=1e-6, schedule="plateau"))
    assert [record["lr"] for record in metrics] == pytest.approx([1e-6] * 4 + [1e-7] * 3 + [1e-8])


def test_clipping_keeps_a_wild_rate_finite(splits: data.Splits) -> None:
    _, metrics = fitted(splits, Recipe(epochs=1, optimizer="sgd", lr=10.0, momentum=0.0, clip=1e-3, shifts=0))
    assert math.isfinite(metrics[-1]["val_loss"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_every_optimiser_learns(optimizer: str, splits: data.Splits) -> None:
    _, metrics = fitted(splits, Recipe(epochs=4, optimizer=optimizer, shifts=0))
    assert metrics[-1]["train_loss"] < 0.9 * metrics[0]["train_loss"]


def test_probe_knows_what_does_not_fit() -> None:
    class Pair(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).reshape((1, 5, 2))

    probe(Tiny(), 10)
    with pytest.raises(ValueError, match=r"Tiny: expected scores \[1,12\] for one image and 12 classes, got \[1, 10\]"):
        probe(Tiny(), 12)
    with pytest.raises(
        ValueError, match=r"Pair: expected scores \[N, classes\] or class numbers \[N\], got float32 \[1, 5, 2\]"
    ):
        probe(Pair(), 10)
