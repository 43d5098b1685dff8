"""fit, evaluate, predict: what they promise, on a model that learns in a fraction of a second."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import data, evaluation, nn
from minidl.random import stream
from minidl.recipe import Recipe
from minidl.state import read_state, save_state
from minidl.step import parts_of_steps
from minidl.tensor import Tensor
from minidl.train import Diverged, Training, evaluate, fit, predict, probe

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
    return model, [without_times(record) for record in metrics]


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


class Headed(Tiny):
    """Scores from the main head alone when it predicts; in training from an auxiliary head too."""

    def __init__(self, classes: int = 10):
        super().__init__(classes)
        self.auxiliary = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        main = super().forward(x)
        return (main, self.auxiliary(x.flatten(1))) if self.training else main


class Weighted(Headed):
    def loss(self, out: Tensor | tuple[Tensor, Tensor], labels: np.ndarray) -> Tensor:
        main, *others = out if isinstance(out, tuple) else (out,)
        return sum((0.3 * cross_entropy(other, labels) for other in others), cross_entropy(main, labels))


def cross_entropy(scores: Tensor, labels: np.ndarray) -> Tensor:
    return minidl.softmax_cross_entropy(scores, labels)


def test_auxiliary_heads_are_trained_by_the_models_loss_and_left_out_of_its_answers(splits: data.Splits) -> None:
    minidl.manual_seed(0)
    model = Weighted()
    before = model.auxiliary.weight.numpy().copy()
    metrics = fit(model, splits, replace(QUICK, epochs=4)).metrics
    assert not np.array_equal(model.auxiliary.weight.numpy(), before)
    assert metrics[-1]["train_accuracy"] > 0.5  # counted on the main head
    assert metrics[-1]["train_loss"] > metrics[-1]["val_loss"]  # the heads' share is in the one alone
    assert predict(model, splits.test.images[:3]).shape == (3, 10)


def test_several_outputs_without_a_loss_are_refused(splits: data.Splits) -> None:
    with pytest.raises(ValueError, match=r"^Headed: forward gave 2 outputs and the model has no loss\(out, labels\) to weigh"):
        fit(Headed(), splits, QUICK)


def test_frozen_parts_stay_as_they_are(splits: data.Splits) -> None:
    minidl.manual_seed(0)
    model = Tiny()
    nn.freeze(model, "hidden")
    before = model.state_dict()
    fit(model, splits, replace(QUICK, weight_decay=0.1))
    changed = [name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])]
    assert changed == ["output.weight", "output.bias"]
    nn.freeze(model, "hidden", "output")
    with pytest.raises(ValueError, match="Tiny: all is frozen, so nothing to train; freeze fewer parts"):
        probe(model, 10)


class Normed(Tiny):
    """Batch norm of features: one image gives it one value a channel."""

    def __init__(self, classes: int = 10):
        super().__init__(classes)
        self.hidden = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16))


@pytest.mark.parametrize(("images", "batch_size", "steps"), [(9, 4, [4, 9]), (9, 8, [9]), (10, 4, [4, 8, 10]), (3, 2, [3])])
def test_a_last_image_alone_joins_the_step_before(splits: data.Splits, images: int, batch_size: int, steps: list[int]) -> None:
    seen: list[int] = []
    few = replace(splits, train=splits.train[:images])
    fit(
        Normed(), few, Recipe(epochs=1, batch_size=batch_size, shifts=0), on_batch=lambda progress: seen.append(progress.images)
    )
    assert seen == steps


def test_batches_of_one_stay_batches_of_one(splits: data.Splits) -> None:
    few, seen = replace(splits, train=splits.train[:3]), []
    fit(Tiny(), few, Recipe(epochs=1, batch_size=1, shifts=0), on_batch=lambda progress: seen.append(progress.images))
    assert seen == [1, 2, 3]
    with pytest.raises(ValueError, match="expected more than 1 value per channel in training; use a larger batch"):
        fit(Normed(), few, Recipe(epochs=1, batch_size=1, shifts=0))


# ---- several batches in a step -------------------------------------------------------------------------------------------


def test_each_batch_weighs_by_its_images_in_its_own_step() -> None:
    assert list(parts_of_steps([8, 8, 8, 2], 3)) == [*((1, i, 3, 1 / 3) for i in (1, 2, 3)), (2, 1, 1, 1)]
    assert list(parts_of_steps([8, 9], 4)) == [(1, 1, 2, 8 / 17), (1, 2, 2, 9 / 17)]
    assert list(parts_of_steps([8, 2], 1)) == [(1, 1, 1, 1), (2, 1, 1, 1)]


class Still(Tiny):
    """Without dropout: an image's gradient does not depend on its batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.output(minidl.tanh(self.hidden(x.flatten(1))))


