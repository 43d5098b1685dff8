"""Arithmetic on Tensors, element by element, with broadcasting: what +, -, *, /, ** and their like do.

Each op's docstring holds its formula, its gradient and the convention at kinks, poles and ties; for shapes see
pointwise.py. A Python number may stand for either operand: it takes the other's float type, so `x * 2` keeps
float32. Conventions are PyTorch's: |x| has gradient 0 at 0, a tie in maximum shares dy in halves.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.ops.pointwise import away_from, binary, distinct, positive, unary
from minidl.signature import Shape

# ---- two operands ----------------------------------------------------------------------------------------------------

add = binary(
    "add",
    """a + b:  da = dy,  db = dy, each summed over broadcast axes.""",
    f=lambda xp, a, b: a + b,
    da=lambda xp, dy: dy,
    db=lambda xp, dy: dy,
    definition=lambda a, b: a + b,
    method=("__add__", "add"),
    reflected="__radd__",
    analytic=True,
)

subtract = binary(
    "subtract",
    """a - b:  da = dy,  db = -dy.""",
    f=lambda xp, a, b: a - b,
    da=lambda xp, dy: dy,
    db=lambda xp, dy: -dy,
    definition=lambda a, b: a - b,
    method=("__sub__", "sub"),
    reflected="__rsub__",
    analytic=True,
)

multiply = binary(
    "multiply",
    """a * b:  da = dy * b,  db = dy * a.""",
    f=lambda xp, a, b: a * b,
    da=lambda xp, dy, a, b: dy * b,
    db=lambda xp, dy, a, b: dy * a,
    saves="ab",
    definition=lambda a, b: a * b,
    method=("__mul__", "mul"),
    reflected="__rmul__",
    analytic=True,
)


def nonzero_divisor(d: Draw, *shapes: Shape) -> tuple[np.ndarray, np.ndarray]:
    a, b = shapes
    return np.asarray(d.array(*a)), d.away_from((0.0,), *b, gap=0.5)


divide = binary(
    "divide",
    """a / b:  da = dy / b,  db = -dy y / b. Division by 0 gives infinity, as in NumPy.""",
    f=lambda xp, a, b: a / b,
    da=lambda xp, dy, b, y: dy / b,
    db=lambda xp, dy, b, y: -dy * y / b,
    saves="by",
    definition=lambda a, b: a / b,
    values=nonzero_divisor,
    method=("__truediv__", "div"),
    reflected="__rtruediv__",
    analytic=True,
)


def positive_base(d: Draw, *shapes: Shape) -> tuple[np.ndarray, np.ndarray]:
    a, b = shapes
    return d.positive(*a), np.asarray(d.array(*b))


power = binary(
    "power",
    """a ** b, `x ** 2` and `2 ** x`:  da = dy b a^(b-1),  db = dy y ln(a).

    A negative base wants an exponent that is a whole number, and has no gradient to the exponent (NaN). As in PyTorch,
    a ** 0 is constant, also at a = 0, and 0 ** b has gradient 0 to a positive exponent.""",
    f=lambda xp, a, b: a**b,
    da=lambda xp, dy, a, b, y: dy * b * a ** (b - (b != 0)),  # where b = 0: 0 * a^0, not 0 * a^-1
    db=lambda xp, dy, a, b, y: dy * y * xp.log(a + (a == 0)),  # where a = 0: 0 * ln(1), not 0 * ln(0)
    saves="aby",
    definition=lambda a, b: a**b,
    values=positive_base,
    method=("__pow__", "pow"),
    reflected="__rpow__",
    analytic=True,
)

maximum = binary(
    "maximum",
    """The larger of a and b:  dy goes to the larger one; in a tie each gets dy / 2 (PyTorch).""",
    f=lambda xp, a, b: xp.maximum(a, b),
    da=lambda xp, dy, a, b: 0.5 * (dy * (a > b) + dy * (a >= b)),
    db=lambda xp, dy, a, b: 0.5 * (dy * (b > a) + dy * (b >= a)),
    saves="ab",
    definition=max,
    values=distinct,
    method="maximum",
)

minimum = binary(
    "minimum",
    """The smaller of a and b:  dy goes to the smaller one; in a tie each gets dy / 2 (PyTorch).""",
    f=lambda xp, a, b: xp.minimum(a, b),
    da=lambda xp, dy, a, b: 0.5 * (dy * (a < b) + dy * (a <= b)),
    db=lambda xp, dy, a, b: 0.5 * (dy * (b < a) + dy * (b <= a)),
    saves="ab",
    definition=min,
    values=distinct,
    method="minimum",
)

# ---- one operand -----------------------------------------------------------------------------------------------------

negative = unary(
    "negative",
    """-x:  dx = -dy.""",
    f=lambda xp, x: -x,
    dx=lambda xp, dy: -dy,
    definition=lambda x: -x,
    method=("__neg__", "neg"),
    analytic=True,
)

exp = unary(
    "exp",
    """e^x:  dx = dy y.""",
    f=lambda xp, x: xp.exp(x),
    dx=lambda xp, dy, y: dy * y,
    saves="y",
    definition=math.exp,
    method="exp",
    analytic=True,
)

log = unary(
    "log",
    """Natural logarithm:  dx = dy / x. log(0) is -inf and log of a negative number NaN, as in NumPy.""",
    f=lambda xp, x: xp.log(x),
    dx=lambda xp, dy, x: dy / x,
    saves="x",
    definition=math.log,
    values=positive,
    method="log",
    analytic=True,
)

sqrt = unary(
    "sqrt",
    """Square root:  dx = dy / (2 y), infinite at 0.""",
    f=lambda xp, x: xp.sqrt(x),
    dx=lambda xp, dy, y: 0.5 * dy / y,
    saves="y",
    definition=math.sqrt,
    values=positive,
    method="sqrt",
    analytic=True,
)

absolute = unary(
    "abs",
    """|x|:  dx = dy sign(x), 0 at 0 (PyTorch). The course's activation `absolute` is this op.
    Pros: keeps the size of negative inputs. Cons: not monotonic, so x and -x cannot be told apart.""",
    f=lambda xp, x: xp.abs(x),
    dx=lambda xp, dy, x: dy * xp.sign(x),
    saves="x",
    definition=math.fabs,
    values=away_from(0.0),
    method=("__abs__", "abs"),
)

sin = unary(
    "sin",
    """Sine of x in radians:  dx = dy cos(x).""",
    f=lambda xp, x: xp.sin(x),
    dx=lambda xp, dy, x: dy * xp.cos(x),
    saves="x",
    definition=math.sin,
    method="sin",
    analytic=True,
)

cos = unary(
    "cos",
    """Cosine of x in radians:  dx = -dy sin(x). The course's activation `cosine` is this op.
    Pros: smooth, bounded, never dies. Cons: periodic, so far inputs look like near ones and the loss has many minima.""",
    f=lambda xp, x: xp.cos(x),
    dx=lambda xp, dy, x: -dy * xp.sin(x),
    saves="x",
    definition=math.cos,
    method="cos",
    analytic=True,
)


def inside(x: Array, *, min: float | None, max: float | None) -> Array:
    return (x >= (-math.inf if min is None else min)) & (x <= (math.inf if max is None else max))


def bounds(d: Draw, *shape: int, min: float | None, max: float | None) -> np.ndarray:
    return d.away_from([bound for bound in (min, max) if bound is not None], *shape)


clip = unary(
    "clip",
    """x kept within [min, max]; None leaves a side open:  dx = dy where min <= x <= max, bounds included (PyTorch's clamp).
    Where min > max the result is max.""",
    f=lambda xp, x, min, max: xp.clip(x, min, max),
    dx=lambda xp, dy, inside, min, max: dy * inside,
    mask=inside,
    attrs={"min": None, "max": None},
    options={"min": (-0.5, -1.0, None), "max": (0.7, 0.4)},
    check=lambda min, max: "give min, max or both" if min is None and max is None else None,
    values=bounds,
    workload={"min": -0.5, "max": 0.5},
    definition=lambda x, min, max: sorted((-math.inf if min is None else min, x, max))[1],
    method="clip",
)
