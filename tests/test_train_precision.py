"""Training in a precision of its own: what is rounded, what is scaled, and that it is undone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_train import QUICK, Tiny, fitted, splits  # noqa: F401  (splits is a fixture)

import minidl
from minidl import data, nn
from minidl.recipe import Recipe
from minidl.tensor import Tensor
from minidl.train import Training

HALF = replace(QUICK, precision="fp16", optimizer="sgd", lr=0.1, momentum=0.0)


def trained(splits: data.Splits, recipe: Recipe, model: nn.Module) -> Training:  # noqa: F811
    training = Training(model, splits, recipe)
    training.epoch()
    return training


def test_products_are_rounded_in_training_and_in_its_validation(splits: data.Splits) -> None:  # noqa: F811
    model, metrics = fitted(splits, replace(QUICK, precision="bf16"))
    with minidl.precision("bf16"):
        same, also = fitted(splits)
    assert metrics == also
    np.testing.assert_array_equal(model.hidden.weight.numpy(), same.hidden.weight.numpy())
    full, others = fitted(splits)
    assert 0 < np.abs(model.hidden.weight.numpy() - full.hidden.weight.numpy()).max() < 0.05
    assert metrics != others


def test_float16_learns_as_float32_does(splits: data.Splits) -> None:  # noqa: F811
    model, metrics = fitted(splits, replace(QUICK, precision="fp16", epochs=4))
    _, full = fitted(splits, replace(QUICK, epochs=4))
    assert {p.dtype.name for p in model.parameters()} == {"float16"}
    assert metrics[-1]["val_accuracy"] == pytest.approx(full[-1]["val_accuracy"], abs=0.02)
    assert metrics[-1]["val_loss"] == pytest.approx(full[-1]["val_loss"], abs=0.02)
    assert metrics[-1]["train_loss"] != full[-1]["train_loss"]


def test_the_scale_is_taken_out_of_the_update(splits: data.Splits) -> None:  # noqa: F811
    """Another scale, another power of 2: not a bit changes."""
    weights = []
    for scale in (2.0**15, 2.0**4):
        minidl.manual_seed(0)
        training = Training(Tiny(), splits, replace(HALF, clip=0.5, accumulate=2))
        assert training.scaler is not None
        assert training.scaler.scale == 2.0**15
        training.scaler.scale = scale
        training.epoch()
        assert training.scaler.scale == scale
        weights.append(training.model.state_dict())
    for one, other in zip(weights[0].values(), weights[1].values(), strict=True):
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), rtol=0, atol=1e-3)


def test_clipping_is_of_the_gradient_without_the_scale(splits: data.Splits) -> None:  # noqa: F811
    """One step of a rate of 1 moves the weights by as much as the clip allows."""
    one_step = replace(splits, train=splits.train[:32])
    minidl.manual_seed(0)
    model = Tiny()
    before = {name: a.astype(np.float32) for name, a in model.to(dtype="float16").state_dict().items()}
    trained(one_step, replace(HALF, lr=1.0, clip=0.25, batch_size=32, epochs=1), model)
    moved = sum(((a.astype(np.float32) - before[name]) ** 2).sum() for name, a in model.state_dict().items())
    assert np.sqrt(moved) == pytest.approx(0.25, rel=0.01)


class Steep(Tiny):
    """A loss whose gradients overflow float16, until the scale has come down."""

    def loss(self, out: Tensor, labels: np.ndarray) -> Tensor:
        return minidl.softmax_cross_entropy(out * 16.0, labels, reduction="sum")


def test_a_step_that_overflows_is_left_out_and_the_scale_comes_down(splits: data.Splits) -> None:  # noqa: F811
    minidl.manual_seed(0)
    training = Training(Steep(), replace(splits, train=splits.train[:64]), replace(HALF, lr=0.01, clip=1.0, batch_size=8))
    before = training.model.state_dict()
    training.epoch()
    assert training.scaler is not None
    assert 2.0**4 < training.scaler.scale < 2.0**14
    assert any((a != before[name]).any() for name, a in training.model.state_dict().items())
    assert all(np.isfinite(a).all() for a in training.model.state_dict().values())
    assert 0 < max(training.optimizer.steps) < 8


def test_a_recipe_names_its_precisions() -> None:
    with pytest.raises(ValueError, match="precision must be one of float32, tf32, bf16, fp16, got 'float16'"):
        Recipe(precision="float16")