def steps_of(splits: data.Splits, images: int, model: nn.Module, **changes: float) -> Training:
    """Two epochs on so many images."""
    recipe = replace(Recipe(epochs=2, optimizer="sgd", lr=0.2, weight_decay=0.01, shifts=0), **changes)
    training = Training(model, replace(splits, train=splits.train[:images]), recipe)
    while not training.finished:
        training.epoch()
    return training


@pytest.mark.parametrize("clip", [0.0, 0.5])  # the first gradients' norm is about 0.8
@pytest.mark.parametrize("images", [96, 90, 97, 100])  # in eights: none is left; a batch of 2; a batch of 9; a step of 4
def test_small_batches_together_make_the_step_of_a_large_one(images: int, clip: float, splits: data.Splits) -> None:
    trainings = []
    for batch_size, accumulate in ((32, 1), (8, 4), (8, 1)):
        minidl.manual_seed(5)
        trainings.append(steps_of(splits, images, Still(), batch_size=batch_size, accumulate=accumulate, clip=clip))
    one, parts, small = trainings
    assert one.optimizer.steps == parts.optimizer.steps != small.optimizer.steps
    assert one.metrics[1]["train_loss"] == pytest.approx(parts.metrics[1]["train_loss"], rel=1e-5)
    for name, array in one.model.state_dict().items():
        np.testing.assert_allclose(parts.model.state_dict()[name], array, rtol=1e-4, atol=1e-6)
        assert not np.allclose(small.model.state_dict()[name], array, rtol=1e-2, atol=1e-3)


