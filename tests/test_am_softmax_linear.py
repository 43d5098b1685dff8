"""AM-softmax with a linear part: where its parts are, meet and jump, hard vectors, the printed formula, the head."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Tensor, data, nn, optim
from minidl.random import manual_seed

RNG = np.random.default_rng(0)
S, M = 10.0, 0.35
VARIANTS = [{"continuous": c, "literal": p} for c in (False, True) for p in (False, True)]


def at_angle(*angles: float) -> np.ndarray:
    """Vectors in the plane at these angles to the first axis."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


W = at_angle(0.0, 2.0, 4.0)


def loss_of(x: Any, labels: Any, w: Any = W, **attrs: Any) -> tuple[float, np.ndarray, np.ndarray]:
    """The loss, and its gradients."""
    x, w = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
    loss = minidl.am_softmax_linear(x, w, np.asarray(labels), **{"s": S, "m": M, **attrs})
    loss.backward()
    return loss.item(), x.grad, w.grad


# ---- the two parts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("continuous", [False, True])
def test_far_from_its_class_it_is_am_softmax(continuous: bool) -> None:
    x, labels = at_angle(0.5, 2.4, 3.5, 1.0), np.array([0, 1, 2, 1])
    loss, dx, dw = loss_of(x, labels, continuous=continuous, c=3.0)
    a, b = Tensor(x, requires_grad=True), Tensor(W, requires_grad=True)
    plain = minidl.am_softmax(a, b, labels, s=S, m=M)
    plain.backward()
    assert loss == pytest.approx(plain.item(), rel=1e-14)
    np.testing.assert_allclose(dx, a.grad, atol=1e-14)
    np.testing.assert_allclose(dw, b.grad, atol=1e-14)


@pytest.mark.parametrize("literal", [False, True])
def test_near_its_class_it_is_a_line_in_the_cosine(literal: bool) -> None:
    loss, dx, dw = loss_of(3 * at_angle(0.2), [0], a=2.0, c=0.7, literal=literal)
    assert loss == pytest.approx(2 * (1 - math.cos(0.2)) + 0.7, rel=1e-14)
    assert np.hypot(*dx[0]) == pytest.approx(2 * math.sin(0.2) / 3)  # the slope along the angle, over the length
    assert dx[0] @ at_angle(0.2)[0] == pytest.approx(0, abs=1e-14)
    assert not dw[1:].any()  # of the other classes it knows nothing


def test_the_loss_is_the_mean_over_samples_of_both_kinds() -> None:
    angles = (0.1, 1.0, 0.3)
    alone = [loss_of(at_angle(angle), [0])[0] for angle in angles]
    assert loss_of(at_angle(*angles), [0, 0, 0])[0] == pytest.approx(sum(alone) / 3, rel=1e-14)


@pytest.mark.parametrize(("classes", "s", "m"), [(10, 30.0, 0.35), (10, 10.0, 0.35), (1000, 30.0, 0.35), (2, 4.0, 1.2)])
def test_equal_cosines_have_a_known_loss(classes: int, s: float, m: float) -> None:
    """x is orthogonal to every w, so all cosines are 0 and the loss is ln(1 + (C - 1) e^(s m)), as that of am_softmax."""
    w, x = RNG.normal(size=(classes, 6)), RNG.normal(size=(5, 6))
    w[:, 3:], x[:, :3] = 0, 0
    for variant in ({}, {"continuous": True}):
        loss = minidl.am_softmax_linear(x, w, RNG.integers(classes, size=5), s=s, m=m, **variant).item()
        assert loss == pytest.approx(math.log(1 + (classes - 1) * math.exp(s * m)), abs=1e-12)


