"""Alpha-Net: its layers counted along the longest way, its links, what it recomputes, and what its options do."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn, optim
from minidl.cli import main
from minidl.evaluation import loss_of
from minidl.memory import forecast
from minidl.modes import listening
from minidl.summary import summarise
from models.alphanet import AlphaBlock, AlphaNet, AlphaNet32, AveragedConv

LAYERS = {1: 128, 2: 256, 3: 512, 4: 1024}
STRUCTURES = ("plain", "residual", "alpha")
SMALL: dict[str, Any] = {"depth": 32, "size": 9, "last_gamma": 1}  # 15 blocks, three links in each stage; what is inside counts


def images(model: Any, n: int = 2, seed: int = 0) -> Tensor:
    return Tensor(np.random.default_rng(seed).standard_normal((n, *model.input_shape)).astype(np.float32))


def blocks_of(model: Any) -> list:
    return [block for name in model.stages for block in getattr(model, name)]


# ---- how deep and how large --------------------------------------------------------------------------------------------------


def longest_way(model: Any) -> int:
    """Convolutions and dense layers on the longest way from the image to the loss, in training."""
    depth: dict[int, int] = {}
    keep = []  # an id is good while its array lives

    def hear(kernel: Any, attrs: Any, arrays: tuple, out: Tensor, saved: Any) -> None:
        keep.append((arrays, out.data))
        weighted = kernel.op.name in ("conv2d", "linear", "am_softmax", "am_softmax_linear")
        reached = [depth[id(a)] for a in arrays if id(a) in depth]
        if reached:  # weights alone reach nothing
            depth[id(out.data)] = max(reached) + weighted

    with minidl.shapes_only(), listening(hear):
        x = Tensor(np.zeros((2, *model.input_shape), np.float32))
        depth[id(x.data)] = 0
        loss = loss_of(model, model.train()(x), np.zeros(2, np.int64))
    return depth[id(loss.data)]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("version", LAYERS)
@pytest.mark.parametrize("cls", [AlphaNet, AlphaNet32])
def test_every_version_has_exactly_its_layers(cls: Any, version: int, structure: str) -> None:
    with minidl.shapes_only():
        model = cls(version=version, structure=structure)
    assert longest_way(model) == LAYERS[version]


@pytest.mark.parametrize(
    ("cls", "depth", "options"),
    [(AlphaNet32, depth, {}) for depth in (8, 10, 14, 20, 26)]
    + [(AlphaNet32, 14, {"loss": "am"}), (AlphaNet32, 12, {"loss": "am_linear", "auxiliary": True}), (AlphaNet, 32, {})],
)
def test_a_depth_is_what_it_says(cls: Any, depth: int, options: dict) -> None:
    with minidl.shapes_only():
        assert longest_way(cls(depth=depth, **options)) == depth


@pytest.mark.parametrize(
    ("cls", "stages"),
    [
        (AlphaNet, {1: [12, 16, 23, 12], 2: [24, 32, 47, 24], 3: [48, 64, 95, 48], 4: [96, 128, 191, 96]}),
        (AlphaNet32, {1: [21, 21, 21], 2: [42, 43, 42], 3: [85, 85, 85], 4: [170, 171, 170]}),
    ],
)
def test_the_stages_of_each_version(cls: Any, stages: dict) -> None:
    with minidl.shapes_only():
        for version, counts in stages.items():
            model = cls(version=version, structure="plain")
            assert [len(getattr(model, name)) for name in model.stages] == counts


@pytest.mark.parametrize(
    ("cls", "counts"),
    [
        (AlphaNet, [88_565_800, 179_164_200, 360_361_000, 722_754_600]),
        (AlphaNet32, [2_022_362, 4_082_458, 8_244_186, 16_526_106]),
    ],
)
def test_the_residual_nets_have_as_many_parameters_as_was_computed_elsewhere(cls: Any, counts: list[int]) -> None:
    with minidl.shapes_only():
        assert [summarise(cls(version=v, structure="residual")).parameters for v in LAYERS] == counts


def by_hand(widths: tuple, stages: list[int], stem: int, classes: int, kernels: tuple[int, int]) -> int:
    """Parameters of the alpha structure, by arithmetic."""
    total = 3 * stem**2 * widths[0] + 2 * widths[0]
    before = widths[0]
    for width, count in zip(widths, stages, strict=True):
        each = 9 * width**2 + (kernels[0] ** 2 + kernels[1] ** 2) * width**2 + 4 * width
        total += count * each + 9 * (before - width) * width + max(0, count - 2)
        total += before * width + 2 * width if before != width else 0
        before = width
    return total + before * classes + classes


@pytest.mark.parametrize("kernels", [(3, 5), (5, 10)])
def test_the_alpha_nets_have_as_many_as_arithmetic_says(kernels: tuple[int, int]) -> None:
    with minidl.shapes_only():
        large, small = (summarise(cls(kernels=kernels)).parameters for cls in (AlphaNet, AlphaNet32))
    assert large == by_hand((64, 128, 256, 512), [12, 16, 23, 12], 7, 1000, kernels)
    assert small == by_hand((16, 32, 64), [21, 21, 21], 3, 10, kernels)


# ---- averaged convolutions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", [(3, 5), (5, 10), (1, 4), (2, 7), (3, 3)])
def test_the_average_of_two_convolutions_is_one(kernels: tuple[int, int]) -> None:
    """One kernel does what two do side by side: the smaller in a frame of zeros that keeps its centre, and the larger."""
    averaged = AveragedConv(3, kernels).to(dtype="float64")
    rng = np.random.default_rng(0)
    for p in averaged.parameters():
        nn.init.normal_(p)
    x, (small, large) = Tensor(rng.standard_normal((2, 3, 11, 8)), requires_grad=True), averaged.parameters()
    assert (small.shape, large.shape) == tuple((3, 3, size, size) for size in kernels)
    above = [(size - 1) // 2 for size in kernels]  # 4 and 5 of ten rows
    around = [(a, size - 1 - a) * 2 for a, size in zip(above, kernels, strict=True)]
    two = (minidl.conv2d(x, small, padding=around[0]) + minidl.conv2d(x, large, padding=around[1])) / 2.0
    one, dy = averaged(x), rng.standard_normal(two.shape)
    np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=0, atol=1e-12)
    gradients = []
    for y in (one, two):
        x.grad = small.grad = large.grad = None
        y.backward(dy)
        gradients.append((x.grad, small.grad, large.grad))
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)


# ---- links -------------------------------------------------------------------------------------------------------------------


def sources_of(model: Any) -> list[int | None]:
    return [None if block.source is None else int(block.source.item()) for block in blocks_of(model)]


def test_links_come_from_earlier_blocks_than_the_predecessor() -> None:
    minidl.manual_seed(0)
    model = AlphaNet32(version=1)
    drawn = []
    for name in model.stages:
        for i, block in enumerate(getattr(model, name)):
            assert (block.source is None) == (block.link is None) == (i < 2)
            if i > 1:
                assert 0 <= int(block.source.item()) <= i - 2
                drawn.append(((int(block.source.item()) + 0.5) / (i - 1), block.link.item()))
    places, weights = map(np.array, zip(*drawn, strict=True))
    assert len(drawn) == 57
    assert abs(places.mean() - 0.5) < 4 * math.sqrt(1 / 12 / 57)
    assert 0.007 < weights.std() < 0.013


def test_a_seed_is_a_net() -> None:
    def built(start: int, **options: Any) -> Any:
        minidl.manual_seed(start)
        return AlphaNet32(**SMALL, **options)

    first, again, other = built(3), built(3), built(4)
    assert all(np.array_equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert sources_of(first) != sources_of(other)
    assert sources_of(built(3, seed=7)) == sources_of(built(4, seed=7)) != sources_of(built(4, seed=8))
    assert built(3, links="none").layer1[4].source is None
    assert len(list(built(3, links="none").parameters())) == len(list(first.parameters())) - 9


def test_a_loaded_net_has_the_links_it_was_saved_with(tmp_path: Path) -> None:
    first, second = AlphaNet32(**SMALL, seed=1).eval(), AlphaNet32(**SMALL, seed=2).eval()
    x = images(first)
    for block in blocks_of(first):
        if block.link is not None:
            with minidl.no_grad():
                block.link.copy_(0.7)
    nn.save_weights(first, tmp_path / "net.safetensors")
    nn.load_weights(second, tmp_path / "net.safetensors")
    assert sources_of(second) == sources_of(first)
    np.testing.assert_array_equal(second(x).numpy(), first(x).numpy())
    with minidl.no_grad():
        second.layer1[4].source.copy_((sources_of(first)[4] + 1) % 3)
    assert np.abs(second(x).numpy() - first(x).numpy()).max() > 1e-4


def test_a_broken_link_is_told() -> None:
    model = AlphaNet32(**SMALL)
    with minidl.no_grad():
        model.layer2[3].source.copy_(2)
    with pytest.raises(ValueError, match=r"layer2\.3\.source expected the number of an earlier block, 0 to 1, got 2; restore"):
        model(images(model))
    model.connect()  # the remedy that it names
    model(images(model))


@pytest.mark.parametrize(("name", "source", "most"), [("layer1.2", -5, 0), ("layer2.4", 3, 2), ("layer3.3", 99, 1)])
def test_a_broken_link_in_a_file_is_told_when_it_is_loaded(name: str, source: int, most: int, tmp_path: Path) -> None:
    state = AlphaNet32(**SMALL).state_dict()
    nn.save_weights({**state, f"{name}.source": np.array(source)}, tmp_path / "net.safetensors")
    model = AlphaNet32(**SMALL)
    before = model.state_dict()
    words = rf"^{name}\.source expected the number of an earlier block, 0 to {most}, got {source}; restore the file"
    with pytest.raises(ValueError, match=words):
        nn.load_weights(model, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=words):
        model.load_state_dict({**state, f"{name}.source": Tensor(np.array(source))})
    after = model.state_dict()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def stage_by_hand(stage: Any, x: Tensor, far: Any) -> Tensor:
    """`far(i, outputs)` is what block i gets beside its predecessor's output."""
    outputs: list[Tensor] = []
    for i, block in enumerate(stage):
        given = x if i < 2 else x + block.link * far(i, outputs)
        x = super(AlphaBlock, block).forward(given)
        outputs.append(x)
    return x


