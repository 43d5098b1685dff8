"""Receptive fields: what is declared and followed is what a touch of the image shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn
from minidl.draw import Random
from minidl.modelfile import load
from minidl.op import OPS, Op
from minidl.receptive_field import STAY, Slide, Trace, window
from minidl.summary import summarise

EXACT = {"conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "upsample", "pad"}
PLACED = [op for op in OPS.values() if op.sees]  # the others do not know


# ---- each op by itself -----------------------------------------------------------------------------------------------


def declared(slide: Slide, H: int, P: int) -> np.ndarray:
    """[H, P]: does output p see input h?"""
    broadcast = slide is STAY and H == 1
    return np.array([[broadcast or h in set(slide.sees(p)) for p in range(P)] for h in range(H)])


def touched(op: Op, inputs: tuple, attrs: dict[str, Any], i: int, axis: int) -> np.ndarray:
    """[H, P]: does row (column) p of the output change when row (column) h of input i does?"""
    x = inputs[i]
    changes = []
    with np.errstate(all="ignore"):
        before = op.chosen().forward(*inputs, **attrs)[0]
        for h in range(x.shape[axis]):
            row = [slice(None)] * x.ndim
            row[axis] = slice(h, h + 1)
            bumped = x.copy()
            bumped[tuple(row)] += 100 + np.arange(bumped[tuple(row)].size).reshape(bumped[tuple(row)].shape)
            after = op.chosen().forward(*inputs[:i], bumped, *inputs[i + 1 :], **attrs)[0]
            others = tuple(k for k in range(after.ndim) if k != after.ndim + axis)
            changes.append(np.abs(after - before).max(axis=others) > 1e-9)
    return np.array(changes)


@pytest.mark.parametrize("op", PLACED, ids=lambda op: op.name)
def test_an_output_changes_only_with_what_its_op_says_it_sees(op: Op) -> None:
    followed = 0
    for seed in range(60):
        inputs, attrs = op.ask(Random(seed))
        shapes = [None if a is None else a.shape for a in inputs]
        seen, out = op.sees(*shapes, **attrs), op.shape(*shapes, **attrs)
        if not isinstance(seen, tuple) or len(out) < 3:
            continue
        images = [i for i, a in enumerate(inputs) if a is not None and a.ndim > 2 and a.dtype.kind == "f"]
        images = images if seen == (STAY, STAY) else [0]
        for i in images:
            rows, columns = (declared(seen[axis], shapes[i][axis], out[axis]) for axis in (-2, -1))
            for axis, expected, other in ((-2, rows, columns), (-1, columns, rows)):
                changed = touched(op, inputs, attrs, i, axis)
                assert not (changed & ~expected).any(), (seed, attrs)
                assert op.name not in EXACT or (changed == (expected & other.any())).all(), (seed, attrs)
                followed += 1
    assert followed or op.sees(*shapes, **attrs) == "all" or op.name in {"linear", "matmul"}


def test_a_slide_repeats_as_it_says() -> None:
    for op in (o for o in PLACED if o.name in EXACT | {"getitem"}):
        for seed in range(60):
            inputs, attrs = op.ask(Random(seed))
            seen = op.sees(*(None if a is None else a.shape for a in inputs), **attrs)
            for slide in seen if isinstance(seen, tuple) else ():
                for q in range(-5, 6):
                    assert [p + slide.into for p in slide.sees(q)] == [*slide.sees(q + slide.out)]


# ---- nets ------------------------------------------------------------------------------------------------------------


def conv(K: int, size: Any, **attrs: Any) -> Callable[[Tensor], Tensor]:
    """A convolution to K maps, with positive weights, so that nothing cancels."""
    size = size if isinstance(size, tuple) else (size, size)
    return lambda x: minidl.conv2d(x, np.ones((K, x.shape[1], *size), x.dtype) / 10, **attrs)


def up(K: int, size: Any, **attrs: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: minidl.conv_transpose2d(x, np.ones((x.shape[1], K, size, size), x.dtype) / 10, **attrs)


def chain(*parts: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def net(x: Tensor) -> Tensor:
        for part in parts:
            x = part(x)
        return x

    return net


def residual(x: Tensor) -> Tensor:
    return minidl.relu(x + chain(conv(2, 3, padding=1), minidl.relu, conv(2, 3, padding=1))(x))


def inception(x: Tensor) -> Tensor:
    wide = chain(conv(1, 1), conv(2, (1, 7), padding=(0, 3)))(x)
    return minidl.concat([conv(1, 1)(x), conv(2, 3, padding=1)(x), wide, minidl.max_pool2d(x, 3, 1, padding=1)], axis=1)


def option_a(x: Tensor) -> Tensor:
    short = x[:, :, ::2, ::2]
    return minidl.pad(short, (0, 0, 0, 0, 1, 1)) + conv(x.shape[1] + 2, 3, stride=2, padding=1)(x)


def u_net(x: Tensor) -> Tensor:
    low = chain(conv(2, 3, padding=1), lambda y: minidl.max_pool2d(y, 2), conv(2, 3, padding=1))(x)
    return conv(1, 3, padding=1)(minidl.concat([x, up(2, 2, stride=2)(low)], axis=1))


def left_and_right(x: Tensor) -> Tensor:
    return conv(1, (1, 3), padding=(0, 0, 2, 0))(x) + conv(1, (1, 3), padding=(0, 0, 0, 2))(x)


NETS = {
    "3x3": (conv(2, 3), (3, 3)),
    "3x3 twice": (chain(conv(2, 3), conv(2, 3)), (5, 5)),
    "3x3 three times": (chain(conv(2, 3), conv(2, 3), conv(2, 3)), (7, 7)),
    "lenet": (chain(conv(2, 5), lambda x: minidl.avg_pool2d(x, 2), minidl.tanh, conv(2, 5)), (14, 14)),
    "dilated rectangles": (chain(conv(2, (3, 2), dilation=(2, 3), stride=(2, 1)), conv(2, (1, 3), padding="same")), (5, 6)),
    "residual": (chain(conv(2, 3), residual, residual), (11, 11)),
    "inception": (chain(conv(2, 3, stride=2), inception, inception), (11, 27)),
    "option a": (chain(option_a, option_a), (7, 7)),
    "branches to either side": (left_and_right, (1, 5)),
    "transposed": (chain(conv(1, 3), up(2, 3, stride=2, padding=1)), (4, 4)),
    "transposed with gaps": (chain(up(1, 2, stride=3), conv(1, 3)), (2, 2)),
    "transposed twice": (chain(up(2, 4, stride=2), up(2, 4, stride=2), conv(1, 3)), (3, 3)),
    "transposed and back": (chain(up(2, 3, stride=2), conv(1, 3, stride=2), conv(1, 3), conv(1, 3, stride=4)), (7, 7)),
    "nearest": (chain(lambda x: minidl.upsample(x, (2, 3)), conv(1, 3)), (2, 2)),
    "bilinear": (chain(lambda x: minidl.upsample(x, 2, "bilinear"), conv(1, 3)), (3, 3)),
    "corners": (chain(lambda x: minidl.upsample(x, 2, "bilinear", True), conv(1, 2)), (3, 3)),
    "u-net": (u_net, (10, 10)),
    "back to front": (chain(lambda x: minidl.flip(x, (2, 3)), conv(1, (3, 1), stride=2), conv(1, (3, 1))), (7, 1)),
    "groups and lrn": (chain(conv(4, 3), lambda x: minidl.lrn(x, n=3), lambda x: minidl.softmax(x, axis=1)), (3, 3)),
    "channels shuffled": (chain(conv(4, 3), lambda x: x.reshape(len(x), 2, -1, *x.shape[2:]).permute(0, 2, 1, 3, 4)), (3, 3)),
    "pooled to a few": (lambda x: minidl.adaptive_avg_pool2d(conv(1, 3)(x), 7), (8, 8)),
}


class Net(nn.Module):
    """Any function as a model, of 32x32."""

    input_shape = (1, 32, 32)

    def __init__(self, f: Callable[[Tensor], Any], classes: int = 10):
        self.f = f

    def forward(self, x: Tensor) -> Any:
        return self.f(x)


def measured(f: Callable[[Tensor], Tensor], axis: int) -> int:
    """Touch every row (column) of an image, all in one batch; of the outputs, the widest span of rows that one answers to."""
    x = np.random.default_rng(0).uniform(1, 2, (33, 1, 32, 32))
    x[:] = x[:1]
    for h in range(32):
        np.moveaxis(x, axis, 1)[h, h] += 100
    y = f(Tensor(x)).numpy()
    changed = np.abs(y[:32] - y[32]).max(axis=tuple(k for k in range(1, y.ndim) if k != y.ndim + axis - 4)) > 1e-6  # [32, P]
    seen = [np.flatnonzero(changed[:, p]) for p in range(changed.shape[1])]
    return max(rows[-1] - rows[0] + 1 for rows in seen if len(rows))


@pytest.mark.parametrize(("f", "expected"), NETS.values(), ids=NETS.keys())
def test_the_field_of_a_net_is_what_a_touch_shows(f: Callable, expected: tuple[int, int]) -> None:
    field = summarise(Net(f)).layers[-1].receptive_field
    assert field == list(expected)
    assert field == [measured(f, 2), measured(f, 3)]


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: conv(3, 3)(x).flatten(1), [3, 3]),
        (lambda x: minidl.linear(x.flatten(1), np.ones((4, 1024), np.float32)), "all"),
        (lambda x: minidl.matmul(x.flatten(1), np.ones((1024, 4), np.float32)), "all"),
        (lambda x: minidl.relu(minidl.global_avg_pool2d(x)), "all"),
        (lambda x: x.mean(axis=(2, 3)), "all"),
        (lambda x: minidl.max(x, axis=(-1, -2), keepdims=True), "all"),
        (lambda x: conv(3, 3)(x).mean(axis=1), [3, 3]),
        (lambda x: x * minidl.sigmoid(conv(1, 1)(minidl.global_avg_pool2d(x))), "all"),  # squeeze and excitation
        (minidl.batch_norm, "all"),
        (lambda x: minidl.softmax(conv(1, 3)(x).flatten(1)), "all"),
        (lambda x: x[:, :, :15, :15] + conv(1, 3, stride=2)(x), None),  # two that do not move alike
        (lambda x: conv(1, 3)(x.flatten(1).reshape(1, 1, 32, 32)), None),  # nobody follows positions through a flat list
        (lambda x: minidl.concat([x, x], axis=2), None),
        (lambda x: x.sum(axis=3), None),
        (lambda x: x[:, :, 3], None),
        (lambda x: minidl.tanh(Tensor(np.zeros((1, 1)))), None),  # does not depend on the image
    ],
)
def test_where_positions_end(f: Callable, expected: Any) -> None:
    assert summarise(Net(f)).layers[-1].receptive_field == expected


def test_the_published_fields_of_large_nets() -> None:
    """Araujo, Norris, Sim 2019, table 1, and the three 3x3 layers of the VGG paper."""
    for model, options, expected in (
        ("models/alexnet.py:AlexNet", {}, 195),
        ("models/vgg.py:VGG16", {}, 212),
        ("models/resnet.py:ResNet50", {"version": "v1"}, 483),
        ("models/inception.py:InceptionV3", {}, 1311),
    ):
        with minidl.shapes_only():
            layers = summarise(load(model, options).build()).layers
        assert [layer.receptive_field for layer in layers if layer.receptive_field != "all"][-1] == [expected, expected], model


def test_a_window_of_2_at_a_jump_of_4() -> None:
    image = Trace((0,), (0,), 1)
    two, four = window((2, 2), (2, 2), (0, 0, 0, 0))[0], window((3, 3), (4, 4), (1, 1, 1, 1))[0]
    assert image.through(four).through(two) == Trace((-1,), (5,), 8)
