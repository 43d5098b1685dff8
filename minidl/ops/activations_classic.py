"""The older activations of the course notes: thresholds, squashing functions, radial functions, quantiles.

Each docstring holds the formula y, the gradient dx, the convention at a kink, and pros and cons in one line. Some names of
the notes are other names for an op: ALIASES. Shapes: see pointwise.py.

Sources: McCulloch, Pitts 1943 (binary_step); LeCun, Bottou, Orr, Mueller 1998, "Efficient BackProp", section 4.4
(lecun_tanh); Hardy 1971 (multiquadric); Broomhead, Lowe 1988 (radial functions as units); Bliss 1934 (probit).
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.op import OPS, Op
from minidl.ops.activations import hardtanh, sigmoid, softplus
from minidl.ops.arithmetic import absolute, cos
from minidl.ops.half import narrow, widen
from minidl.ops.pointwise import away_from, unary
from minidl.ops.special import normal_quantile

# ---- lines and steps -------------------------------------------------------------------------------------------------

identity = unary(
    "identity",
    """Identity:  y = x,  dx = dy.
    Pros: right for the last layer of a regression. Cons: layers without a nonlinearity between them are one linear layer.""",
    f=lambda xp, x: x,
    dx=lambda xp, dy: dy,
    definition=lambda x: x,
    analytic=True,
    operations=0,
)

binary_step = unary(
    "binary_step",
    """Threshold:  y = 1 where x >= 0, else 0,  dx = 0 everywhere.
    Pros: a yes or no, in one bit. Cons: its gradient is 0, so nothing before it learns; not differentiable at 0.""",
    f=lambda xp, x: (x >= 0).astype(x.dtype),
    dx=lambda xp, dy: xp.zeros_like(dy),
    definition=lambda x: 1.0 if x >= 0 else 0.0,
    values=away_from(0.0),
)

piecewise_linear = unary(
    "piecewise_linear",
    """Ramp:  y = 0 below -1/2, x + 1/2 between, 1 above 1/2,  dx = dy [|x| < 1/2].
    Pros: a sigmoid without an exponential. Cons: no gradient at all outside a narrow interval.""",
    f=lambda xp, x: xp.clip(x + 0.5, 0, 1),
    dx=lambda xp, dy, y: dy * ((y > 0) & (y < 1)),
    saves="y",
    definition=lambda x: 0.0 if x < -0.5 else 1.0 if x > 0.5 else x + 0.5,
    values=away_from(-0.5, 0.5),
    operations=3,
)

# ---- squashing functions ---------------------------------------------------------------------------------------------


def squared(x: Array) -> Array:
    """x^2, of a half type in float32: the square of 256 is infinite in float16."""
    z = widen(x)
    return z * z


arctan = unary(
    "arctan",
    """Inverse tangent:  y = arctan(x), in (-pi/2, pi/2),  dx = dy / (1 + x^2).
    Pros: zero-centred, its gradient dies out slower than tanh's. Cons: saturates all the same; dearer than ReLU.""",
    f=lambda xp, x: xp.arctan(x),
    dx=lambda xp, dy, x: narrow(dy / (1 + squared(x)), dy),
    saves="x",
    definition=math.atan,
    method="arctan",
    analytic=True,
)

LECUN = 1.7159

lecun_tanh = unary(
    "lecun_tanh",
    """LeCun's tanh:  y = 1.7159 tanh(2x/3), so that y(1) = 1 and y(-1) = -1,  dx = dy 2/3 (1.7159 - y^2 / 1.7159).
    Pros: targets of +-1 lie inside its range, unit variance is kept. Cons: saturates as tanh does.""",
    f=lambda xp, x: LECUN * xp.tanh(2 / 3 * x),
    dx=lambda xp, dy, y: dy * (2 / 3) * (LECUN - y * y / LECUN),
    saves="y",
    definition=lambda x: 1.7159 * math.tanh(2 * x / 3),
    analytic=True,
    operations=3,
)

# ---- radial functions ------------------------------------------------------------------------------------------------

multiquadric = unary(
    "multiquadric",
    """Multiquadric:  y = sqrt(1 + x^2),  dx = dy x / y.
    Pros: smooth |x|, never saturates. Cons: not monotonic, never 0, grows without bound on both sides.""",
    f=lambda xp, x: narrow(xp.sqrt(1 + squared(x)), x),
    dx=lambda xp, dy, x, y: dy * (x / y),
    saves="xy",
    definition=lambda x: math.hypot(1.0, x),
    analytic=True,
    operations=3,
)

