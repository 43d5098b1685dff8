"""Layers: modes, array libraries, types, AM-softmax's head, and what they refuse. Their values: test_nn_parity.py."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidl import nn, optim
from minidl.modes import no_grad
from minidl.nn.module import Module
from minidl.random import manual_seed, stream
from minidl.recompute import recompute
from minidl.tensor import Tensor


def image(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Tensor:
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def test_evaluation_draws_no_keys_and_moves_no_statistics() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Dropout(0.5, style="paper")).eval()
    before, position = model.state_dict(), stream().position
    y = model(image(3, 4))
    assert stream().position == position
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(model(image(3, 4)).numpy(), y.numpy())


def test_dropout_drops_and_keeps_the_mean() -> None:
    manual_seed(0)
    x = Tensor(np.ones((50, 400), np.float32))
    y = nn.Dropout(0.25)(x).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert y.mean() == pytest.approx(1, abs=0.02)
    paper = nn.Dropout(0.25, style="paper")
    assert paper(x).numpy().mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_array_equal(paper.eval()(x).numpy(), np.full(x.shape, np.float32(0.75)))
    assert repr(paper) == "Dropout(p=0.25, style='paper')"


def test_recompute_gives_the_same_bits_and_counts_a_batch_once() -> None:
    results = []
    for again in (False, True):
        manual_seed(5)
        block = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(4, 1, 3))
        x = Tensor(image(3, 2, 6, 6).data, True)
        y = recompute(block, x) if again else block(x)
        loss = (y * y).sum()
        loss.backward()
        results.append([loss.numpy(), x.grad, *(p.grad for p in block.parameters()), *block.state_dict().values()])
        assert block[1].num_batches_tracked.item() == 1
    for plain, recomputed in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, recomputed)


def test_batch_norm_without_running_statistics_uses_the_batch_in_evaluation() -> None:
    norm = nn.BatchNorm1d(3, affine=False, track_running_stats=False).eval()
    assert norm.state_dict() == {}
    y = norm(image(20, 3)).numpy()
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(axis=0), 1, atol=1e-4)


# ---- layers ------------------------------------------------------------------------------------------------------------

IMAGE, ROW = (3, 4, 6, 5), (5, 4)
LAYERS: dict[str, tuple[Callable[[], Module], tuple[int, ...]]] = {
    "Linear": (lambda: nn.Linear(4, 3), ROW),
    "Flatten": (nn.Flatten, IMAGE),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0, 2, 1), groups=2), IMAGE),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), IMAGE),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), IMAGE),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), IMAGE),
    "StochasticPool2d": (lambda: nn.StochasticPool2d(3, 2, (1, 0, 0, 1)), IMAGE),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((4, 2)), IMAGE),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), ROW),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), IMAGE),
    "AlphaBatchNorm2d": (lambda: nn.AlphaBatchNorm2d(4), IMAGE),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(3, alpha=0.5, convention="paper"), IMAGE),
    "Dropout": (lambda: nn.Dropout(0.3), IMAGE),
    "Upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "PReLU": (lambda: nn.PReLU(4), IMAGE),
    "Maxout": (lambda: nn.Maxout(2), IMAGE),
    "Softmax": (lambda: nn.Softmax(dim=1), ROW),
    "LogSoftmax": (lambda: nn.LogSoftmax(dim=1), ROW),
    "AMSoftmax": (lambda: nn.AMSoftmax(4, 3), ROW),
    "AMSoftmaxLinear": (lambda: nn.AMSoftmaxLinear(4, 3), ROW),
}
PLAIN = sorted(
    n for n in nn.__all__ if isinstance(c := getattr(nn, n), type) and issubclass(c, nn.Activation) and n not in LAYERS
)
LAYERS |= {n: ((lambda n=n: getattr(nn, n)()), IMAGE) for n in PLAIN if n != "Activation"}


def run(layer: Module, x: np.ndarray, device: str) -> list[np.ndarray]:
    """y, dx, the parameters' gradients and the state after one pass in training."""
    manual_seed(2)
    t = Tensor(x, True, device=device)
    y = layer.to(device)(t)
    dy = Tensor(np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype), device=device)
    y.backward(dy)
    gradients = [Tensor(p.grad).numpy() for p in layer.parameters()]
    return [y.numpy(), Tensor(t.grad).numpy(), *gradients, *layer.state_dict().values()]


@pytest.mark.parametrize("name", LAYERS)
def test_layer_keeps_to_one_array_library_and_type(name: str) -> None:
    make, shape = LAYERS[name]
    x = np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(np.float32)  # inside the domain of logit and probit
    layer = make()
    twin = copy.deepcopy(layer)
    ours, theirs = run(layer, x, "cpu"), run(twin, x, "strict")
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert a.dtype == b.dtype
        assert a.dtype in (np.float32, np.int64)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_computes_in_half_precision(name: str) -> None:
    make, shape = LAYERS[name]
    x = np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(np.float16)
    layer = make().to(dtype=np.float16)
    results = [*run(layer, x, "cpu"), layer.eval()(Tensor(x)).numpy()]
    assert all(a.dtype in (np.float16, np.int64) for a in results)
    assert all(np.isfinite(a).all() for a in results)


