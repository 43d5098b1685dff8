"""Alpha-Net part by part: whole nets by hand, what a block can join, what links keep, how often is computed, how it starts."""

from __future__ import annotations

import inspect
import math
import weakref
from typing import Any

import numpy as np
import pytest
from test_alphanet import blocks_of

import minidl
from minidl import Tensor, nn
from minidl.modes import listening
from minidl.nn.weights import options_of
from minidl.random import stream
from models.alphanet import AlphaBlock, AlphaNet, AlphaNet32, AveragedConv, LinkedStage, ResidualBlock

E = 0.01  # of the signed power


class Narrow(AlphaNet):
    """The larger net's stem, four stages and strides, with few maps."""

    widths = (3, 4, 5, 6)


def loud(model: nn.Module) -> nn.Module:
    """In float64 and evaluation, with every norm's weights and statistics far from where they start."""
    rng = np.random.default_rng(0)
    model.to(dtype="float64").eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.AlphaBatchNorm2d):
            with minidl.no_grad():
                for tensor in (module.weight, module.bias, module.running_mean):
                    tensor.copy_(rng.normal(0.3, 0.5, tensor.shape))
                module.running_var.copy_(rng.uniform(0.5, 2, module.running_var.shape))
    return model


# ---- by hand ---------------------------------------------------------------------------------------------------------------


