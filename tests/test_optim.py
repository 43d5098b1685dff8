"""Optimisers and clipping: the rules by hand, resuming, slices, half types, devices, and what they refuse."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import optim
from minidl.backend import to_numpy
from minidl.optim.optimizer import SLICE
from minidl.state import State
from minidl.tensor import Tensor

RULES: dict[str, Callable[[list], optim.Optimizer]] = {
    "sgd": lambda params: optim.SGD(params, lr=0.1),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "alexnet": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.01, convention="alexnet"),
    "adam": lambda params: optim.Adam(params, lr=0.1, weight_decay=0.01),
    "adamw": lambda params: optim.AdamW(params, lr=0.1, weight_decay=0.1),
}


def parameter(*values: float, dtype: Any = np.float64, grad: Any = None) -> Tensor:
    p = Tensor(np.array(values, dtype), requires_grad=True)
    p.grad = None if grad is None else np.array(grad, dtype)
    return p


def train(opt: optim.Optimizer, params: list[Tensor], steps: range) -> None:
    """Steps whose gradients depend on the step and the parameter alone."""
    for t in steps:
        for i, p in enumerate(params):
            p.grad = np.random.default_rng([t, i]).standard_normal(p.shape).astype(p.dtype)
        opt.step()


# ---- the rules ---------------------------------------------------------------------------------------------------------


def test_alexnet_keeps_lr_inside_the_velocity() -> None:
    """v <- 0.9 v - 5e-4 lr w - lr g;  w <- w + v, across a change of lr, by hand."""
    p = parameter(2.0)
    opt = optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=5e-4, convention="alexnet")
    w, v = 2.0, 0.0
    for lr, g in ((0.1, 3.0), (0.1, -1.0), (0.01, 2.0), (0.01, 0.5)):
        opt.param_groups[0]["lr"] = lr
        p.grad = np.array([g])
        opt.step()
        v = 0.9 * v - 5e-4 * lr * w - lr * g
        w += v
        assert p.item() == pytest.approx(w, rel=1e-14)


def test_both_conventions_walk_one_path_until_lr_changes() -> None:
    paths = {}
    for convention in ("pytorch", "alexnet"):
        p = parameter(1.0, -2.0)
        opt = optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01, convention=convention)
        train(opt, [p], range(5))
        same = p.numpy().copy()
        opt.param_groups[0]["lr"] = 0.01
        train(opt, [p], range(5, 7))
        paths[convention] = same, p.numpy()
    np.testing.assert_allclose(paths["pytorch"][0], paths["alexnet"][0], rtol=1e-13)
    assert np.abs(paths["pytorch"][1] - paths["alexnet"][1]).max() > 1e-3


def test_adamw_decays_apart_from_the_moments() -> None:
    """With a zero gradient AdamW only shrinks w; Adam's moments see the decay."""
    p, q = parameter(1.0, grad=[0.0]), parameter(1.0, grad=[0.0])
    optim.AdamW([p], lr=0.2, weight_decay=0.5).step()
    optim.Adam([q], lr=0.2, weight_decay=0.5).step()
    assert p.item() == pytest.approx(0.9)
    assert q.item() == pytest.approx(0.8)  # one whole step of size lr


def test_adams_eps_stands_beside_the_corrected_moment() -> None:
    """At first m^ = g and v^ = g^2: a step of lr g / (|g| + eps), whatever the betas."""
    p = parameter(1.0, grad=[3.0])
    optim.Adam([p], lr=0.5, betas=(0.8, 0.6), eps=2.0).step()
    assert p.item() == pytest.approx(1 - 0.5 * 3 / 5)


def test_parameters_without_a_gradient_are_left_alone_and_not_counted() -> None:
    p, q = parameter(1.0, grad=[1.0]), parameter(1.0)
    opt = optim.Adam([p, q])
    opt.step()
    assert (opt.steps, q.item(), opt.state[1]) == ([1, 0], 1.0, {})


def test_step_raises_the_version_and_zero_grad_forgets() -> None:
    p = parameter(1.0, grad=[1.0])
    opt = optim.SGD([p], lr=0.1)
    opt.step()
    assert p.version == 1
    opt.zero_grad()
    assert p.grad is None


