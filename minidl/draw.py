"""Who answers a problem's questions.

An op's `problem(d)` asks for sizes, choices and values by name. Hypothesis answers with bounded choices that shrink (in the
tests), a seeded generator answers for the grader (`Random`), a table answers for the benchmark (`Table`): one problem
family serves all three. Answers are remembered by name, so that a failing problem can be shrunk by replaying it with
one answer lowered at a time (`Replay`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


class Draw:
    """The questions a problem may ask. Values are float64 and come from `self.rng`.

    >>> from minidl.draw import Replay
    >>> d = Replay({"N": 2, "stride": 1})
    >>> d.size("N", 3), d.one_of("stride", (1, (2, 1))), d.flag("bias")
    (2, (2, 1), False)
    >>> d.answers  # the size, or the number of the option
    {'N': 2, 'stride': 1, 'bias': 0}
    """

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.answers: dict[str, int] = {}  # name -> the size, or the index of the option
        self.least: dict[str, int] = {}  # name -> the smallest answer allowed

    # ---- answered by each kind of Draw in its own way ----

    def _choose(self, name: str, least: int, most: int) -> int:
        raise NotImplementedError(f"{type(self).__name__} answers no questions: use Random, Replay or Table")

    # ---- what problems call ----

    def size(self, name: str, most: int, least: int = 1) -> int:
        """An integer in [least, most]; simplest is least."""
        return self._remember(name, least, most)

    def one_of(self, name: str, options: Sequence[Any]) -> Any:
        """One of the options; simplest is the first."""
        return options[self._remember(name, 0, len(options) - 1)]

    def flag(self, name: str) -> bool:
        """True or False; simplest is False."""
        return self.one_of(name, (False, True))

    def array(self, *shape: int) -> np.ndarray:
        """Standard normal values."""
        return self.rng.standard_normal(shape)

    def positive(self, *shape: int) -> np.ndarray:
        """Values in [0.5, 2]: away from the poles of log, sqrt and division."""
        return self.rng.uniform(0.5, 2.0, shape)

    def away_from(self, kinks: Sequence[float], *shape: int, gap: float = 0.05, scale: float = 1.0) -> np.ndarray:
        """Normal values moved so that none lies within `gap` of a kink: the derivative exists where it is tested."""
        x = scale * self.rng.standard_normal(shape)
        for kink in sorted(kinks):
            near = np.abs(x - kink) < gap
            x = np.where(near, kink + gap * np.where(x >= kink, 1.0, -1.0) * (1 + np.abs(x - kink)), x)
        return x

    def distinct(self, *shape: int, step: float = 0.1) -> np.ndarray:
        """A shuffle of step * (..., -1, 0, 1, ...) + step / 3: all different and none 0, so maxima have no ties."""
        n = math.prod(shape)
        return (step * (self.rng.permutation(n) - n // 2) + step / 3).reshape(shape)

    def labels(self, n: int, classes: int) -> np.ndarray:
        """int64 [n], each in [0, classes)."""
        return self.rng.integers(classes, size=n)

    def keys(self, n: int) -> np.ndarray:
        """uint64 [n, 2]: one random key per image."""
        return self.rng.integers(2**63, size=(n, 2), dtype=np.uint64)

    def _remember(self, name: str, least: int, most: int) -> int:
        if name in self.answers:
            raise ValueError(f"problem: asked for {name!r} twice; every question needs a name of its own")
        if most < least:
            raise ValueError(f"problem: {name!r} has no answer between {least} and {most}")
        self.least[name] = least
        self.answers[name] = answer = self._choose(name, least, most)
        return answer


class Random(Draw):
    """Answers from a seed: the same seed, the same problem.

    >>> from minidl.draw import Random
    >>> problem, again = (minidl.conv2d.ask(Random(seed=3)) for _ in range(2))
    >>> problem.attrs == again.attrs, problem.inputs[0].tolist() == again.inputs[0].tolist()
    (True, True)
    """

    def __init__(self, seed: int = 0):
        super().__init__(np.random.default_rng([seed, 1]))
        self.seed = seed
        self._answers_rng = np.random.default_rng([seed, 0])

    def _choose(self, name: str, least: int, most: int) -> int:
        return int(self._answers_rng.integers(least, most + 1))


class Replay(Random):
    """Answers given by name, clamped to what is allowed; a name not given gets its least."""

    def __init__(self, answers: dict[str, int], seed: int = 0):
        super().__init__(seed)
        self.given = answers

    def _choose(self, name: str, least: int, most: int) -> int:
        return min(max(self.given.get(name, least), least), most)


class Table(Draw):
    """Answers from a workload, an op's answers by name; the rest are `defaults`.

    Values are float32-friendly normals from one fixed seed. A size that neither gives is an error that names it.

    >>> from minidl.draw import Table
    >>> d = Table({"N": 128, "C": 96}, defaults={"n": 5, "alpha": 1e-4})
    >>> d.size("C", 8), d.one_of("alpha", (0.5, 1.0))
    (96, 0.0001)
    """

    def __init__(self, workload: dict[str, Any], defaults: dict[str, Any] | None = None, seed: int = 0):
        super().__init__(np.random.default_rng(seed))
        self.table = {**(defaults or {}), **workload}

    def size(self, name: str, most: int, least: int = 1) -> int:
        """The table's size, however large."""
        return self._look_up(name)

    def one_of(self, name: str, options: Sequence[Any]) -> Any:
        """The table's choice; it need not be one of the options."""
        return self._look_up(name)

    def _look_up(self, name: str) -> Any:
        if name not in self.table:
            raise KeyError(f"workload: no answer for {name!r}, and the op has no default for it; it has {sorted(self.table)}")
        return self.table[name]


def shrink(answers: dict[str, int], least: dict[str, int], still_fails: Any, budget: int = 200) -> dict[str, int]:
    """Lower one answer at a time, straight to its least or by halves, while `still_fails(answers)`."""
    answers, lowered = dict(answers), True
    while lowered and budget > 0:
        lowered = False
        for name, low in least.items():
            while answers[name] > low and budget > 0:
                for smaller in dict.fromkeys((low, (low + answers[name]) // 2, answers[name] - 1)):
                    budget -= 1
                    if smaller < answers[name] and still_fails({**answers, name: smaller}):
                        answers[name], lowered = smaller, True
                        break
                else:
                    break
    return answers
