"""Training: the loop a student would write, with what a real run needs around it.

>>> from minidl.recipe import Recipe
>>> from minidl.train import evaluate, fit
>>> model, splits = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), data.digits()
>>> fitted = fit(model, splits, Recipe(epochs=2, shifts=0))  # leaves the best validation epoch's weights in model
>>> loss, accuracy, confusion = evaluate(model, splits.test)  # once, at the end
>>> accuracy > 0.7
True

`fit` walks over the epochs of a `Training`, which can be put down after any epoch and taken up again, in another process, as if
nothing had happened: `state()` is all that the next epoch depends on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from minidl import nn, optim
from minidl.backend import Array, to_numpy
from minidl.data import DataLoader, Splits
from minidl.evaluation import Evaluation, evaluate, loss_of, predict, predicting, probe
from minidl.modes import anomaly_mode, precision
from minidl.random import stream
from minidl.recipe import HALF, Recipe
from minidl.state import State
from minidl.step import Step, parts_of_steps

__all__ = [
    "Diverged",
    "Evaluation",
    "Fitted",
    "Progress",
    "Training",
    "evaluate",
    "fit",
    "loss_of",
    "predict",
    "predicting",
    "probe",
]

MOST_SCALE = 2.0**15  # of a loss: the largest power of 2 that a float16 holds
Record = dict[str, float]  # of an epoch, a line of metrics.jsonl


class Diverged(FloatingPointError):
    """The loss became NaN or infinite; the message says where and what to try."""


class Fitted(NamedTuple):
    """One record per epoch, and the epoch whose weights the model holds now."""

    metrics: list[Record]
    best_epoch: int


class Progress(NamedTuple):
    """How far the running epoch is: images seen, mean loss and right answers over them, seconds since it began."""

    epoch: int
    images: int
    loss: float
    right: Array  # an array of shape (), where the model is
    seconds: float

    @property
    def accuracy(self) -> float:
        """In 0..1. It is read when somebody asks: that waits for all that is queued on a GPU."""
        return int(to_numpy(self.right)) / self.images


def _ignore(*_: Any) -> None:
    pass


def fit(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe | None = None,
    *,
    device: str = "cpu",
    on_epoch: Callable[[Record, bool], None] = _ignore,
    on_batch: Callable[[Progress], None] = _ignore,
) -> Fitted:
    """Train the model, and leave in it the weights of the epoch with the best validation accuracy.

    on_epoch(record, is_best)  after every epoch, while the model still holds that epoch's weights
    on_batch(progress)         after every batch

    The test images are not touched. Equal seed (`minidl.manual_seed`), equal bits. Raises Diverged. Batches are
    computed whole; `with minidl.threads(2):` around it computes large ones in slices on threads, as `minidl train` does.
    """
    training = Training(model, splits, recipe, device=device)
    while not training.finished:
        on_epoch(*training.epoch(on_batch))
    training.take_best()
    return Fitted(training.metrics, training.best_epoch)


class Training:
    """A model, its optimiser and schedule, between two epochs.

    metrics       a record per epoch so far
    best_epoch    the one with the best validation accuracy, of equals the least loss; 0 before the first
    best_weights  the model's state then

    Frozen parameters (`nn.freeze`) are left alone.
    """

    def __init__(self, model: nn.Module, splits: Splits, recipe: Recipe | None = None, *, device: str = "cpu"):
        self.recipe = (recipe or Recipe()).for_images(splits.size)
        self.model, self.validation, self.device = model, splits.validation, device
        self.scaler = None
        if self.recipe.precision == HALF:
            model.to(dtype="float16")
            self.scaler = optim.LossScaler(init_scale=MOST_SCALE, most=MOST_SCALE)
        augment = self.recipe.augment()
        self.loader = DataLoader(
            splits.train, self.recipe.batch_size, shuffle=True, augment=augment, join_last=True, device=device
        )
        self.optimizer = self.recipe.build_optimizer(p for p in model.parameters() if p.requires_grad)
        self.schedule = self.recipe.build_schedule(self.optimizer)
        self.step = Step(model, self.optimizer, self.scaler, self.recipe)
        self.metrics: list[Record] = []
        self.best_epoch = 0
        self.best_weights: Mapping[str, np.ndarray] = {}

    @property
    def finished(self) -> bool:
        """Are all epochs of the recipe done?"""
        return len(self.metrics) >= self.recipe.epochs

    def epoch(self, on_batch: Callable[[Progress], None] = _ignore) -> tuple[Record, bool]:
        """One more: its record, and whether it is the best so far."""
        number = len(self.metrics) + 1
        with self.computing():
            record = self._pass(number, on_batch)
            started = time.perf_counter()
            loss, accuracy = self._validate(number)
        record |= {"val_loss": loss, "val_accuracy": accuracy}
        record["seconds"] += time.perf_counter() - started
        is_best = number == 1 or _merit(record) > _merit(self.metrics[self.best_epoch - 1])
        self.metrics.append(record)
        self.schedule.step(loss)
        if is_best:
            self.best_epoch, self.best_weights = number, self.model.state_dict()
        return record, is_best

    def computing(self) -> AbstractContextManager[None]:
        """The precision of the recipe, for what the model computes inside; of float32, that of the block around it."""
        name = self.recipe.precision
        return nullcontext() if name in ("float32", HALF) else precision(name)

    def take_best(self) -> None:
        """Give the model the weights of the best epoch."""
        self.model.load_state_dict(self.best_weights)

    # ---- the epoch's two halves ----------------------------------------------------------------------------------------

    def _pass(self, epoch: int, on_batch: Callable[[Progress], None]) -> Record:
        """Once over the training images; loss and accuracy are those of the passes as they were made."""
        self.model.train()
        seen, loss_sum, hits, started = 0, 0.0, 0, time.perf_counter()
        parts = parts_of_steps(self.loader.sizes, self.recipe.accumulate)
        for part, (images, labels) in zip(parts, self.loader, strict=True):
            try:
                loss, right_ones = self.step(part, images, labels)
            except FloatingPointError as error:
                where = f"step {part.step}" + (f", batch {part.batch} of {part.of}" if part.of > 1 else "")
                raise Diverged(self._advice(f"epoch {epoch}, {where}: {error}")) from error
            n = len(labels)
            seen, loss_sum, hits = seen + n, loss_sum + n * loss, right_ones + hits
            now = Progress(epoch, seen, loss_sum / seen, hits, time.perf_counter() - started)
            on_batch(now)
        accuracy, seconds = now.accuracy, time.perf_counter() - started
        return {
            "epoch": epoch,
            "train_loss": loss_sum / seen,
            "train_accuracy": accuracy,
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": seen / seconds,
            "seconds": seconds,
        }

    def _validate(self, epoch: int) -> tuple[float, float]:
        """Loss and accuracy after an epoch."""
        try:
            loss, accuracy, _ = evaluate(self.model, self.validation, device=self.device)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss}")
        except FloatingPointError as error:
            raise Diverged(self._advice(f"epoch {epoch}, validation: {error}")) from error
        return loss, accuracy

    def _advice(self, what: str) -> str:
        hint = "" if anomaly_mode() else ", or detect_anomaly (--detect-anomaly) to learn which op made it"
        return f"{what}; try a smaller lr than {self.optimizer.param_groups[0]['lr']:.3g}{hint}"

    # ---- putting it down and taking it up --------------------------------------------------------------------------------

    def state(self) -> State:
        """All that the next epoch depends on, beside model, data, recipe and metrics.

        The optimiser's arrays, often twice the model's, are not copied: write them before the next epoch.
        """
        random, epoch = stream(), len(self.metrics)
        is_best = epoch > 0 and epoch == self.best_epoch
        return State(
            epoch=epoch,
            best_epoch=self.best_epoch,
            seed=random.seed,
            position=random.position,
            steps=list(self.optimizer.steps),
            loss_scale=[self.scaler.scale, self.scaler.good_steps] if self.scaler else None,
            weights=dict(self.best_weights) if is_best else self.model.state_dict(),
            optimizer={f"{i}.{name}": to_numpy(a) for i, kept in enumerate(self.optimizer.state) for name, a in kept.items()},
        )

    def take_up(self, state: State, metrics: list[Record], best_weights: Mapping[str, np.ndarray]) -> None:
        """Stand where `state()` was taken, with the metrics of the epochs up to there and the weights of the best of them
        (not needed where that is the last).

        The schedule is walked again over their validation losses: so it stands where it stood, or, under a recipe of more
        epochs, where a plan for so many would. ValueError, one line, where the state is not this training's.
        """
        state.check(self.model.state_dict(), self.optimizer)
        best = int(max(metrics, key=_merit)["epoch"]) if metrics else 0
        if len(metrics) != state.epoch or best != state.best_epoch:
            raise ValueError(
                f"the state of epoch {state.epoch}, the best being {state.best_epoch}, does not fit metrics of "
                f"{len(metrics)} epochs, the best being {best}"
            )
        if self.scaler and state.loss_scale:
            scale, good_steps = state.loss_scale
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": scale, "good_steps": int(good_steps)})
        self.best_epoch, self.best_weights = best, dict(state.weights if best == state.epoch else best_weights)
        self.model.load_state_dict(self.best_weights or state.weights)  # refuses those of another model
        self.model.load_state_dict(state.weights)
        numbers = {**self.optimizer.state_dict()["numbers"], "steps": state.steps}
        self.optimizer.load_state_dict({"arrays": state.optimizer, "numbers": numbers})
        for record in metrics:
            self.schedule.step(record["val_loss"])
        self.metrics = list(metrics)
        random = stream()
        random.seed, random.position = state.seed, state.position


def _merit(record: Record) -> tuple[float, float]:
    """What makes an epoch the best."""
    return record["val_accuracy"], -record["val_loss"]