def test_groups_have_options_of_their_own() -> None:
    p, q = parameter(1.0, grad=[1.0]), parameter(1.0, grad=[1.0])
    opt = optim.SGD([{"params": [p]}, {"params": q, "lr": 0.5}], lr=0.1)
    opt.step()
    assert (p.item(), q.item()) == (0.9, 0.5)
    assert repr(opt).startswith("SGD(params=1, lr=0.1, momentum=0.0, ")
    assert repr(opt).count("params=1") == 2


# ---- memory, types, devices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_slices_change_no_bit(rule: str) -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal(2 * SLICE + 17).astype(np.float32)
    whole, row = Tensor(start.copy(), True), Tensor(start.copy(), True)
    halves = [Tensor(part.copy(), True) for part in np.array_split(start, 3)]
    sliced, parts = RULES[rule]([whole]), RULES[rule](halves)
    view = RULES[rule]([row])
    for _ in range(2):
        g = rng.standard_normal(start.size).astype(np.float32)
        whole.grad, row.grad = g.copy(), np.repeat(g, 2)[::2]  # a gradient that is not contiguous
        for p, part in zip(halves, np.array_split(g, 3), strict=True):
            p.grad = part.copy()
        for opt in (sliced, parts, view):
            opt.step()
    np.testing.assert_array_equal(whole.numpy(), np.concatenate([p.numpy() for p in halves]))
    np.testing.assert_array_equal(whole.numpy(), row.numpy())


@pytest.mark.parametrize("rule", RULES)
def test_threads_change_no_bit(rule: str) -> None:
    rng = np.random.default_rng(0)
    starts = [rng.standard_normal(size).astype(np.float32) for size in (3 * SLICE + 5, 7, 0, 40)]
    nets = {count: [Tensor(start.copy(), True) for start in starts] for count in (None, 1, 2, 3)}
    steps = {count: RULES[rule](net) for count, net in nets.items()}
    for _ in range(2):
        gradients = [rng.standard_normal(start.size).astype(np.float32) for start in starts]
        for count, net in nets.items():
            for p, g in zip(net, gradients, strict=True):
                p.grad = g.copy()
            with minidl.threads(count):
                steps[count].step()
    for count, net in nets.items():
        for p, q in zip(net, nets[None], strict=True):
            np.testing.assert_array_equal(p.numpy(), q.numpy(), err_msg=f"{count} threads")


@pytest.mark.parametrize("rule", RULES)
def test_a_parameter_that_is_not_contiguous_is_updated_too(rule: str) -> None:
    base = np.zeros((600, 2, 300))
    p, q = Tensor(base.transpose(2, 1, 0), True), Tensor(np.zeros((300, 2, 600)), True)
    train(RULES[rule]([p]), [p], range(2))
    train(RULES[rule]([q]), [q], range(2))
    np.testing.assert_array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize("rule", RULES)
def test_types_are_kept_and_half_is_updated_in_float32(rule: str) -> None:
    single, half = parameter(1.0, -0.3, 7.7, dtype=np.float32), parameter(1.0, -0.3, 7.7, dtype=np.float16)
    single.data[...] = half.data
    opts = [RULES[rule]([p]) for p in (single, half)]
    for t in range(4):
        g = np.random.default_rng(t).standard_normal(3).astype(np.float16)
        single.grad, half.grad = g.astype(np.float32), g
        for opt in opts:
            opt.param_groups[0]["lr"] = np.float64(1e-2)  # a float64 scalar must not make float64 arrays
            opt.step()
            assert all(a.dtype == np.float32 for a in opt.state[0].values())
        np.testing.assert_array_equal(half.numpy(), single.numpy().astype(np.float16))  # the one rounding, of what stays exact
    assert (single.dtype, half.dtype) == (np.float32, np.float16)


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_small_steps_of_a_half_parameter_add_up(device: str) -> None:
    """1,000 steps of 1e-4: float16 has no number between 1 and 1 - 4.9e-4, and each by itself rounds to nothing."""
    start = np.array([1.0, -8.0], np.float16)
    p = Tensor(start.copy(), True, device=device)
    opt, alone = optim.SGD([p], lr=1e-4), start.copy()
    for _ in range(1000):
        p.grad = Tensor(start, device=device).data
        opt.step()
        alone = (alone.astype(np.float32) - np.float32(1e-4) * start).astype(np.float16)
    np.testing.assert_array_equal(alone, start)
    np.testing.assert_allclose(p.numpy().astype(float), [0.9, -7.2], rtol=1e-3)


