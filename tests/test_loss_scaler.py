"""The loss scaler: what it does to gradients, when it skips, falls and rises, and what it refuses."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.backend import to_device
from minidl.tensor import Tensor


def parameter(*values: float, dtype: str = "float16", device: str = "cpu") -> Tensor:
    return Tensor(np.array(values, dtype), True, device=device)


def set_gradient(p: Tensor, *values: float) -> None:
    p.grad = to_device(np.array(values, p.dtype), p.device)


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_small_gradients_of_a_half_net_arrive(device: str) -> None:
    """dw = 1e-4 * 1e-4 is below all that float16 holds: without the scale nothing moves."""
    x, small = Tensor(np.float16([1e-4]), device=device), Tensor(np.float16([1e-4]), device=device)
    weights = {}
    for scaled in (False, True):
        p = parameter(1.0, device=device)
        opt, scaler = optim.SGD([p], lr=1e6), optim.LossScaler(init_scale=2.0**12)
        loss = (p * x * small).sum()
        if scaled:
            scaler.backward(loss)
            assert scaler.step(opt) is True
        else:
            loss.backward()
            opt.step()
        weights[scaled] = p.item()
    assert weights[False] == 1.0
    assert weights[True] == pytest.approx(1 - 1e6 * 1e-8, rel=1e-2)


@pytest.mark.parametrize("device", ["cpu", "strict"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_with_a_bad_gradient_is_skipped_and_halves_the_scale(device: str, bad: float) -> None:
    p, q = parameter(1.0, device=device), parameter(1.0, 2.0, device=device)
    opt, scaler = optim.SGD([p, q], lr=0.5, momentum=0.9), optim.LossScaler(init_scale=8.0)
    set_gradient(p, 8.0)
    set_gradient(q, 8.0, bad)
    assert scaler.step(opt) is False
    assert (scaler.scale, opt.steps, opt.state) == (4.0, [0, 0], [{}, {}])
    assert (p.numpy().tolist(), q.numpy().tolist()) == ([1.0], [1.0, 2.0])
    set_gradient(q, 4.0, 8.0)
    set_gradient(p, 0.0)
    assert scaler.step(opt) is True
    assert (scaler.scale, q.numpy().tolist()) == (4.0, [0.5, 1.0])


def test_it_doubles_after_so_many_good_steps_in_a_row() -> None:
    p = parameter(1.0)
    opt, scaler = optim.SGD([p], lr=0.0), optim.LossScaler(growth_interval=3)
    assert scaler.scale == 2**16
    seen = []
    for g in (1, 1, math.nan, 1, 1, 1, 1, 1, 1, 1):
        set_gradient(p, g)
        scaler.step(opt)
        seen.append(math.log2(scaler.scale))
    assert seen == [16, 16, 15, 15, 15, 16, 16, 16, 17, 17]


def test_factors_are_its_own() -> None:
    p = parameter(1.0)
    opt, scaler = optim.SGD([p], lr=0.0), optim.LossScaler(100.0, growth_factor=3.0, backoff_factor=0.1, growth_interval=1)
    for g, scale in ((1, 300), (math.nan, 30), (1, 90)):
        set_gradient(p, g)
        scaler.step(opt)
        assert scaler.scale == pytest.approx(scale)


def test_the_defaults_are_those_of_pytorch() -> None:
    assert optim.LossScaler().state_dict() == {
        "scale": 65536.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "good_steps": 0,
        "most": 2.0**126,  # ours: what float32 holds
    }


def test_it_grows_no_further_than_it_may() -> None:
    p = Tensor([1.0], requires_grad=True)
    opt, scaler = optim.SGD([p], lr=0.0), optim.LossScaler(init_scale=2.0**14, growth_interval=1, most=2.0**15)
    for _ in range(3):
        opt.zero_grad()
        scaler.backward((p * p).sum())
        assert scaler.step(opt)
    assert scaler.scale == 2.0**15


def test_the_scale_stays_where_float32_holds_its_inverse() -> None:
    p = parameter(1.0, dtype="float32")
    opt, scaler = optim.SGD([p], lr=1.0), optim.LossScaler(init_scale=2.0**126, growth_interval=1)
    set_gradient(p, 2.0**126)
    assert scaler.step(opt)
    assert (scaler.scale, p.item()) == (2.0**126, 0.0)


def test_several_optimisers_step_together_or_not_at_all() -> None:
    p, q = parameter(1.0), parameter(1.0)
    opts = optim.SGD([p], lr=1.0), optim.SGD([q], lr=1.0)
    scaler = optim.LossScaler(init_scale=2.0)
    for bad, after in ((math.inf, 1.0), (1.0, 0.0)):
        set_gradient(p, scaler.scale)
        set_gradient(q, scaler.scale * bad)
        scaler.step(*opts)
        assert (p.item(), q.item()) == (after, after)


def test_a_float16_net_is_trained() -> None:
    """From a scale that float16 does not hold; beside it the same net in float32, without a scale."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 8)).astype(np.float32)
    y = (x @ rng.standard_normal((8, 3))).argmax(axis=1)
    losses = {}
    for dtype in ("float32", "float16"):
        with minidl.random.using_stream(minidl.random.Stream(3)):
            model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).to(dtype=dtype)
        opt, scaler, skipped = optim.SGD(model.parameters(), lr=0.05, momentum=0.9), optim.LossScaler(), 0
        for _ in range(60):
            loss = minidl.softmax_cross_entropy(model(Tensor(x.astype(dtype))), y)
            opt.zero_grad()
            scaler.backward(loss)
            skipped += not scaler.step(opt)
        losses[dtype], low = loss.item(), scaler.scale
    assert (skipped, low) == (1, 2**15)
    assert losses["float32"] < 0.5
    assert losses["float16"] == pytest.approx(losses["float32"], rel=0.1)


