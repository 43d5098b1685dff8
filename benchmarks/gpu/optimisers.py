"""Optimisers that launch CUDA sources of their own: held to their rule on the host.

An optimiser class with `source` updates parameters on the GPU together. Here it walks some steps beside the same optimiser on
the host, in each type and with each of a few options, by gradients as they are and by those of a scaled loss. There are more
parameters than one launch takes, and one is large enough to be cut into pieces.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np

from minidl import Tensor, optim
from minidl.backend import Library
from minidl.cuda import Source
from minidl.cuda.tables import PIECE
from minidl.optim import Optimizer
from minidl.verdicts import Undecided, same

STEPS = 5
SIZES = (1000, 3 * PIECE + 5, *range(1, 130))  # of the parameters
SCALES = 1.0, 1024.0  # of the loss, and so of the gradients: `step(scale=...)`
ALLOWED = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3}  # of the largest weight
TRIED = {"momentum": (0.0, 0.9), "weight_decay": (0.0, 0.1), "nesterov": (False, True), "convention": ("pytorch", "alexnet")}
CASES = STEPS * len(ALLOWED) * len(SCALES)


def with_sources() -> dict[str, Source]:
    """Name of the optimiser -> its source."""
    classes = {name: getattr(optim, name) for name in optim.__all__}
    rules = {n: c for n, c in classes.items() if inspect.isclass(c) and issubclass(c, Optimizer)}
    return {name: source for name, cls in rules.items() if isinstance(source := getattr(cls, "source", None), Source)}


def agrees(name: str, library: Library) -> None:
    """Broken where the GPU's weights are not the host's; Undecided where nothing was launched."""
    cls, launched = getattr(optim, name), []
    original = Source.launch

    def launch(self: Source, *args: Any, **more: Any) -> None:
        launched.append(self)
        original(self, *args, **more)

    with patch.dict(vars(cls.source), verified=True), patch.object(Source, "launch", launch):
        for (dtype, allowed), scale, options in product(ALLOWED.items(), SCALES, [*_options(cls)]):
            rng = np.random.default_rng(0)
            start = [rng.standard_normal(size).astype(dtype) for size in SIZES]
            gradients = [[(scale * rng.standard_normal(size)).astype(dtype) for size in SIZES] for _ in range(STEPS)]
            here = _walk(cls, [w.copy() for w in start], gradients, options, scale)
            moved = [[library.from_numpy(g) for g in step] for step in gradients]
            there = _walk(cls, [library.from_numpy(w) for w in start], moved, options, scale)
            what = f"the weights after {STEPS} steps in {dtype} with {options}, scale {scale:g}"
            same(
                what,
                np.concatenate([library.to_numpy(w) for w in there]).astype(float),
                np.concatenate(here).astype(float),
                allowed,
            )
    if not any(source is cls.source for source in launched):
        raise Undecided("nothing was launched")


def _options(cls: type) -> Iterator[dict[str, Any]]:
    """Every combination of TRIED that the optimiser has, and takes."""
    names = [name for name in TRIED if name in inspect.signature(cls).parameters]
    for values in product(*(TRIED[name] for name in names)):
        options = dict(zip(names, values, strict=True))
        try:
            cls([Tensor(np.zeros(1), requires_grad=True)], lr=0.1, **options)
        except ValueError:
            continue
        yield options


def _walk(cls: type, weights: list, gradients: list[list], options: dict[str, Any], scale: float) -> list:
    """The weights after all steps."""
    parameters = [Tensor(w, requires_grad=True) for w in weights]
    optimiser = cls(parameters, lr=0.1, **options)
    for step in gradients:
        for w, g in zip(parameters, step, strict=True):
            w.grad = g
        optimiser.step(scale=scale)
    return [w.data for w in parameters]
