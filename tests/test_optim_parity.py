"""Optimisers, schedules and clipping against PyTorch, float64, over drawn options."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import optim
from minidl.tensor import Tensor

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

STEPS = 10
momenta, decays = st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.0, 1e-2, 0.3])
rates = st.floats(1e-3, 0.5)
betas = st.tuples(st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.5, 0.99, 0.999]))


@st.composite
def sgd_options(draw: Any) -> dict[str, Any]:
    options = {"lr": draw(rates), "momentum": draw(momenta), "weight_decay": draw(decays)}
    if options["momentum"] and draw(st.booleans()):
        return {**options, "dampening": 0.0, "nesterov": True}
    return {**options, "dampening": draw(st.sampled_from([0.0, 0.1, 0.5])), "nesterov": False}


adam_options = st.fixed_dictionaries(
    {"lr": rates, "betas": betas, "eps": st.sampled_from([1e-8, 1e-3]), "weight_decay": decays}
)
OPTIONS = {"SGD": sgd_options(), "Adam": adam_options, "AdamW": adam_options}


@pytest.mark.parametrize("name", OPTIONS)
@given(data=st.data())
def test_optimiser(name: str, data: st.DataObject) -> None:
    """Ten steps of two groups, lr changing on the way, one parameter without a gradient now and then."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    first, second = data.draw(OPTIONS[name], "first group"), data.draw(OPTIONS[name], "second group")
    falls = data.draw(st.sampled_from([1.0, 0.5, 0.1]), "lr falls by")
    values = [rng.standard_normal(shape) for shape in ((3, 2), (4,), ())]
    ours = [Tensor(v.copy(), True) for v in values]
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    opts = [
        getattr(library, name)([{"params": p[:1]}, {"params": p[1:], **second}], **first)
        for library, p in ((optim, ours), (torch.optim, theirs))
    ]
    for t in range(STEPS):
        for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            g = rng.standard_normal(p.shape)
            absent = i == 2 and t % 3 == 0
            p.grad, q.grad = (None, None) if absent else (g, torch.tensor(g))
        for opt in opts:
            opt.step()
            if t == STEPS // 2:
                opt.param_groups[0]["lr"] *= falls
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_defaults_are_pytorchs() -> None:
    for name in OPTIONS:
        ours = getattr(optim, name)([Tensor([1.0], True)]).param_groups[0]
        theirs = getattr(torch.optim, name)([torch.ones(1, requires_grad=True)]).param_groups[0]
        for option in set(ours) - {"params", "convention"}:
            assert ours[option] == theirs[option], f"{name}: {option}"


# ---- schedules ---------------------------------------------------------------------------------------------------------

whole = st.integers(1, 12)
SCHEDULES: dict[str, st.SearchStrategy] = {
    "StepLR": st.fixed_dictionaries({"step_size": whole, "gamma": st.floats(0.1, 1.0)}),
    "MultiStepLR": st.fixed_dictionaries({"milestones": st.lists(whole, max_size=4), "gamma": st.floats(0.1, 1.0)}),
    "CosineAnnealingLR": st.fixed_dictionaries({"T_max": whole, "eta_min": st.sampled_from([0.0, 1e-3])}),
    "LinearLR": st.fixed_dictionaries(
        {"start_factor": st.floats(0.1, 1.0), "end_factor": st.floats(0.0, 1.0), "total_iters": whole}
    ),
}


def optimisers() -> tuple[Any, Any]:
    """SGD of both libraries, with two groups."""
    return tuple(
        library.SGD([{"params": [make()]}, {"params": [make()], "lr": 0.02}], lr=0.5)
        for library, make in ((optim, lambda: Tensor([1.0], True)), (torch.optim, lambda: torch.ones(1, requires_grad=True)))
    )


