"""AlexNet against the course's notes and slides: their totals, their listings, and what paper and programs do differently."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn
from minidl.summary import Layer, summarise
from models.alexnet import CONVENTIONS, AlexNet
from models.alexnet_listings import KerasAlexNet, SlidesAlexNet, TorchvisionAlexNet

PAGE = Path(__file__).parent.parent / "docs" / "alexnet-counts.md"


def layers_of(model_class: Any, **options: Any) -> list[Layer]:
    with minidl.shapes_only():
        return summarise(model_class(**options)).layers


# ---- the notes' totals -------------------------------------------------------------------------------------------------------


def test_the_notes_totals_are_reproduced_by_their_rule() -> None:
    """Dense biases are left out; the bias of every output of a convolution is one operation more."""
    layers = layers_of(AlexNet, groups=1)
    dense_biases = sum(layer.output[1] for layer in layers if layer.op == "linear")
    outputs = [int(np.prod(layer.output)) for layer in layers if layer.op == "conv2d"]
    assert dense_biases == 9_192
    assert outputs == [290_400, 186_624, 64_896, 64_896, 43_264]
    assert sum(layer.parameters for layer in layers) - dense_biases == 62_369_152
    assert sum(layer.macs for layer in layers) + sum(outputs) == 1_135_906_176


def test_the_page_does_its_sums_right() -> None:
    text = PAGE.read_text(encoding="utf-8").replace("\n", " ").replace(",", "")
    equations = re.findall(r"\d{4,}(?: [-+] \d{4,})* = \d{4,}(?: [-+] \d{4,})*", text)
    assert len(equations) == 4
    for left, right in (equation.split(" = ") for equation in equations):
        assert total(left) == total(right)


def test_the_page_states_the_true_sizes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for call, model_class, options in (
        ("AlexNet()", AlexNet, {}),
        ("AlexNet(groups=1)", AlexNet, {"groups": 1}),
        ("TorchvisionAlexNet()", TorchvisionAlexNet, {}),
    ):
        layers = layers_of(model_class, **options)
        parameters, macs = sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)
        assert f"`{call}` | {parameters:,} | {macs:,} |" in text


def total(terms: str) -> int:
    """Of `1 + 2 - 3`."""
    return sum(int(term) for term in terms.replace("- ", "-").replace("+ ", "").split())


def test_the_parameters_of_every_layer() -> None:
    one_tower = [34_944, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 4_097_000]
    grouped = {1: 307_456, 3: 663_936, 4: 442_624}
    for groups in (1, 2):
        counts = [layer.parameters for layer in layers_of(AlexNet, groups=groups) if layer.parameters]
        assert counts == [grouped.get(i, n) if groups == 2 else n for i, n in enumerate(one_tower)]


# ---- 224 or 227 --------------------------------------------------------------------------------------------------------------


class Narrow(AlexNet):
    maps, units = (4, 6, 8, 8, 6), 8


def test_224_is_227_whose_last_three_rows_and_columns_are_zero() -> None:
    model = Narrow().eval()
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype("float32")
    wide = np.pad(x, ((0, 0), (0, 0), (0, 3), (0, 3)))
    np.testing.assert_array_equal(model(Tensor(x)).numpy(), model(Tensor(wide)).numpy())
    assert model.fc6.weight.shape == Narrow(size=224).fc6.weight.shape == (8, 6 * 36)


# ---- conventions -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("convention", "bias", "conv_std", "dense_std"),
    [("paper", 1, 0.01, 0.01), ("original", 1, 0.03, 0.01), ("caffe", 0.1, 0.01, 0.005), ("caffenet", 1, 0.01, 0.005)],
)
def test_where_training_starts(convention: str, bias: float, conv_std: float, dense_std: float) -> None:
    class Wide(AlexNet):  # enough weights in every layer to measure their spread
        maps, units = (16, 32, 48, 64, 64), 512

    minidl.manual_seed(0)
    stds = dict.fromkeys(("conv1", "conv2", "fc8"), 0.01) | dict.fromkeys(("conv3", "conv4", "conv5"), conv_std)
    stds |= dict.fromkeys(("fc6", "fc7"), dense_std)
    for name, layer in Wide(convention=convention).named_children():
        if name in stds:
            assert np.abs(layer.weight.numpy()).max() > 0
            assert layer.weight.numpy().std() == pytest.approx(stds[name], rel=0.04), name
            start = 0 if name in ("conv1", "conv3", "fc8") else bias
            assert (layer.bias.numpy() == np.float32(start)).all(), name


def test_conventions_differ_in_numbers_only() -> None:
    with minidl.shapes_only():
        models = [AlexNet(convention=name) for name in CONVENTIONS]
    first, *others = ({name: p.shape for name, p in model.named_parameters()} for model in models)
    assert all(shapes == first for shapes in others)


# ---- the listings ------------------------------------------------------------------------------------------------------------


def test_the_keras_listing_has_the_notes_sizes() -> None:
    layers = {layer.name: layer for layer in layers_of(KerasAlexNet)}
    outputs = {name: tuple(layers[name].output[1:]) for name in ("conv1", "norm1", "conv2", "norm2")}
    assert outputs == {"conv1": (96, 54, 54), "norm1": (96, 27, 27), "conv2": (256, 17, 17), "norm2": (256, 8, 8)}
    assert layers["conv1"].parameters == 34_944
    assert layers["conv2"].parameters == 2_973_952
    with minidl.shapes_only():
        model = KerasAlexNet()
    assert [keras_parameters(norm) for norm in (model.norm1, model.norm2)] == [384, 1_024]
    assert model.dropout.p == 0.4
    assert model.fc8.weight.shape[0] == 10


def keras_parameters(norm: nn.BatchNorm2d) -> int:
    """As Keras counts them: running means and variances too."""
    return sum(t.size for t in (*norm.parameters(), norm.running_mean, norm.running_var))


def test_the_slides_initialiser() -> None:
    minidl.manual_seed(0)
    model = type("Small", (SlidesAlexNet,), {"units": 32})(classes=6)
    convolutions = [layer for layer in model.net if isinstance(layer, nn.Conv2d)]
    assert [np.unique(layer.bias.numpy()).tolist() for layer in convolutions] == [[0], [1], [0], [1], [1]]
    assert all(layer.weight.numpy().std() == pytest.approx(0.01, rel=0.04) for layer in convolutions)
    dense = [layer for layer in model.classifier if isinstance(layer, nn.Linear)]
    assert all(0 < np.abs(layer.bias.numpy()).max() <= layer.in_features**-0.5 for layer in dense)
