"""Training, evaluating, predicting: the loop a student would write, with what a real run needs around it.

>>> from minidl.recipe import Recipe
>>> from minidl.train import evaluate, fit
>>> model, splits = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), data.digits()
>>> fitted = fit(model, splits, Recipe(epochs=2, shifts=0))  # leaves the best validation epoch's weights in model
>>> loss, accuracy, confusion = evaluate(model, splits.test)  # once, at the end
>>> accuracy > 0.7
True

A model may bring `loss(out, labels)` in place of softmax cross-entropy, and `predict(out)` in place of the scores themselves:
scores [N, classes], of which the largest wins, or class numbers [N].
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minidl import nn, optim
from minidl.backend import Array, to_numpy
from minidl.data import DataLoader, Dataset, Splits
from minidl.modelfile import Model
from minidl.modes import anomaly_mode, no_grad
from minidl.ops.softmax_cross_entropy import softmax_cross_entropy
from minidl.random import Stream, using_stream
from minidl.recipe import Recipe
from minidl.tensor import Tensor

EVALUATION_BATCH = 256


class Diverged(FloatingPointError):
    """The loss became NaN or infinite; the message says where and what to try."""


class Evaluation(NamedTuple):
    """Mean loss, accuracy in 0..1, and counts [true class, predicted class]."""

    loss: float
    accuracy: float
    confusion: np.ndarray


class Fitted(NamedTuple):
    """One record per epoch (the lines of metrics.jsonl), and the epoch whose weights the model holds now."""

    metrics: list[dict[str, float]]
    best_epoch: int


class Progress(NamedTuple):
    """How far the running epoch is: images seen, mean loss and accuracy over them, seconds since it began."""

    epoch: int
    images: int
    loss: float
    accuracy: float
    seconds: float


def _ignore(*_: Any) -> None:
    pass


def fit(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe | None = None,
    *,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, float], bool], None] = _ignore,
    on_batch: Callable[[Progress], None] = _ignore,
) -> Fitted:
    """Train the model, and leave in it the weights of the epoch with the best validation accuracy.

    on_epoch(record, is_best)  after every epoch, while the model still holds that epoch's weights
    on_batch(progress)         after every step

    The test images are not touched. Equal seed (`minidl.manual_seed`), equal bits. Raises Diverged.
    """
    recipe = recipe or Recipe()
    loader = DataLoader(splits.train, recipe.batch_size, shuffle=True, augment=recipe.augment(), device=device)
    optimizer = recipe.build_optimizer(model.parameters())
    schedule = recipe.build_schedule(optimizer)
    metrics: list[dict[str, float]] = []
    best, best_epoch, weights = (-1.0, 0.0), 0, {}
    for epoch in range(1, recipe.epochs + 1):
        record = _epoch(model, loader, optimizer, recipe, epoch, on_batch)
        started = time.perf_counter()
        loss, accuracy = _validate(model, splits.validation, optimizer, epoch, device)
        record |= {"val_loss": loss, "val_accuracy": accuracy}
        record["seconds"] += time.perf_counter() - started
        metrics.append(record)
        schedule.step(loss)
        is_best = (accuracy, -loss) > best
        if is_best:
            best, best_epoch, weights = (accuracy, -loss), epoch, model.state_dict()
        on_epoch(record, is_best)
    model.load_state_dict(weights)
    return Fitted(metrics, best_epoch)


def _epoch(
    model: nn.Module,
    loader: DataLoader,
    optimizer: optim.Optimizer,
    recipe: Recipe,
    epoch: int,
    on_batch: Callable[[Progress], None],
) -> dict[str, float]:
    """One pass over the training images; loss and accuracy are those of the passes as they were made."""
    model.train()
    seen, loss_sum, right, started = 0, 0.0, 0, time.perf_counter()
    for step, (images, labels) in enumerate(loader, start=1):
        try:
            loss, out = _step(model, optimizer, images, labels, recipe.clip)
        except FloatingPointError as error:
            raise Diverged(_advice(f"epoch {epoch}, step {step}: {error}", optimizer)) from error
        n = len(labels)
        seen, loss_sum, right = seen + n, loss_sum + n * loss, right + int((chosen(model, out) == to_numpy(labels)).sum())
        on_batch(Progress(epoch, seen, loss_sum / seen, right / seen, time.perf_counter() - started))
    seconds = time.perf_counter() - started
    return {
        "epoch": epoch,
        "train_loss": loss_sum / seen,
        "train_accuracy": right / seen,
        "lr": optimizer.param_groups[0]["lr"],
        "images_per_second": seen / seconds,
        "seconds": seconds,
    }


def _validate(model: nn.Module, dataset: Dataset, optimizer: optim.Optimizer, epoch: int, device: str) -> tuple[float, float]:
    """Loss and accuracy after an epoch."""
    try:
        loss, accuracy, _ = evaluate(model, dataset, device=device)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss}")
    except FloatingPointError as error:
        raise Diverged(_advice(f"epoch {epoch}, validation: {error}", optimizer)) from error
    return loss, accuracy


def _step(model: nn.Module, optimizer: optim.Optimizer, images: Tensor, labels: Array, clip: float) -> tuple[float, Any]:
    """Forward, backward, update. The loss and the model's output before the update."""
    optimizer.zero_grad()
    with np.errstate(all="ignore"):  # said once and in words, below
        out = model(images)
        loss = loss_of(model, out, labels)
        value = float(loss.item())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        loss.backward()
        if clip:
            optim.clip_grad_norm_(model.parameters(), clip, error_if_nonfinite=True)
        optimizer.step()
    return value, out


