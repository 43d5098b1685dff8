"""Learning-rate schedules: in sequence, resumed, and what they refuse. Their values: test_optim_parity.py."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from minidl import optim
from minidl.tensor import Tensor

SCHEDULES: dict[str, Callable[[optim.Optimizer], optim.Schedule]] = {
    "step": lambda opt: optim.StepLR(opt, 3, 0.5),
    "milestones": lambda opt: optim.MultiStepLR(opt, [2, 5]),
    "cosine": lambda opt: optim.CosineAnnealingLR(opt, 8),
    "linear": lambda opt: optim.LinearLR(opt, 0.1, 1.0, 4),
    "plateau": lambda opt: optim.ReduceLROnPlateau(opt, patience=1, cooldown=1),
    "warm-up, then cosine": lambda opt: optim.SequentialLR(opt, [optim.LinearLR(opt), optim.CosineAnnealingLR(opt, 8)], [3]),
    "warm-up, then plateau": lambda opt: optim.SequentialLR(
        opt, [optim.LinearLR(opt), optim.ReduceLROnPlateau(opt, patience=0)], [3]
    ),
}


def parameter() -> Tensor:
    return Tensor([1.0], requires_grad=True)


def test_warm_up_then_cosine() -> None:
    opt = optim.SGD([parameter()], lr=1.0)
    schedule = optim.SequentialLR(opt, [optim.LinearWarmup(opt, 0.25, total_iters=3), optim.CosineAnnealingLR(opt, 4)], [3])
    lrs = [opt.param_groups[0]["lr"]]
    for _ in range(7):
        schedule.step()
        lrs.append(opt.param_groups[0]["lr"])
    cosine = [(1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)]
    assert lrs == pytest.approx([0.25, 0.5, 0.75, *cosine])


def test_plateau_needs_its_metric_and_a_nan_is_a_bad_one() -> None:
    opt = optim.SGD([parameter()], lr=1.0)
    schedule = optim.ReduceLROnPlateau(opt, patience=0)
    with pytest.raises(ValueError, match="needs the number to follow"):
        schedule.step()
    schedule.step(math.nan)
    assert opt.param_groups[0]["lr"] == pytest.approx(0.1)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_schedule_goes_on_as_if_nothing_had_happened(name: str, stop: int) -> None:
    metrics = [5.0, 4.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    opt = optim.SGD([{"params": [parameter()]}, {"params": [parameter()], "lr": 0.5}], lr=0.1)
    schedule, seen = SCHEDULES[name](opt), []
    for t, metric in enumerate(metrics):
        if t == stop:
            state = json.loads(json.dumps([opt.state_dict()["numbers"], schedule.state_dict()]))
        schedule.step(metric)
        seen.append(schedule.get_last_lr())
    fresh = optim.SGD([{"params": [parameter()]}, {"params": [parameter()], "lr": 0.5}], lr=0.1)
    fresh.load_state_dict({"arrays": {}, "numbers": state[0]})
    resumed = SCHEDULES[name](fresh)
    resumed.load_state_dict(state[1])
    assert resumed.get_last_lr() == seen[stop - 1]
    for t, metric in enumerate(metrics[stop:], stop):
        resumed.step(metric)
        assert resumed.get_last_lr() == seen[t]


OPT = optim.SGD([parameter()], lr=0.1)
REFUSED: dict[str, Callable[[], Any]] = {
    "StepLR: expected an optimiser first, got float": lambda: optim.StepLR(0.1, 3),
    "StepLR: step_size must be a positive integer, got 0": lambda: optim.StepLR(OPT, 0),
    "LinearLR: start_factor must be in (0, 1], got 0": lambda: optim.LinearLR(OPT, 0),
    "SequentialLR: milestones must rise and be positive, got [0]": lambda: optim.SequentialLR(
        OPT, [optim.LinearLR(OPT), optim.StepLR(OPT, 1)], [0]
    ),
    "SequentialLR: expected one milestone fewer than schedulers, got 0 for 2": lambda: optim.SequentialLR(
        OPT, [optim.LinearLR(OPT), optim.StepLR(OPT, 1)], []
    ),
    "ReduceLROnPlateau: mode must be 'min' or 'max', got 'lowest'": lambda: optim.ReduceLROnPlateau(OPT, "lowest"),
    "ReduceLROnPlateau: factor must be below 1, got 2": lambda: optim.ReduceLROnPlateau(OPT, factor=2),
    "StepLR: the state belongs to CosineAnnealingLR; build the one it came from": lambda: optim.StepLR(OPT, 1).load_state_dict(
        {"schedule": "CosineAnnealingLR", "t": 1}
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_in_one_line(message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        REFUSED[message]()
    assert str(caught.value) == message