def test_only_half_parameters_have_masters() -> None:
    params = [parameter(1.0, dtype=dtype) for dtype in (np.float16, np.float32, np.float64)]
    opt = optim.SGD(params, lr=0.1)
    train(opt, params, range(1))
    assert [list(state) for state in opt.state] == [["master"], [], []]
    assert opt.state[0]["master"].dtype == np.float32


@pytest.mark.parametrize("rule", RULES)
def test_half_parameters_resume_with_the_same_bits(rule: str) -> None:
    params = [parameter(1.0, 2.0, dtype=np.float16)]
    opt = RULES[rule](params)
    train(opt, params, range(3))
    state, copies = opt.state_dict(), [p.copy() for p in params]
    assert not np.array_equal(state["arrays"]["0.master"], params[0].numpy())
    train(opt, params, range(3, 6))
    resumed = RULES[rule](copies)
    resumed.load_state_dict(state)
    train(resumed, copies, range(3, 6))
    np.testing.assert_array_equal(resumed.state[0]["master"], opt.state[0]["master"])
    np.testing.assert_array_equal(copies[0].numpy(), params[0].numpy())
    del state["arrays"]["0.master"]
    with pytest.raises(ValueError, match=r"the state lacks 0\.master; were arrays and numbers saved together"):
        resumed.load_state_dict(state)


def test_a_training_that_is_resumed_needs_its_masters() -> None:
    p = parameter(1.0, 2.0, dtype=np.float16)
    opt = optim.SGD([p], lr=0.1, momentum=0.9)
    train(opt, [p], range(1))
    arrays = opt.state_dict()["arrays"]
    assert set(arrays) == {"0.momentum_buffer", "0.master"}
    State(1, 1, 0, 0, opt.steps, {}, arrays).check({}, opt)
    with pytest.raises(ValueError, match=r"the state does not fit SGD: it lacks '0\.master'"):
        State(1, 1, 0, 0, opt.steps, {}, {"0.momentum_buffer": arrays["0.momentum_buffer"]}).check({}, opt)


