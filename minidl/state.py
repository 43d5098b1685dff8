"""What the next epoch of a training depends on, and the file that keeps it: a run's last.safetensors.

    arrays   model.NAME       parameters and buffers
             optimizer.I.NAME what the update rule keeps for parameter I: velocity, moments
    header   "minidl.state"   {"format": 1, "epoch": 7, "best_epoch": 5, "seed": 0, "position": 312, "steps": [238, 238, ...]}

A training in float16 adds "loss_scale": [32768.0, 119]: the factor of the loss, and the updates since it changed.

seed and position are the random stream's, steps the updates each parameter has had. The schedule is not here: it follows from
the recipe and the validation losses. What a model keeps outside its parameters and buffers is not here either, and is lost.

The file is replaced whole or not at all, and is checked before anything of it is used; reading it runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minidl.nn.weights import read_weights, save_weights
from minidl.optim import Optimizer
from minidl.signature import brackets

FORMAT = 1
KEY = "minidl.state"  # in the header
BELOW = {"format": FORMAT + 1, "epoch": 2**31, "best_epoch": 2**31, "seed": 2**64, "position": 2**62}  # whole numbers >= 0


class State(NamedTuple):
    """A training after `epoch` epochs."""

    epoch: int
    best_epoch: int
    seed: int
    position: int
    steps: list[int]
    weights: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    loss_scale: list[float] | None = None  # of a training in float16: the scale, and the updates since it changed

    def check(self, model: Mapping[str, np.ndarray], optimizer: Optimizer) -> None:
        """ValueError, one line, unless the arrays have the names, shapes and types of this model's and this optimiser's."""
        parameters = [(p, group) for group in optimizer.param_groups for p in group["params"]]
        if len(self.steps) != len(parameters):
            raise ValueError(f"the state has {len(self.steps)} parameters, the training {len(parameters)}")
        slots = {
            f"{i}.{slot}": np.broadcast_to(np.zeros((), np.result_type(p.dtype, np.float32)), p.shape)
            for i, ((p, group), t) in enumerate(zip(parameters, self.steps, strict=True))
            for slot in (optimizer.slots_of(p, group) if t else ())
        }
        _check_arrays("the model", model, self.weights)
        _check_arrays(optimizer.name, slots, self.optimizer)


def save_state(state: State, path: Path) -> None:
    """Write the file, in place of an older one."""
    arrays = {f"model.{name}": a for name, a in state.weights.items()}
    arrays |= {f"optimizer.{name}": a for name, a in state.optimizer.items()}
    numbers = {"format": FORMAT, **{name: getattr(state, name) for name in (*BELOW, "steps") if name != "format"}}
    if state.loss_scale is not None:
        numbers["loss_scale"] = state.loss_scale
    save_weights(arrays, path, {KEY: json.dumps(numbers)})


def read_state(path: Path) -> State:
    """The file's state, checked for itself; FileNotFoundError or ValueError, one line. `State.check` says whose it can be."""
    arrays, header = read_weights(path)
    numbers = _checked_numbers(path, header.get(KEY, ""))
    parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "optimizer": {}}
    for key, array in arrays.items():
        part, _, name = key.partition(".")
        if part not in parts:
            raise ValueError(f"{path}: no state of a training, it holds {key!r}")
        parts[part][name] = array
    del numbers["format"]
    return State(**numbers, weights=parts["model"], optimizer=parts["optimizer"])


def _checked_numbers(path: Path, text: str) -> dict[str, Any]:
    """The header's numbers, each of its type and in its range."""
    try:
        numbers = json.loads(text)
    except (ValueError, RecursionError):
        numbers = None
    if not isinstance(numbers, dict) or numbers.keys() - {"loss_scale"} != {*BELOW, "steps"}:
        raise ValueError(f"{path}: no state of a training; its header lacks {KEY}")
    for name, below in BELOW.items():
        if type(numbers[name]) is not int or not 0 <= numbers[name] < below:
            raise ValueError(f"{path}: {name} should be a whole number from 0 to {below - 1}, got {numbers[name]!r}")
    steps = numbers["steps"]
    if not isinstance(steps, list) or not all(type(t) is int and 0 <= t < 2**62 for t in steps):
        raise ValueError(f"{path}: steps should be a list of whole numbers, 0 or more")
    scale = numbers.get("loss_scale", [1.0, 0])
    if not (isinstance(scale, list) and len(scale) == 2 and all(type(n) in (int, float) and 0 <= n < 2**127 for n in scale)):
        raise ValueError(f"{path}: loss_scale should be two numbers, 0 or more, got {scale!r}")
    return numbers


def _check_arrays(whose: str, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    if different := sorted(ours.keys() ^ theirs.keys()):
        side = "lacks" if different[0] in ours else "holds"
        raise ValueError(f"the state does not fit {whose}: it {side} {different[0]!r}")
    for name, array in theirs.items():
        kinds = [f"{a.dtype} {brackets(a.shape)}" for a in (ours[name], array)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"the state does not fit {whose}: {name} should be {kinds[0]}, got {kinds[1]}")
