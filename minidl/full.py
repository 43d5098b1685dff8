"""A GPU whose memory is full: what was asked for, what is free, and the largest batch that would fit.

The batch comes from the forecast of minidl/memory.py: two steps on the host, by the kernels that a GPU computes with, whole
batches at a time. NINE_TENTHS of the memory count: the pool's blocks do not fit each other without gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from minidl.backend import Room, room
from minidl.gpu import asked_bytes, is_full
from minidl.memory import amount, forecasts
from minidl.modelfile import Model
from minidl.modes import threads
from minidl.op import OPS
from minidl.recipe import Recipe

NINE_TENTHS = 0.9


class GpuFull(RuntimeError):
    """A GPU's memory is full; the message says what to do."""


@contextmanager
def told_when_full(device: str, remedy: Callable[[Room | None], str]) -> Iterator[None]:
    """Inside the block a GPU that is full is one line: GpuFull, with the remedy for the memory that there is."""
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        there = room(device)
        raise GpuFull(f"{needs(error, device, there)}; {remedy(there)}") from error


def needs(error: BaseException, device: str, there: Room | None) -> str:
    """What was asked for and what there is."""
    asked = asked_bytes(error)
    what = f"{amount(asked)} were asked for" if asked is not None else str(error).strip()
    return f"out of memory on {device}: {what}" + (f", {amount(there.free)} of {amount(there.total)} are free" if there else "")


def smaller(there: Room | None) -> str:
    """The remedy where nothing is trained."""
    return "let other programs end, take a smaller network, or use --device cpu"


def smaller_batch(model: Model, recipe: Recipe, there: Room | None) -> str:
    """The remedy in training. The model is moved to the host."""
    largest = largest_batch(model, recipe, there.ours) if there else recipe.batch_size // 2
    if largest < 1:
        return "not even one image would fit: take a smaller network or smaller images, or use --device cpu"
    if largest >= recipe.batch_size:  # the forecast was too low
        largest = max(1, recipe.batch_size // 2)
    parts = -(-recipe.batch_size // largest)
    same = f", or --batch-size {-(-recipe.batch_size // parts)} --accumulate {parts * recipe.accumulate} for steps as before"
    more = same if parts > 1 and not recipe.capture else ""  # a captured step is of one batch
    return f"the largest batch that would fit is about {largest}: --batch-size {largest}{more}"


def largest_batch(model: Model, recipe: Recipe, most: int) -> int:
    """How many images a training step takes within so many bytes; 0 if not one. Half of the recipe's batch where there is no
    forecast."""
    try:
        model.to("cpu").zero_grad()
        with ExitStack() as stack:
            stack.enter_context(threads(None))  # a GPU computes batches whole
            for op in OPS.values():
                if op.forecast:
                    stack.enter_context(op.using(op.default))  # what a GPU takes
            step = forecasts(model, recipe.batch_size, recipe.optimizer, recipe.accumulate)
    except Exception:  # whatever it is, it must not stand in the place of what is to be told
        return recipe.batch_size // 2
    least, above = 0, recipe.batch_size + 1  # fits; does not, or nobody asked for it
    while above - least > 1:
        middle = (least + above) // 2
        least, above = (middle, above) if step(middle).peak <= NINE_TENTHS * most else (least, middle)
    return least