# ---- where they meet ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("literal", [False, True])
def test_continuous_parts_meet_at_the_angle_m(literal: bool) -> None:
    (below, *_), (above, *_) = (loss_of(at_angle(M + t), [0], continuous=True, literal=literal) for t in (-1e-9, 1e-9))
    assert below == pytest.approx(above, abs=1e-7)
    jump = np.subtract(*(loss_of(at_angle(M + t), [0], literal=literal)[0] for t in (-1e-9, 1e-9)))
    assert abs(jump) > 0.05


def test_the_height_of_a_continuous_line_follows_the_other_classes() -> None:
    x = at_angle(0.2)
    loss, _, dw = loss_of(x, [0], continuous=True, a=2.0, c=99.0)
    cos = np.cos([2.0 - 0.2, 4.0 - 0.2])
    edge = math.log(1 + np.exp(S * (cos - math.cos(M) + M)).sum())  # the first part where it ends
    assert loss == pytest.approx(edge + 2 * (math.cos(M) - math.cos(0.2)), rel=1e-12)
    assert np.abs(dw[1:]).max() > 1e-5
    weight = Tensor(W, requires_grad=True)
    assert minidl.gradcheck(lambda w: minidl.am_softmax_linear(x, w, [0], s=S, m=M, continuous=True), weight)


def test_a_margin_of_0_leaves_no_line() -> None:
    x, labels = RNG.normal(size=(4, 5)), np.array([0, 1, 2, 1])
    w = RNG.normal(size=(3, 5))
    assert minidl.am_softmax_linear(x, w, labels, m=0.0).item() == minidl.am_softmax(x, w, labels, m=0.0).item()


# ---- hard vectors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("m", [0.0, 0.35])
def test_parallel_opposite_and_zero_vectors_are_ordinary(dtype: type, variant: dict, m: float) -> None:
    x = np.array([[1, 0], [-2, 0], [0, 0], [0, 1e-13], [4, 0]], dtype)
    w = np.array([[3, 0], [0, 0], [0, 5]], dtype)
    with np.errstate(all="raise", under="ignore"):
        loss, dx, dw = loss_of(x, [0, 0, 1, 2, 1], w, s=30.0, m=m, **variant)
    assert np.isfinite(loss)
    assert np.isfinite(dx).all()
    assert np.isfinite(dw).all()
    np.testing.assert_array_equal(dx[2:4], 0)
    np.testing.assert_array_equal(dw[1], 0)
    assert dx.dtype == dw.dtype == dtype


def test_lengths_do_not_matter() -> None:
    x, labels = at_angle(0.1, 1.0, 2.2, 3.0), np.array([0, 0, 1, 2])
    scaled = minidl.am_softmax_linear(x * [[1e-3], [1], [7], [1e4]], W * [[2], [0.5], [9]], labels)
    assert scaled.item() == pytest.approx(minidl.am_softmax_linear(x, W, labels).item(), rel=1e-12)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_gradient_turns_vectors_and_never_stretches_them(variant: dict) -> None:
    x = at_angle(0.1, 1.0, 2.2, 3.0)
    _, dx, dw = loss_of(x, [0, 0, 1, 2], s=2.0, **variant)
    for gradient, vectors in ((dx, x), (dw, W)):
        assert np.abs(gradient).max() > 1e-3
        np.testing.assert_allclose((gradient * vectors).sum(axis=1), 0, atol=1e-12)


# ---- the printed formula -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [4.0, 10.0, 30.0])
def test_without_the_logarithm_there_is_next_to_no_gradient(s: float) -> None:
    """Where all cosines are alike, as at the start: p of the right class is 1 / (1 + (C - 1) e^(s m)), and so is the ratio."""
    w, x = np.eye(10, 12), np.eye(1, 12, 11)
    _, logged, _ = loss_of(x, [0], w, s=s)
    loss, printed, _ = loss_of(x, [0], w, s=s, literal=True)
    p = 1 / (1 + 9 * math.exp(s * M))
    assert loss == pytest.approx(-p)
    np.testing.assert_allclose(printed, p * logged, atol=1e-15)
    assert np.abs(logged).max() > 1
    assert np.abs(printed).max() < {4.0: 0.2, 10.0: 0.05, 30.0: 1e-4}[s]


