"""Shapes without numbers: as the real calls have them, without memory, and with nothing left behind."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn
from minidl.backend import blank
from minidl.draw import Random
from minidl.op import OPS, Op
from minidl.optim import SGD


@contextmanager
def little_memory(most: int = 1 << 20) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def described(out: Tensor | tuple) -> list:
    outputs = out if isinstance(out, tuple) else (out,)
    return [(t.shape, t.dtype, t.data.nbytes) for t in outputs]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_gives_the_shape_and_type_of_the_real_call(op: Op, dtype: str) -> None:
    for seed in range(10):
        inputs, attrs = op.ask(Random(seed))
        inputs = tuple(a.astype(dtype) if a is not None and a.dtype.kind == "f" else a for a in inputs)
        arguments = (list(inputs),) if op.signature.inputs[0].variadic else inputs
        with np.errstate(all="ignore"):
            real = op(*arguments, **attrs)
        with minidl.shapes_only():
            blank = op(*arguments, **attrs)
        assert described(blank) == described(real)
        assert not any(t.numpy().any() for t in (blank if isinstance(blank, tuple) else (blank,)))


def test_sums_and_positions_of_integers_have_numpys_types() -> None:
    for values in ([True, False], np.ones(3, np.int8), np.ones(3, np.uint8), np.ones(3, np.float16)):
        x = Tensor(np.asarray(values))
        with minidl.shapes_only():
            assert (x.sum().dtype, x.argmax().dtype) == (np.asarray(values).sum().dtype, np.int64)


def test_a_layer_of_20_gigabytes_is_built_and_passed_without_memory() -> None:
    started = time.perf_counter()
    with little_memory(), minidl.detect_anomaly(), minidl.shapes_only():
        layer = nn.Linear(5 << 20, 1 << 10)
        nn.init.normal_(layer.weight)
        nn.init.orthogonal_(layer.weight)
        nn.init.ones_(layer.weight)
        layer.weight.mul_(2.0)
        layer.bias[:3] = 1.0
        y = layer(Tensor(blank((2, 5 << 20), np.float32)))
        minidl.relu(layer.weight)
    assert time.perf_counter() - started < 1
    assert layer.weight.data.nbytes == 20 << 30
    assert y.shape == (2, 1 << 10)


def test_a_net_of_vgg_16_s_size_takes_a_moment() -> None:
    started, widths = time.perf_counter(), [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    with minidl.shapes_only():
        x, C = Tensor(np.zeros((1, 3, 224, 224), np.float32)), 3
        for i, K in enumerate(widths):
            x = minidl.relu(nn.Conv2d(C, K, 3, padding=1)(x))
            C, x = K, minidl.max_pool2d(x, 2) if i in (1, 3, 6, 9, 12) else x
        x = nn.Sequential(nn.Flatten(), nn.Linear(25088, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000))(x)
    assert x.shape == (1, 1000)
    assert time.perf_counter() - started < 1


def test_a_wrong_shape_is_told_as_in_the_real_call() -> None:
    with minidl.shapes_only(), pytest.raises(ValueError, match=r"linear: w has D=4 but x has D=3  \(x \[2,3\], w \[5,4\]"):
        nn.Linear(4, 5)(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_takes_what_another_gave(op: Op) -> None:
    """Zeros are refused nowhere, whatever an op demands of values."""
    inputs, attrs = op.ask(Random(0))
    blanks = tuple(None if a is None else blank(a.shape, a.dtype) for a in inputs)
    with minidl.shapes_only():
        op(*((list(blanks),) if op.signature.inputs[0].variadic else blanks), **attrs)


def test_backward_is_refused_inside_and_after() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    with minidl.shapes_only():
        loss = (w * w).sum()
        with pytest.raises(RuntimeError, match=r"^backward: inside shapes_only\(\) there are no numbers"):
            loss.backward()
        with minidl.enable_grad():
            recorded = (w * w).sum()
            with pytest.raises(RuntimeError, match="backward"):
                recorded.backward()
    assert not recorded.requires_grad  # else its backward, out here, would meet a kernel that saved nothing
    with pytest.raises(RuntimeError, match=r"made under no_grad\(\) or shapes_only\(\)"):
        loss.backward()
    assert w.grad is None


def test_a_real_model_and_the_stream_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    before, position = model.state_dict(), minidl.random.stream().position
    optimizer = SGD(model.parameters(), lr=1.0)
    for p in model.parameters():
        p.grad = np.ones_like(p.data)
    with minidl.shapes_only():
        assert model(np.zeros((2, 3, 8, 8), np.float32)).shape == (2, 4, 6, 6)  # in training mode: running statistics, keys
        nn.init.zeros_(model[0].weight)
        optimizer.step()
        model.load_state_dict({name: array + 1 for name, array in before.items()})
        nn.Linear(3, 4)
    assert minidl.random.stream().position == position
    assert all((array == before[name]).all() for name, array in model.state_dict().items())
    assert [p.version for p in model.parameters()] == [1, 1, 0, 0]  # the initialisers' edits only


def test_batch_norms_statistics_come_as_shapes_too() -> None:
    with minidl.shapes_only():
        y, mean, var = minidl.batch_norm(np.zeros((4, 7, 5, 5), np.float32))
    assert (y.shape, mean.shape, var.shape) == ((4, 7, 5, 5), (7,), (7,))


def test_a_model_built_of_shapes_says_so_when_it_is_used_for_numbers() -> None:
    with minidl.shapes_only():
        layer = nn.Linear(2, 3)
    with pytest.raises(RuntimeError, match=r"Tensor \[3,2\] without numbers: it was made inside shapes_only\(\)"):
        layer.reset_parameters()
