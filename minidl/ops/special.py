"""Two functions that NumPy lacks, and CuPy has only in cupyx: erf and the normal quantile, in plain array arithmetic.

Both are quotients of polynomials, evaluated by Horner's rule; the numbers are the cited papers'.

    erf(x)             two quotients: |x| <= 0.46875, and the rest      |error| <= 2.3e-16 in float64, 2.4e-7 in float32
    normal_cdf(x)      Phi(x) = (1 + erf(x / sqrt 2)) / 2               |error| <= 1.8e-16
    normal_quantile(p) Phi^-1(p), three quotients                       relative error about 1e-15

float16 is computed in float32. Sources: W. J. Cody 1969, "Rational Chebyshev approximations for the error function" (his
third interval, x > 4, serves only erfc: erf(4) is 1 - 1.5e-8 and his second quotient is good enough there);
M. J. Wichura 1988, "Algorithm AS 241: the percentage points of the normal distribution".
"""

from __future__ import annotations

import math
from typing import Any

from minidl.backend import Array
from minidl.ops.half import widen

# each quotient: coefficients of the numerator and of the denominator, highest power first
# fmt: off
ERF_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)
ERF_FAR = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3),
)
QUANTILE_CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0),
)
QUANTILE_TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258,
     3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940, 2.05319162663775882187, 1.0),
)
QUANTILE_FAR_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580, 5.46378491116411436990, 6.65790464350110377720),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0),
)
# fmt: on


def erf(xp: Any, x: Array) -> Array:
    """The error function, 2 / sqrt(pi) * integral of exp(-t^2) from 0 to x."""
    z = xp.minimum(xp.abs(widen(x)), 6.0)  # erf(6) = 1 - 2e-17
    near = z * _quotient(ERF_NEAR, z * z)
    far = 1 - xp.exp(-z * z) * _quotient(ERF_FAR, z)
    is_near = z <= 0.46875
    return xp.copysign(near * is_near + far * ~is_near, x).astype(x.dtype, copy=False)


def normal_cdf(xp: Any, x: Array) -> Array:
    """Phi(x), the probability that a standard normal number is at most x."""
    return 0.5 * (1 + erf(xp, x * math.sqrt(0.5)))


def normal_quantile(xp: Any, p: Array) -> Array:
    """The x with Phi(x) = p, for p in (0, 1); -inf at 0 and inf at 1."""
    wide = widen(p)
    q = wide - 0.5
    r = xp.sqrt(-xp.log(xp.minimum(wide, 1 - wide)))
    centre = q * _quotient(QUANTILE_CENTRE, 0.180625 - q * q)
    tail = xp.where(r <= 5, _quotient(QUANTILE_TAIL, r - 1.6), _quotient(QUANTILE_FAR_TAIL, r - 5))
    tail = xp.where(r < 100, tail, r)  # r is infinite at p = 0 and p = 1, where the quotients are NaN
    return xp.where(xp.abs(q) <= 0.425, centre, xp.copysign(tail, q)).astype(p.dtype, copy=False)


def _quotient(polynomials: tuple[tuple[float, ...], tuple[float, ...]], t: Array) -> Array:
    above, below = polynomials
    return _horner(above, t) / _horner(below, t)


def _horner(coefficients: tuple[float, ...], t: Array) -> Array:
    total = coefficients[0] * t
    for c in coefficients[1:-1]:
        total += c
        total *= t
    total += coefficients[-1]
    return total