def test_it_resumes() -> None:
    scaler, other = optim.LossScaler(init_scale=32.0, growth_interval=2), optim.LossScaler()
    p = parameter(1.0)
    opt = optim.SGD([p], lr=0.0)
    set_gradient(p, 1.0)
    scaler.step(opt)
    other.load_state_dict(json.loads(json.dumps(scaler.state_dict())))
    for one in (scaler, other):
        one.step(opt)
        assert (one.scale, one.good_steps) == (64.0, 0)


def test_clipping_sees_the_scale() -> None:
    p = parameter(0.0, 0.0, dtype="float32")
    opt, scaler = optim.SGD([p], lr=1.0), optim.LossScaler(init_scale=1024.0)
    scaler.backward((p * Tensor([3.0, 4.0])).sum())
    assert optim.clip_grad_norm_([p], 1.0 * scaler.scale) == pytest.approx(5 * 1024)
    scaler.step(opt)
    np.testing.assert_allclose(p.numpy(), [-0.6, -0.8], rtol=1e-5)


def test_a_gradient_that_no_scale_helps_is_told() -> None:
    p = parameter(1.0, 2.0)
    opt, scaler = optim.SGD([p], lr=0.1), optim.LossScaler(init_scale=2.0**-13)
    set_gradient(p, 0.0, math.nan)
    scaler.step(opt)
    with pytest.raises(FloatingPointError, match=r"step: gradient 0, shape \[2\], holds NaN or infinity at scale 6.10352e-05"):
        scaler.step(opt)


def bad_state(**changes: Any) -> dict[str, Any]:
    return {**optim.LossScaler().state_dict(), **changes}


REFUSED = {
    "scale must be a number from 2^-14 to 2^126, got 0": lambda: optim.LossScaler(init_scale=0),
    "scale must be a number from 2^-14 to 2^126, got '1'": lambda: optim.LossScaler(init_scale="1"),
    "scale must be a number from 2^-14 to 2^126, got nan": lambda: optim.LossScaler().load_state_dict(
        bad_state(scale=math.nan)
    ),
    "growth_factor must be a number above 1, got 1": lambda: optim.LossScaler(growth_factor=1),
    "backoff_factor must be a number between 0 and 1, got 1.0": lambda: optim.LossScaler(backoff_factor=1.0),
    "growth_interval must be a whole number, 1 or more, got 0": lambda: optim.LossScaler(growth_interval=0),
    "good_steps must be a whole number, 0 or more, got 0.5": lambda: optim.LossScaler().load_state_dict(
        bad_state(good_steps=0.5)
    ),
    f"a state holds {', '.join(optim.LossScaler().state_dict())}, got {{}}; pass what state_dict() gave": lambda: (
        optim.LossScaler().load_state_dict({})
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_in_one_line(message: str) -> None:
    with pytest.raises(ValueError) as caught:
        REFUSED[message]()
    assert str(caught.value) == f"LossScaler: {message}"


def test_a_step_without_gradients_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no parameter of the optimiser has a gradient; call scaler.backward\(loss\) before"):
        optim.LossScaler().step(optim.SGD([parameter(1.0)], lr=0.1))