def test_every_layer_is_in_the_table() -> None:
    classes = {n for n in nn.__all__ if isinstance(c := getattr(nn, n), type) and issubclass(c, Module)}
    losses = {"CrossEntropyLoss", "MSELoss", "BCEWithLogitsLoss"}
    assert classes - set(LAYERS) == {"Module", "ModuleList", "Sequential", "Activation"} | losses


@pytest.mark.parametrize("same", ["Linear", "Conv2d", "ConvTranspose2d"])
def test_reset_parameters_draws_anew(same: str) -> None:
    layer = LAYERS[same][0]()
    before = layer.state_dict()
    layer.reset_parameters()
    assert all(not np.array_equal(array, before[name]) for name, array in layer.state_dict().items())


def test_sizes_may_be_numpy_numbers() -> None:
    two, three = np.int64(2), np.int32(3)
    model = nn.Sequential(
        nn.Conv2d(two, three, three, stride=two, groups=np.int8(1)),
        nn.BatchNorm2d(three, momentum=np.float32(0.1)),
        nn.LocalResponseNorm(three),
        nn.MaxPool2d(two),
        nn.PReLU(three),
        nn.Flatten(),
        nn.Dropout(np.float64(0.5)),
        nn.Linear(three, two),
    )
    assert model(image(2, 2, 6, 6)).shape == (2, 2)
    assert nn.AMSoftmax(two, three, s=np.float32(4)).loss(image(2, 2), [0, 1]).dtype == np.float32
    assert repr(model[-1]) == "Linear(in_features=3, out_features=2, bias=True)"


# ---- AM-softmax --------------------------------------------------------------------------------------------------------


class Angles(nn.Module):
    """The example of nn.AMSoftmax."""

    input_shape = (1, 8, 8)

    def __init__(self, classes: int = 10) -> None:
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 32))
        self.head = nn.AMSoftmax(32, classes, s=10.0)
        self.loss, self.predict = self.head.loss, self.head.predict

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def test_am_softmax_trains_by_the_models_contract() -> None:
    manual_seed(0)
    model, x, labels = Angles(), image(20, 1, 8, 8), np.arange(20) % 10
    opt, losses = optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(40):
        opt.zero_grad()
        loss = model.loss(model(x), labels)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    cosines = model.predict(model(x))
    assert losses[-1] < 0.2 * losses[0]
    assert cosines.shape == (20, 10)
    assert np.abs(cosines.numpy()).max() <= 1 + 1e-6
    assert (cosines.numpy().argmax(axis=1) == labels).mean() == 1
    np.testing.assert_array_equal(model.head(model(x)).numpy(), cosines.numpy())


EQUAL = [(10, 30.0, 0.35, 12.70), (10, 10.0, 0.35, 5.70), (1000, 30.0, 0.35, 17.41), (10, 10.0, 0.0, math.log(10))]


@pytest.mark.parametrize(("classes", "s", "m", "loss"), EQUAL)
def test_am_softmax_at_equal_cosines(classes: int, s: float, m: float, loss: float) -> None:
    """Features orthogonal to every class vector: exactly ln(1 + (C - 1) e^(s m))."""
    head = nn.AMSoftmax(4, classes, s=s, m=m).to(dtype=np.float64)
    with no_grad():
        head.weight[:, 0] = 0
    value = head.loss(Tensor(np.array([[2.0, 0, 0, 0]])), np.array([0])).item()
    assert value == pytest.approx(math.log(1 + (classes - 1) * math.exp(s * m)), rel=1e-12)
    assert value == pytest.approx(loss, abs=0.006)


# ---- what is refused: call -> message ----------------------------------------------------------------------------------


REFUSED: dict[str, Callable[[], Any]] = {
    "Conv2d: groups must divide both numbers of channels; got in_channels=3, out_channels=8, groups=2": lambda: nn.Conv2d(
        3, 8, 3, groups=2
    ),
    "Conv2d: kernel_size must be an int or a pair of ints, 1 or more; got 'big'": lambda: nn.Conv2d(3, 8, "big"),
    "BatchNorm2d: expected x [N,8,H,W], got [2,4,5,5]": lambda: nn.BatchNorm2d(8)(image(2, 4, 5, 5)),
    "BatchNorm1d: expected x [N,8] or [N,8,L], got [2,8,1,1]": lambda: nn.BatchNorm1d(8)(image(2, 8, 1, 1)),
    "LeakyReLU: it takes negative_slope=0.01; got (slope=0.1)": lambda: nn.LeakyReLU(slope=0.1),
    "ReLU: it takes no arguments; got (inplace=True)": lambda: nn.ReLU(inplace=True),
    "Hardtanh: it takes min_val=-1.0, max_val=1.0; got (1, 2, 3)": lambda: nn.Hardtanh(1, 2, 3),
    "AdaptiveAvgPool2d: output_size must be an int or a pair of ints, 1 or more; got 0": lambda: nn.AdaptiveAvgPool2d(0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_in_one_line(message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        REFUSED[message]()
    assert str(caught.value) == message
