"""Hypothesis as a Draw: bounded choices that shrink."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from minidl.draw import Draw


class Drawn(Draw):
    """Answers a problem's questions from a Hypothesis data object; values come from one drawn seed."""

    def __init__(self, data: st.DataObject):
        super().__init__(np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed")))
        self.data = data

    def _choose(self, name: str, least: int, most: int) -> int:
        return self.data.draw(st.integers(least, most), name)
