"""Every planted bug is caught by the law that its row names: a law that catches nothing is no law."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from patches import Patch, all_patches, plant

import minidl  # noqa: F401  (declares every op)
from minidl.draw import Random
from minidl.laws import LAWS, Broken, Undecided
from minidl.op import OPS

DRAWS = 150


@pytest.mark.parametrize("patch", all_patches(), ids=str)
def test_planted_bug_is_caught(patch: Patch) -> None:
    kernel = plant(patch, OPS[patch.op].kernels)
    law = next(law for law in LAWS if law.__name__ == patch.law)
    for seed in range(DRAWS):
        problem = OPS[patch.op].ask(Random(seed))
        if kernel.why_not(tuple(None if x is None else x.shape for x in problem.inputs), problem.attrs):
            continue
        try:
            with np.errstate(all="ignore"):
                law(kernel, problem, np.random.default_rng(seed))
        except Broken:
            return
        except Undecided:
            pass
    pytest.fail(f"{patch.law} let it pass on {DRAWS} problems: {patch}")


def test_every_op_has_its_planted_bugs() -> None:
    planted = Counter(patch.op for patch in all_patches())
    few = {name: planted[name] for name in OPS if planted[name] < 6}
    assert not few, f"ops with fewer than 6 planted bugs: {few}"


def test_every_law_is_earned() -> None:
    assert {patch.law for patch in all_patches()} == {law.__name__ for law in LAWS}
