"""How to train: the one place where every default and its range is stated.

The fields of `Recipe` are also the options of `minidl train` and the "recipe" in a run's config.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import Any

from minidl import data, optim
from minidl.data.augment import Augment
from minidl.modes import PRECISIONS
from minidl.tensor import Tensor

LEARNING_RATES = {"sgd": 0.05, "adam": 2e-3, "adamw": 2e-3}  # what `lr=None` means
MOMENTUM = 0.9  # what `momentum=None` means, for sgd
SWITCH = (0, 1)  # options of a field that the command line knows as --field
HALF = "fp16"  # a precision that is a type of arrays
MOST_LR = 1e4  # Adam moves every weight by about lr in a step: whoever asks for more has mistyped it


def _option(default: Any, about: str, *, least: float | None = None, below: float = math.inf, options: tuple = ()) -> Any:
    return field(default=default, metadata={"about": about, "least": least, "below": below, "options": options})


@dataclass(frozen=True)
class Recipe:
    """Everything that `fit` needs beside a model and data. A value out of range is a ValueError that says the range."""

    epochs: int = _option(60, "passes over the training images", least=1)
    batch_size: int = _option(32, "images in a batch; a last one alone joins the batch before", least=1)
    accumulate: int = _option(
        1, "batches in a step, by the mean gradient over their images; what is left at an epoch's end makes a step too", least=1
    )
    optimizer: str = _option("adam", "the update rule", options=("sgd", "adam", "adamw"))
    lr: float | None = _option(
        None, "learning rate; 0.05 for sgd, 0.002 for adam and adamw, if not given", least=1e-12, below=MOST_LR
    )
    momentum: float | None = _option(None, "of sgd; 0.9 if not given", least=0, below=1)
    weight_decay: float = _option(0.0, "pull of the weights towards 0; decoupled in adamw", least=0)
    schedule: str = _option("cosine", "how lr goes on", options=("cosine", "step", "plateau", "constant"))
    warmup: int = _option(0, "epochs in which lr rises to its value first", least=0)
    clip: float = _option(0.0, "largest joint norm of the gradients; 0 for any", least=0)
    precision: str = _option(
        "float32",
        "of products: tf32 and bf16 round their factors as tensor cores do; fp16 computes all in float16, with float32 master "
        "weights and a scaled loss",
        options=(*PRECISIONS, HALF),
    )
    capture: int = _option(0, "on a GPU, record what a step launches, as a CUDA graph, and launch it as one", options=SWITCH)
    shifts: int | None = _option(
        None,
        "training images move by up to so many pixels, 0 for none; a tenth of the image's smaller side if not given",
        least=0,
    )
    flips: int = _option(
        0, "mirror half of the training images, chosen by chance, left to right; for photographs", options=SWITCH
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            _check(option, getattr(self, option.name))
        if self.lr is None:
            object.__setattr__(self, "lr", LEARNING_RATES[self.optimizer])
        if self.momentum is not None and self.optimizer != "sgd":
            raise ValueError(f"momentum is an option of sgd, and the optimizer is {self.optimizer}; leave it out or choose sgd")
        if self.momentum is None and self.optimizer == "sgd":
            object.__setattr__(self, "momentum", MOMENTUM)
        if self.capture and self.accumulate > 1:
            raise ValueError(f"capture records a step of one batch, and accumulate is {self.accumulate}; leave one of them out")
        if self.warmup >= self.epochs and self.warmup:
            raise ValueError(f"warmup must be shorter than the training of {self.epochs} epochs, got {self.warmup}")

    def as_json(self) -> dict[str, Any]:
        """The fields as config.json holds them."""
        return asdict(self)

    def for_images(self, size: tuple[int, int]) -> Recipe:
        """The recipe for images of (H, W): shifts that were not given are a tenth of the smaller side, 3 at 32x32."""
        least = min(size)
        shifts = round(least / 10) if self.shifts is None else self.shifts
        if shifts >= least:
            raise ValueError(f"shifts must be below {least}, the smaller side of the images {size[0]}x{size[1]}, got {shifts}")
        return replace(self, shifts=shifts)

    def augment(self) -> Augment | None:
        """What is done to training images."""
        changes = [data.shifts(self.shifts or 0)] * bool(self.shifts) + [data.flips()] * bool(self.flips)
        return data.compose(*changes) if changes else None

    def build_optimizer(self, parameters: Iterable[Tensor]) -> optim.Optimizer:
        """The update rule, over these parameters."""
        lr, decay = float(self.lr or 0), self.weight_decay
        if self.optimizer == "sgd":
            return optim.SGD(parameters, lr=lr, momentum=self.momentum or 0.0, weight_decay=decay)
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


def options() -> Iterator[tuple[str, str, str]]:
    """(name, type as text or 'switch', help) of every field, for the command line."""
    for option in fields(Recipe):
        kind = "switch" if option.metadata["options"] == SWITCH else str(option.type).partition(" ")[0]
        choices, default = option.metadata["options"], option.default
        about = option.metadata["about"] + (f": {', '.join(choices)}" if kind == "str" else "")
        yield option.name, kind, about + (f"; default {default}" if default is not None else "")


def _check(option: Field, value: Any) -> None:
    """ValueError, one line, unless the value is of the field's type and in its range."""
    name, least, below, options = option.name, *(option.metadata[key] for key in ("least", "below", "options"))
    if options:
        if value not in options:
            raise ValueError(f"{name} must be one of {', '.join(map(str, options))}, got {value!r}")
        return
    if value is None and "None" in str(option.type):
        return
    whole = str(option.type).startswith("int")
    right_type = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not (right_type and least <= value < below):  # also where it is NaN
        limit = "" if below == math.inf else f" and below {below:g}"
        bound = "above 0" if 0 < least < 1 else f"{least:g} or more"
        raise ValueError(f"{name} must be a {'whole ' * whole}number, {bound}{limit}, got {value!r}")
