"""Layers against PyTorch's of the same name: names, defaults, forward, gradients, state, in both modes; float64."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import nn
from minidl.nn import init
from minidl.random import manual_seed
from minidl.tensor import Tensor

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

pairs = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3))
flags = st.booleans()


class Case:
    """Our layer and PyTorch's, made by the same call, with the same weights in float64, and an input for them."""

    def __init__(self, name: str, *args: Any, x: tuple[int, ...], ours: dict[str, Any] | None = None, **kwargs: Any):
        self.shape = x
        self.theirs = getattr(torch.nn, name)(*args, **kwargs).double()
        self.ours = getattr(nn, name)(*args, **{**kwargs, **(ours or {})}).to(dtype=np.float64)
        rng = np.random.default_rng(0)
        with torch.no_grad():
            for p in self.theirs.parameters():  # weights of 1 and biases of 0 would hide bugs
                p.add_(torch.from_numpy(rng.standard_normal(p.shape)))
        self.ours.load_state_dict({k: v.numpy() for k, v in self.theirs.state_dict().items()})


def draw_image(draw: Callable, channels: int, least: int = 5) -> tuple[int, ...]:
    return draw(st.integers(2, 3)), channels, draw(st.integers(least, 8)), draw(st.integers(least, 8))


def draw_conv(draw: Callable, name: str) -> Case:
    groups = draw(st.integers(1, 2))
    C, K = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    size, dilation, bias = draw(pairs), draw(st.integers(1, 2)), draw(flags)
    shared = {"groups": groups, "dilation": dilation, "bias": bias}
    if name == "ConvTranspose2d":
        stride = draw(st.integers(1, 3))
        extra = {"stride": stride, "output_padding": draw(st.integers(0, max(stride, dilation) - 1))}
        return Case(name, C, K, size, **shared, **extra, padding=draw(st.integers(0, 1)), x=draw_image(draw, C))
    if draw(flags):
        return Case(name, C, K, size, **shared, padding="same", x=draw_image(draw, C))
    padding = draw(st.integers(0, 2) | st.tuples(st.integers(0, 2), st.integers(0, 2)))
    return Case(name, C, K, size, **shared, stride=draw(pairs), padding=padding, x=draw_image(draw, C))


def draw_linear(draw: Callable, name: str) -> Case:
    D, K, between = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.sampled_from([(), (3,)]))
    return Case(name, D, K, draw(flags), x=(4, *between, D))


def draw_batch_norm(draw: Callable, name: str) -> Case:
    C, momentum = draw(st.integers(1, 4)), draw(st.sampled_from([0.1, 0.5, None]))
    options = {"eps": draw(st.sampled_from([1e-5, 0.1])), "affine": draw(flags), "track_running_stats": draw(flags)}
    shapes = {"BatchNorm1d": [(4, C), (4, C, 3)], "BatchNorm2d": [(4, C, 3, 2)]}[name]
    return Case(name, C, momentum=momentum, **options, x=draw(st.sampled_from(shapes)))


def draw_pool(draw: Callable, name: str) -> Case:
    size = draw(st.integers(2, 3))
    stride, padding = draw(st.none() | st.integers(1, 3)), draw(st.integers(0, 1))
    extra = {"count_include_pad": draw(flags)} if name == "AvgPool2d" else {"dilation": draw(st.integers(1, 2))}
    return Case(name, size, stride, padding, ceil_mode=draw(flags), **extra, x=draw_image(draw, 2, 6))


def draw_lrn(draw: Callable, name: str) -> Case:
    size, alpha = draw(st.sampled_from([1, 3, 5])), draw(st.floats(0.1, 1.0))
    paper = draw(flags)
    case = Case(name, size, alpha, draw(st.floats(0.3, 1.0)), draw(st.floats(1.0, 2.0)), x=draw_image(draw, 6))
    if paper:  # the paper's alpha multiplies the sum, PyTorch's the mean
        case.ours.alpha, case.ours.convention = alpha / size, "paper"
    return case


def draw_upsample(draw: Callable, name: str) -> Case:
    forms: list[dict[str, Any]] = [{"mode": "nearest"}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}]
    return Case(name, scale_factor=draw(st.integers(1, 3)), **draw(st.sampled_from(forms)), x=draw_image(draw, 2, 2))


def draw_activation(*arguments: st.SearchStrategy, dims: int = 4) -> Callable:
    def draw_case(draw: Callable, name: str) -> Case:
        return Case(name, *(draw(a) for a in arguments), x=draw_image(draw, 3)[:dims])

    return draw_case