# ---- the head ----------------------------------------------------------------------------------------------------------


def trained(literal: bool, s: float, seed: int) -> tuple[float, float]:
    """Accuracy on the ten digits of training, and the loss of the last epoch over that of the first, after ten epochs."""
    manual_seed(seed)
    digits, rng = data.digits().train, np.random.default_rng(seed)
    x, labels = digits.normalise(digits.images).reshape(len(digits), -1), digits.labels
    body = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 16))
    head = nn.AMSoftmaxLinear(16, 10, s=s, literal=literal)
    opt, losses = optim.SGD([*body.parameters(), *head.parameters()], lr=0.01, momentum=0.9), []
    for _ in range(10):
        for rows in np.array_split(rng.permutation(len(x)), 17):
            opt.zero_grad()
            loss = head.loss(body(Tensor(x[rows])), labels[rows])
            loss.backward()
            opt.step()
            losses.append(loss.item())
    cosines = head.predict(body(Tensor(x)))
    assert np.abs(cosines.numpy()).max() <= 1 + 1e-6
    return float((cosines.numpy().argmax(axis=1) == labels).mean()), float(np.mean(losses[-17:]) / np.mean(losses[:17]))


@pytest.mark.parametrize("s", [10.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_head_learns_ten_digits_and_by_the_printed_formula_one_or_two(s: float, seed: int) -> None:
    accuracy, fall = trained(literal=False, s=s, seed=seed)
    assert accuracy > 0.95
    assert fall < 0.5
    assert trained(literal=True, s=s, seed=seed)[0] < 0.25


def test_the_head_is_am_softmaxs_with_another_loss() -> None:
    head = nn.AMSoftmaxLinear(4, 3, 20.0, 0.3, 2.0, 0.5, continuous=True, literal=True)
    assert isinstance(head, nn.AMSoftmax)
    assert list(head.state_dict()) == ["weight"]
    assert repr(head) == "AMSoftmaxLinear(features=4, classes=3, s=20.0, m=0.3, a=2.0, c=0.5, continuous=True, literal=True)"
    assert repr(nn.AMSoftmaxLinear(4, 3)) == "AMSoftmaxLinear(features=4, classes=3, s=30.0, m=0.35, a=1.0, c=0.0)"


def test_the_head_hands_on_every_option() -> None:
    """On samples of both parts, so that each option changes the loss."""
    usual = {"s": 30.0, "m": 0.35, "a": 1.0, "c": 0.0, "continuous": False, "literal": False}
    given = {"s": 2.0, "m": 0.9, "a": 3.0, "c": 0.5, "continuous": False, "literal": True}
    labels = np.array([0, 1, 2, 1, 0])
    for options in (given, {**given, "c": 0.0, "continuous": True}):
        head = nn.AMSoftmaxLinear(4, 3, **options).to(dtype="float64")
        x = np.concatenate([head.weight.numpy()[labels[:3]] + 0.1, RNG.normal(size=(2, 4))])
        told = head.loss(Tensor(x), labels).item()
        assert told == minidl.am_softmax_linear(x, head.weight, labels, **options).item()
        for name in usual:
            if options[name] != usual[name]:
                without = {**options, name: usual[name]}
                assert told != minidl.am_softmax_linear(x, head.weight, labels, **without).item(), name


def test_the_layers_margin_is_an_angle_and_may_be_above_2() -> None:
    """AMSoftmax's is taken off a cosine and ends at 2; this one also parts the angles, and ends at pi."""
    assert nn.AMSoftmaxLinear(4, 3, m=3.0).m == 3.0
    with pytest.raises(ValueError, match=r"AMSoftmaxLinear: m must be a number, 0 or more and below 3\.14"):
        nn.AMSoftmaxLinear(4, 3, m=3.2)