inverse_multiquadric = unary(
    "inverse_multiquadric",
    """Inverse multiquadric:  y = 1 / sqrt(1 + x^2),  dx = -dy x y^3.
    Pros: local and smooth, with heavier tails than the Gaussian. Cons: not monotonic, no gradient far away.""",
    f=lambda xp, x: narrow(1 / xp.sqrt(1 + squared(x)), x),
    dx=lambda xp, dy, x, y: narrow(-widen(dy) * x * y * y * y, dy),
    saves="xy",
    definition=lambda x: (1 + x**2) ** -0.5,
    analytic=True,
    operations=4,
)

gaussian = unary(
    "gaussian",
    """Gaussian:  y = e^(-x^2),  dx = -2 dy x y.
    Pros: answers to one place only: the classic radial unit. Cons: its gradient is 0 almost everywhere but near 0.""",
    f=lambda xp, x: narrow(xp.exp(-squared(x)), x),
    dx=lambda xp, dy, x, y: -2 * dy * (x * y),
    saves="xy",
    definition=lambda x: math.exp(-(x**2)),
    analytic=True,
    operations=3,
)

# ---- quantiles: from probabilities in (0, 1) to the whole line -------------------------------------------------------


def probabilities(d: Draw, *shape: int, eps: float | None = None) -> np.ndarray:
    p = d.rng.uniform(0.03, 0.97, shape)
    for kink in () if eps is None else (eps, 1 - eps):
        p = np.where(np.abs(p - kink) < 0.02, kink + 0.03, p)
    return np.asarray(p)


def clipped(x: Array, eps: float | None) -> Array:
    return x if eps is None else x.clip(eps, 1 - eps)


def logit_gradient(xp: object, dy: Array, x: Array, eps: float | None) -> Array:
    p = clipped(x, eps)
    return dy * (x == p) / (p * (1 - p))


logit = unary(
    "logit",
    """Log-odds, the inverse of the sigmoid:  y = log(x / (1 - x)),  dx = dy / (x (1 - x)).

    eps  x is first clipped to [eps, 1 - eps], outside which dx is 0; None: -inf at 0, inf at 1, NaN outside [0, 1]
    Pros: turns a probability into an unbounded score. Cons: defined on (0, 1) only, infinite gradient at both ends.""",
    f=lambda xp, x, eps: xp.log(clipped(x, eps) / (1 - clipped(x, eps))),
    dx=logit_gradient,
    saves="x",
    attrs={"eps": None},
    options={"eps": (None, 0.2)},
    check=lambda eps: None if eps is None or 0 <= eps < 0.5 else f"eps must be None or in [0, 0.5), got {eps}",
    definition=lambda x, eps: math.log(y := min(max(x, eps or 0.0), 1 - (eps or 0.0))) - math.log(1 - y),
    values=probabilities,
    method="logit",
    operations=3,
)


def quantile_by_bisection(p: float) -> float:
    """Where the normal distribution reaches p, found by halving an interval."""
    low, high = -10.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(-middle / math.sqrt(2)) < 2 * p else (low, middle)
    return low


probit = unary(
    "probit",
    """Normal quantile:  y = Phi^-1(x), the y that a standard normal number stays below with probability x;
    dx = dy / phi(y) = dy sqrt(2 pi) e^(y^2/2). -inf at 0, inf at 1, NaN outside [0, 1].
    Pros: turns a probability into a normal score, with lighter tails than logit. Cons: defined on (0, 1) only; dear.""",
    f=normal_quantile,
    dx=lambda xp, dy, y: dy * math.sqrt(2 * math.pi) * xp.exp(0.5 * y * y),
    saves="y",
    definition=quantile_by_bisection,
    values=probabilities,
    operations=95,
)

# ---- names -----------------------------------------------------------------------------------------------------------

ALIASES: dict[str, Op] = {  # the course notes' name -> the op
    "logistic": sigmoid,
    "smooth_rectifier": softplus,
    "hard_tanh": hardtanh,
    "absolute": absolute,
    "cosine": cos,
}


def activation_table() -> dict[str, str]:
    """Every activation and its line of pros and cons, as its docstring has it; aliases included."""
    docs = {op.name: (op.__doc__ or "").splitlines() for op in OPS.values()}
    table = {name: line.strip() for name, lines in docs.items() for line in lines if "Pros:" in line}
    return table | {alias: f"{op.name}. {table[op.name]}" for alias, op in ALIASES.items()}
