"""`minidl.own_products`: on a GPU no product is left to cuBLAS, and the numbers are those that it would give."""

from __future__ import annotations

from itertools import islice
from typing import Any

import emulation
import numpy as np
import pytest
import strict_xp
from crossings import device, watching
from strict_xp import PRODUCT

import minidl
from minidl import Tensor
from minidl.backend import to_numpy
from minidl.draw import Random
from minidl.op import OPS, Kernel
from minidl.ops import gemm, rows

pytestmark = [
    pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}"),
    pytest.mark.usefixtures("launching"),
]
KERNELS = [kernel for op in OPS.values() for kernel in op.kernels.values() if not kernel.compiles]
LEFT = {"conv2d[fft]"}  # kernels with products of complex numbers


def numbers(*shape: int, seed: int = 0, dtype: str = "float32") -> Any:
    return device(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def passed(kernel: Kernel, inputs: tuple, attrs: dict[str, Any]) -> list[np.ndarray]:
    """y and the gradients of a call on the stand-in."""
    op = kernel.op
    operands = op.signature.expand(len(inputs))
    arrays = [x.astype(np.float32) if x is not None and x.dtype.kind == "f" else x for x in inputs]
    given = {
        f"{i} {o.name}": x if x is None or o.kind == "key" else Tensor(device(x), x.dtype.kind == "f")
        for i, (o, x) in enumerate(zip(operands, arrays, strict=True))
    }
    keys = {o.name: x for o, x in zip(operands, given.values(), strict=True) if o.kind == "key"}
    rest = [x for x, o in zip(given.values(), operands, strict=True) if o.kind != "key"]
    with op.using(kernel.name):
        out = op(rest, **attrs) if op.signature.inputs[0].variadic else op(*rest, **keys, **attrs)
    out = out[0] if isinstance(out, tuple) else out
    if out.requires_grad:
        out.backward(device(np.linspace(-1, 2, out.data.size, dtype=np.float32).reshape(out.shape)))
    return [to_numpy(out.data), *(to_numpy(x.grad) for x in rest if x is not None and x.grad is not None)]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_no_product_of_an_op_is_the_librarys(kernel: Kernel) -> None:
    """Forward and backward of whatever multiplies matrices; the same numbers as before."""
    problems = (kernel.op.ask(Random(seed)) for seed in range(100))
    able = (p for p in problems if not kernel.why_not(tuple(None if x is None else x.shape for x in p.inputs), p.attrs))
    for inputs, attrs in islice(able, 2):
        with watching(PRODUCT) as usual:
            expected = passed(kernel, inputs, attrs)
        if not usual:
            return
        with minidl.own_products(), watching(PRODUCT) as seen:
            got = passed(kernel, inputs, attrs)
        assert bool(seen) == (str(kernel) in LEFT), seen
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max(initial=0)))


def test_products_by_the_library_are_seen() -> None:
    """Or the test above would say nothing."""
    a, xp = numbers(3, 3), strict_xp.XP
    asked = [
        lambda: a @ a,
        lambda: a.__rmatmul__(a),
        lambda: a.dot(a),
        lambda: xp.matmul(a, a),
        lambda: xp.dot(a, a),
        lambda: xp.einsum("ij,jk", a, a),
        lambda: xp.tensordot(a, a),
    ]
    for ask in asked:
        with watching(PRODUCT) as seen:
            ask()
        assert len(seen) == 1
    multiplying = {"linear", "matmul", "conv2d", "cosine_logits", "am_softmax", "am_softmax_linear", "batch_norm"}
    assert multiplying <= OPS.keys()
    for name in multiplying:
        kernel = OPS[name].kernels[OPS[name].default]
        with watching(PRODUCT) as seen:
            passed(kernel, *kernel.op.ask(Random(0)))
        assert seen, name


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize(
    "shapes", [((5, 40), (40, 3)), ((2, 4, 9), (2, 9, 5)), ((7,), (7, 2)), ((4, 1, 3, 6), (2, 6, 2))], ids=str
)
def test_factors_are_rounded_as_for_cublas(shapes: tuple, precision: str) -> None:
    """`gemm` as the mode says, `product` never."""
    a, b = (numbers(*shape, seed=i) for i, shape in enumerate(shapes))
    for x in (a, b):
        x._a.view(np.uint32)[...] |= 1  # no number halfway
    with minidl.precision(precision):
        expected = [to_numpy(multiply(a, b)) for multiply in (gemm.gemm, gemm.product)]
        with minidl.own_products(), watching(PRODUCT) as seen:
            got = [to_numpy(multiply(a, b)) for multiply in (gemm.gemm, gemm.product)]
    assert not seen
    for y, right in zip(got, expected, strict=True):
        assert (y.shape, y.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(y, right, rtol=0, atol=3e-6)
    assert (np.abs(got[0] - got[1]).max() > 1e-4) == (precision != "float32")


def test_sums_of_channels_round_nothing() -> None:
    X, Y = (device(np.random.default_rng(i).integers(1 << 10, 1 << 11, (50, 6)).astype(np.float32)) for i in (0, 1))
    with minidl.own_products(), minidl.precision("bf16"), watching(PRODUCT) as seen:
        got = [rows.channel_sums(X, 3), rows.channel_products(X, Y, 3), gemm.add_rows(X.T), gemm.add_rows(X[:0])]
    assert not seen
    exact = [X._a, X._a.astype(np.int64) * Y._a.astype(np.int64)]
    for a, b in zip(got, [*(a.reshape(-1, 3).sum(axis=0) for a in exact), X._a.sum(axis=1), np.zeros(6)], strict=True):
        np.testing.assert_allclose(to_numpy(a), b, rtol=2e-7)


def test_who_is_not_on_a_gpu_has_the_librarys_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's arrays, though the tests can launch on them; integers and complex numbers; two types at once."""
    monkeypatch.setattr(gemm, "matmul", None)
    with minidl.own_products():
        a = np.ones((2, 3), np.float32)
        np.testing.assert_array_equal(gemm.gemm(a, a.T), a @ a.T)
        for x, y in ((numbers(2, 3) * 1j, numbers(3, 2) * 1j), (device([[1, 2]]), device([[3], [4]]))):
            with watching(PRODUCT) as seen:
                gemm.product(x, y)
            assert seen
        with watching(PRODUCT) as seen:
            assert gemm.product(numbers(2, 3), numbers(3, 2, dtype="float64")).dtype == np.float64
        assert seen
    monkeypatch.setattr("minidl.cuda._RUNNERS", {})
    with minidl.own_products(), watching(PRODUCT) as seen:
        gemm.product(numbers(2, 3), numbers(3, 2))
    assert seen


def test_the_mode_ends_with_its_block() -> None:
    a = numbers(2, 2)
    with watching(PRODUCT) as seen:
        with minidl.own_products():
            gemm.product(a, a)
        assert not seen
        gemm.product(a, a)
    assert seen