LAYERS: dict[str, Callable[[Callable, str], Case]] = {
    "Linear": draw_linear,
    "Flatten": draw_activation(st.integers(0, 2), st.integers(2, 3)),
    "Conv2d": draw_conv,
    "ConvTranspose2d": draw_conv,
    "MaxPool2d": draw_pool,
    "AvgPool2d": draw_pool,
    "AdaptiveAvgPool2d": draw_activation(st.sampled_from([1, 3, (1, 1), (2, 3), (None, 2)])),
    "BatchNorm1d": draw_batch_norm,
    "BatchNorm2d": draw_batch_norm,
    "LocalResponseNorm": draw_lrn,
    "Upsample": draw_upsample,
    "ReLU": draw_activation(),
    "ReLU6": draw_activation(),
    "LeakyReLU": draw_activation(st.floats(-0.5, 0.5)),
    "PReLU": draw_activation(st.sampled_from([1, 3]), st.floats(-0.5, 0.5)),
    "ELU": draw_activation(st.floats(0.5, 2.0)),
    "SiLU": draw_activation(),
    "GELU": lambda draw, name: Case(name, approximate=draw(st.sampled_from(["none", "tanh"])), x=draw_image(draw, 2)),
    "Softplus": draw_activation(st.floats(0.5, 2.0), st.floats(1.0, 20.0)),
    "Sigmoid": draw_activation(),
    "Tanh": draw_activation(),
    "Hardtanh": draw_activation(st.floats(-2.0, -0.5), st.floats(0.5, 2.0)),
    "Identity": draw_activation(),
    "Softmax": draw_activation(st.integers(-1, 1)),
    "LogSoftmax": draw_activation(st.integers(-1, 1)),
}
ELSEWHERE = {"Dropout": "its mask is drawn by another generator; test_nn.py", "Module": "", "ModuleList": "", "Sequential": ""}
ELSEWHERE |= {"Parameter": "", "Buffer": "", "CrossEntropyLoss": "below", "MSELoss": "below", "BCEWithLogitsLoss": "below"}


def near(what: str, ours: Any, theirs: Any) -> None:
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = max(np.abs(theirs).max(initial=0.0), 1e-3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * scale, err_msg=what)


def compare(case: Case, x: np.ndarray, dy: np.ndarray | None = None) -> None:
    """Forward and every gradient on one batch."""
    case.ours.zero_grad()
    case.theirs.zero_grad()
    a, b = Tensor(x.copy(), True), torch.tensor(x, requires_grad=True)
    y, z = case.ours(a), case.theirs(b)
    near("y", y.numpy(), z)
    dy = np.random.default_rng(x.size).standard_normal(y.shape)
    y.backward(dy)
    z.backward(torch.from_numpy(dy))
    near("dx", a.grad, b.grad)
    theirs = dict(case.theirs.named_parameters())
    for name, p in case.ours.named_parameters():
        near(f"d{name}", p.grad, theirs[name].grad)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch's, on even windows
@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_layer(name: str, data: st.DataObject) -> None:
    """Two batches in training, one in evaluation, one in training again; parameters and buffers by name."""
    case = LAYERS[name](data.draw, name)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    for training in (True, True, False, True):
        case.ours.train(training)
        case.theirs.train(training)
        compare(case, 2 * rng.standard_normal(case.shape) + 0.5)
        state = case.theirs.state_dict()
        assert list(case.ours.state_dict()) == list(state)
        for key, array in case.ours.state_dict().items():
            near(key, array, state[key])


