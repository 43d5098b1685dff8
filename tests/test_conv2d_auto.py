"""conv2d chooses its kernel by a forecast: one that can do the problem, explained on request, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import Tensor, slices
from minidl.draw import Random
from minidl.modes import as_for_batch
from minidl.op import AUTO, OPS, Op
from minidl.ops.conv2d import auto

CONV2D = OPS["conv2d"]


def shapes(name: str) -> tuple[tuple, dict]:
    """Shapes and attributes of a workload, without its arrays."""
    d = {"groups": 1, "padding": 0, "stride": 1} | CONV2D.workloads[name]
    w = (d["K"], d["C"] // d["groups"], d["R"], d["S"])
    return ((d["N"], d["C"], d["H"], d["W"]), w, None), {a: d[a] for a in ("groups", "padding", "stride")}


def chosen(name: str) -> str:
    of, attrs = shapes(name)
    return CONV2D.choice(*of, **attrs).name


def test_the_ladder_in_the_order_of_climbing() -> None:
    assert list(CONV2D.kernels) == (
        "direct shifts im2col chunked gemm_1x1 winograd winograd5 fft cuda_winograd cuda_implicit_gemm cuda_im2col".split()
    )


CHOICES = {
    "alexnet.conv1": "chunked",  # stride
    "alexnet.conv2": "winograd",
    "alexnet.conv3": "winograd5",  # 3 x 3 tiles of 5 waste less of 13 x 13 than 4 x 4 tiles of 4
    "vgg16.conv1_1": "chunked",  # 3 channels: no product to save
    "vgg16.conv4_2": "winograd",
    "googlenet.4a.1x1": "gemm_1x1",
    "resnet50.1x1_stride2": "gemm_1x1",
    "resnet50.3x3_stride2": "chunked",
    "inception_v3.6b.1x7": "chunked",  # tiles would be too large
    "convnet_benchmarks.L2": "fft",  # 9x9 filters, 128 images
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_chosen_for_layers_of_real_networks(name: str) -> None:
    assert chosen(name) == CHOICES[name]


@pytest.mark.parametrize("name", CONV2D.workloads)
def test_the_choice_can_do_the_problem_and_is_the_least_of_the_table(name: str) -> None:
    of, attrs = shapes(name)
    choice = CONV2D.choice(*of, **attrs)
    settled = CONV2D.settle(of, {**CONV2D.attrs, **attrs})[0]
    assert choice.why_not(of, settled) is None
    able = [k.name for k in CONV2D.kernels.values() if not (k.source or k.why_not(of, settled))]
    sums = {k: sum(auto.forecast(k, *of, **settled) or ()) for k in able}
    assert choice.name == min(sums, key=lambda k: sums[k])


@pytest.mark.parametrize("batch", [1, 8, 128, 10_000])
@pytest.mark.parametrize("name", CONV2D.workloads)
def test_nobody_is_sent_to_the_loops(name: str, batch: int) -> None:
    (x, *rest), attrs = shapes(name)
    assert CONV2D.choice((batch, *x[1:]), *rest, **attrs).name not in ("direct", "shifts")


def test_explain_shows_every_rung_of_the_host_and_the_choice() -> None:
    lines = minidl.conv2d.explain((32, 256, 13, 13), (384, 256, 3, 3), padding=1).splitlines()
    assert lines[0] == "conv2d (x [32,256,13,13], w [384,256,3,3]), milliseconds expected of one core"
    assert lines[1].split() == ["kernel", "forward", "dx", "dw", "sum"]
    assert [line.split()[0] for line in lines[2:]] == [k.name for k in CONV2D.kernels.values() if not k.source]
    assert [line.split()[0] for line in lines if line.endswith("<- chosen")] == ["winograd5"]
    assert "needs a 1x1 filter, got 3x3" in lines[6]


def test_the_forecast_knows_how_the_batch_is_sliced() -> None:
    assert auto.SLICE == slices.SLICE


def test_explain_takes_a_problem_and_names_what_is_missing() -> None:
    problem = CONV2D.ask(Random(3))
    of = tuple(None if x is None else x.shape for x in problem.inputs)
    assert minidl.conv2d.explain(problem) == minidl.conv2d.explain(*of, **problem.attrs)
    with pytest.raises(ValueError, match=r"conv2d: expected a shape for each input; w is missing"):
        minidl.conv2d.explain((2, 3, 8, 8))
    with pytest.raises(TypeError, match=r"conv2d: expected the shape of x, a tuple, got ndarray"):
        minidl.conv2d.explain(*arrays(np.float32))


def test_explain_refuses_what_a_call_refuses() -> None:
    with pytest.raises(ValueError, match=r"conv2d: w expects C=4 input channels but x has C=3"):
        minidl.conv2d.explain((2, 3, 8, 8), (8, 4, 3, 3))


def used(x: np.ndarray, w: np.ndarray) -> str:
    y = minidl.conv2d(Tensor(x), Tensor(w, requires_grad=True), padding=1)
    assert y.node is not None
    return str(y.node.name)


def arrays(dtype: type) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, 32, 16, 16)).astype(dtype), rng.standard_normal((32, 32, 3, 3)).astype(dtype)


def test_float32_is_chosen_for_and_other_types_take_the_exact_kernel() -> None:
    assert used(*arrays(np.float32)) == "conv2d[winograd]"
    assert used(*arrays(np.float64)) == "conv2d[im2col]"
    assert used(*arrays(np.float16)) == "conv2d[im2col]"


def test_the_user_has_the_last_word() -> None:
    with minidl.conv2d.using("chunked"):
        assert used(*arrays(np.float32)) == "conv2d[chunked]"
        with minidl.conv2d.using(AUTO):
            assert used(*arrays(np.float32)) == "conv2d[winograd]"
    assert used(*arrays(np.float32)) == "conv2d[winograd]"


def test_the_choice_is_of_the_whole_problem_not_of_its_slices() -> None:
    x, w = arrays(np.float32)
    with minidl.threads(2, images=1):
        assert used(x, w) == "conv2d[winograd]"
    assert used(x[:1], w) == str(CONV2D.choice((1, *x.shape[1:]), w.shape, padding=1))


def test_the_choice_computes_what_the_exact_kernel_computes() -> None:
    x, w = arrays(np.float32)
    y = minidl.conv2d(x, w, padding=1).numpy()
    with minidl.conv2d.using("im2col"):
        right = minidl.conv2d(x.astype(np.float64), w.astype(np.float64), padding=1).numpy()
    np.testing.assert_allclose(y, right, atol=1e-5 * np.abs(right).max())


def test_kernels_are_chosen_as_for_another_batch_when_asked() -> None:
    x, w = np.zeros((1, 512, 14, 14), np.float32), np.zeros((512, 512, 3, 3), np.float32)
    assert used(x, w) == "conv2d[chunked]"
    with as_for_batch(64):
        assert used(x, w).startswith("conv2d[winograd")


def test_it_is_thought_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = arrays(np.float32)
    minidl.conv2d(x, w, padding=1)
    monkeypatch.setattr(minidl.conv2d, "forecast", lambda *a, **k: pytest.fail("asked again"))
    minidl.conv2d(x, w, padding=1)


def test_a_kernel_of_ones_own_is_never_chosen_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CONV2D, "kernels", dict(CONV2D.kernels))
    CONV2D.kernel("mine", lambda *a, **k: None, lambda *a, **k: None)
    of, attrs = shapes("alexnet.conv3")
    assert CONV2D.choice(*of, **attrs).name == "winograd5"
    assert "mine                   -  no forecast" in CONV2D.explain(*of, **attrs)


def test_an_op_without_forecast_takes_its_default() -> None:
    assert OPS["linear"].choice((2, 3), (4, 3)).name == OPS["linear"].default
    assert isinstance(OPS["linear"], Op)
    assert "no forecast" in OPS["linear"].explain((2, 3), (4, 3))
