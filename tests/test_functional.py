"""Several inputs and outputs, merges, and a weighted loss for each output: models/functional.py, and GoogLeNet's heads."""

from __future__ import annotations

import re

import numpy as np
import pytest

import minidl
from minidl import Tensor, data, nn, optim
from minidl.recipe import Recipe
from minidl.train import evaluate, fit, loss_of
from models import functional, inception
from models.functional import TwoInTwoOut, profile_of


@pytest.fixture
def batch() -> tuple[Tensor, np.ndarray]:
    minidl.manual_seed(0)
    return next(iter(data.DataLoader(data.digits().train, batch_size=16)))


# ---- the example -----------------------------------------------------------------------------------------------------------


def test_it_trains_both_outputs(capsys: pytest.CaptureFixture) -> None:
    functional.main()
    found = re.fullmatch(r"digit ([\d.]+)%   even or odd ([\d.]+)%\n", capsys.readouterr().out)
    assert found
    digit, odd = map(float, found.groups())
    assert digit > 90  # by chance 10
    assert odd > 85  # by chance 50


def test_both_inputs_count(batch: tuple[Tensor, np.ndarray]) -> None:
    images, _ = batch
    model, profile = TwoInTwoOut(), profile_of(images)
    both = model(images, profile)
    for other in (model(images * 0.0, profile), model(images, profile * 0.0)):
        for out, changed in zip(both, other, strict=True):
            assert not np.allclose(out.numpy(), changed.numpy())


def test_the_gradient_passes_the_merges_where_a_branch_gives_nothing(batch: tuple[Tensor, np.ndarray]) -> None:
    """The add goes round conv2; the concat leaves the image's side alone where the profile's is silent."""
    images, labels = batch
    model = TwoInTwoOut()
    for layer in (model.conv2, model.dense):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    functional.loss_of(model(images, profile_of(images)), labels).backward()
    assert np.abs(model.conv1.weight.grad).max() > 0


@pytest.mark.parametrize(("weights", "silent"), [((1.0, 0.0), "odd"), ((0.0, 1.0), "digit"), ((1.0, 1.0), None)])
def test_a_weight_of_0_stops_the_gradient_of_its_head_alone(
    weights: tuple[float, float], silent: str | None, batch: tuple[Tensor, np.ndarray]
) -> None:
    images, labels = batch
    model = TwoInTwoOut()
    functional.loss_of(model(images, profile_of(images)), labels, weights).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.any() == (name.partition(".")[0] != silent), name


def test_the_loss_is_the_weighted_sum(batch: tuple[Tensor, np.ndarray]) -> None:
    images, labels = batch
    outputs = TwoInTwoOut()(images, profile_of(images))
    digit, odd, both = (functional.loss_of(outputs, labels, w).item() for w in ((1.0, 0.0), (0.0, 1.0), (0.7, 0.2)))
    assert both == pytest.approx(0.7 * digit + 0.2 * odd)
    assert functional.WEIGHTS == (1.0, 0.3)


def test_a_merge_by_add_hands_its_gradient_on_whole_and_a_merge_by_concat_cuts_it() -> None:
    rng = np.random.default_rng(0)
    x, y, dy = (rng.standard_normal((2, 3)) for _ in range(3))
    a, b = Tensor(x, requires_grad=True), Tensor(y, requires_grad=True)
    (a + b).backward(dy)
    np.testing.assert_array_equal(a.grad, dy)
    np.testing.assert_array_equal(b.grad, dy)
    a, b = Tensor(x, requires_grad=True), Tensor(y[:, :1], requires_grad=True)
    minidl.concat([a, b], axis=1).backward(np.hstack([dy, dy[:, :1]]))
    np.testing.assert_array_equal(a.grad, dy)
    np.testing.assert_array_equal(b.grad, dy[:, :1])


def test_gradients_pass_both_merges_of_the_model(batch: tuple[Tensor, np.ndarray]) -> None:
    model, labels = TwoInTwoOut().to(dtype="float64"), batch[1][:2]
    images = Tensor(batch[0].numpy()[:2].astype(np.float64), requires_grad=True)
    profile = Tensor(profile_of(images).numpy().copy(), requires_grad=True)
    assert minidl.gradcheck(lambda image, ink: functional.loss_of(model(image, ink), labels), images, profile)


