"""What training does with one batch: gradients and, after the last batch of a step of the optimiser, the update.

part        which batch of which step, and its share of the step's images
gradients   of the mean loss over the batch, times its share, added to those that are there: over the batches of a step they
            add up to the gradient of the mean over all its images
update      clip, then the optimiser's rule; a scaler's factor is in the gradients until then
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple
from warnings import catch_warnings

import numpy as np

from minidl import nn, optim
from minidl.backend import Array, xp_of
from minidl.capture import capture
from minidl.evaluation import chosen, loss_of, output_of, right
from minidl.recipe import Recipe
from minidl.tensor import Tensor


class Part(NamedTuple):
    """A batch's place in a step of the optimiser: which step of the epoch, which batch of how many, its share of the images."""

    step: int
    batch: int
    of: int
    share: float


def parts_of_steps(sizes: list[int], together: int) -> Iterator[Part]:
    """The place of each batch, given the batches' sizes and how many make a step; those left at the end make one too.

    >>> from minidl.step import parts_of_steps
    >>> [(part.step, part.share) for part in parts_of_steps([30, 30, 20], together=2)]
    [(1, 0.5), (1, 0.5), (2, 1.0)]
    """
    for step, start in enumerate(range(0, len(sizes), together), start=1):
        group = sizes[start : start + together]
        total = sum(group)
        for batch, images in enumerate(group, start=1):
            yield Part(step, batch, len(group), images / total)


class Step:
    """Call it for every batch. With `capture` in the recipe the gradients are one launch on a GPU."""

    def __init__(self, model: nn.Module, optimizer: optim.Optimizer, scaler: optim.LossScaler | None, recipe: Recipe):
        self.model, self.optimizer, self.scaler, self.clip = model, optimizer, scaler, recipe.clip
        self.gradients = capture(self._gradients, model) if recipe.capture else self._gradients

    def __call__(self, part: Part, images: Tensor, labels: Array) -> tuple[float, Array]:
        """The loss of a batch and how many answers were right, both before the update. FloatingPointError for a loss that is
        not finite: then there is no update. Nor is there where a scaler's factor was too large for float16."""
        if part.batch == 1:
            self.optimizer.zero_grad()
        scale = self.scaler.scale if self.scaler else 1.0
        weight = xp_of(labels).full((), part.share * scale, dtype=np.float64)
        with np.errstate(all="ignore"):  # who calls says it once and in words
            loss, hits = self.gradients(images, labels, weight)
            value = float(loss.item())
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss is {value}")
            if part.batch == part.of:
                self._update(scale)
        return value, hits

    def _gradients(self, images: Tensor, labels: Array, weight: Array) -> tuple[Tensor, Array]:
        """The mean loss over the images and how many answers are right, after backward from `weight`."""
        out = output_of(self.model, images)
        loss = loss_of(self.model, out, labels)
        loss.backward(weight.astype(loss.dtype).reshape(loss.shape))
        return loss, right(chosen(self.model, out), labels)

    def _update(self, scale: float) -> None:
        """By gradients that are `scale` times as large as they should be."""
        if self.clip:
            with catch_warnings(action="ignore", category=RuntimeWarning):  # of what the scaler will find
                optim.clip_grad_norm_(self.model.parameters(), self.clip * scale, error_if_nonfinite=self.scaler is None)
        if self.scaler:
            self.scaler.step(self.optimizer)
        else:
            self.optimizer.step()