def _advice(what: str, optimizer: optim.Optimizer) -> str:
    hint = "" if anomaly_mode() else ", or detect_anomaly (--detect-anomaly) to learn which op made it"
    return f"{what}; try a smaller lr than {optimizer.param_groups[0]['lr']:.3g}{hint}"


# ---- what a model makes of images ------------------------------------------------------------------------------------------


def loss_of(model: nn.Module, out: Any, labels: Array) -> Tensor:
    """The model's own loss, or softmax cross-entropy."""
    own = getattr(model, "loss", None)
    return own(out, labels) if callable(own) else softmax_cross_entropy(out, labels)


def scores_of(model: nn.Module, out: Any) -> np.ndarray:
    """Scores [N, classes] or class numbers [N] of a model's output."""
    own = getattr(model, "predict", None)
    with no_grad():
        scores = own(out) if callable(own) else out
    scores = scores.numpy() if isinstance(scores, Tensor) else to_numpy(scores)
    if scores.ndim == 2 or (scores.ndim == 1 and scores.dtype.kind in "iu"):
        return scores
    who = f"{type(model).__name__}{'.predict' if callable(own) else ''}"
    raise ValueError(f"{who}: expected scores [N, classes] or class numbers [N], got {scores.dtype} {list(scores.shape)}")


def chosen(model: nn.Module, out: Any) -> np.ndarray:
    """Class numbers [N]: the largest score wins, the first of equals."""
    scores = scores_of(model, out)
    return scores.argmax(axis=1) if scores.ndim == 2 else scores


def evaluate(model: nn.Module, dataset: Dataset, *, classes: int = 0, device: str = "cpu") -> Evaluation:
    """Loss, accuracy and confusion matrix on a data set; the model is put back into its mode and draws no randomness.

    classes  rows and columns of the matrix; if not given, as many as labels and answers show
    """
    if not len(dataset):
        raise ValueError("evaluate: the data set is empty; give at least one image")
    loss_sum, answers = 0.0, []
    with predicting(model):
        for images, labels in DataLoader(dataset, EVALUATION_BATCH, device=device):
            out = model(images)
            loss_sum += len(labels) * float(loss_of(model, out, labels).item())
            answers.append(chosen(model, out))
    answer = np.concatenate(answers)
    classes = max(classes, 1 + int(dataset.labels.max()), 1 + int(answer.max()))
    confusion = np.bincount(dataset.labels * classes + answer, minlength=classes**2).reshape(classes, classes)
    return Evaluation(loss_sum / len(dataset), float(np.trace(confusion)) / len(dataset), confusion)


def predict(model: nn.Module, images: Array, *, device: str = "cpu") -> np.ndarray:
    """Scores [n, classes], or class numbers [n] where the model's own `predict` gives those.

    images: float32 [n, C, H, W], normalised as the training images were. Scores of a model without `predict` are probabilities.
    """
    found = []
    with predicting(model):
        for i in range(0, len(images), EVALUATION_BATCH):
            out = model(Tensor(images[i : i + EVALUATION_BATCH], device=device))
            scores = scores_of(model, out)
            found.append(scores if callable(getattr(model, "predict", None)) else _softmax(scores))
    if not found:
        raise ValueError("predict: no images; give at least one")
    return np.concatenate(found)


def probe(model: Model, classes: int) -> None:
    """Send one black image through the model, so that what does not fit is said before training begins."""
    labels = np.zeros(1, np.int64)
    if not any(True for _ in model.parameters()):
        raise ValueError(f"{type(model).__name__}: no parameters, so nothing to train; layers must be attributes of the model")
    with predicting(model):
        out = model(Tensor(np.zeros((1, *model.input_shape), np.float32)))
        scores, loss = scores_of(model, out), loss_of(model, out, labels)
    if scores.shape not in ((1, classes), (1,)):
        raise ValueError(
            f"{type(model).__name__}: expected scores [1,{classes}] for one image and {classes} classes, "
            f"got {list(scores.shape)}; the last layer needs `classes` outputs"
        )
    if loss.size != 1:
        raise ValueError(f"{type(model).__name__}: loss(out, labels) must be one number, got shape {list(loss.shape)}")


@contextmanager
def predicting(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no tape, and a stream of its own: training goes on afterwards as if nothing had happened."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad(), using_stream(Stream()), np.errstate(all="ignore"):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
