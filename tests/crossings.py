"""What crosses between host and device, counted on the strict stand-in, and the few crossings that are meant.

    with watching() as seen:
        one_step()
    undeclared(seen)  # the crossings for which nobody gave a reason

A crossing has a kind (tests/strict_xp.py lists them), the name it came by, and the place in minidl or in a model that asked for
it: the innermost function outside backend.py and tensor.py, through which all of them pass.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import strict_xp
from strict_xp import TO_DEVICE, TO_HOST, WAITS

from minidl import Tensor
from minidl.backend import to_device

ROOT = Path(__file__).parent.parent
WATCHED = (ROOT / "minidl", ROOT / "models")
PASSED_THROUGH = {ROOT / "minidl/backend.py", ROOT / "minidl/tensor.py", ROOT / "minidl/op.py"}


class Crossing(NamedTuple):
    """One number or array that went over, or one wait."""

    kind: str
    name: str
    place: str


KEY = "minidl/arguments.py _convert"
INDEX = "minidl/ops/getitem.py beside"

# (kind, place) -> why it must be
DECLARED = {
    (TO_DEVICE, KEY): "keys are drawn on the host: 16 bytes an image for each op that draws",
    (TO_DEVICE, "minidl/data/loader.py __iter__"): "the images of a batch, and their labels",
    (TO_HOST, "minidl/step.py __call__"): "the loss, once a batch: a NaN must stop the training before the update",
    (TO_HOST, "minidl/train.py accuracy"): "right answers, once an epoch, and when who watches the progress asks",
    (TO_HOST, "minidl/evaluation.py _read"): "losses and answers, once each after the last batch",
    (TO_HOST, "minidl/nn/module.py state_dict"): "the weights of the best epoch, which are kept on the host",
    (TO_DEVICE, INDEX): "an index that the user keeps on the host, in each pass",
    (TO_HOST, "minidl/optim/clip.py _joint_norm"): "the norm of all gradients, once a step: it is what clip_grad_norm_ returns",
}


@contextmanager
def watching(*kinds: str) -> Iterator[list[Crossing]]:
    """All crossings inside the block, or what else is told of these kinds, in their order."""
    seen: list[Crossing] = []

    def hear(kind: str, name: str) -> None:
        if kind in (kinds or (TO_DEVICE, TO_HOST, WAITS)):
            seen.append(Crossing(kind, name, _place()))

    strict_xp.HEARERS.append(hear)
    try:
        yield seen
    finally:
        strict_xp.HEARERS.remove(hear)


def undeclared(seen: list[Crossing]) -> list[Crossing]:
    """Those without a reason."""
    return [crossing for crossing in seen if (crossing.kind, crossing.place) not in DECLARED]


def counted(seen: list[Crossing], kind: str) -> int:
    """How many of one kind."""
    return sum(crossing.kind == kind for crossing in seen)


def _place() -> str:
    """Who asked: the innermost function of the engine or of a model."""
    frame, outermost = sys._getframe(2), "the test"
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if any(folder in path.parents for folder in WATCHED):
            function = frame.f_code.co_qualname.partition(".<locals>")[0].rpartition(".")[2]
            outermost = f"{path.relative_to(ROOT)} {function}"
            if path not in PASSED_THROUGH:
                return outermost
        frame = frame.f_back  # type: ignore[assignment]
    return outermost


def device(array: Any) -> Any:
    """An array on the stand-in."""
    return to_device(np.asarray(array), "strict")


def normal(*shape: int, grad: bool = False) -> Tensor:
    """Normal float32 numbers on the stand-in, always the same."""
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32), grad, device="strict")


def seen_of(step: Callable[[], Any]) -> list[Crossing]:
    """What crosses when the step is made again: what was moved once and kept is no matter."""
    step()
    with watching() as seen:
        step()
    return seen


def places(seen: list[Crossing]) -> set[tuple[str, str]]:
    """Kinds and places, each once."""
    return {(crossing.kind, crossing.place) for crossing in seen}


__all__ = ["TO_DEVICE", "TO_HOST", "WAITS"]  # strict_xp's, for who imports them from here
