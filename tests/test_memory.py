"""The forecast of training memory, against what tracemalloc (and, nightly, the operating system) measures."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.evaluation import loss_of
from minidl.memory import Memory, along_depth, amount, forecast
from minidl.modelfile import Model, load
from minidl.modes import modes
from minidl.recipe import Recipe
from minidl.tensor import Tensor


class Block(nn.Module):
    """Two convolutions with batch norm, and a way past them."""

    def __init__(self, C: int):
        self.conv1, self.bn1 = nn.Conv2d(C, C, 3, padding=1, bias=False), nn.BatchNorm2d(C)
        self.conv2, self.bn2 = nn.Conv2d(C, C, 3, padding=1, bias=False), nn.BatchNorm2d(C)

    def forward(self, x: Tensor) -> Tensor:
        return minidl.relu(x + self.bn2(self.conv2(minidl.relu(self.bn1(self.conv1(x))))))


class Residual(nn.Module):
    """A small residual net; `again` trades time for memory."""

    input_shape = (3, 16, 16)

    def __init__(self, classes: int = 10, *, again: bool = False):
        self.stem, self.blocks, self.again = nn.Conv2d(3, 8, 3, padding=1), nn.ModuleList([Block(8), Block(8), Block(8)]), again
        self.drop, self.output = nn.Dropout(0.2), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = minidl.recompute(block, x) if self.again else block(x)
        return self.output(self.drop(minidl.global_avg_pool2d(x).flatten(1)))


class Dense(nn.Module):
    """Batch norm of vectors, which one image cannot train."""

    input_shape = (1, 8, 8)

    def __init__(self, classes: int = 10):
        self.hidden, self.bn, self.output = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(minidl.relu(self.bn(self.hidden(x.flatten(1)))))


BUILD = {
    "LeNet5": lambda: load("models/lenet.py:LeNet5").build(),
    "AlexNet32": lambda: load("models/alexnet.py:AlexNet32").build(),
    "Residual": Residual,
    "Residual, recomputed": lambda: Residual(again=True),
}


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def train(build: Callable[[], Model], batch_size: int, optimizer: str = "adam", steps: int = 2, accumulate: int = 1) -> None:
    """Build and train as `fit` does."""
    model = build().train()
    rule = Recipe(optimizer=optimizer).build_optimizer(model.parameters())
    images = np.random.default_rng(1).standard_normal((batch_size, *model.input_shape), dtype=np.float32)
    for _ in range(steps):
        rule.zero_grad()
        for _ in range(accumulate):
            out = model(Tensor(images))
            loss_of(model, out, np.zeros(batch_size, np.int64)).backward(np.float32(1 / accumulate))
        rule.step()


@pytest.mark.parametrize("batch_size", [16, 64])
@pytest.mark.parametrize("build", BUILD.values(), ids=BUILD.keys())
def test_the_forecast_is_within_a_tenth_of_the_measured_peak(build: Callable[[], Model], batch_size: int) -> None:
    promised = forecast(build(), batch_size).peak
    with traced():
        train(build, batch_size)
        peak = tracemalloc.get_traced_memory()[1]
    assert abs(promised - peak) < 0.1 * peak


class Wide(Dense):
    """Nearly all of its memory is weights and their gradients."""

    def __init__(self, classes: int = 10):
        self.hidden, self.bn, self.output = nn.Linear(64, 20_000), nn.Identity(), nn.Linear(20_000, classes)


def test_gradients_that_wait_for_the_next_batch_are_in_the_forecast() -> None:
    one, several = forecast(Wide(), 4, "sgd"), forecast(Wide(), 4, "sgd", accumulate=3)
    for found, batches in ((one, 1), (several, 3)):
        with traced():
            train(Wide, 4, "sgd", accumulate=batches)
            assert abs(found.peak / tracemalloc.get_traced_memory()[1] - 1) < 0.03
    assert several.peak > 1.2 * one.peak
    assert str(several).startswith("A training step on 3 batches of 4 images, forecast from steps on 1 and 2;")
    assert (one.accumulate, several.as_json()["accumulate"]) == (1, 3)


def test_the_peak_is_the_largest_of_lines() -> None:
    model = BUILD["AlexNet32"]()
    with minidl.conv2d.using("im2col"):  # which saves nothing that is not the batch's
        one, many = forecast(model, 1), forecast(model, 64)
        with traced():
            train(BUILD["AlexNet32"], 1)
            assert abs(one.peak / tracemalloc.get_traced_memory()[1] - 1) < 0.02
    assert one.peak_at == "the update"
    assert many.peak_at == "in the backward of features.4, conv2d"
    assert many.peak < 64 * one.peak / 2
    assert many.saved == 64 * one.saved


@pytest.mark.parametrize(("optimizer", "copies"), [("sgd", 1), ("adam", 2), ("adamw", 2)])
def test_what_stays(optimizer: str, copies: int) -> None:
    model = Dense()
    found = forecast(model, 4, optimizer)
    trained = sum(p.data.nbytes for p in model.parameters())
    assert found.weights == trained + sum(b.data.nbytes for b in model.buffers())
    assert (found.gradients, found.optimizer_state) == (trained, copies * trained)


def test_frozen_parameters_have_no_gradients() -> None:
    model = Dense()
    model.hidden.requires_grad_(False)
    model.hidden.weight.grad = np.ones_like(model.hidden.weight.data)  # of an earlier training
    trained = sum(p.data.nbytes for p in model.parameters() if p.requires_grad)
    found = forecast(model, 4)
    assert (found.gradients, found.optimizer_state) == (trained, 2 * trained)


def test_saved_bytes_are_what_the_tape_holds_once() -> None:
    class Twice(nn.Module):  # tanh saves its output; nothing holds x
        input_shape = (1, 4, 4)

        def __init__(self, classes: int = 16):
            self.scale = nn.Parameter(np.ones(1, np.float32))

        def forward(self, x: Tensor) -> Tensor:
            y = minidl.tanh(minidl.add(x, self.scale))
            return minidl.multiply(y, y).flatten(1)  # saves y twice more: the memory is counted already

    layers = forecast(Twice(), batch_size=5).layers
    assert [(layer.op, layer.saved_bytes) for layer in layers[:4]] == [
        ("add", 0),
        ("tanh", 5 * 64),
        ("multiply", 0),
        ("reshape", 0),
    ]


def test_two_images_where_one_is_refused() -> None:
    assert forecast(Dense(), 8).measured_at == (2, 3)
    assert "forecast from steps on 2 and 3" in str(forecast(Dense(), 8))
    assert forecast(Residual(), 8).measured_at == (1, 2)
    with pytest.raises(
        ValueError, match=r"^Dense: no forecast, a step on 1 image is refused: batch_norm: expected more than 1"
    ):
        forecast(Dense(), 1)
    assert forecast(Residual(), 1).batch_size == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_model_and_all_else_is_left_as_it_was(training: bool) -> None:
    model = Residual().train(training)
    model.blocks[0].eval()
    model.output.weight.grad = kept = np.ones_like(model.output.weight.data)
    before, position = model.state_dict(), minidl.random.stream().position
    forecast(model, 4)
    assert all((array == before[name]).all() for name, array in model.state_dict().items())
    assert model.output.weight.grad is kept
    assert [p.grad is None for p in model.parameters()].count(True) == len(list(model.parameters())) - 1
    assert (model.training, model.blocks[0].training, model.blocks[1].training) == (training, False, training)
    assert minidl.random.stream().position == position
    assert not any("forward" in vars(module) for module in model.modules())
    assert not tracemalloc.is_tracing()
    assert (modes().listener, modes().after_backward) == (None, None)


def test_also_when_a_step_fails() -> None:
    model = Residual()
    model.output = nn.Linear(9, 10)
    before = model.state_dict()
    with pytest.raises(ValueError, match="linear"):
        forecast(model, 4)
    assert all((array == before[name]).all() for name, array in model.state_dict().items())
    assert not tracemalloc.is_tracing()
    assert model.training


def test_a_trace_that_is_on_stays_on() -> None:
    alone = forecast(Dense(), 8)
    with traced():
        ballast = np.zeros(1_000_000)
        beside = forecast(Dense(), 8)
        assert tracemalloc.is_tracing()
    assert abs(beside.peak - alone.peak) < 0.1 * alone.peak < ballast.nbytes / 10


def test_along_the_depth_the_peak_is_no_less_than_the_update_needs() -> None:
    """Maps shrink and weights grow with the depth: where the shallow nets peak in backward, a deep one does at its update."""
    parts = {"batch_size": 1, "optimizer": "sgd", "measured_at": (1, 2), "saved": 5, "peak_at": "in the backward of a, b"}
    shallow = Memory(**parts, weights=10, gradients=10, optimizer_state=10, workspace=60, peak=80, layers=[])
    deep = Memory(**parts, weights=20, gradients=20, optimizer_state=20, workspace=30, peak=100, layers=[])
    near, far = (along_depth(shallow, deep, (2, 4), depth) for depth in (7, 20))
    assert (near.peak, near.workspace, near.peak_at) == (130, 0, "in the backward of a, b")
    assert (far.peak, far.workspace, far.peak_at) == (300, 0, "the update")


def test_a_model_whose_ops_depend_on_the_batch_has_no_forecast() -> None:
    class Odd(Dense):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(minidl.tanh(x) if len(x) % 2 else x)

    with pytest.raises(ValueError, match=r"^Odd calls other ops on 2 images than on 3: no forecast$"):
        forecast(Odd(), 8)


def test_an_optimiser_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="optimizer must be one of sgd, adam, adamw, got 'rmsprop'"):
        forecast(Dense(), 8, "rmsprop")


def test_amounts_read_well() -> None:
    assert [amount(n) for n in (0, 1023, 1234, 56_789, 345_678, 9.8e6, 1.234e9, 5e10)] == [
        "0 bytes",
        "1023 bytes",
        "1.2 KiB",
        "55.5 KiB",
        "338 KiB",
        "9.3 MiB",
        "1.15 GiB",
        "46.57 GiB",
    ]


CHILD = """
import sys
import numpy as np
sys.path[:0] = ["tests"]
from test_memory import load, train

def resident(line):  # VmHWM is the peak, as ru_maxrss is, but of this program alone: that one is inherited from the parent
    with open("/proc/self/status") as file:
        return 1024 * int(next(text for text in file if text.startswith(line)).split()[1])

np.ones((256, 256), np.float32) @ np.ones((256, 256), np.float32)
before = resident("VmRSS")
train(lambda: load(sys.argv[1]).build(), 16)
print(resident("VmHWM") - before)
"""


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("model", ["models/alexnet.py:AlexNet", "models/resnet.py:ResNet18"])
def test_the_operating_system_agrees(model: str) -> None:
    """One BLAS thread, and a malloc that gives back what is freed: what they keep is theirs, and not in the forecast."""
    settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    command = [sys.executable, "-c", CHILD, model]
    child = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **settings})
    promised, peak = forecast(load(model).build(), 16).peak, int(child.stdout)
    assert abs(promised - peak) < 0.1 * peak
