"""Parity with PyTorch: every kernel of every op both have, forward and every gradient, float64, to 1e-10 of the largest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn import Drawn
from hypothesis import assume, given
from hypothesis import strategies as st
from twins import all_twins

import minidl  # noqa: F401  (declares every op)
from minidl import executor
from minidl.op import OPS, Kernel

TWINS = all_twins()
KERNELS = [kernel for name, twin in sorted(TWINS.items()) if callable(twin) for kernel in OPS[name].kernels.values()]


def test_every_op_names_its_twin_or_says_why_it_has_none() -> None:
    assert set(TWINS) == set(OPS)  # the list is printed at the end of every run (conftest.py)
    assert all(callable(twin) or len(twin.split()) > 3 for twin in TWINS.values())


@pytest.mark.parity
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@given(data=st.data())
def test_kernel_equals_its_twin(kernel: Kernel, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    d = Drawn(data)
    inputs, attrs = kernel.op.ask(d)
    assume(not kernel.why_not(tuple(None if x is None else x.shape for x in inputs), attrs))
    needs = tuple(x is not None and x.dtype.kind == "f" for x in inputs)
    y, saved, _ = executor.forward(kernel, inputs, attrs)
    dy = np.asarray(d.rng.standard_normal(y.shape)).astype(y.dtype)

    tensors = [None if x is None else torch.from_numpy(np.array(x)) for x in inputs]
    for tensor, need in zip(tensors, needs, strict=True):
        if need:
            tensor.requires_grad_()
    theirs = TWINS[kernel.op.name](*tensors, **attrs)
    _near(f"{kernel}: y", y, theirs)
    if not theirs.requires_grad:
        return
    theirs.backward(torch.from_numpy(dy))
    grads = executor.backward(kernel, dy, saved, needs, attrs)
    for i, (dx, tensor, need) in enumerate(zip(grads, tensors, needs, strict=True)):
        if need:
            _near(f"{kernel}: gradient {i}", dx, torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)


def _near(what: str, ours: Any, theirs: Any) -> None:
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = max(np.abs(theirs).max(initial=0.0), 1e-3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * scale, err_msg=what)
