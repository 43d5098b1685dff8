"""`minidl train --resume RUN`: how a run was started, where it stands, and what may be changed on the way.

A resumed run goes on after its last finished epoch, in its own folder. With the same device and threads its weights and metrics
are, bit for bit, those of a run that was never stopped.

--epochs N may extend it. The schedule is then planned anew for N epochs, and the next epoch takes the rate that this plan has
there: a cosine that had come down goes up again. The result is not that of a run planned for N epochs from its start.
"""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from minidl.commands import datasets, pretrained
from minidl.data import PARTS, Splits, full_name, is_built_in
from minidl.recipe import Recipe
from minidl.runs import Run
from minidl.state import State
from minidl.train import Record, Training

MAY_DIFFER = {"epochs", "data", "device", "threads", "compiled", "capture"}  # epochs and data within bounds
WHOLE = (int, type(None))
EXPECTED = {
    "seed": (int,),
    "device": (str,),
    "threads": WHOLE,
    "recipe": (dict,),
}  # of config.json, beside what every command needs


class Resumption(NamedTuple):
    """A run that can go on: its options, its configuration, and where it stands."""

    run: Run
    args: Namespace
    config: dict[str, Any]
    state: State
    metrics: list[Record]

    def take_up(self, training: Training, splits: Splits) -> None:
        """Put the training where the run stands, and the run's folder in order. Nothing is changed before all is checked."""
        _check_data(self, splits)
        best, epoch = self.state.best_epoch, self.state.epoch
        try:
            training.take_up(self.state, self.metrics, self.run.best_weights() if 0 < best < epoch else {})
        except ValueError as error:
            raise ValueError(f"{self.run.last}: {error}; nothing was changed, train again") from None
        self.run.go_on(self.metrics, self._config_now())
        if 0 < best == epoch:
            self.run.save(training.model)

    def note(self, training: Training) -> str:
        """What goes on, in words."""
        planned, epochs, done = self.config["recipe"]["epochs"], training.recipe.epochs, self.state.epoch
        text = f"after epoch {done} of {epochs}"
        if epochs == planned or training.recipe.schedule == "constant" or training.finished:
            return text
        before = f" (epoch {done} had {self.metrics[-1]['lr']:.3g})" if done else ""
        rate = training.optimizer.param_groups[0]["lr"]
        return f"{text}; the schedule, planned for {planned}, is planned anew: lr {rate:.3g} in epoch {done + 1}{before}"

    def _config_now(self) -> dict[str, Any]:
        """The configuration with what this resumption changes, and a line of its own."""
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        here = {"after_epoch": self.state.epoch, "at": when, "device": self.args.device, "threads": self.args.threads}
        here["compiled"] = self.args.compiled
        return {
            **self.config,
            "recipe": {**self.config["recipe"], "epochs": self.args.epochs},
            "data": {**self.config["data"], "name": full_name(self.args.data)},
            "resumed": [*self.config.get("resumed", []), here],
        }


def read(run: Run, args: Namespace) -> Resumption:
    """Find out whether and where a run can go on; `args` holds only the options that were given."""
    config, result = run.config(), run.result()
    started = _as_started(run, config)
    changed = _changes(run, started, vars(args))
    changed["data"] = datasets.name_for(run, config, changed.get("data"))
    if result.get("status") == "diverged":
        raise ValueError(f"{run.path} diverged, and would again; train anew with a smaller --lr")
    state = run.state()
    epochs = changed.get("epochs", started["epochs"])
    if result.get("status") == "done" and state.epoch >= epochs:
        raise ValueError(f"{run.path} is finished, all {state.epoch} epochs of it; --epochs with a larger number goes on")
    return Resumption(run, Namespace(**{**vars(args), **started, **changed}), config, state, run.metrics(state.epoch))


def _as_started(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """The options that the run was started with, from its configuration; ValueError, one line, where that is broken."""
    for key, types in EXPECTED.items():
        if type(config.get(key)) not in types:
            raise ValueError(f"{run.path}/config.json: {key} cannot be {config.get(key)!r}; train again")
    model, limit = config["model"], config["data"].get("limit")
    if type(limit) not in WHOLE or not isinstance(config.get("resumed", []), list):
        raise ValueError(f"{run.path}/config.json: data.limit or resumed is broken; train again")
    try:
        start = pretrained.as_started(config)
    except ValueError as error:
        raise ValueError(f"{run.path}/config.json: {error}; train again") from None
    try:
        recipe = Recipe(**config["recipe"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{run.path}/config.json: recipe: {error}; train again") from None
    started = {"model": run.model_name(), "set": list(model["options"].items()), "classes": len(model["classes"])}
    started |= {"data": config["data"]["name"], "limit": limit, "encode": config["data"]["encode"]}
    started |= {key: config[key] for key in ("seed", "device", "threads")}
    started["compiled"] = config.get("compiled", False) is True  # runs of before have no such key
    return started | start | recipe.as_json()


def _changes(run: Run, started: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The given options that may differ from those of the start; ValueError for the others."""
    if given.get("model") or "out" in given:
        what = given.get("model") or f"--out {given['out']}"
        raise ValueError(f"a resumed run has its own model and folder; leave {what} out")
    for name, value in given.items():
        was = started.get(name)
        if name == "data" and is_built_in(value):
            value = full_name(value)
        if name not in started or _same(name, value, was) or (name, value) in (("model", None), ("set", [])):
            continue
        same_kind = not any(map(is_built_in, (value, str(was)))) if name == "data" else True
        if name not in MAY_DIFFER or not same_kind:
            option = f"--{name.replace('_', '-')}"
            start = f"without {option}" if was is None else f"with {_shown(was)}"
            raise ValueError(f"{option} {_shown(value)}: {run.path} was started {start}; leave it out")
        if name == "epochs" and value < was:
            raise ValueError(f"--epochs {value}: {run.path} was planned for {was}, and can only be extended")
    return {name: value for name, value in given.items() if name in MAY_DIFFER}


def _same(name: str, value: Any, was: Any) -> bool:
    """JSON has made lists of the tuples among a model's options, and their order says nothing."""
    if name != "set":
        return value == was
    one, other = (json.dumps(dict(options), sort_keys=True, default=repr) for options in (value, was))
    return one == other


def _shown(value: Any) -> str:
    pairs = isinstance(value, list)
    return " ".join(f"{name}={setting}" for name, setting in value) or "none" if pairs else str(value)


def _check_data(resumption: Resumption, splits: Splits) -> None:
    """ValueError unless these are the images of the run: their names, their numbers, their mean and deviation."""
    was, run = resumption.config["data"], resumption.run
    same_numbers = was.get("images") == dict(zip(PARTS, map(len, splits), strict=True))
    fitted = [*splits.normalise.mean, *splits.normalise.std]
    before = [*was["mean"], *was["std"]]
    same_images = len(before) == len(fitted) and np.allclose(before, fitted, rtol=1e-6, atol=0)
    if not (same_numbers and same_images and was.get("files", "") == splits.files):
        raise ValueError(f"{resumption.args.data} does not hold the images of {run.path} as they were; nothing was changed")
