"""How to train: the one place where every default and its range is stated.

The fields of `Recipe` are also the options of `minidl train` and the "recipe" in a run's config.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

from minidl import data, optim
from minidl.data.augment import Augment
from minidl.tensor import Tensor

LEARNING_RATES = {"sgd": 0.05, "adam": 2e-3, "adamw": 2e-3}  # what `lr=None` means


def _option(default: Any, about: str, *, least: float | None = None, below: float = math.inf, options: tuple = ()) -> Any:
    return field(default=default, metadata={"about": about, "least": least, "below": below, "options": options})


@dataclass(frozen=True)
class Recipe:
    """Everything that `fit` needs beside a model and data. A value out of range is a ValueError that says the range."""

    epochs: int = _option(60, "passes over the training images", least=1)
    batch_size: int = _option(32, "images in a step", least=1)
    optimizer: str = _option("adam", "the update rule", options=("sgd", "adam", "adamw"))
    lr: float | None = _option(None, "learning rate; 0.05 for sgd, 0.002 for adam and adamw, if not given", least=1e-12)
    momentum: float = _option(0.9, "of sgd", least=0, below=1)
    weight_decay: float = _option(0.0, "pull of the weights towards 0; decoupled in adamw", least=0)
    schedule: str = _option("cosine", "how lr goes on", options=("cosine", "step", "plateau", "constant"))
    warmup: int = _option(0, "epochs in which lr rises to its value first", least=0)
    clip: float = _option(0.0, "largest joint norm of the gradients; 0 for any", least=0)
    shifts: int = _option(3, "training images move by up to so many pixels; 0 for none", least=0)

    def __post_init__(self) -> None:
        for option in fields(self):
            _check(option, getattr(self, option.name))
        if self.lr is None:
            object.__setattr__(self, "lr", LEARNING_RATES[self.optimizer])
        if self.warmup >= self.epochs and self.warmup:
            raise ValueError(f"warmup must be shorter than the training of {self.epochs} epochs, got {self.warmup}")

    def as_json(self) -> dict[str, Any]:
        """The fields as config.json holds them."""
        return asdict(self)

    def augment(self) -> Augment | None:
        """What is done to training images."""
        return data.shifts(self.shifts) if self.shifts else None

    def build_optimizer(self, parameters: Iterable[Tensor]) -> optim.Optimizer:
        """The update rule, over these parameters."""
        lr, decay = float(self.lr or 0), self.weight_decay
        if self.optimizer == "sgd":
            return optim.SGD(parameters, lr=lr, momentum=self.momentum, weight_decay=decay)
        return {"adam": optim.Adam, "adamw": optim.AdamW}[self.optimizer](parameters, lr=lr, weight_decay=decay)

    def build_schedule(self, optimizer: optim.Optimizer) -> optim.Schedule:
        """The learning rate's path; one step an epoch, given the validation loss."""
        rest = self.epochs - self.warmup
        main: optim.Schedule = {
            "cosine": lambda: optim.CosineAnnealingLR(optimizer, T_max=rest),
            "step": lambda: optim.StepLR(optimizer, step_size=max(1, -(-rest // 3))),
            "plateau": lambda: optim.ReduceLROnPlateau(optimizer, patience=max(2, rest // 10)),
            "constant": lambda: optim.StepLR(optimizer, step_size=1, gamma=1.0),
        }[self.schedule]()
        if not self.warmup:
            return main
        rising = optim.LinearLR(optimizer, start_factor=1 / (self.warmup + 1), total_iters=self.warmup)
        return optim.SequentialLR(optimizer, [rising, main], milestones=[self.warmup])


def options() -> Iterator[tuple[str, str, Any, str]]:
    """(name, type as text, default, help) of every field, for the command line."""
    for option in fields(Recipe):
        kind = str(option.type).partition(" ")[0]
        choices, default = option.metadata["options"], option.default
        about = option.metadata["about"] + (f": {', '.join(choices)}" if choices else "")
        yield option.name, kind, default, about + (f"; default {default}" if default is not None else "")


def _check(option: Field, value: Any) -> None:
    """ValueError, one line, unless the value is of the field's type and in its range."""
    name, least, below, options = option.name, *(option.metadata[key] for key in ("least", "below", "options"))
    if options:
        if value not in options:
            raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}")
        return
    if value is None and "None" in str(option.type):
        return
    whole = option.type == "int"
    right_type = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not (right_type and least <= value < below):  # also where it is NaN
        limit = "" if below == math.inf else f" and below {below:g}"
        bound = "above 0" if 0 < least < 1 else f"{least:g} or more"
        raise ValueError(f"{name} must be a {'whole ' * whole}number, {bound}{limit}, got {value!r}")