def test_a_master_follows_what_is_set_by_hand() -> None:
    """Weights that were loaded after the first step would otherwise be gone with the next."""
    p = parameter(1.0, 1.0, dtype=np.float16)
    opt = optim.SGD([p], lr=1e-4)
    for value in (1.0, 5.0):
        with minidl.no_grad():
            p[1] = value
        p.grad = np.array([1.0, 1.0], np.float16)
        opt.step()
    np.testing.assert_allclose(opt.state[0]["master"], [1 - 2e-4, 5 - 1e-4], rtol=1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_scale_of_the_gradients_is_divided_out_in_float32(rule: str, dtype: type) -> None:
    """3e-6 is no number of float16's normal ones; 3e-6 * 2^15 is."""
    p, q = parameter(2**-10, -(2**-9), dtype=dtype), parameter(2**-10, -(2**-9), dtype=np.float32)
    scaled, plain = RULES[rule]([p]), RULES[rule]([q])
    for g in (3e-6, -5e-6):
        p.grad = np.array([2**15 * g, 2**14 * g], dtype)
        q.grad = p.grad.astype(np.float32) / 2**15
        kept = p.grad.copy()
        scaled.step(scale=2**15)
        plain.step()
        np.testing.assert_array_equal(p.grad, kept)
    np.testing.assert_array_equal(scaled.state[0].get("master", p.data), q.numpy())
    with pytest.raises(ValueError, match="scale must be a number above 0, got 0"):
        scaled.step(scale=0)


def test_state_is_kept_only_where_the_rule_needs_it() -> None:
    p = parameter(1.0, grad=[1.0])
    opt = optim.SGD([p], lr=0.1)
    opt.step()
    assert opt.state == [{}]


@pytest.mark.parametrize("rule", RULES)
def test_rules_keep_to_one_array_library(rule: str) -> None:
    p = Tensor(np.array([1.0, -2.0, 3.0]), True)
    q = Tensor(p.data.copy(), True, device="strict")
    ours, theirs = RULES[rule]([p]), RULES[rule]([q])
    for g in ([1.0, 2.0, 3.0], [0.5, -1.0, 0.0]):
        p.grad, q.grad = np.array(g), Tensor(np.array(g), device="strict").data
        optim.clip_grad_norm_([q], 1.0)
        optim.clip_grad_norm_([p], 1.0)
        ours.step()
        theirs.step()
    np.testing.assert_array_equal(p.numpy(), q.numpy())


# ---- resuming ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_resumed_run_has_the_same_bits(rule: str) -> None:
    params = [parameter(1.0, 2.0), parameter(-1.0)]
    opt = RULES[rule](params)
    train(opt, params, range(3))
    state, copies = opt.state_dict(), [p.copy() for p in params]
    numbers = json.loads(json.dumps(state["numbers"]))
    train(opt, params, range(3, 6))  # the state is a copy: this leaves it alone
    resumed = RULES[rule](copies)
    resumed.load_state_dict({"arrays": state["arrays"], "numbers": numbers})
    train(resumed, copies, range(3, 6))
    for p, q in zip(params, copies, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_a_state_brings_its_options() -> None:
    """Saved without momentum, loaded into an optimiser that was built with it: no velocity is missed."""
    p, q = parameter(1.0), parameter(1.0)
    plain, other = optim.SGD([p], lr=0.1), optim.SGD([q], lr=0.3, momentum=0.9)
    train(plain, [p], range(1))
    other.load_state_dict(plain.state_dict())
    assert (other.param_groups[0]["lr"], other.param_groups[0]["momentum"], other.steps) == (0.1, 0.0, [1])


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    params = [parameter(1.0, 2.0)]
    opt = optim.Adam(params)
    train(opt, params, range(1))
    before = opt.state_dict()
    other = optim.Adam([parameter(1.0, 2.0, 3.0)])
    with pytest.raises(ValueError, match=r"Adam: state '0.exp_avg' \[2\] fits no parameter"):
        other.load_state_dict(before)
    assert (other.state, other.steps) == ([{}], [0])
    with pytest.raises(ValueError, match="the state lacks 0"):
        opt.load_state_dict({**before, "arrays": {}})
    with pytest.raises(ValueError, match="this is not an optimiser's state; pass what state_dict"):
        opt.load_state_dict(before["arrays"])
    before["numbers"]["groups"][0]["lr"] = -1
    with pytest.raises(ValueError, match="lr must be a number >= 0"):
        opt.load_state_dict(before)
    with pytest.raises(ValueError, match=r"the state belongs to Adam with groups of \[1\] parameters, not of \[1\]"):
        optim.SGD(params, lr=0.1).load_state_dict(before)


# ---- clipping ----------------------------------------------------------------------------------------------------------


def test_clip_by_norm_returns_the_norm_before() -> None:
    p, q, frozen = parameter(0.0, grad=[3.0]), parameter(0.0, grad=[4.0]), parameter(0.0)
    assert optim.clip_grad_norm_([p, q, frozen], 1.0) == pytest.approx(5.0)
    assert (p.grad[0], q.grad[0]) == (pytest.approx(0.6), pytest.approx(0.8))
    assert optim.clip_grad_norm_([p, q], 10.0) == pytest.approx(1.0)
    assert p.grad[0] == pytest.approx(0.6)  # shorter than 10: left alone
    assert optim.clip_grad_norm_([p, q], 10.0, math.inf) == pytest.approx(0.8)
    assert optim.clip_grad_norm_([frozen], 1.0) == 0.0


def test_clip_by_value() -> None:
    p = parameter(0.0, 0.0, 0.0, dtype=np.float32, grad=[3.0, -3.0, 0.5])
    optim.clip_grad_value_(p, 1.0)
    np.testing.assert_array_equal(p.grad, np.float32([1.0, -1.0, 0.5]))


def test_half_gradients_do_not_overflow_in_the_norm() -> None:
    p = parameter(0.0, 0.0, dtype=np.float16, grad=[300.0, 400.0])  # 300^2 is beyond float16
    assert optim.clip_grad_norm_(p, 1.0) == pytest.approx(500.0)
    assert p.grad.dtype == np.float16


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_clip_reports_a_gradient_that_is_not_finite(bad: float) -> None:
    p, q = parameter(0.0, grad=[1.0]), parameter(0.0, 0.0, grad=[1.0, bad])
    with pytest.raises(FloatingPointError, match=r"gradient 1, shape \[2\], holds NaN or infinity"):
        optim.clip_grad_norm_([p, q], 1.0, error_if_nonfinite=True)
    assert p.grad[0] == 1.0
    with pytest.warns(RuntimeWarning, match="gradient 1"):
        optim.clip_grad_norm_([p, q], 1.0)


def test_clip_keeps_to_one_array_library() -> None:
    p = Tensor(np.zeros(2), True, device="strict")
    for norm_type in (1.0, 2.0, 3.0, math.inf):
        p.grad = Tensor(np.array([3.0, -4.0]), device="strict").data
        optim.clip_grad_norm_([p], 1.0, norm_type)
        optim.clip_grad_value_([p], 0.5)
        assert np.abs(to_numpy(p.grad)).max() == 0.5


# ---- what they refuse: call -> message ---------------------------------------------------------------------------------

P = parameter(1.0)
REFUSED: dict[str, Callable[[], Any]] = {
    "SGD: no parameters; pass model.parameters() of a model that has some": lambda: optim.SGD([], lr=0.1),
    "SGD: lr must be a number >= 0, got -1": lambda: optim.SGD([P], lr=-1),
    "SGD: lr must be a number >= 0, got '0.1'": lambda: optim.SGD([P], lr="0.1"),
    "SGD: lr must be a number >= 0, got -2": lambda: optim.SGD([{"params": [P], "lr": -2}], lr=0.1),
    "SGD: momentum must be a number >= 0, got inf": lambda: optim.SGD([P], lr=0.1, momentum=math.inf),
    "Adam: lr must be a number >= 0, got nan": lambda: optim.Adam([P], lr=math.nan),
    "AdamW: weight_decay must be a number >= 0, got -0.1": lambda: optim.AdamW([P], weight_decay=-0.1),
    "Adam: betas must be two numbers in [0, 1), got (0.9, 1.0)": lambda: optim.Adam([P], betas=(0.9, 1.0)),
    "SGD: nesterov=True needs momentum > 0 and dampening = 0": lambda: optim.SGD([P], lr=0.1, nesterov=True),
    "SGD: convention must be 'pytorch' or 'alexnet', got 'caffe'": lambda: optim.SGD([P], lr=0.1, convention="caffe"),
    "SGD: convention='alexnet' has no nesterov and no dampening; use convention='pytorch'": lambda: optim.SGD(
        [P], lr=0.1, momentum=0.9, nesterov=True, convention="alexnet"
    ),
    "SGD: no option 'rate' in a parameter group; it has lr, momentum, dampening, weight_decay, nesterov, convention": lambda: (
        optim.SGD([{"params": [P], "rate": 1}], lr=0.1)
    ),
    "SGD: expected a list of Tensors or groups, got one Tensor; write [it]": lambda: optim.SGD(P, lr=0.1),
    "SGD: expected parameters, got an int; write model.parameters()": lambda: optim.SGD(1, lr=0.1),
    "Adam: expected parameters, got a method; write model.parameters()": lambda: optim.Adam([{"params": P.numpy}]),
    "Adam: betas must be two numbers in [0, 1), got ('0.9', 0.99)": lambda: optim.Adam([P], betas=("0.9", 0.99)),
    "clip_grad_value_: expected parameters, got a method; write model.parameters()": lambda: optim.clip_grad_value_(P.numpy, 1),
    "SGD: expected Tensors, got tuple; pass model.parameters()": lambda: optim.SGD([("weight", P)], lr=0.1),
    "SGD: expected a group such as {'params': [...], 'lr': 0.1}, got Tensor": lambda: optim.SGD([{"params": P}, P], lr=0.1),
    "SGD: a parameter group is empty; pass the parameters of a layer that has some": lambda: optim.SGD(
        [{"params": []}], lr=0.1
    ),
    "SGD: a parameter [1] is given twice; it would be updated twice": lambda: optim.SGD([P, P], lr=0.1),
    "SGD: int64 [2] is no leaf of floating point; pass parameters": lambda: optim.SGD([Tensor([1, 2])], lr=0.1),
    "clip_grad_norm_: max_norm must be a number >= 0, got -1": lambda: optim.clip_grad_norm_([P], -1),
    "clip_grad_norm_: norm_type must be 1 or more (math.inf: the largest magnitude), got 0": lambda: optim.clip_grad_norm_(
        [P], 1, 0
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_in_one_line(message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        REFUSED[message]()
    assert str(caught.value) == message
