"""What the laws cannot see of pointwise ops: kinks and ties, extreme values, stated errors, operators, messages."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from twins import all_twins

import minidl  # noqa: F401  (declares every op)
from minidl.op import OPS
from minidl.ops.activations_classic import ALIASES, activation_table
from minidl.ops.comparisons import eq, ge, ne
from minidl.ops.special import erf, normal_cdf, normal_quantile
from minidl.signature import ShapeError
from minidl.tensor import Tensor


def tensor(*values: float, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


# ---- stated errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 2.3e-16), (np.float32, 2.4e-7), (np.float16, 5e-4)])
def test_erf_keeps_to_its_stated_error(dtype: Any, error: float) -> None:
    x = np.concatenate([np.linspace(-7, 7, 20_001), np.linspace(-0.6, 0.6, 20_001), [-1e4, 1e4, -0.0]]).astype(dtype)
    y = erf(np, x)
    assert y.dtype == dtype
    assert np.abs(y.astype(np.float64) - [math.erf(v) for v in x]).max() <= error


def test_normal_quantile_is_exact_into_the_far_tails() -> None:
    p = np.concatenate([np.linspace(0.001, 0.999, 999), 10.0 ** -np.arange(4, 300), 1 - 10.0 ** -np.arange(4.0, 15)])
    exact = np.array([statistics.NormalDist().inv_cdf(v) for v in p])
    np.testing.assert_allclose(normal_quantile(np, p), exact, rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(normal_cdf(np, exact[:999]), p[:999], rtol=0, atol=1e-15)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(normal_quantile(np, np.array([0.0, 1.0, 0.5, 1.5])), [-np.inf, np.inf, 0.0, np.nan])


def test_the_tanh_form_of_gelu_differs_by_5e_4() -> None:
    x = Tensor(np.linspace(-8, 8, 10_001))
    exact, approximate = OPS["gelu"](x), OPS["gelu"](x, approximate="tanh")
    assert 4e-4 < np.abs(exact.data - approximate.data).max() < 5e-4


# ---- extreme values --------------------------------------------------------------------------------------------------


SQUASHING = "sigmoid tanh softplus silu gelu gelu/tanh elu relu relu6 leaky_relu hardtanh arctan lecun_tanh"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", SQUASHING.split())
def test_large_inputs_give_limits_without_a_warning(name: str, dtype: Any) -> None:
    x = tensor(-200, -30, 30, 200, dtype=dtype)
    y = OPS[name.partition("/")[0]](x, **({"approximate": "tanh"} if "/" in name else {}))
    y.backward(np.ones_like(y.data))
    assert np.isfinite(y.data).all()
    assert np.isfinite(x.grad).all()


def test_sigmoid_keeps_the_digits_of_small_results() -> None:
    x = np.array([-700.0, -40.0, -1.0, 0.0, 1.0, 700.0])
    expected = [math.exp(-700), math.exp(-40), 1 / (1 + math.e), 0.5, math.e / (1 + math.e), 1.0]
    np.testing.assert_allclose(OPS["sigmoid"](Tensor(x)).data, expected, rtol=1e-15)


@pytest.mark.parametrize("name", ["multiquadric", "inverse_multiquadric"])
def test_radial_functions_square_in_float32(name: str) -> None:
    x = tensor(300, dtype=np.float16)  # 300^2 is infinite in float16
    exact = tensor(300)
    y, expected = OPS[name](x), OPS[name](exact)
    for t in (y, expected):
        t.backward(np.full(1, 1000.0, t.dtype))
    assert (y.dtype, x.grad.dtype) == (np.float16, np.float16)
    np.testing.assert_allclose(y.data, expected.data, rtol=1e-3)
    np.testing.assert_allclose(x.grad, exact.grad, rtol=1e-3)


def test_elu_is_a_line_for_ever() -> None:
    x = tensor(np.inf, 1e300)
    OPS["elu"](x).backward(np.ones(2))
    assert x.grad.tolist() == [1, 1]


# ---- kinks and ties: PyTorch's conventions ---------------------------------------------------------------------------

KINKS = [
    ("relu", {}, [[-0.0, 0.0]]),
    ("leaky_relu", {"negative_slope": 0.3}, [[-0.0, 0.0]]),
    ("relu6", {}, [[0.0, 6.0, 3.0]]),
    ("hardtanh", {"min_val": -2.0, "max_val": 0.5}, [[-2.0, 0.5, 0.0]]),
    ("elu", {"alpha": 2.0}, [[0.0]]),
    ("abs", {}, [[-0.0, 0.0]]),
    ("clip", {"min": -1.0, "max": 2.0}, [[-1.0, 2.0, -1.1, 2.1]]),
    ("clip", {"min": None, "max": 2.0}, [[-9.0, 2.0, 2.1]]),
    ("clip", {"min": 1.0, "max": None}, [[0.0, 1.0, 9.0]]),
    ("clip", {"min": 2.0, "max": 1.0}, [[0.0, 1.5, 3.0]]),
    ("softplus", {"beta": 2.0, "threshold": 4.0}, [[2.0, 2.1]]),
    ("logit", {"eps": 0.1}, [[0.0, 0.05, 0.1, 0.9, 1.0]]),
    ("prelu", {}, [[[0.0, -0.0, 1.0]], [0.25]]),
    ("maximum", {}, [[1.0, 2.0, -np.inf], [1.0, 3.0, -np.inf]]),
    ("minimum", {}, [[1.0, 2.0, np.inf], [1.0, 3.0, np.inf]]),
    ("power", {}, [[0.0, 0.0, 0.0, 2.0], [2.0, 1.0, 0.0, 0.0]]),
]


@pytest.mark.parity
@pytest.mark.parametrize(("name", "attrs", "inputs"), KINKS, ids=str)
def test_kinks_are_pytorchs(name: str, attrs: dict, inputs: list) -> None:
    torch = pytest.importorskip("torch")
    ours = [tensor(*x) for x in inputs]
    theirs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs]
    y, expected = OPS[name](*ours, **attrs), all_twins()[name](*theirs, **attrs)
    y.backward(np.full(y.shape, 3.0))
    expected.backward(torch.full(expected.shape, 3.0, dtype=torch.float64))
    np.testing.assert_allclose(y.data, expected.detach(), rtol=1e-14)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-14)


def test_the_step_is_1_at_0() -> None:
    np.testing.assert_array_equal(OPS["binary_step"](tensor(-0.1, 0.0, 0.1)).data, [0.0, 1.0, 1.0])


def test_a_whole_power_of_a_negative_number_has_its_gradient() -> None:
    x = tensor(-3.0, 2.0)
    (x**3).backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [27.0, 12.0])


def test_the_first_of_equal_pieces_wins_maxout() -> None:
    x = Tensor(np.array([[4.0, 4.0, 1.0, 5.0, 5.0, 5.0]]), requires_grad=True)
    OPS["maxout"](x, pieces=3).backward(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(x.grad, [[1, 0, 0, 2, 0, 0]])


# ---- operators -------------------------------------------------------------------------------------------------------

FORMULAS = {
    "x + 2": lambda x: x + 2,
    "2 - x": lambda x: 2 - x,
    "x * 0.1": lambda x: x * 0.1,
    "1 / x": lambda x: 1 / x,
    "x ** 2": lambda x: x**2,
    "2 ** x": lambda x: 2**x,
    "-abs(x)": lambda x: -abs(x),
    "array + x": lambda x: np.ones(3, x.dtype) + x,
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("formula", FORMULAS)
def test_numbers_take_the_type_of_the_other_operand(formula: str, dtype: Any) -> None:
    x = tensor(0.5, -1.0, 2.0, dtype=dtype)
    y = FORMULAS[formula](x)
    y.backward(np.ones(3, dtype))
    assert (type(y), y.dtype, x.grad.dtype) == (Tensor, dtype, dtype)
    np.testing.assert_allclose(y.data, FORMULAS[formula](x.data), rtol=1e-3)


def test_the_gradient_of_one_number_is_an_array() -> None:
    x = Tensor(2.0, requires_grad=True)
    (x * Tensor([1.0, 2.0])).backward(np.array([1.0, 1.0], np.float32))
    assert isinstance(x.grad, np.ndarray)
    assert (x.grad.shape, x.grad.dtype, float(x.grad)) == ((), np.float32, 3.0)


def test_comparisons_give_booleans_without_a_gradient() -> None:
    x, y = tensor(1.0, 2.0, 3.0), Tensor(np.array([2, 2, 2]))
    for result, expected in [
        (x > y, [False, False, True]),
        (x <= 2, [True, True, False]),
        (x < 2.0, [True, False, False]),
        (np.float64(2) <= x, [False, True, True]),
        (eq(x, y), [False, True, False]),
        (ne(x, 2), [True, False, True]),
        (ge([1, 5, 1], x), [True, True, False]),
    ]:
        assert (result.dtype, result.requires_grad) == (np.bool_, False)
        np.testing.assert_array_equal(result.data, expected)
    assert (x == x).numpy().all()
    assert len({x, y, x}) == 2


MESSAGES = [
    (lambda: tensor(1, 2, 3) + tensor(1, 2), ShapeError, "add: dimension -1 has sizes 3 and 2; broadcasting needs equal"),
    (lambda: tensor(1, 2, 3) < tensor(1, 2), ShapeError, r"lt: dimension -1 has sizes 3 and 2; .*\(a \[3\], b \[2\]\)"),
    (lambda: tensor(1.0).clip(), ShapeError, "clip: give min, max or both"),
    (lambda: OPS["gelu"](tensor(1.0), "exact"), ShapeError, "gelu: approximate must be 'none' or 'tanh', got 'exact'"),
    (lambda: OPS["elu"](tensor(1.0), alpha=-1), ShapeError, "elu: alpha must not be negative, got -1"),
    (lambda: OPS["softplus"](tensor(1.0), beta=0), ShapeError, "softplus: beta must be positive, got 0"),
    (lambda: OPS["hardtanh"](tensor(1.0), 1, 1), ShapeError, "hardtanh: min_val=1 must be below max_val=1"),
    (lambda: OPS["logit"](tensor(0.5), eps=0.7), ShapeError, r"logit: eps must be None or in \[0, 0.5\), got 0.7"),
    (lambda: OPS["maxout"](Tensor(np.ones((2, 5)))), ShapeError, "maxout: C=5 channels cannot be shared out in groups of"),
    (lambda: OPS["prelu"](np.ones((2, 5)), np.ones(4)), ShapeError, "prelu: w expects one slope, or one for each of C=5"),
    (lambda: OPS["where"](tensor(1.0), 1, 2), TypeError, "where: condition.* expects booleans, got float64"),
]


@pytest.mark.parametrize(("call", "error", "message"), MESSAGES, ids=lambda v: v if isinstance(v, str) else "")
def test_message(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# ---- the course's table ----------------------------------------------------------------------------------------------


def test_every_activation_of_the_course_has_its_pros_and_cons() -> None:
    course = (
        "identity binary_step logistic tanh arctan relu prelu elu softplus leaky_relu multiquadric inverse_multiquadric "
        "gaussian maxout cosine logit probit smooth_rectifier relu6 gelu silu lecun_tanh hard_tanh absolute piecewise_linear "
        "softmax"
    )
    table = activation_table()
    assert not [name for name in course.split() if "Pros: " not in table[name] or " Cons: " not in table[name]]
    assert {name: op.name for name, op in ALIASES.items()} == {
        "logistic": "sigmoid",
        "smooth_rectifier": "softplus",
        "hard_tanh": "hardtanh",
        "absolute": "abs",
        "cosine": "cos",
    }
