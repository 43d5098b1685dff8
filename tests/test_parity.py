"""Parity with PyTorch: every op that both have, forward and every gradient, float64, within 1e-10 of the largest magnitude."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn import Drawn
from hypothesis import given
from hypothesis import strategies as st
from twins import all_twins

import minidl  # noqa: F401  (declares every op)
from minidl import executor
from minidl.op import OPS

TWINS = all_twins()
HAVE_TWINS = sorted(name for name, twin in TWINS.items() if callable(twin))


def test_every_op_names_its_twin_or_says_why_it_has_none() -> None:
    assert set(TWINS) == set(OPS)  # the list is printed at the end of every run (conftest.py)
    assert all(callable(twin) or len(twin.split()) > 3 for twin in TWINS.values())


@pytest.mark.parity
@pytest.mark.parametrize("name", HAVE_TWINS)
@given(data=st.data())
def test_op_equals_its_twin(name: str, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    op, d = OPS[name], Drawn(data)
    inputs, attrs = op.ask(d)
    needs = tuple(x is not None and x.dtype.kind == "f" for x in inputs)
    y, saved, _ = executor.forward(op.chosen(), inputs, attrs)
    dy = np.asarray(d.rng.standard_normal(y.shape)).astype(y.dtype)

    tensors = [None if x is None else torch.from_numpy(np.array(x)) for x in inputs]
    for tensor, need in zip(tensors, needs, strict=True):
        if need:
            tensor.requires_grad_()
    theirs = TWINS[name](*tensors, **attrs)
    _near(f"{name}: y", y, theirs)
    if not theirs.requires_grad:
        return
    theirs.backward(torch.from_numpy(dy))
    grads = executor.backward(op.chosen(), dy, saved, needs, attrs)
    for i, (dx, tensor, need) in enumerate(zip(grads, tensors, needs, strict=True)):
        if need:
            _near(f"{name}: gradient {i}", dx, torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)


def _near(what: str, ours: Any, theirs: Any) -> None:
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = max(np.abs(theirs).max(initial=0.0), 1e-3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * scale, err_msg=what)