def stage_with_loud_links(**options: Any) -> tuple[Any, Tensor]:
    minidl.manual_seed(0)
    model = AlphaNet32(**SMALL, **options).eval()
    stage = model.layer2
    with minidl.no_grad():
        for i, block in enumerate(stage):
            if i > 1:
                block.link.copy_(0.3 + 0.1 * i)
    return stage, Tensor(np.random.default_rng(0).standard_normal((2, 16, 5, 5)).astype(np.float32))


def test_a_stage_adds_what_the_links_bring() -> None:
    stage, x = stage_with_loud_links()
    for sources in ((0, 0, 0), (0, 1, 2), (0, 0, 1)):
        with minidl.no_grad():
            for block, source in zip(list(stage)[2:], sources, strict=True):
                block.source.copy_(source)
        by_hand = stage_by_hand(stage, x, lambda i, outputs, s=sources: outputs[s[i - 2]])
        np.testing.assert_array_equal(stage(x).numpy(), by_hand.numpy())


def test_redrawn_links_change_every_step_and_predict_by_their_mean() -> None:
    stage, x = stage_with_loud_links(links="redraw")
    mean = stage_by_hand(stage, x, lambda i, outputs: sum(outputs[: i - 1]) * (1 / (i - 1)))
    np.testing.assert_allclose(stage(x).numpy(), mean.numpy(), rtol=1e-5, atol=1e-5)
    stage.training = True  # the blocks stay as they are: only the links are by chance
    seen = np.array([stage.sources()[2:] for _ in range(600)])
    for i in (2, 3, 4):
        counts = np.bincount(seen[:, i - 2], minlength=i - 1)
        assert len(counts) == i - 1
        assert np.abs(counts / 600 - 1 / (i - 1)).max() < 4 * math.sqrt(0.25 / 600)
    assert len({stage(x).numpy().tobytes() for _ in range(20)}) > 2
    fixed, _ = stage_with_loud_links()
    fixed.training = True
    assert len({fixed(x).numpy().tobytes() for _ in range(5)}) == 1


