"""Softmax cross-entropy on the GPU: softmax_cross_entropy.cu, a block for each row.

saved : (scores, labels, tops [N], log_sums [N], divisor []): log p = scores - tops - log_sums; tops and log_sums of a half type
        in float32. With reduction='none' there is no divisor.
"""

from __future__ import annotations

import numpy as np

from minidl.backend import Array, xp_of
from minidl.cuda import BLOCK, Source, threads_for
from minidl.ops.half import narrow
from minidl.signature import Shape

SOURCE = Source(__file__, "softmax_cross_entropy.cu")


def forward(scores: Array, labels: Array, *, label_smoothing: float, ignore_index: int, reduction: str) -> tuple[Array, tuple]:
    xp, (N, C), wide = xp_of(scores), scores.shape, np.result_type(scores.dtype, np.float32)
    scores, labels = xp.ascontiguousarray(scores), xp.ascontiguousarray(labels.astype(np.int64, copy=False))
    tops, log_sums, losses = (xp.empty(N, dtype=wide) for _ in range(3))
    rows, threads = (scores, labels, tops, log_sums, losses, N, C, float(label_smoothing), ignore_index), threads_for(C)
    SOURCE.launch("row_losses", N * threads, *rows, block=threads)
    if reduction == "none":
        return narrow(losses, scores), (scores, labels, tops, log_sums, None)
    loss, divisor = xp.empty((), dtype=scores.dtype), xp.empty((), dtype=wide)
    SOURCE.launch("whole_loss", BLOCK, loss, divisor, losses, labels, N, ignore_index, int(reduction == "mean"), block=BLOCK)
    return loss, (scores, labels, tops, log_sums, divisor)


def backward(dy: Array, saved: tuple, needs: tuple, *, label_smoothing: float, ignore_index: int, reduction: str) -> tuple:
    scores, labels, tops, log_sums, divisor = saved
    xp, (N, C), each = xp_of(scores), scores.shape, reduction == "none"
    dscores, divisor, threads = xp.empty_like(scores), tops if each else divisor, threads_for(C)
    rows = (xp.ascontiguousarray(dy), scores, labels, tops, log_sums, divisor, dscores, N, C)
    SOURCE.launch("scores_gradient", N * threads, *rows, float(label_smoothing), ignore_index, int(each), block=threads)
    return dscores, None


def refuses(scores: Shape, labels: Shape, *, ignore_index: int, **_: object) -> str | None:
    if scores[1] == 0:
        return "there is no class"
    return None if abs(ignore_index) < 2**31 else f"ignore_index={ignore_index} is beyond 32 bits"
