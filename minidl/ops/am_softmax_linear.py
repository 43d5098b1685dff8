"""AM-softmax with a linear part: far from its class a sample has the AM-softmax loss, near it a loss linear in the cosine.

    C_j = <x, w_j> / (|x| |w_j|) = cos t_j        y the right class, C_y' = min(C_y, cos m)

    t_y > m, that is C_y < cos m :   A = -log p_y,      p = softmax(z),  z_j = s C_j,  z_y = s (C_y' - m)
    else                         :   a (1 - C_y) + c,   or A + a (cos m - C_y) with continuous=True
    loss = the mean over the N samples

    dC_j = s (p_j - [j = y]) dloss / N     far, or (j != y) with continuous=True; there `p` is that of C_y', at the edge
    dC_y = -a dloss / N                    near; the other dC_j are 0 without `continuous`
    dx, dw from dC as in minidl.cosine_logits

    x : [N, D]   w : [C, D], one row per class   labels : [N] in [0, C)   loss : []
    saved : (u, 1 / |x|, v, 1 / |w|, p, is it far?, labels)     u = x / |x|, v = w / |w|

s, m  scale and margin, m in [0, pi) both as an angle (which part a sample has) and as what is taken off the cosine
a, c  slope and height of the linear part; they are fixed. Learned, they would be unbounded below: c -> -infinity
continuous  c is chosen for each sample so that both parts meet at t_y = m. It is then a function of the other cosines,
            c = A - a (1 - cos m) with A at C_y = cos m, its gradient is included, and the attribute c is not used
literal     the formula as it is printed, A = -p_y, for demonstration alone: from s = 10 on a net learns one of ten digits, or
            two. dC_j (not the line's -a) is p_y times what it is above: where cosines are alike, about exp(-s m) times

The paper: AM-softmax with "linear weights", by two branches that the angle and the margin tell apart, the first printed without
a logarithm. Our readings: the logarithm is restored; x_i of the linear a x_i + c is 1 - cos t_y, so that with a = 1 and c = 0
the loss falls to 0 where the vectors are parallel. Without `continuous` it jumps at t_y = m, where the linear part begins.

At equal cosines, below cos m, the loss is ln(1 + (C - 1) e^(s m)), as am_softmax has it. A norm of at most 1e-12 has cosine
0 and gradient 0. Half types: norms, sums and the softmax in float32. Accuracy is read from the cosines without the margin.

>>> w = [[1.0, 0.0], [0.0, 1.0]]
>>> round(minidl.am_softmax_linear([[1.0, 1.0]], w, [0], s=10.0).item(), 3)  # 45 degrees is more than m = 20: ln(1 + e^3.5)
3.53
>>> round(minidl.am_softmax_linear([[1.0, 0.1]], w, [0], s=10.0).item(), 3)  # 6 degrees: 1 - cos t
0.005

Source: Shaikh, Sharma, Chouhan, Mahawar 2020 (Alpha-Net), arXiv 2007.07221; AM-softmax: see minidl.am_softmax.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.cosine import WORKLOADS, cosine, through_unit, unit
from minidl.ops.cosine import cost as cost_of_cosines
from minidl.ops.gemm import gemm
from minidl.ops.half import narrow, widen
from minidl.ops.log_softmax import log_probabilities
from minidl.ops.losses import check_labels
from minidl.signature import Shape, ShapeError


def forward(
    x: Array, w: Array, labels: Array, *, s: float, m: float, a: float, c: float, continuous: bool, literal: bool
) -> tuple[Array, tuple]:
    xp, right, edge = xp_of(x), (xp_of(x).arange(len(labels)), labels), math.cos(m)
    (u, over_x), (v, over_w) = unit(x), unit(w)
    z = gemm(u, v.T)  # [N, C], the cosines at first
    own = z[right]
    far = own < edge
    z[right] = xp.where(far, own, edge) - m
    log_p = log_probabilities(s * z)
    p, log_own = xp.exp(log_p), log_p[right]
    angular = -xp.exp(log_own) if literal else -log_own
    linear = angular + a * (edge - own) if continuous else a * (1 - own) + c
    loss = xp.where(far, angular, linear).mean()
    return narrow(loss, x), (u, over_x, v, over_w, p, far, labels)


def backward(
    dy: Array, saved: tuple, needs: tuple, *, s: float, m: float, a: float, c: float, continuous: bool, literal: bool
) -> tuple:
    u, over_x, v, over_w, p, far, labels = saved
    xp, right = xp_of(p), (xp_of(p).arange(len(labels)), labels)
    dcos = s * p
    dcos[right] -= s
    if literal:
        dcos *= p[right][:, None]
    if not continuous:
        dcos *= far[:, None]
    dcos[right] = xp.where(far, dcos[right], -a)
    dcos *= widen(dy) / len(labels)
    dx = narrow(through_unit(gemm(dcos, v), u, over_x), dy) if needs[0] else None
    dw = narrow(through_unit(gemm(dcos.T, u), v, over_w), dy) if needs[1] else None
    return dx, dw, None


def definition(
    x: np.ndarray,
    w: np.ndarray,
    labels: np.ndarray,
    *,
    s: float,
    m: float,
    a: float,
    c: float,
    continuous: bool,
    literal: bool,
) -> np.ndarray:
    def angular(own: float, others: list[float]) -> float:
        won = math.exp(s * (own - m))
        p = won / (won + sum(math.exp(s * other) for other in others))
        return -p if literal else -math.log(p)

    total = 0.0
    for f, y in zip(x, labels, strict=True):
        cos = [cosine(f, row) for row in w]
        own, others = cos[y], [cos[j] for j in range(len(w)) if j != y]
        height = angular(math.cos(m), others) - a * (1 - math.cos(m)) if continuous else c
        total += angular(own, others) if math.acos(own) > m else a * (1 - own) + height
    return np.array(total / len(x))


def shape(x: Shape, w: Shape, labels: Shape, *, s: float, m: float, a: float, c: float, **_: bool) -> Shape:
    if not 0 < s < math.inf:
        raise ShapeError(f"s must be above 0 and finite, got s={s}")
    if not 0 <= m < math.pi:
        raise ShapeError(f"m is an angle, 0 or more and below pi, got m={m}")
    if not 0 <= a < math.inf:
        raise ShapeError(f"a, the slope of the linear part, must not be negative, got a={a}")
    if math.isinf(c):
        raise ShapeError(f"c, the height of the linear part, must be finite, got c={c}")
    return ()


def domain(x: Array, w: Array, labels: Array, **_: object) -> None:
    check_labels("am_softmax_linear", labels, len(w))


def problem(d: Draw) -> Problem:
    """Half of the samples near their class, none at the angle m, where the loss jumps or bends; a small s, as am_softmax."""
    N, C, D = d.size("N", 4), d.size("C", 4, least=2), d.size("D", 5, least=2)
    attrs = {"s": d.one_of("s", (1.0, 2.0, 4.0)), "m": d.one_of("m", (0.35, 0.8, 0.0)), "a": d.one_of("a", (1.0, 2.5, 0.4))}
    attrs |= {"c": d.one_of("c", (0.0, 0.7)), "continuous": d.flag("continuous"), "literal": d.flag("literal")}
    x, w, labels = d.array(N, D), d.array(C, D), d.labels(N, C)
    return Problem((clear_of(attrs["m"], x, w[labels], d.rng.integers(2, size=N)), w, labels), attrs)


def clear_of(m: float, x: np.ndarray, own: np.ndarray, near: np.ndarray) -> np.ndarray:
    """x pulled towards its own class where `near` says so, and turned round where its angle to it is next to m."""
    own, _ = unit(own)
    x = x + 5 * near[:, None] * own
    cos = (unit(x)[0] * own).sum(axis=1)
    return x * np.where(np.abs(cos - math.cos(m)) < 0.02, -1, 1)[:, None]


def cost(x: Shape, w: Shape, labels: Shape, **_: object) -> Cost:
    cosines = cost_of_cosines(x, w)
    return Cost(cosines.macs, cosines.other + 7 * x[0] * w[0])


am_softmax_linear = Op(
    "am_softmax_linear",
    "x[N,D] w[C,D] labels[N]:int -> loss[]",
    definition,
    problem,
    doc=__doc__,
    attrs={"s": 30.0, "m": 0.35, "a": 1.0, "c": 0.0, "continuous": False, "literal": False},
    shape=shape,
    domain=domain,
    workloads=WORKLOADS | {"alphanet.32": {"N": 32, "D": 64, "C": 10}, "alphanet.224": {"N": 32, "D": 512, "C": 1000}},
    cost=cost,
)
am_softmax_linear.kernel("unit_rows", forward, backward, analytic=True)