def same_path(pair: Any, schedules: list, opts: tuple, metrics: list | None = None) -> None:
    for t in range(30):
        for a, b in zip(opts[0].param_groups, opts[1].param_groups, strict=True):
            assert a["lr"] == pytest.approx(b["lr"], rel=1e-9, abs=1e-12), f"after {t} steps: {pair}"
        opts[1].step()  # PyTorch warns otherwise
        for schedule in schedules:
            schedule.step(*([metrics[t]] if metrics else []))


@pytest.mark.parametrize("name", SCHEDULES)
@given(data=st.data())
def test_schedule(name: str, data: st.DataObject) -> None:
    options, opts = data.draw(SCHEDULES[name], "options"), optimisers()
    schedules = [getattr(lib, name)(opt, **options) for lib, opt in zip((optim, torch.optim.lr_scheduler), opts, strict=True)]
    same_path(options, schedules, opts)


@given(data=st.data())
def test_schedules_in_sequence(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(SCHEDULES)), min_size=1, max_size=3), "names")
    options = [data.draw(SCHEDULES[name], name) for name in names]
    milestones = sorted(data.draw(st.sets(whole, min_size=len(names) - 1, max_size=len(names) - 1), "milestones"))
    opts, chains = optimisers(), []
    for library, opt in zip((optim, torch.optim.lr_scheduler), opts, strict=True):
        inner = [getattr(library, name)(opt, **o) for name, o in zip(names, options, strict=True)]
        chains.append(library.SequentialLR(opt, inner, milestones))
    same_path((names, options, milestones), chains, opts)


@given(data=st.data())
def test_plateau(data: st.DataObject) -> None:
    options = data.draw(
        st.fixed_dictionaries(
            {
                "mode": st.sampled_from(["min", "max"]),
                "factor": st.sampled_from([0.1, 0.5]),
                "patience": st.integers(0, 3),
                "threshold": st.sampled_from([1e-4, 0.1, 0.5]),
                "threshold_mode": st.sampled_from(["rel", "abs"]),
                "cooldown": st.integers(0, 3),
                "min_lr": st.sampled_from([0.0, 0.01]),
                "eps": st.sampled_from([1e-8, 0.01]),
            }
        ),
        "options",
    )
    metrics = data.draw(st.lists(st.floats(-2, 2) | st.just(math.nan), min_size=30, max_size=30), "metrics")
    opts = optimisers()
    schedules = [
        lib.ReduceLROnPlateau(opt, **options) for lib, opt in zip((optim, torch.optim.lr_scheduler), opts, strict=True)
    ]
    same_path(options, schedules, opts, metrics)


# ---- clipping ----------------------------------------------------------------------------------------------------------


def clipped(ours: Callable, theirs: Callable, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grads = [rng.standard_normal(shape) for shape in ((3, 2), (4,), ())]
    tensors = [Tensor(np.zeros_like(g), True) for g in grads]
    twins = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in grads]
    for p, q, g in zip(tensors, twins, grads, strict=True):
        p.grad, q.grad = np.array(g), torch.tensor(g)
    total, expected = ours(tensors), theirs(twins)
    if expected is not None:
        assert total == pytest.approx(float(expected), rel=1e-12)
    for p, q in zip(tensors, twins, strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-12)


@given(
    seed=st.integers(0, 2**32 - 1),
    max_norm=st.floats(0.01, 10.0),
    norm_type=st.sampled_from([1.0, 2.0, 3.0, math.inf]),
)
def test_clip_grad_norm(seed: int, max_norm: float, norm_type: float) -> None:
    theirs = torch.nn.utils.clip_grad_norm_
    clipped(lambda p: optim.clip_grad_norm_(p, max_norm, norm_type), lambda p: theirs(p, max_norm, norm_type), seed)


@given(seed=st.integers(0, 2**32 - 1), value=st.floats(0.01, 3.0))
def test_clip_grad_value(seed: int, value: float) -> None:
    clipped(lambda p: optim.clip_grad_value_(p, value), lambda p: torch.nn.utils.clip_grad_value_(p, value), seed)
