"""Nothing crosses between host and device unasked: one step of everything there is, counted on the strict stand-in.

What crosses by intent is declared in crossings.py, with its reason. A step is counted the second time it is made: what is moved
once and kept (the matrices of Winograd's convolution) is no matter.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from itertools import islice
from typing import Any

import emulation
import numpy as np
import pytest
import strict_xp
from crossings import (
    DECLARED,
    INDEX,
    KEY,
    TO_DEVICE,
    TO_HOST,
    WAITS,
    Crossing,
    counted,
    device,
    normal,
    places,
    seen_of,
    undeclared,
    watching,
)
from test_nn import LAYERS

import minidl
from minidl import Tensor, cuda, nn, optim
from minidl.backend import to_device, to_numpy, xp_of
from minidl.draw import Random
from minidl.op import OPS, Kernel

# ---- the guard itself ------------------------------------------------------------------------------------------------------

# a Tensor t [2, 3], and arrays x [3] and n []; all on the device
PLANTED: dict[str, tuple[str, Callable[[Tensor, Any, Any], Any]]] = {
    "from_numpy": (TO_DEVICE, lambda t, x, n: to_device(np.ones(2), "strict")),
    "Tensor.to the device": (TO_DEVICE, lambda t, x, n: Tensor([1.0]).to("strict")),
    "array of a list": (TO_DEVICE, lambda t, x, n: strict_xp.XP.array([1.0, 2.0])),
    "asarray of a number": (TO_DEVICE, lambda t, x, n: strict_xp.XP.asarray(2.0)),
    "full of a list": (TO_DEVICE, lambda t, x, n: strict_xp.XP.full((2,), [1.0, 2.0])),
    "a list to an op": (TO_DEVICE, lambda t, x, n: minidl.add(t, [1.0, 2.0, 3.0])),
    "a key": (TO_DEVICE, lambda t, x, n: minidl.dropout(t)),
    "to_numpy": (TO_HOST, lambda t, x, n: to_numpy(x)),
    "Tensor.numpy": (TO_HOST, lambda t, x, n: t.numpy()),
    "Tensor.item": (TO_HOST, lambda t, x, n: t.sum().item()),
    "Tensor.to the host": (TO_HOST, lambda t, x, n: t.to("cpu")),
    "if of a Tensor": (TO_HOST, lambda t, x, n: 1 if t.sum() else 0),
    "print of a Tensor": (TO_HOST, lambda t, x, n: repr(t)),
    "item": (TO_HOST, lambda t, x, n: n.item()),
    "tolist": (TO_HOST, lambda t, x, n: x.tolist()),
    "if": (TO_HOST, lambda t, x, n: 1 if x.any() else 0),
    "in": (TO_HOST, lambda t, x, n: 3 in x),
    "max of Python": (TO_HOST, lambda t, x, n: max(x)),
    "float": (TO_HOST, lambda t, x, n: float(n)),
    "math": (TO_HOST, lambda t, x, n: math.sqrt(n)),
    "int": (TO_HOST, lambda t, x, n: int(n)),
    "complex": (TO_HOST, lambda t, x, n: complex(n)),
    "range": (TO_HOST, lambda t, x, n: range(n)),
    "index": (TO_HOST, lambda t, x, n: operator.index(n)),
    "a list's element": (TO_HOST, lambda t, x, n: [1, 2, 3][n]),
    "format": (TO_HOST, lambda t, x, n: f"{n}"),
    "repr": (TO_HOST, lambda t, x, n: repr(x)),
    "str": (TO_HOST, lambda t, x, n: str(x)),
    "nonzero": (WAITS, lambda t, x, n: x.nonzero()),
    "xp.nonzero": (WAITS, lambda t, x, n: strict_xp.XP.nonzero(x)),
    "where of a condition alone": (WAITS, lambda t, x, n: strict_xp.XP.where(x)),
    "unique": (WAITS, lambda t, x, n: strict_xp.XP.unique(x)),
    "bincount": (WAITS, lambda t, x, n: strict_xp.XP.bincount(x.astype(np.int64))),
    "x[mask]": (WAITS, lambda t, x, n: x[x > 0]),
    "x[mask] = array": (WAITS, lambda t, x, n: x.__setitem__(x > 0, x[:2])),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_crossing_is_counted(name: str) -> None:
    (kind, crosses), given = PLANTED[name], (normal(2, 3), device([1.0, 0.0, 3.0]), device(2))
    with watching() as seen:
        crosses(*given)
    assert {crossing.kind for crossing in seen} == {kind}


def test_what_stays_on_the_device_is_not_counted() -> None:
    x, n = normal(3, 4, grad=True), device([2, 0, 1])
    with watching() as seen:
        y = (x * 2.0 + 1).sum(axis=1)[1:] / 3
        y.sum().backward()
        for row in x.data:
            row *= 2
        x.data[n], x.data[x.data > 0] = x.data[n], 0
        assert len(x) == 3
        assert x.data.any().shape == ()
    assert seen == []


def test_an_array_has_no_silent_copy_and_a_number_no_elements() -> None:
    with pytest.raises(TypeError, match="implicit conversion"):
        np.asarray(device([1.0]))
    with pytest.raises(TypeError, match="iteration over a 0-d array"):
        iter(device(2))


def test_a_crossing_is_named_by_the_function_that_asked() -> None:
    norm, x = nn.BatchNorm2d(4).to("strict"), normal(2, 4, 3, 3)
    with watching() as seen, pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.BatchNorm2d, "_by_the_batch", lambda self, x, *_: (float(x.data.sum()), *minidl.batch_norm(x))[1:])
        norm(x)
    assert seen == [Crossing(TO_HOST, "__float__", "minidl/nn/normalisation.py forward")]
    assert undeclared(seen) == seen


def test_every_declared_place_is_there() -> None:
    for (_, place), reason in DECLARED.items():
        file, _, function = place.partition(" ")
        text = (emulation.HEADER.parent.parent / file).read_text(encoding="utf-8")
        assert f"def {function}(" in text
        assert reason


# ---- ops and their kernels -------------------------------------------------------------------------------------------------

KERNELS = [kernel for op in OPS.values() for kernel in op.kernels.values() if not kernel.compiles]
ASKED = {"dropout": {(TO_DEVICE, KEY)}, "stochastic_pool2d": {(TO_DEVICE, KEY)}, "getitem": {(TO_DEVICE, INDEX)}}


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_an_op_lets_nothing_cross(kernel: Kernel, launching: None) -> None:
    """Forward and backward, with every number on the device. A key is drawn on the host, an index may be a list."""
    op = kernel.op
    problems = (op.ask(Random(seed)) for seed in range(100))
    able = (p for p in problems if not kernel.why_not(tuple(None if x is None else x.shape for x in p.inputs), p.attrs))
    some = list(islice(able, 3 if kernel.source else 8))
    assert some
    for inputs, attrs in some:
        seen = seen_of(call(kernel, inputs, attrs))
        assert places(seen) <= ASKED.get(op.name, set()), seen


def call(kernel: Kernel, inputs: tuple, attrs: dict[str, Any]) -> Callable[[], None]:
    """Of the op on the device, and backward; a key stays on the host."""
    operands, op = kernel.op.signature.expand(len(inputs)), kernel.op
    arrays = [x.astype(np.float32) if x is not None and x.dtype.kind == "f" else x for x in inputs]
    given = [
        x if x is None or o.kind == "key" else Tensor(device(x), x.dtype.kind == "f")
        for x, o in zip(arrays, operands, strict=True)
    ]
    keys = {o.name: x for o, x in zip(operands, given, strict=True) if o.kind == "key"}
    rest = [x for x, o in zip(given, operands, strict=True) if o.kind != "key"]

    def step() -> None:
        with op.using(kernel.name):
            out = op(rest, **attrs) if op.signature.inputs[0].variadic else op(*rest, **keys, **attrs)
        out = out[0] if isinstance(out, tuple) else out
        if out.requires_grad:
            out.backward(xp_of(out.data).full(out.shape, 0.5))

    return step


def test_an_index_is_moved_once_in_each_pass_and_a_mask_waits() -> None:
    x, rows = normal(4, 3, grad=True), Tensor(device([2, 0, 2]))
    assert places(seen_of(lambda: x[[2, 0, 2]].sum().backward())) == {(TO_DEVICE, INDEX)}
    assert seen_of(lambda: x[rows].sum().backward()) == []
    assert seen_of(lambda: x[1:, None, ..., 2].sum().backward()) == []
    assert {crossing.kind for crossing in seen_of(lambda: x[x > 0])} == {WAITS}


# ---- layers, losses, optimisers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_lets_only_its_keys_cross(name: str, training: bool) -> None:
    make, shape = LAYERS[name]
    layer = make().to("strict").train(training)
    x = Tensor(device(np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(np.float32)), True)
    seen = seen_of(lambda: layer(x).sum().backward())
    draws = training and name in ("Dropout", "StochasticPool2d")
    assert [(crossing.kind, crossing.place) for crossing in seen] == [(TO_DEVICE, KEY)] * draws


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.AlphaBatchNorm2d])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_stay_where_they_are(norm: Any, momentum: float | None) -> None:
    layer, x = norm(4, momentum=momentum).to("strict"), normal(3, 4, 2, 2)
    assert seen_of(lambda: layer(x)) == []
    assert layer.num_batches_tracked.item() == 2


def test_the_plain_mean_of_running_statistics_is_the_same_on_every_device() -> None:
    states = []
    for where in ("cpu", "strict"):
        layer = nn.BatchNorm1d(3, momentum=None).to(where)
        for seed in range(5):
            layer(Tensor(np.random.default_rng(seed).standard_normal((4, 3)).astype(np.float32), device=where))
        states.append(layer.state_dict())
    for name, array in states[0].items():
        assert np.array_equal(array, states[1][name])
    means = [np.random.default_rng(seed).standard_normal((4, 3)).astype(np.float32).mean(axis=0) for seed in range(5)]
    np.testing.assert_allclose(states[0]["running_mean"], np.mean(means, axis=0), rtol=1e-5, atol=1e-6)


def test_recomputing_moves_the_keys_again() -> None:
    block = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)).to("strict")
    x = normal(2, 4, 5, 5, grad=True)
    assert counted(seen_of(lambda: block(x).sum().backward()), TO_DEVICE) == 1
    seen = seen_of(lambda: minidl.recompute(block, x).sum().backward())
    assert places(seen) == {(TO_DEVICE, KEY)}
    assert len(seen) == 2


LABELS, ONES = device([0, 2, 1]), Tensor(device(np.ones((3, 4), np.float32)))
LOSSES: dict[str, tuple[nn.Module, Any]] = {
    "CrossEntropyLoss": (nn.CrossEntropyLoss(label_smoothing=0.1), LABELS),
    "CrossEntropyLoss, ignoring": (nn.CrossEntropyLoss(ignore_index=2), LABELS),
    "MSELoss": (nn.MSELoss(), ONES),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(pos_weight=2.0), ONES),
    "AMSoftmax": (nn.AMSoftmax(4, 3), LABELS),
    "AMSoftmaxLinear": (nn.AMSoftmaxLinear(4, 3), LABELS),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_lets_nothing_cross(name: str) -> None:
    (layer, target), x = LOSSES[name], normal(3, 4, grad=True)
    loss = getattr(layer.to("strict"), "loss", layer)
    assert seen_of(lambda: loss(x, target).backward()) == []


OPTIMISERS: dict[str, Callable[[list], optim.Optimizer]] = {
    "SGD": lambda params: optim.SGD(params, lr=0.1),
    "SGD, momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "SGD, dampened": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5),
    "SGD, AlexNet's": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1, convention="alexnet"),
    "Adam": lambda params: optim.Adam(params, weight_decay=0.1),
    "AdamW": optim.AdamW,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_update_lets_nothing_cross(name: str, dtype: Any) -> None:
    w = nn.Parameter(device(np.ones((3, 4), dtype)))
    optimizer = OPTIMISERS[name]([w])

    def step() -> None:
        w.grad = xp_of(w.data).full(w.shape, 0.5, dtype=dtype)
        optim.clip_grad_value_([w], 0.25)
        optimizer.step()
        optimizer.zero_grad()

    assert seen_of(step) == []


@pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")
@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_update_that_is_launched_lets_nothing_cross(name: str, launching: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the arrays lie goes with the launch, though gradients lie elsewhere in every step."""
    ws = [nn.Parameter(device(np.ones(shape, dtype))) for shape in ((3, 4), 5) for dtype in (np.float32, np.float16)]
    optimizer, launches = OPTIMISERS[name](ws), []
    run = cuda._RUNNERS[strict_xp.StrictArray]
    monkeypatch.setitem(cuda._RUNNERS, strict_xp.StrictArray, lambda *args: (launches.append(args[1]), run(*args)))
    monkeypatch.setitem(vars(type(optimizer).source), "verified", True)

    def step() -> None:
        for w in ws:
            w.grad = xp_of(w.data).full(w.shape, 0.5, dtype=w.dtype)
        optimizer.step(scale=2.0)

    assert seen_of(step) == []
    assert len(launches) == 2 * 2  # a step and a type


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.1, 100.0])
def test_clipping_reads_one_number(norm_type: float, max_norm: float) -> None:
    ws = [normal(3, 4, grad=True), normal(5, grad=True)]
    for w in ws:
        w.grad = xp_of(w.data).full(w.shape, 0.5, dtype=np.float32)
    seen = seen_of(lambda: optim.clip_grad_norm_(ws, max_norm, norm_type, error_if_nonfinite=True))
    assert [(crossing.kind, crossing.place) for crossing in seen] == [(TO_HOST, "minidl/optim/clip.py _joint_norm")]