def normed(norm: Any, x: np.ndarray, alpha: float | None) -> np.ndarray:
    mean, var, weight, bias = (t.numpy()[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    z = (x - mean) / np.sqrt(var + 1e-5)
    if alpha is not None:
        z = np.sign(z) * ((np.abs(z) + E) ** alpha - E**alpha)
    return weight * z + bias


def convolved(x: np.ndarray, weight: Tensor, stride: int = 1) -> np.ndarray:
    above = (weight.shape[2] - 1) // 2
    below = weight.shape[2] - 1 - above
    return minidl.conv2d(Tensor(x), weight, stride=stride, padding=(above, below, above, below)).numpy()


def pooled(x: np.ndarray) -> np.ndarray:
    """What 3x3 windows draw on average: each value in proportion to itself."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))
    total = windows.sum((4, 5))
    return (windows**2).sum((4, 5)) / np.where(total > 0, total, 1)


def block_by_hand(block: Any, x: np.ndarray, structure: str, stride: int, alpha: float | None) -> np.ndarray:
    """One block without its last ReLU."""
    y = np.maximum(normed(block.bn1, convolved(x, block.conv1.weight, stride), alpha), 0)
    if structure == "alpha":
        y = pooled(y)
        y = (convolved(y, block.conv2.small) + convolved(y, block.conv2.large)) / 2
    else:
        y = convolved(y, block.conv2.weight)
    y = normed(block.bn2, y, alpha)
    if structure == "plain":
        return y
    if block.downsample is not None:
        x = normed(block.downsample[1], convolved(x, block.downsample[0].weight, stride), alpha)
    return x + y


def features_by_hand(model: Any, x: np.ndarray, structure: str, alpha: float | None, last_relu: bool) -> np.ndarray:
    x = np.maximum(normed(model.bn1, convolved(x, model.conv1.weight, 1 if len(model.widths) == 3 else 2), alpha), 0)
    if len(model.widths) == 4:
        x = minidl.max_pool2d(x, 3, 2, 1).numpy()
    last = blocks_of(model)[-1]
    for i, name in enumerate(model.stages):
        for j, block in enumerate(getattr(model, name)):
            x = block_by_hand(block, x, structure, 2 if i > 0 and j == 0 else 1, alpha)
            x = np.maximum(x, 0) if last_relu or block is not last else x
    return x.mean((2, 3))


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        *[(AlphaNet32, {"depth": 14, "size": 9, "structure": structure}) for structure in ("plain", "residual", "alpha")],
        (AlphaNet32, {"depth": 14, "size": 13, "structure": "alpha", "alpha": 0.8, "kernels": (7, 2), "loss": "am"}),
        (Narrow, {"depth": 32, "size": 65, "structure": "alpha", "links": "none", "alpha": 0.7}),
        (Narrow, {"depth": 32, "size": 33, "structure": "plain", "loss": "am_linear"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_a_net_is_what_its_docstring_says(cls: Any, options: dict) -> None:
    """Layer by layer in float64, with nothing of models/alphanet.py but its weights."""
    minidl.manual_seed(0)
    model = loud(cls(classes=5, **options))
    x = np.random.default_rng(1).standard_normal((2, *model.input_shape))
    alpha = options.get("alpha", 0.5) if options["structure"] == "alpha" else None
    features = features_by_hand(model, x, options["structure"], alpha, last_relu="loss" not in options)
    weight = model.fc.weight.numpy()
    if "loss" in options:
        lengths = np.linalg.norm(features, axis=1, keepdims=True) * np.linalg.norm(weight, axis=1)
        expected, told = features, features @ weight.T / lengths
    else:
        expected = features @ weight.T + model.fc.bias.numpy()
        powers = np.exp(expected - expected.max(axis=1, keepdims=True))
        told = powers / powers.sum(axis=1, keepdims=True)
    out = model(Tensor(x))
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.predict(out).numpy(), told, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("depth", "stages"), [(8, [1, 1, 1]), (10, [1, 2, 1]), (12, [2, 1, 2]), (14, [2, 2, 2]), (16, [2, 3, 2])]
)
def test_small_nets_have_stages_as_equal_as_can_be(depth: int, stages: list[int]) -> None:
    with minidl.shapes_only():
        model = AlphaNet32(depth=depth)
    assert [len(getattr(model, name)) for name in model.stages] == stages


# ---- blocks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "width", "stride"), [(4, 4, 1), (4, 6, 1), (4, 4, 2), (4, 6, 2)])
@pytest.mark.parametrize("structure", ["residual", "alpha"])
def test_a_block_projects_where_the_shape_changes_and_only_there(
    structure: str, channels: int, width: int, stride: int
) -> None:
    shape = (channels, width, stride)
    block = AlphaBlock(*shape, (3, 5), 0.5) if structure == "alpha" else ResidualBlock(*shape)
    y = block(Tensor(np.random.default_rng(0).standard_normal((2, channels, 7, 7)).astype(np.float32)))
    assert y.shape == (2, width, -(-7 // stride), -(-7 // stride))
    assert (block.downsample is None) == (shape == (4, 4, 1))


def test_the_two_kernels_may_be_named_in_either_order() -> None:
    one, other = AveragedConv(2, (3, 5)), AveragedConv(2, (5, 3))
    for p in one.parameters():
        nn.init.normal_(p)
    other.load_state_dict(one.state_dict())
    x = Tensor(np.random.default_rng(0).standard_normal((2, 2, 6, 7)).astype(np.float32))
    np.testing.assert_array_equal(one(x).numpy(), other(x).numpy())


# ---- links -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [-1, 2, 7])
def test_a_source_that_is_none_is_told(source: int) -> None:
    model = AlphaNet32(depth=32, size=9)
    with minidl.no_grad():
        model.layer2[3].source.copy_(source)
    with pytest.raises(ValueError, match=f"layer2.3.source expected .* earlier block, 0 to 1, got {source}; restore"):
        model.layer2(Tensor(np.zeros((1, 16, 9, 9), np.float32)))


@pytest.mark.parametrize("sources", [(0, 0, 0), (0, 1, 2), (0, 0, 1), (0, 1, 0)])
def test_an_output_is_kept_until_no_link_asks_for_it(sources: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = AlphaNet32(depth=32, size=9).eval().layer1
    with minidl.no_grad():
        for block, source in zip(list(stage)[2:], sources, strict=True):
            block.source.copy_(source)
    outputs, alive, run = [], [], LinkedStage.run

    def watched(self: Any, block: Any, *inputs: Tensor) -> Tensor:
        alive.append({i for i, output in enumerate(outputs) if output() is not None})
        y = run(self, block, *inputs)
        outputs.append(weakref.ref(y.data))
        return y

    monkeypatch.setattr(LinkedStage, "run", watched)
    with minidl.no_grad():
        stage(Tensor(np.zeros((1, 16, 9, 9), np.float32)))
    asked = (None, None, *sources)
    assert alive == [{i - 1, *asked[i:]} & set(range(i)) for i in range(5)]


def test_each_stage_draws_for_itself() -> None:
    model = AlphaNet32(seed=0)  # stages of 21, 21 and 21
    drawn = [tuple(int(block.source.item()) for block in list(getattr(model, name))[2:]) for name in model.stages]
    assert len(set(drawn)) == 3
    redrawn = AlphaNet32(links="redraw")
    assert sum(block.source is not None for block in blocks_of(redrawn)) == 57  # a file of the one net fits the other


def test_a_seed_of_the_links_leaves_all_else_by_chance() -> None:
    def built(**options: Any) -> Any:
        minidl.manual_seed(3)
        return AlphaNet32(depth=32, size=9, **options)

    plain = built(links="none").state_dict()
    for seed in (7, 8):
        linked = built(seed=seed).state_dict()
        assert stream().seed == 3
        assert all(np.array_equal(array, linked[name]) for name, array in plain.items())
    minidl.manual_seed(4)
    other = AlphaNet32(depth=32, size=9, seed=8).state_dict()
    assert other["layer1.2.link"] != linked["layer1.2.link"]


# ---- how often it computes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["residual", "alpha"])
@pytest.mark.parametrize(("recompute", "times"), [(None, 1), ("block", 2), ("stage", 2)])
def test_what_is_recomputed_is_computed_twice(recompute: str | None, times: int, structure: str) -> None:
    model = AlphaNet32(depth=20, size=9, structure=structure, recompute=recompute)
    counted: list[str] = []
    with listening(lambda kernel, *rest: counted.append(kernel.op.name)):
        model.loss(model(Tensor(np.zeros((2, 3, 9, 9), np.float32))), np.array([0, 1])).backward()
    convolutions = 9 * 2 + 2  # of the blocks; one more is the stem
    assert counted.count("conv2d") == times * convolutions + 1


# ---- how it starts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["plain", "residual", "alpha"])
def test_weights_begin_as_hes_and_biases_at_zero(structure: str) -> None:
    minidl.manual_seed(0)
    model = AlphaNet32(depth=14, size=9, structure=structure)
    for name, parameter in model.named_parameters():
        array = parameter.numpy()
        if array.ndim > 1:
            spread = array.std() * math.sqrt(array[0].size / 2)
            assert abs(spread - 1) < 5 / math.sqrt(2 * array.size), name
        if name.endswith("bias"):
            assert not array.any(), name


def test_what_is_not_asked_for() -> None:
    options = {name: p.default for name, p in inspect.signature(AlphaNet.__init__).parameters.items()}
    usual = {"alpha": 0.5, "m": 0.35, "survival": 1.0, "links": "fixed", "recompute": None, "auxiliary": False}
    assert {name: options[name] for name in usual} == usual


def test_scale_and_margin_are_kept_with_the_weights() -> None:
    for model, s in (
        (AlphaNet32(depth=8, loss="am", m=0.2), 10.0),
        (AlphaNet32(depth=8, loss="am_linear", s=64.0, m=0.2), 64.0),
    ):
        kept = options_of(model)
        assert (kept["s"], kept["m"]) == (model.fc.s, model.fc.m) == (s, 0.2)
