"""Compiled kernels: taken where they are asked for, equal to the plain ones, and never a reason to fail without Numba."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import Tensor, backend, executor, jit
from minidl.cli import main
from minidl.draw import Random
from minidl.op import OPS, Kernel

COMPILED = [kernel for op in OPS.values() for kernel in op.kernels.values() if kernel.compiles]
RNG = np.random.default_rng(0)


def images(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    jit.missing.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    for op in OPS.values():
        op._plans.clear()
    yield
    jit.missing.cache_clear()


def used(dtype: type = np.float32) -> list[str]:
    """The kernels of lrn, max pooling and batch norm, as a call would take them now."""
    x = Tensor(images(2, 8, 6, 6, dtype=dtype), requires_grad=True)
    outs = [minidl.lrn(x), minidl.max_pool2d(x, kernel_size=2), minidl.batch_norm(x)[0]]
    return [out.node.name for out in outs if out.node]


# ---- when they are taken ---------------------------------------------------------------------------------------------

PLAIN = ["lrn[run]", "max_pool2d[separable]", "batch_norm[sums]"]
NUMBA = ["lrn[compiled]", "max_pool2d[compiled]", "batch_norm[compiled]"]


def test_they_are_taken_inside_the_block_and_for_float32() -> None:
    assert used() == PLAIN
    with minidl.compiled():
        assert used() == NUMBA
        assert used(np.float64) == used(np.float16) == PLAIN
    assert used() == PLAIN


def test_the_user_has_the_last_word() -> None:
    with minidl.compiled(), minidl.lrn.using("window"):
        assert used() == ["lrn[window]", *NUMBA[1:]]
    with minidl.lrn.using("compiled"):
        assert used(np.float64) == ["lrn[compiled]", *PLAIN[1:]]


def test_what_they_refuse_goes_to_the_plain_kernel() -> None:
    with minidl.compiled():
        y = minidl.max_pool2d(Tensor(images(1, 2, 4, 4), requires_grad=True), kernel_size=2, ties="even")
    assert y.node is not None
    assert y.node.name == "max_pool2d[separable]"


def test_convolutions_are_chosen_as_ever() -> None:
    shapes = (32, 256, 14, 14), (256, 256, 3, 3)
    with minidl.compiled():
        assert minidl.conv2d.choice(*shapes, padding=1).name == "winograd5"


def test_every_one_names_the_plain_kernel_that_it_compiles() -> None:
    assert len(COMPILED) == 4
    for kernel in COMPILED:
        assert kernel.op.kernels[kernel.compiles].compiles == ""
        assert kernel.compiles == kernel.op.default


def test_other_libraries_arrays_are_refused() -> None:
    (library,) = [lib for lib in backend.other_libraries() if lib.name != "cupy"]
    x = library.from_numpy(images(1, 4, 3, 3))
    with (
        minidl.lrn.using("compiled"),
        pytest.raises(ValueError, match=r"lrn\[compiled\] refuses .*: it computes on the CPU alone"),
    ):
        minidl.lrn(x)
    with minidl.compiled():
        assert minidl.lrn(x).shape == (1, 4, 3, 3)


# ---- what they compute -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", COMPILED, ids=str)
def test_they_compute_what_the_plain_ones_do_on_slices_too(kernel: Kernel) -> None:
    """Whole, and image by image on two threads: batch norm's sums come back from all of them."""
    op, plain = kernel.op, kernel.op.kernels[kernel.compiles]
    for seed in range(20):
        problem = op.ask(Random(seed))
        if kernel.why_not(tuple(None if x is None else x.shape for x in problem.inputs), problem.attrs):
            continue
        results = []
        for one, threads in ((plain, None), (kernel, None), (kernel, 2)):
            with minidl.threads(threads, images=1 if threads else None):
                y, saved, _ = executor.forward(one, *problem)
                dy = np.random.default_rng(seed).standard_normal(y.shape)
                needs = tuple(x is not None for x in problem.inputs)
                results.append((y, *[g for g in executor.backward(one, dy, saved, needs, problem.attrs) if g is not None]))
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * float(np.abs(a).max()))