# ---- GoogLeNet and Inception v3 train so -------------------------------------------------------------------------------------


class Narrow(inception.GoogLeNet):
    """An eighth of the maps."""

    stem = (8, 8, 24)
    table = {name: tuple(n // 8 for n in widths) for name, widths in inception.TABLE_1.items()}  # noqa: RUF012
    head_widths = (16, 12)


HEADS = ("aux1", "aux2")


def scores(n: int) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(n)
    return tuple(Tensor(rng.standard_normal((4, 3)), requires_grad=True) for _ in range(n))


@pytest.mark.parametrize(
    ("cls", "heads", "weight", "smoothing"), [(inception.GoogLeNet, 2, 0.3, 0.0), (inception.InceptionV3, 1, 0.4, 0.1)]
)
def test_each_head_has_its_weight_in_the_loss(cls: type[nn.Module], heads: int, weight: float, smoothing: float) -> None:
    labels, outputs = np.array([0, 1, 2, 0]), scores(1 + heads)
    with minidl.shapes_only():
        model = cls(classes=3)
    single = [minidl.softmax_cross_entropy(out, labels, label_smoothing=smoothing).item() for out in outputs]
    assert model.loss(outputs, labels).item() == pytest.approx(single[0] + weight * sum(single[1:]))
    assert model.loss(outputs[0], labels).item() == pytest.approx(single[0])
    model.loss(outputs, labels).backward()
    main, *auxiliary = (np.abs(out.grad).max() for out in outputs)
    assert all(0 < grad < main for grad in auxiliary)
    for out in (outputs, outputs[0]):
        np.testing.assert_allclose(model.predict(out).numpy(), minidl.softmax(outputs[0]).numpy())


@pytest.mark.parametrize("variant", ["paper", "torchvision"])
def test_a_step_changes_the_heads_and_what_is_below_them(variant: str) -> None:
    minidl.manual_seed(0)
    model = Narrow(10, variant=variant, size=79)
    images, labels = next(iter(data.DataLoader(data.digits(size=79, channels=3).train, batch_size=8)))
    optimizer, before = optim.SGD(model.parameters(), lr=0.1), model.state_dict()
    out = model(images)
    assert [o.shape for o in out] == [(8, 10)] * 3
    loss_of(model, out, labels).backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert not np.array_equal(parameter.numpy(), before[name]), name


def test_heads_alone_train_what_is_below_them_and_nothing_above() -> None:
    minidl.manual_seed(0)
    model = Narrow(10, size=79)
    _, first, second = model(Tensor(np.random.default_rng(0).standard_normal((2, 3, 79, 79)), dtype="float32"))
    (first.sum() + second.sum()).backward()
    reached = {name.partition(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    below = {"conv1", "conv2", "conv3", *(f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d"))}
    assert reached == below | set(HEADS)


def test_evaluation_leaves_the_heads_out() -> None:
    with minidl.shapes_only():
        model = Narrow(10, size=79).eval()
        assert model(np.zeros((2, 3, 79, 79), np.float32)).shape == (2, 10)
        assert model(np.zeros((2, 3, 31, 131), np.float32)).shape == (2, 10)  # and with them what fixes the size
        alone = Narrow(10, auxiliary=False, size=31).train()
        assert alone(np.zeros((2, 3, 31, 31), np.float32)).shape == (2, 10)
        assert not [name for name, _ in alone.named_parameters() if name.startswith("aux")]


def test_the_trainer_takes_a_net_with_heads() -> None:
    minidl.manual_seed(0)
    splits = data.digits(size=79, channels=3)
    few = data.Splits(splits.train[:32], splits.validation[:16], splits.test[:16], splits.classes)

    model = Narrow(10, variant="torchvision", size=79)
    fitted = fit(model, few, Recipe(epochs=1, batch_size=16, shifts=0))
    assert np.isfinite(fitted.metrics[0]["train_loss"])
    assert 0 <= evaluate(model, few.test).accuracy <= 1
