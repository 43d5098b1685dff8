"""What a model makes of images: its scores, its loss, how often it is right.

A model may bring `loss(out, labels)` in place of softmax cross-entropy, and `predict(out)` in place of the scores themselves:
scores [N, classes], of which the largest wins, or class numbers [N]. A net with auxiliary heads gives a tuple in training, its
main scores first: its `loss` weighs them, and without a `predict` the first are its scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minidl import nn
from minidl.backend import Array, device_of, is_array, to_device, to_numpy, xp_of
from minidl.data import DataLoader, Dataset
from minidl.modelfile import Model
from minidl.modes import no_grad
from minidl.ops.softmax_cross_entropy import softmax_cross_entropy
from minidl.random import Stream, using_stream
from minidl.tensor import Tensor

# Of a batch: at 227x227 in colour 27 images, so that predicting needs less than training.
MOST_IMAGES, MOST_NUMBERS = 256, 2**22


class Evaluation(NamedTuple):
    """Mean loss, accuracy in 0..1, and counts [true class, predicted class]."""

    loss: float
    accuracy: float
    confusion: np.ndarray


def output_of(model: nn.Module, images: Tensor) -> Any:
    """model(images), images in the model's own type; ValueError if its `forward` forgot to return what it computed."""
    first = next(model.parameters(), None)
    out = model(images if first is None else images.astype(first.dtype))
    if out is None:
        raise ValueError(f"{type(model).__name__}.forward returned None; did you forget `return`?")
    return out


def loss_of(model: nn.Module, out: Any, labels: Array) -> Tensor:
    """The model's own loss, or softmax cross-entropy."""
    own = getattr(model, "loss", None)
    if callable(own):
        return own(out, labels)
    if isinstance(out, tuple | list):
        raise ValueError(
            f"{type(model).__name__}: forward gave {len(out)} outputs and the model has no loss(out, labels) to weigh them; "
            "write one, or return the scores alone"
        )
    return softmax_cross_entropy(out, labels)


def scores_of(model: nn.Module, out: Any) -> Array:
    """Scores [N, classes] or class numbers [N] of a model's output, where they were computed."""
    own = getattr(model, "predict", None)
    with no_grad():
        scores = own(out) if callable(own) else out[0] if isinstance(out, tuple | list) else out
    scores = scores.data if isinstance(scores, Tensor) else scores
    if not is_array(scores):
        raise TypeError(f"{type(model).__name__}: expected scores in a Tensor or an array, got {type(scores).__name__}")
    if scores.ndim == 2 or (scores.ndim == 1 and scores.dtype.kind in "iu"):
        return scores
    who = f"{type(model).__name__}{'.predict' if callable(own) else ''}"
    raise ValueError(f"{who}: expected scores [N, classes] or class numbers [N], got {scores.dtype} {list(scores.shape)}")


def chosen(model: nn.Module, out: Any) -> Array:
    """Class numbers [N], where the scores were computed: the largest score wins, the first of equals."""
    scores = scores_of(model, out)
    return scores.argmax(axis=1) if scores.ndim == 2 else scores


def evaluate(model: nn.Module, dataset: Dataset, *, classes: int = 0, device: str = "cpu") -> Evaluation:
    """Loss, accuracy and confusion matrix on a data set; the model is put back into its mode and draws no randomness.

    classes  rows and columns of the matrix; if not given, as many as labels and answers show
    """
    if not len(dataset):
        raise ValueError("evaluate: the data set is empty; give at least one image")
    losses, answers, sizes = [], [], []
    with predicting(model):
        for images, labels in DataLoader(dataset, _batch_size(dataset.shape), device=device):
            out = output_of(model, images)
            losses.append(loss_of(model, out, labels).data.reshape(1))
            answers.append(chosen(model, out))
            sizes.append(len(labels))
    answer = _read(answers)  # after the last batch: a GPU never waits for the host in between
    loss_sum = sum(n * float(loss) for n, loss in zip(sizes, _read(losses), strict=True))
    classes = max(classes, 1 + int(dataset.labels.max()), 1 + int(answer.max()))
    confusion = np.bincount(dataset.labels * classes + answer, minlength=classes**2).reshape(classes, classes)
    return Evaluation(loss_sum / len(dataset), float(np.trace(confusion)) / len(dataset), confusion)


def predict(model: nn.Module, images: Array, *, device: str = "cpu") -> np.ndarray:
    """Scores [n, classes], or class numbers [n] where the model's own `predict` gives those.

    images: float32 [n, C, H, W], normalised as the training images were. Scores of a model without `predict` are probabilities.
    """
    found, batch = [], _batch_size(images.shape[1:])
    with predicting(model):
        for i in range(0, len(images), batch):
            out = output_of(model, Tensor(images[i : i + batch], device=device))
            scores = to_numpy(scores_of(model, out))
            found.append(scores if callable(getattr(model, "predict", None)) else _softmax(scores))
    if not found:
        raise ValueError("predict: no images; give at least one")
    return np.concatenate(found)


def probe(model: Model, classes: int) -> None:
    """Send one black image through the model, so that what does not fit is said before training begins."""
    labels = np.zeros(1, np.int64)
    wanted = [p.requires_grad for p in model.parameters()]
    if not any(wanted):
        why = "all is frozen" if wanted else "no parameters"
        remedy = "freeze fewer parts" if wanted else "layers must be attributes of the model"
        raise ValueError(f"{type(model).__name__}: {why}, so nothing to train; {remedy}")
    with predicting(model):
        out = output_of(model, Tensor(np.zeros((1, *model.input_shape), np.float32)))
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


def right(answers: Array, labels: Array) -> Array:
    """How many of the answers [N] are the labels [N], as an array that lies with the labels: nothing is read."""
    return (to_device(answers, device_of(labels)) == labels).sum()


def _read(batches: list[Array]) -> np.ndarray:
    """Arrays joined along the first dimension, read from the device at once."""
    return to_numpy(xp_of(batches[0]).concatenate(batches))


def _batch_size(shape: tuple[int, ...]) -> int:
    """How many images [C, H, W] are looked at together."""
    return int(np.clip(MOST_NUMBERS // np.prod(shape), 1, MOST_IMAGES))


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
