"""The activations of today's nets, under PyTorch's names and with its defaults. The older ones are in activations_classic.py.

Each docstring holds the formula y, the gradient dx, the convention at a kink, and pros and cons in one line. Everything is
computed so that nothing overflows: only exp of negative numbers is taken. Shapes: see pointwise.py.
(Slips in the course's tables: one gives ReLU the slope 1 at 0, and the sigmoid's cons repeat its pros.)

Sources: Nair, Hinton 2010 (relu); Krizhevsky 2010 (relu6); Maas, Hannun, Ng 2013 (leaky_relu); Clevert, Unterthiner,
Hochreiter 2015 (elu); Dugas et al. 2001 (softplus); Elfwing, Uchibe, Doya 2017 (silu); Hendrycks, Gimpel 2016 (gelu).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.draw import Draw
from minidl.ops.half import widen
from minidl.ops.pointwise import away_from, unary
from minidl.ops.special import normal_cdf

# ---- rectifiers ------------------------------------------------------------------------------------------------------

relu = unary(
    "relu",
    """Rectifier:  y = max(x, 0),  dx = dy [x > 0]; 0 at the kink, as in PyTorch.
    Pros: cheap, does not saturate for x > 0, sparse. Cons: a unit that is negative on all data is dead; not zero-centred.""",
    f=lambda xp, x: xp.clip(x, 0, math.inf),  # three times as fast as NumPy's maximum(x, 0)
    dx=lambda xp, dy, y: (y > 0).astype(dy.dtype) * dy,  # a quarter faster than dy * (y > 0): the product is taken in place
    saves="y",
    definition=lambda x: max(x, 0.0),
    values=away_from(0.0),
    method="relu",
)

leaky_relu = unary(
    "leaky_relu",
    """Leaky rectifier:  y = max(x, 0) + slope min(x, 0),  dx = dy where x > 0, else slope dy.
    Pros: units cannot die. Cons: the slope is one more number to choose, and gains over ReLU are small and uneven.""",
    f=lambda xp, x, negative_slope: xp.maximum(x, 0) + negative_slope * xp.minimum(x, 0),
    dx=lambda xp, dy, positive, negative_slope: dy * positive + negative_slope * (dy * ~positive),
    mask=lambda x, negative_slope: x > 0,
    attrs={"negative_slope": 0.01},
    options={"negative_slope": (0.1, 0.5, -0.3, 1.5)},
    definition=lambda x, negative_slope: x if x > 0 else negative_slope * x,
    values=away_from(0.0),
    operations=4,
)

relu6 = unary(
    "relu6",
    """Rectifier with a ceiling:  y = min(max(x, 0), 6),  dx = dy [0 < x < 6].
    Pros: bounded, so it survives 8-bit arithmetic. Cons: saturates on both sides, where no gradient flows.""",
    f=lambda xp, x: xp.clip(x, 0, 6),
    dx=lambda xp, dy, y: dy * ((y > 0) & (y < 6)),
    saves="y",
    definition=lambda x: min(max(x, 0.0), 6.0),
    values=away_from(0.0, 6.0, scale=5.0),
    operations=2,
)

hardtanh = unary(
    "hardtanh",
    """Hard tanh:  y = min(max(x, min_val), max_val),  dx = dy [min_val < x < max_val].
    Pros: tanh's shape without an exponential. Cons: the gradient is exactly 0 outside the interval.""",
    f=lambda xp, x, min_val, max_val: xp.clip(x, min_val, max_val),
    dx=lambda xp, dy, y, min_val, max_val: dy * ((y > min_val) & (y < max_val)),
    saves="y",
    attrs={"min_val": -1.0, "max_val": 1.0},
    options={"min_val": (-1.0, -0.3), "max_val": (1.0, 0.4)},
    check=lambda min_val, max_val: None if min_val < max_val else f"min_val={min_val} must be below max_val={max_val}",
    definition=lambda x, min_val, max_val: min(max(x, min_val), max_val),
    values=lambda d, *shape, min_val, max_val: d.away_from((min_val, max_val), *shape),
    operations=2,
)

elu = unary(
    "elu",
    """Exponential linear unit:  y = x where x > 0, else alpha (e^x - 1),  dx = dy where x > 0, else dy (y + alpha).
    Pros: mean activation near 0, negative side has a gradient. Cons: an exponential; saturates for very negative x.""",
    f=lambda xp, x, alpha: xp.maximum(x, 0) + alpha * xp.expm1(xp.minimum(x, 0)),
    dx=lambda xp, dy, y, alpha: dy * ((y > 0) + (y <= 0) * (xp.minimum(y, 0) + alpha)),
    saves="y",
    attrs={"alpha": 1.0},
    options={"alpha": (1.0, 0.5, 2.0)},
    check=lambda alpha: None if alpha >= 0 else f"alpha must not be negative, got {alpha}",
    definition=lambda x, alpha: x if x > 0 else alpha * (math.exp(x) - 1),
    values=away_from(0.0),
    operations=5,
)

# ---- sigmoids and smooth rectifiers ----------------------------------------------------------------------------------


def logistic(xp: Any, x: Array) -> Array:
    """1 / (1 + e^-x) = e^min(x,0) / (1 + e^-|x|): no exponential overflows, and small results keep their digits."""
    e = xp.exp(-xp.abs(x))
    return xp.maximum(e, x >= 0) / (1 + e)  # e <= 1, so where x >= 0 the larger is True, that is 1