@pytest.mark.parametrize("name", ["lrn", "max_pool2d", "batch_norm"])
def test_layers_of_real_size(name: str) -> None:
    a, weight, bias, dy = images(4, 96, 27, 27), images(96), images(96), images(4, 96, 27, 27)

    def call(x: Tensor) -> Tensor:
        if name == "lrn":
            return minidl.lrn(x, n=5, alpha=0.3)
        return minidl.max_pool2d(x, kernel_size=3, stride=2) if name == "max_pool2d" else minidl.batch_norm(x, weight, bias)[0]

    plain, fast = (Tensor(3 + a, requires_grad=True) for _ in range(2))
    y = call(plain)
    y.backward(Tensor(dy[tuple(map(slice, y.shape))]))
    with minidl.compiled(), minidl.threads(2):
        z = call(fast)
        assert z.node is not None
        assert z.node.name == f"{name}[compiled]"
        z.backward(Tensor(dy[tuple(map(slice, y.shape))]))
    np.testing.assert_allclose(z.numpy(), y.numpy(), rtol=1e-4, atol=1e-4)
    assert plain.grad is not None
    assert fast.grad is not None
    np.testing.assert_allclose(fast.grad, plain.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", ["separable", "compiled"])
def test_max_pool_of_nan_infinity_and_padding(kernel: str) -> None:
    nan, inf = np.nan, np.inf
    x = np.array([[[[nan, 1, 5, nan], [2, 3, 4, 6], [-inf, -inf, 1, 1], [-inf, -inf, 1, 2]]]], np.float32)
    with minidl.max_pool2d.using(kernel), np.errstate(invalid="ignore"):
        t = Tensor(x, requires_grad=True)
        y = minidl.max_pool2d(t, kernel_size=2)
        y.backward(Tensor(np.array([[[[1.0, 1.0], [10.0, 20.0]]]], np.float32)))
    np.testing.assert_array_equal(y.numpy()[0, 0], [[nan, nan], [-inf, 2]])
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad[0, 0, 2:], [[10, 0, 0, 0], [0, 0, 0, 20]])  # of equals the first


# ---- without Numba ---------------------------------------------------------------------------------------------------


def test_without_numba_the_remedy_is_named(no_numba: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"compiled: needs Numba: pip install .*\[jit\]'"), minidl.compiled():
        pass
    with (
        minidl.lrn.using("compiled"),
        pytest.raises(ValueError, match=r"lrn\[compiled\] refuses this problem: needs Numba: pip"),
    ):
        minidl.lrn(images(1, 4, 3, 3))
    assert used() == PLAIN
    assert main(["train", "models/lenet.py:LeNet5", "--compiled"]) == 2
    error = capsys.readouterr().err.strip()
    assert "--compiled needs Numba: pip install" in error
    assert "\n" not in error


def test_numba_is_loaded_when_it_is_first_needed() -> None:
    code = (
        "import sys, numpy as np, minidl\n"
        "x = np.ones((1, 4, 3, 3), np.float32)\n"
        "minidl.lrn(x)\n"
        "assert 'numba' not in sys.modules\n"
        "with minidl.compiled(): minidl.lrn(x)\n"
        "assert 'numba' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- on the command line ---------------------------------------------------------------------------------------------


def test_training_by_compiled_kernels_is_written_down_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "net.py"
    model.write_text(NET, encoding="utf-8")
    run = tmp_path / "run"
    assert main(["train", str(model), "--compiled", "--limit", "40", "--epochs", "1", "--out", str(run), "--quiet"]) == 0
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["compiled"] is True
    assert main(["train", "--resume", str(run), "--epochs", "2", "--quiet"]) == 0
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["resumed"][0]["compiled"] is True


NET = """
from minidl import nn


class Net(nn.Module):
    input_shape = (1, 16, 16)

    def __init__(self, classes=10):
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, classes)
        )

    def forward(self, x):
        return self.layers(x)
"""
