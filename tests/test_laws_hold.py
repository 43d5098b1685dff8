"""Every kernel obeys every law. Reads as a sentence: test_kernel_obeys[backward_is_the_derivative-conv2d[im2col]]."""

from __future__ import annotations

import pytest
from drawn import Drawn
from hypothesis import assume, event, given
from hypothesis import strategies as st

import minidl  # noqa: F401  (declares every op)
from minidl.laws import LAWS, Law, Undecided
from minidl.op import OPS, Kernel

KERNELS = [kernel for op in OPS.values() for kernel in op.kernels.values()]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@given(data=st.data())
def test_kernel_obeys(law: Law, kernel: Kernel, data: st.DataObject) -> None:
    d = Drawn(data)
    problem = kernel.op.ask(d)
    assume(not kernel.why_not(tuple(None if x is None else x.shape for x in problem.inputs), problem.attrs))
    try:
        law(kernel, problem, d.rng)
    except Undecided:
        event("undecided")