sigmoid = unary(
    "sigmoid",
    """Logistic function:  y = 1 / (1 + e^-x),  dx = dy y (1 - y).
    Pros: smooth, a probability. Cons: saturates (slope at most 1/4, so it vanishes in depth); not zero-centred.""",
    f=logistic,
    dx=lambda xp, dy, y: dy * y * (1 - y),
    saves="y",
    definition=lambda x: 1 / (1 + math.exp(-x)),
    method="sigmoid",
    operations=6,
)

tanh = unary(
    "tanh",
    """Hyperbolic tangent:  y = tanh(x) = 2 / (1 + e^-2x) - 1,  dx = dy (1 - y^2).
    Pros: zero-centred, bounded, slope 1 at 0. Cons: saturates, so gradients vanish for |x| > 3.""",
    f=lambda xp, x: xp.tanh(x),
    dx=lambda xp, dy, y: dy * (1 - y * y),
    saves="y",
    definition=lambda x: 2 / (1 + math.exp(-2 * x)) - 1,
    method="tanh",
    analytic=True,
)


def softplus_values(d: Draw, *shape: int, beta: float, threshold: float) -> np.ndarray:
    return d.away_from((threshold / beta,), *shape, scale=2.0)


softplus = unary(
    "softplus",
    """Smooth rectifier:  y = log(1 + e^(beta x)) / beta,  dx = dy sigmoid(beta x); y = x where beta x > threshold.
    Pros: ReLU without a kink, never dead. Cons: an exponential and a logarithm; not sparse; nets train no better for it.""",
    f=lambda xp, x, beta, threshold: softplus_of(xp, beta * x, threshold) / beta,
    dx=lambda xp, dy, x, beta, threshold: dy * xp.maximum(logistic(xp, beta * x), beta * x > threshold),
    saves="x",
    attrs={"beta": 1.0, "threshold": 20.0},
    options={"beta": (1.0, 2.0, 0.5), "threshold": (20.0, 1.0)},
    check=lambda beta, threshold: None if beta > 0 else f"beta must be positive, got {beta}",
    definition=lambda x, beta, threshold: x if beta * x > threshold else math.log(1 + math.exp(beta * x)) / beta,
    values=softplus_values,
    operations=8,
)


def softplus_of(xp: Any, z: Array, threshold: float) -> Array:
    """log(1 + e^z) = max(z, 0) + log(1 + e^-|z|), whose second term is dropped beyond the threshold."""
    return xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(z))) * (z <= threshold)


def silu_gradient(xp: Any, dy: Array, x: Array) -> Array:
    s = logistic(xp, x)
    return dy * s * (1 + x * (1 - s))


silu = unary(
    "silu",
    """Sigmoid-weighted linear unit (swish):  y = x s,  s = sigmoid(x),  dx = dy s (1 + x (1 - s)).
    Pros: smooth, unbounded above, a little better than ReLU in deep nets. Cons: an exponential; not monotonic below -1.28.""",
    f=lambda xp, x: x * logistic(xp, x),
    dx=silu_gradient,
    saves="x",
    definition=lambda x: x / (1 + math.exp(-x)),
    operations=7,
)

GELU_SCALE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715  # Hendrycks, Gimpel 2016, section 2


def gelu_of(xp: Any, x: Array, approximate: str) -> Array:
    if approximate == "none":
        return x * normal_cdf(xp, x)
    return 0.5 * x * (1 + gelu_tanh(xp, x).astype(x.dtype, copy=False))


def gelu_gradient(xp: Any, dy: Array, x: Array, approximate: str) -> Array:
    if approximate == "none":
        density = xp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return dy * (normal_cdf(xp, x) + x * density)
    t, x = gelu_tanh(xp, x), widen(x)
    slope = 0.5 * (1 + t + x * (1 - t * t) * GELU_SCALE * (1 + 3 * GELU_CUBE * x * x))
    return dy * slope.astype(dy.dtype, copy=False)


def gelu_tanh(xp: Any, x: Array) -> Array:
    x = widen(x)  # the cube of 41 is too large for float16
    return xp.tanh(GELU_SCALE * (x + GELU_CUBE * x * x * x))


def gelu_in_numbers(x: float, approximate: str) -> float:
    if approximate == "tanh":
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * math.erfc(-x / math.sqrt(2))


gelu = unary(
    "gelu",
    """Gaussian error linear unit:  y = x Phi(x),  dx = dy (Phi(x) + x phi(x)), Phi the normal distribution and phi its density.

    approximate  'none': Phi by erf, error below 2e-16; 'tanh': y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))),
                 which differs from it by up to 5e-4
    Pros: smooth, the habit of transformers. Cons: the dearest of the common ones; not monotonic below -0.75.""",
    f=gelu_of,
    dx=gelu_gradient,
    saves="x",
    attrs={"approximate": "none"},
    options={"approximate": ("none", "tanh")},
    check=lambda approximate: (
        None if approximate in ("none", "tanh") else f"approximate must be 'none' or 'tanh', got {approximate!r}"
    ),
    definition=gelu_in_numbers,
    operations=60,
)
