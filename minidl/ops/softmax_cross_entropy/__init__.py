"""Softmax cross-entropy: the surprise at the right class, straight from the scores.

    p_n  = softmax(scores_n)        q_n = (1 - e) [c = labels_n] + e / C        e = label_smoothing
    l_n  = -sum_c q_nc log p_nc     loss = sum_n l_n / M        M = number of labels that count ('mean'), 1 ('sum')

    dscores_n = (p_n - q_n) dloss / M        and 0 where the label is ignore_index

    scores : [N, C]   labels : [N] in [0, C) or ignore_index   loss : [], with reduction='none' [N]
    saved  : (p, labels)

Kernels: `log_sum_exp` (the formulas, below), `cuda` (cuda.py: on a GPU, a row in one pass over memory).

The log of a probability comes by log-sum-exp, never as log(softmax), which is -inf where a probability rounds to 0.
Half types are computed in float32. A label equal to ignore_index adds no loss and is not counted by the mean. If no
label counts, the mean is NaN and its gradient 0, both as in PyTorch (`cross_entropy`): a mean of nothing has no value.

>>> scores = Tensor([[0.0, 0.0, 0.0, 0.0]], requires_grad=True)
>>> loss = minidl.softmax_cross_entropy(scores, [2])
>>> round(loss.item(), 4)  # ln 4: each of four classes is as likely
1.3863
>>> loss.backward()
>>> scores.grad.round(4).tolist()  # p - q
[[0.25, 0.25, -0.75, 0.25]]

Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016, section 7 (label smoothing); PyTorch's cross_entropy.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import Array, xp_of
from minidl.draw import Draw
from minidl.op import Cost, Op, Problem
from minidl.ops.half import narrow, widen
from minidl.ops.log_softmax import log_probabilities
from minidl.ops.losses import check_labels, check_reduction
from minidl.ops.softmax import OFFSETS
from minidl.ops.softmax_cross_entropy import cuda
from minidl.signature import Shape, ShapeError


def counted(labels: Array, ignore_index: int, reduction: str, p: Array) -> tuple[Array, Array, Array]:
    """Which labels count [N]; the class to look at [N] (0 where none counts); what to divide the sum by."""
    xp, counts = xp_of(labels), labels != ignore_index
    number = counts.sum(dtype=p.dtype)
    divisor = xp.where(number > 0, number, xp.nan) if reduction == "mean" else xp.ones_like(number)
    return counts, xp.where(counts, labels, 0), divisor


def forward(scores: Array, labels: Array, *, label_smoothing: float, ignore_index: int, reduction: str) -> tuple[Array, tuple]:
    xp = xp_of(scores)
    log_p = log_probabilities(widen(scores))  # [N, C]
    counts, classes, divisor = counted(labels, ignore_index, reduction, log_p)
    losses = -(1 - label_smoothing) * log_p[xp.arange(len(labels)), classes]
    if label_smoothing:
        losses = losses - label_smoothing * log_p.mean(axis=1)
    losses = xp.where(counts, losses, 0)
    loss = losses if reduction == "none" else losses.sum() / divisor
    return narrow(loss, scores), (xp.exp(log_p), labels)


def backward(dy: Array, saved: tuple, needs: tuple, *, label_smoothing: float, ignore_index: int, reduction: str) -> tuple:
    p, labels = saved
    xp, (N, C) = xp_of(p), p.shape
    counts, classes, divisor = counted(labels, ignore_index, reduction, p)
    share = xp.where(counts, widen(dy) / divisor, 0)  # [N]: what each loss is worth
    dz = p - label_smoothing / C
    dz[xp.arange(N), classes] -= 1 - label_smoothing
    return narrow(dz * share[:, None], dy), None


def definition(
    scores: np.ndarray, labels: np.ndarray, *, label_smoothing: float, ignore_index: int, reduction: str
) -> np.ndarray:
    losses, C = [], scores.shape[1]
    for row, label in zip(scores, labels, strict=True):
        log_total = max(row) + math.log(sum(math.exp(score - max(row)) for score in row))
        q = [(1 - label_smoothing) * (c == label) + label_smoothing / C for c in range(C)]
        losses.append(0.0 if label == ignore_index else sum(q[c] * (log_total - row[c]) for c in range(C)))
    if reduction == "none":
        return np.array(losses)
    return np.array(sum(losses) / (sum(labels != ignore_index) if reduction == "mean" else 1))


def shape(scores: Shape, labels: Shape, *, label_smoothing: float, reduction: str, ignore_index: int) -> Shape:
    check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise ShapeError(f"label_smoothing is a part of 1, in [0, 1], got {label_smoothing}")
    return labels if reduction == "none" else ()


def domain(scores: Array, labels: Array, *, ignore_index: int, **_: object) -> None:
    check_labels("softmax_cross_entropy", labels, scores.shape[1], ignore_index)


def problem(d: Draw) -> Problem:  # the first label always counts: a mean of nothing has no slope to measure
    N, C = d.size("N", 5), d.size("C", 5, least=2)
    ignore_index = d.one_of("ignore_index", (-100, 0, 1))
    labels = d.labels(N, C)
    if d.one_of("some ignored", (True, False)):
        labels = np.where(d.rng.random(N) < 0.4, ignore_index, labels)
    labels[0] = C - 1 if ignore_index == 0 else 0
    attrs = {name: d.one_of(name, options) for name, options in LOUD.items()}
    scores = 2 * d.array(N, C) + d.one_of("offset", OFFSETS)
    return Problem((scores, labels), {"ignore_index": ignore_index, **attrs})


ALL_COUNT = {"some ignored": False, "offset": 0}
LOUD = {"label_smoothing": (0.0, 0.1, 0.4), "reduction": ("mean", "sum", "none")}

softmax_cross_entropy = Op(
    "softmax_cross_entropy",
    "scores[N,C] labels[N]:int -> loss[]",
    definition,
    problem,
    doc=__doc__,
    attrs={"label_smoothing": 0.0, "ignore_index": -100, "reduction": "mean"},
    shape=shape,
    domain=domain,
    workloads={
        "alexnet": {"N": 128, "C": 1000, **ALL_COUNT},
        "inception_v3": {"N": 128, "C": 1000, "label_smoothing": 0.1, **ALL_COUNT},
        "resnet20": {"N": 128, "C": 10, **ALL_COUNT},
    },
    cost=lambda scores, labels, **_: Cost(other=6 * math.prod(scores)),
)
softmax_cross_entropy.kernel("log_sum_exp", forward, backward, analytic=True)
softmax_cross_entropy.kernel("cuda", cuda.forward, cuda.backward, source=cuda.SOURCE, refuses=cuda.refuses)