# ---- recomputing -------------------------------------------------------------------------------------------------------------


def trained(recompute: str | None, **options: Any) -> tuple:
    minidl.manual_seed(1)
    model = AlphaNet32(**SMALL, recompute=recompute, **options)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for step in range(2):
        loss = loss_of(model, model(images(model, 3, step)), np.array([0, 3, 9]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict(), minidl.random.stream().position


@pytest.mark.parametrize("recompute", ["block", "stage"])
@pytest.mark.parametrize(
    "options",
    [{}, {"links": "redraw", "survival": 0.5}, {"structure": "residual", "auxiliary": True}, {"structure": "plain"}],
    ids=str,
)
def test_recomputing_changes_no_bit(recompute: str, options: dict) -> None:
    plain, again = trained(None, **options), trained(recompute, **options)
    assert plain[0] == again[0]
    assert plain[2] == again[2]
    for name, array in plain[1].items():
        np.testing.assert_array_equal(array, again[1][name], err_msg=name)


def test_recomputing_keeps_less() -> None:
    def nodes(recompute: str | None) -> int:
        minidl.manual_seed(0)
        model = AlphaNet32(**SMALL, recompute=recompute)
        loss = loss_of(model, model(images(model)), np.array([0, 1]))
        seen, waiting = set(), [loss.node]
        while waiting:
            node = waiting.pop()
            if hasattr(node, "sources") and id(node) not in seen:
                seen.add(id(node))
                waiting += node.sources
        return len(seen)

    whole, blocks, stages = nodes(None), nodes("block"), nodes("stage")
    assert blocks < 15 + 10
    assert stages < 3 + 10
    assert whole > 10 * 15


# ---- options -----------------------------------------------------------------------------------------------------------------


def test_stochastic_depth_falls_linearly_and_predicts_by_the_mean() -> None:
    model = AlphaNet32(depth=20, size=9, structure="residual", survival=0.5, last_gamma=1)
    blocks = blocks_of(model)
    assert [block.survival for block in blocks] == pytest.approx([1 - 0.5 * i / 9 for i in range(1, 10)])
    block = blocks[4]
    x = Tensor(np.random.default_rng(0).standard_normal((2, 32, 5, 5)).astype(np.float32))
    block.eval()
    expected = minidl.relu(x + block.survival * block.branch(x))
    np.testing.assert_array_equal(block(x).numpy(), expected.numpy())
    block.training = True  # the layers inside stay as they are
    outs = [block(x).numpy().tobytes() for _ in range(400)]
    there, gone = (minidl.relu(y).numpy().tobytes() for y in (x + block.branch(x), x))
    assert set(outs) == {there, gone}
    assert abs(outs.count(there) / 400 - block.survival) < 4 * math.sqrt(0.25 / 400)


def test_auxiliary_heads_weigh_three_tenths() -> None:
    minidl.manual_seed(0)
    model = AlphaNet32(classes=4, depth=8, size=9, auxiliary=True, last_gamma=1)
    labels = np.array([1, 3])
    outs = model(images(model))
    assert [out.shape for out in outs] == [(2, 4)] * 3
    each = [minidl.softmax_cross_entropy(out, labels).item() for out in outs]
    assert model.loss(outs, labels).item() == pytest.approx(each[0] + 0.3 * each[1] + 0.3 * each[2], rel=1e-6)
    assert model.predict(outs).numpy() == pytest.approx(minidl.softmax(outs[0]).numpy())
    model.loss(outs, labels).backward()
    assert all(np.abs(p.grad).max() > 0 for p in model.parameters())
    assert model.eval()(images(model)).shape == (2, 4)


@pytest.mark.parametrize(("loss", "op"), [("am", minidl.am_softmax), ("am_linear", minidl.am_softmax_linear)])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_angular_losses_look_at_features_of_both_signs(loss: str, op: Any, structure: str) -> None:
    minidl.manual_seed(0)
    model = AlphaNet32(depth=14, size=9, structure=structure, loss=loss, m=0.2, last_gamma=1)
    labels = np.array([1, 7, 3])
    features = model(images(model, 3))
    assert features.shape == (3, 64)
    assert features.numpy().min() < 0 < features.numpy().max()
    assert model.loss(features, labels).item() == op(features, model.fc.weight, labels, s=10.0, m=0.2).item()
    np.testing.assert_array_equal(model.predict(features).numpy(), minidl.cosine_logits(features, model.fc.weight).numpy())
    model.loss(features, labels).backward()
    assert all(np.abs(p.grad).max() > 0 for p in model.parameters())


@pytest.mark.parametrize("loss", ["am", "am_linear"])
@pytest.mark.parametrize("recompute", [None, "block", "stage"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_auxiliary_heads_of_angular_losses_look_at_both_signs_too(structure: str, recompute: str | None, loss: str) -> None:
    """At what a stage's last ReLU is given; the next stage gets what comes out of that ReLU."""
    minidl.manual_seed(0)
    options: dict[str, Any] = {"depth": 14, "size": 9, "structure": structure, "last_gamma": 1, "recompute": recompute}
    model = AlphaNet32(**options, loss=loss, auxiliary=True)
    heard: dict[str, Any] = {}
    for name in model.stages:
        listen(getattr(model, name), name, heard)
    outs = model(images(model, 3))
    assert [out.shape for out in outs] == [(3, 64), (3, 16), (3, 32)]
    for out, name in zip(outs, ("layer3", "layer1", "layer2"), strict=True):
        maps = heard[name][1].numpy()
        assert (maps < 0).mean() > 0.05
        np.testing.assert_allclose(out.numpy(), maps.mean(axis=(2, 3)), rtol=1e-4, atol=1e-5)
    for before, after in (("layer1", "layer2"), ("layer2", "layer3")):
        np.testing.assert_array_equal(heard[after][0].numpy(), np.maximum(heard[before][1].numpy(), 0))
    model.loss(outs, np.array([1, 7, 3])).backward()
    assert all(np.abs(p.grad).max() > 0 for p in model.parameters())


def listen(stage: Any, name: str, heard: dict[str, Any]) -> None:
    """What the stage is given and gives."""
    forward = stage.forward

    def forward_and_tell(x: Tensor) -> Tensor:
        heard[name] = x, forward(x)
        return heard[name][1]

    stage.forward = forward_and_tell


def test_without_auxiliary_heads_an_angular_net_computes_what_its_stages_do() -> None:
    """The same features with those heads as without: they only look."""
    models = []
    for auxiliary in (False, True):
        minidl.manual_seed(0)
        models.append(AlphaNet32(depth=14, size=9, loss="am", auxiliary=auxiliary, last_gamma=1))
    models[1].load_state_dict(models[0].state_dict(), strict=False)
    plain, watched = (model.eval()(images(model, 3)).numpy() for model in models)
    np.testing.assert_array_equal(plain, watched)


def test_the_scale_of_the_angular_losses() -> None:
    with minidl.shapes_only():
        assert AlphaNet32(depth=8, loss="am").fc.s == 10
        assert AlphaNet(depth=32, loss="am_linear").fc.s == 30
        assert AlphaNet32(depth=8, loss="am", s=64).fc.s == 64


@pytest.mark.parametrize(("structure", "begins"), [("plain", 1), ("residual", 12**-0.5), ("alpha", 12**-0.5)])
def test_where_there_is_a_shortcut_a_branch_starts_small(structure: str, begins: float) -> None:
    for options, expected in (({}, begins), ({"last_gamma": 0.3}, 0.3)):
        blocks = blocks_of(AlphaNet32(depth=14, size=9, structure=structure, **options))
        assert {float(value) for block in blocks for value in block.bn2.weight.numpy()} == {float(np.float32(expected))}
        assert all((block.bn1.weight.numpy() == 1).all() for block in blocks)


@pytest.mark.parametrize("structure", ["residual", "alpha"])
def test_a_block_may_start_by_passing_on_what_it_gets(structure: str) -> None:
    model = AlphaNet32(depth=14, size=9, structure=structure, last_gamma=0).eval()  # two blocks a stage: no links
    x = minidl.relu(Tensor(np.random.default_rng(0).standard_normal((2, 16, 9, 9)).astype(np.float32)))
    np.testing.assert_array_equal(model.layer1(x).numpy(), x.numpy())


def test_the_first_gradient_does_not_grow_with_the_depth() -> None:
    """From branches of full size it does: to 1e9 at 128 layers, which the docstring tells."""

    def norm(depth: int, **options: Any) -> float:
        minidl.manual_seed(0)
        model = AlphaNet32(depth=depth, size=9, **options)
        loss_of(model, model(images(model, 8)), np.arange(8)).backward()
        return math.sqrt(sum(float((p.grad.astype(np.float64) ** 2).sum()) for p in model.parameters()))

    assert norm(128) < 10 * norm(20) < 1e3
    assert norm(128, last_gamma=1) > 1e4 * norm(20, last_gamma=1)


def test_alpha_of_one_is_batch_norm() -> None:
    model = AlphaNet32(depth=8, size=9, alpha=1.0)
    norms = [module for module in model.modules() if isinstance(module, nn.AlphaBatchNorm2d)]
    assert len(norms) == 1 + 3 * 2 + 2
    assert all(norm.alpha == 1.0 for norm in norms)


def test_what_a_file_of_weights_says_of_the_net(tmp_path: Path) -> None:
    nn.save_weights(AlphaNet32(depth=14, size=9, links="redraw", recompute="block"), tmp_path / "net.safetensors")
    nn.load_weights(AlphaNet32(depth=14, size=9, links="redraw"), tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"was saved from AlphaNet32\(links='redraw'\)"):
        nn.load_weights(AlphaNet32(depth=14, size=9), tmp_path / "net.safetensors")


def test_options_that_earlier_files_tell_are_known(tmp_path: Path) -> None:
    """They named a version beside a depth, and a scale and margin beside the softmax; the structures' defaults as well."""
    told = {"version": 1, "structure": "residual", "depth": 14, "kernels": [3, 5], "alpha": 0.5, "links": "fixed", "s": 10.0}
    told |= {"m": 0.35, "survival": 1.0, "auxiliary": False}
    model = AlphaNet32(depth=14, structure="residual", size=9)
    about = {"minidl.model": "AlphaNet32", "minidl.options": json.dumps(told)}
    nn.save_weights(model.state_dict(), tmp_path / "net.safetensors", about)
    assert len(nn.load_weights(model, tmp_path / "net.safetensors").loaded_keys) == len(model.state_dict())
    with pytest.raises(ValueError, match=r"build it with survival=1.0"):
        nn.load_weights(AlphaNet32(depth=14, structure="residual", size=9, survival=0.5), tmp_path / "net.safetensors")


# ---- no depth is too deep ----------------------------------------------------------------------------------------------------


@contextmanager
def little_recursion() -> Iterator[None]:
    """Far fewer frames than the net has blocks."""
    frames, f = 0, sys._getframe()
    while f is not None:
        frames, f = frames + 1, f.f_back
    was = sys.getrecursionlimit()
    sys.setrecursionlimit(frames + 90)
    try:
        yield
    finally:
        sys.setrecursionlimit(was)


@pytest.mark.parametrize("recompute", [None, *(pytest.param(part, marks=pytest.mark.nightly) for part in ("block", "stage"))])
def test_a_thousand_layers_need_no_recursion(recompute: str | None, tmp_path: Path) -> None:
    AlphaNet32(depth=8, size=9, recompute=recompute)(Tensor(np.zeros((1, 3, 9, 9), np.float32)))  # what is made once
    with little_recursion():
        model = AlphaNet32(version=4, size=9, recompute=recompute)
        loss = loss_of(model, model(images(model)), np.array([0, 1]))
        loss.backward()
        del loss
        nn.save_weights(model, tmp_path / "deep.safetensors")
        nn.load_weights(model, tmp_path / "deep.safetensors")
        assert len(model.state_dict()) > 5000
        assert "AlphaBlock" in repr(model)
        assert summarise(model).parameters == sum(p.size for p in model.parameters())
        model.eval().apply(lambda module: None).to(dtype="float64").zero_grad()


# ---- memory ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [],
        pytest.param(["--set", "structure=residual"], marks=pytest.mark.nightly),
        pytest.param(["--set", "recompute=block"], marks=pytest.mark.nightly),
    ],
    ids=" ".join,
)
def test_the_memory_of_a_deep_net_is_forecast_from_shallower_ones(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Depth 80 measured itself, and along the line through 20 and 38."""
    file = str(Path(__file__).parent.parent / "models" / "alphanet.py")
    options = dict(word.split("=") for word in words[1::2])
    measured = forecast(AlphaNet32(depth=80, size=16, **options), 8)
    words = ["--set", "depth=80", "--set", "size=16", *words, "--memory", "--batch-size", "8", "--json"]
    assert main(["summary", file, *words]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert memory["depths"] == [20, 38]
    for name in ("weights", "gradients", "optimizer_state", "saved", "peak"):
        near = 0.05 if name == "peak" else 0.02  # of nets as small as these Python's own objects blur the peak
        assert memory[name] == pytest.approx(getattr(measured, name), rel=near), name


@pytest.mark.parametrize("depth", ["14", pytest.param("80", marks=pytest.mark.nightly)])  # measured itself, and from shallower
def test_stochastic_depth_is_forecast_with_every_block_there(depth: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(Path(__file__).parent.parent / "models" / "alphanet.py")
    memory = []
    for words in ([], ["--set", "survival=0.5"]):
        options = ["--set", f"depth={depth}", "--set", "size=9", "--set", "structure=residual", *words]
        assert main(["summary", file, *options, "--memory", "--batch-size", "4", "--json"]) == 0
        memory.append(json.loads(capsys.readouterr().out)["memory"])
    assert memory[0]["saved"] == memory[1]["saved"] > 0
    assert ("in_place" in memory[0], memory[1]["in_place"]) == (False, {"survival": 1.0})
    assert memory[0]["peak"] == pytest.approx(memory[1]["peak"], rel=0.05)  # Python's own objects come and go


def test_the_memory_of_the_deepest_is_told_in_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(Path(__file__).parent.parent / "models" / "alphanet.py")
    assert main(["summary", file, "--set", "version=4", "--set", "size=9", "--memory", "--batch-size", "1"]) == 0
    out = capsys.readouterr().out
    assert "forecast from steps on 1 and 2 of nets with 20 and 38 layers" in out
    assert "saved bytes" not in out
    assert "MiB" in out
