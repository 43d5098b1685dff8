"""HIPS autograd as a second oracle of gradients: it differentiates NumPy itself, and shares no code with us or with PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn import Drawn
from hypothesis import given
from hypothesis import strategies as st

import minidl  # noqa: F401  (declares every op)
from minidl import executor
from minidl.op import OPS
from minidl.tensor import Tensor

autograd = pytest.importorskip("autograd")
anp = pytest.importorskip("autograd.numpy")

SAME_NAME = "add subtract multiply divide power maximum minimum negative exp log sqrt abs sin cos tanh arctan sum mean max min"
ORACLE = {name: getattr(anp, name) for name in SAME_NAME.split()} | {
    "where": lambda c, a, b: c * a + (1 - c) * b,  # autograd's own where forgets to sum over broadcast axes
    "clip": lambda x, **bounds: anp.clip(x, bounds["min"], bounds["max"]),
    "var": lambda x, axis, keepdims, correction: anp.var(x, axis=axis, ddof=correction, keepdims=keepdims),
    "relu": lambda x: anp.maximum(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + anp.exp(-x)),
    "silu": lambda x: x / (1 + anp.exp(-x)),
    "elu": lambda x, alpha: anp.where(x > 0, x, alpha * (anp.exp(x) - 1)),
    "leaky_relu": lambda x, negative_slope: anp.where(x > 0, x, negative_slope * x),
    "gaussian": lambda x: anp.exp(-(x**2)),
    "multiquadric": lambda x: anp.sqrt(1 + x**2),
    "inverse_multiquadric": lambda x: 1 / anp.sqrt(1 + x**2),
    "lecun_tanh": lambda x: 1.7159 * anp.tanh(2 * x / 3),
}


@pytest.mark.parametrize("name", ORACLE)
@given(data=st.data())
def test_op_equals_autograd(name: str, data: st.DataObject) -> None:
    op, d = OPS[name], Drawn(data)
    inputs, attrs = op.ask(d)
    needs = tuple(x.dtype.kind == "f" for x in inputs)
    y, saved, _ = executor.forward(op.chosen(), inputs, attrs)
    dy = np.asarray(d.rng.standard_normal(y.shape))
    grads = executor.backward(op.chosen(), dy, saved, needs, attrs)
    for i in (i for i, need in enumerate(needs) if need):
        vjp, theirs = autograd.make_vjp(lambda *xs: ORACLE[name](*xs, **attrs), i)(*inputs)
        _near(f"{name}: y", y, theirs)
        _near(f"{name}: gradient {i}", grads[i], vjp(dy))


@given(seed=st.integers(0, 2**32 - 1))
def test_a_tape_of_many_ops_equals_autograd(seed: int) -> None:
    """Values used twice, broadcasting, numbers as operands: what single ops do not show."""

    def network(x: Any, w: Any, b: Any, *, exp: Any, tanh: Any, maximum: Any) -> Any:
        h = tanh(x * w + b)
        gate = 1 / (1 + exp(-h))
        return (h * gate - abs(x) ** 1.5 + maximum(h, 2 * b) / (1 + w * w)) ** 2 - h

    rng = np.random.default_rng(seed)
    arrays = rng.standard_normal((3, 4)), rng.standard_normal((3, 1)), rng.standard_normal(4)
    ours = [Tensor(a, requires_grad=True) for a in arrays]
    y = network(*ours, exp=OPS["exp"], tanh=OPS["tanh"], maximum=OPS["maximum"])
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    for i, tensor in enumerate(ours):
        theirs = autograd.make_vjp(lambda *a: network(*a, exp=anp.exp, tanh=anp.tanh, maximum=anp.maximum), i)(*arrays)
        _near("y", y.data, theirs[1])
        _near(f"gradient {i}", tensor.grad, theirs[0](dy))


def _near(what: str, ours: Any, theirs: Any) -> None:
    assert np.shape(ours) == np.shape(theirs), what
    scale = max(float(np.abs(theirs).max(initial=0.0)), 1e-3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * scale, err_msg=what)