def test_batch_norm_sees_each_batch_by_itself(splits: data.Splits) -> None:
    """With hardly any learning rate the running statistics are those of batches of 8, however many make a step."""
    found = []
    for batch_size, accumulate in ((8, 4), (8, 1), (32, 1)):
        minidl.manual_seed(5)
        model = Normed()
        model.drop.eval()
        training = steps_of(splits, 96, model, batch_size=batch_size, accumulate=accumulate, lr=1e-9)
        found.append(training.model.state_dict()["hidden.1.running_var"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert not np.allclose(found[0], found[2], rtol=1e-2)


def test_progress_is_told_batch_by_batch(splits: data.Splits) -> None:
    few, seen = replace(splits, train=splits.train[:20]), []
    recipe = Recipe(epochs=1, batch_size=8, accumulate=2, shifts=0)
    fit(Tiny(), few, recipe, on_batch=lambda progress: seen.append(progress.images))
    assert seen == [8, 16, 20]


def test_the_batch_that_explodes_is_named(splits: data.Splits) -> None:
    class Fourth(Tiny):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += self.training
            return super().forward(x) * (math.inf if self.calls == 4 else 1.0)

    with pytest.raises(Diverged, match=r"^epoch 1, step 2, batch 1 of 2: the loss is nan; try a smaller lr"):
        fit(Fourth(), splits, Recipe(epochs=1, batch_size=40, accumulate=3, shifts=0))


def test_a_loss_that_explodes_is_said_in_words(splits: data.Splits) -> None:
    class Unbounded(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return self.output(self.hidden(x.flatten(1)) * 1e4)

    minidl.manual_seed(0)
    with pytest.raises(
        Diverged, match=r"^epoch 1, step \d+: the loss is (nan|inf); try a smaller lr than 9e\+03, or detect_anomaly"
    ):
        fit(Unbounded(), splits, Recipe(epochs=2, optimizer="sgd", lr=9e3, shifts=0))


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


# ---- the recipe and the images -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "pixels"), [((8, 8), 1), ((16, 40), 2), ((32, 32), 3), ((227, 227), 23), ((4, 4), 0)])
def test_shifts_grow_with_the_images(size: tuple[int, int], pixels: int) -> None:
    assert Recipe().for_images(size).shifts == pixels
    assert Recipe(shifts=2).for_images(size).shifts == 2
    assert Recipe(shifts=0).for_images(size).augment() is None


def test_a_shift_leaves_something_of_the_image(splits: data.Splits) -> None:
    with pytest.raises(ValueError, match=r"^shifts must be below 8, the smaller side of the images 8x8, got 8$"):
        fitted(splits, replace(QUICK, shifts=8))


def test_flips_are_for_those_who_ask(splits: data.Splits) -> None:
    images, rng = splits.train.images[:64], np.random.default_rng
    assert Recipe(shifts=0).augment() is None
    flipped = Recipe(shifts=0, flips=1).augment()(images, rng(0))
    assert np.array_equal(flipped, data.flips()(images, rng(0)))
    both = Recipe(shifts=2, flips=1).augment()(images, rng(0))
    assert np.array_equal(both, data.compose(data.shifts(2), data.flips())(images, rng(0)))


def test_momentum_is_an_option_of_sgd() -> None:
    assert (Recipe().momentum, Recipe(optimizer="sgd").momentum, Recipe(optimizer="sgd", momentum=0.5).momentum) == (
        None,
        0.9,
        0.5,
    )
    with pytest.raises(
        ValueError, match="momentum is an option of sgd, and the optimizer is adamw; leave it out or choose sgd"
    ):
        Recipe(optimizer="adamw", momentum=0.9)


def test_large_images_are_looked_at_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.shape[0])
            return x.mean(axis=(2, 3))

    monkeypatch.setattr(evaluation, "MOST_NUMBERS", 100 * 10 * 4)
    many = data.Dataset(np.zeros((250, 10, 2, 2), np.float32), np.zeros(250, np.int64))
    evaluate(Counting(), many)
    predict(Counting(), many.images)
    assert seen == 2 * [100, 100, 50]


# ---- put down and taken up -------------------------------------------------------------------------------------------------

RECIPES = {
    "adam": Recipe(epochs=5, lr=0.02, shifts=1),
    "sgd": Recipe(epochs=5, optimizer="sgd", warmup=2, flips=1),
    "plateau": Recipe(epochs=8, optimizer="sgd", lr=0.01, schedule="plateau", clip=0.5),  # falls only if its memory is lost
    "adamw": Recipe(epochs=5, optimizer="adamw", schedule="step", weight_decay=0.01, lr=0.5),
    "accumulate": Recipe(epochs=5, optimizer="sgd", batch_size=16, accumulate=3, clip=0.5, shifts=0),  # a batch is left
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_taken_up_elsewhere_ends_in_the_same_bits(name: str, splits: data.Splits, tmp_path: Path) -> None:
    """The state goes through a file; the new model and the stream start from another seed. Dropout draws in every step."""
    recipe = RECIPES[name]
    minidl.manual_seed(3)
    whole = Training(Tiny(), splits, recipe)
    while not whole.finished:
        whole.epoch()
        if len(whole.metrics) == 3:
            save_state(whole.state(), tmp_path / "last.safetensors")
            metrics, best = json.loads(json.dumps(whole.metrics)), dict(whole.best_weights)
    minidl.manual_seed(99)
    second = Training(Tiny(), splits, recipe)
    second.take_up(read_state(tmp_path / "last.safetensors"), metrics, best)
    while not second.finished:
        second.epoch()
    assert [without_times(r) for r in second.metrics] == [without_times(r) for r in whole.metrics]
    assert second.best_epoch == whole.best_epoch
    assert stream().position == second.state().position == whole.state().position
    whole.take_best()
    second.take_best()
    for key, array in whole.model.state_dict().items():
        assert array.tobytes() == second.model.state_dict()[key].tobytes(), key


def without_times(record: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in record.items() if name not in TIMES}


def test_the_state_of_another_training_is_refused_and_nothing_changes(splits: data.Splits) -> None:
    minidl.manual_seed(0)
    model = Tiny()
    done = Training(model, splits, QUICK)
    done.epoch()
    state, fresh = done.state(), Training(Tiny(), splits, QUICK)
    before = fresh.model.state_dict()
    wrong = {
        "the state has 5 parameters, the training 4": state._replace(steps=[1] * 5),
        "the state does not fit the model: it lacks 'output.bias'": state._replace(
            weights=dict(list(state.weights.items())[:3])
        ),
        "the state does not fit Adam: it holds '9.exp_avg'": state._replace(
            optimizer={**state.optimizer, "9.exp_avg": np.zeros(3)}
        ),
        "the state does not fit the model: output.bias should be float32 [10], got float64 [10]": state._replace(
            weights={**state.weights, "output.bias": np.zeros(10)}
        ),
        "the state of epoch 2, the best being 1, does not fit metrics of 1 epochs, the best being 1": state._replace(epoch=2),
    }
    for message, other in wrong.items():
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            fresh.take_up(other, done.metrics, {})
    assert all(array.tobytes() == before[name].tobytes() for name, array in fresh.model.state_dict().items())
    sgd = Training(Tiny(), splits, Recipe(epochs=2, optimizer="sgd", shifts=0))
    with pytest.raises(ValueError, match=r"^the state does not fit SGD: it holds .0\.exp_avg.$"):
        sgd.take_up(state, done.metrics, {})


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