@given(data=st.data())
def test_losses(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    N, C, reduction = (
        data.draw(st.integers(1, 5)),
        data.draw(st.integers(2, 5)),
        data.draw(st.sampled_from(["mean", "sum", "none"])),
    )
    smoothing, positive = data.draw(st.sampled_from([0.0, 0.1, 0.5])), data.draw(st.sampled_from([0.5, 1.0, 3.0]))
    scores, targets, labels = rng.standard_normal((N, C)), rng.uniform(size=(N, C)), rng.integers(C, size=N)
    labels[1:][rng.uniform(size=N - 1) < 0.3] = -1
    options = {"ignore_index": -1, "reduction": reduction, "label_smoothing": smoothing}
    cases = [
        (nn.CrossEntropyLoss(**options), torch.nn.CrossEntropyLoss(**options), labels),
        (nn.MSELoss(reduction), torch.nn.MSELoss(reduction=reduction), targets),
        (
            nn.BCEWithLogitsLoss(reduction=reduction, pos_weight=positive),
            torch.nn.BCEWithLogitsLoss(reduction=reduction, pos_weight=torch.tensor(positive)),
            targets,
        ),
    ]
    for ours, theirs, target in cases:
        a, b = Tensor(scores, True), torch.tensor(scores, requires_grad=True)
        y, z = ours(a, target), theirs(b, torch.tensor(target))
        near(repr(ours), y.numpy(), z)
        dy = rng.standard_normal(y.shape)
        y.backward(dy)
        z.backward(torch.tensor(dy))
        near(f"d{ours!r}", a.grad, b.grad)


# ---- names and defaults ------------------------------------------------------------------------------------------------


def shared_names() -> list[str]:
    classes = (n for n in nn.__all__ if isinstance(getattr(nn, n), type))
    return sorted(n for n in classes if hasattr(torch.nn, n))


def test_every_layer_of_pytorchs_name_is_compared() -> None:
    assert set(shared_names()) == set(LAYERS) | set(ELSEWHERE)


DIFFERENT = {("Softmax", "dim"), ("LogSoftmax", "dim"), ("Upsample", "align_corners"), ("BCEWithLogitsLoss", "pos_weight")}
DIFFERENT |= {
    ("AdaptiveAvgPool2d", "output_size"),
    ("Upsample", "scale_factor"),
    ("ModuleList", "modules"),
}  # PyTorch's None ("not said") is a value here


@pytest.mark.parametrize("name", sorted(set(shared_names()) - {"Parameter", "Buffer"}))
def test_defaults_are_pytorchs(name: str) -> None:
    cls = getattr(nn, name)
    theirs = inspect.signature(getattr(torch.nn, name).__init__).parameters
    if issubclass(cls, nn.Activation):
        ours = cls.op.attrs
    else:
        ours = {p.name: p.default for p in inspect.signature(cls.__init__).parameters.values() if p.name != "self"}
    for argument in ours.keys() & theirs.keys():
        if (name, argument) not in DIFFERENT:
            assert ours[argument] == theirs[argument].default, argument


@pytest.mark.parametrize("name", ["Linear", "Conv2d", "ConvTranspose2d"])
def test_default_initialisation_is_pytorchs(name: str) -> None:
    """Both are uniform on the same interval: the same bound and the same spread."""
    manual_seed(0)
    torch.manual_seed(0)
    sizes = (300, 200) if name == "Linear" else (40, 60, 5)
    ours, theirs = getattr(nn, name)(*sizes).state_dict(), getattr(torch.nn, name)(*sizes).state_dict()
    for key, array in ours.items():
        other = theirs[key].numpy()
        many = array.size > 1000
        assert np.abs(array).max() == pytest.approx(np.abs(other).max(), rel=1e-3 if many else 0.1)
        assert array.std() == pytest.approx(other.std(), rel=0.02 if many else 0.25)
        assert array.shape == other.shape


@pytest.mark.parametrize(("name", "arguments"), [("BatchNorm1d", (3,)), ("BatchNorm2d", (3,)), ("PReLU", (2,))])
def test_the_rest_starts_as_pytorchs(name: str, arguments: tuple) -> None:
    ours, theirs = getattr(nn, name)(*arguments).state_dict(), getattr(torch.nn, name)(*arguments).state_dict()
    assert list(ours) == list(theirs)
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key].numpy())
        assert array.dtype == theirs[key].numpy().dtype


INITIALISERS = [
    "xavier_uniform_",
    "xavier_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "orthogonal_",
    "normal_",
    "uniform_",
]


@pytest.mark.parametrize("name", INITIALISERS)
@pytest.mark.parametrize("shape", [(200, 150), (40, 30, 5, 3)])
def test_initialisers_spread_as_pytorchs(name: str, shape: tuple[int, ...]) -> None:
    ours, theirs = nn.Parameter(np.zeros(shape, np.float32)), torch.zeros(shape)
    getattr(init, name)(ours)
    getattr(torch.nn.init, name)(theirs)
    assert ours.numpy().std() == pytest.approx(theirs.numpy().std(), rel=0.03)
    if "uniform" in name:
        assert ours.numpy().max() == pytest.approx(theirs.numpy().max(), rel=1e-3)


@pytest.mark.parametrize("nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_are_pytorchs(nonlinearity: str) -> None:
    assert init.calculate_gain(nonlinearity) == pytest.approx(torch.nn.init.calculate_gain(nonlinearity), rel=1e-15)
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(math.sqrt(2 / 1.09))


# ---- whole models ------------------------------------------------------------------------------------------------------


def lenet(library: Any) -> Any:
    return library.Sequential(
        library.Conv2d(1, 6, 5),
        library.BatchNorm2d(6),
        library.Tanh(),
        library.AvgPool2d(2),
        library.Conv2d(6, 16, 5),
        library.ReLU(),
        library.MaxPool2d(2),
        library.Flatten(),
        library.Linear(16 * 4 * 4, 10),
    )


def test_published_weights_load_by_name(tmp_path: Path) -> None:
    """A file that PyTorch wrote: the same names, the same scores, the same gradients."""
    from safetensors.torch import save_file

    theirs, ours, path = lenet(torch.nn).double(), lenet(nn).to(dtype=np.float64), tmp_path / "lenet.safetensors"
    save_file(theirs.state_dict(), path)
    nn.load_weights(ours, path)
    x, labels = np.random.default_rng(0).standard_normal((4, 1, 28, 28)), np.array([3, 1, 4, 1])
    loss, other = (
        nn.CrossEntropyLoss()(ours(Tensor(x)), labels),
        torch.nn.CrossEntropyLoss()(theirs(torch.tensor(x)), torch.tensor(labels)),
    )
    loss.backward()
    other.backward()
    near("loss", loss.numpy(), other)
    for (name, p), (same, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == same
        near(name, p.grad, q.grad)
