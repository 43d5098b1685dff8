"""Transposed convolution by matrix products: im2col's backward run forward, and its forward run backward.

    X  [N*H*W, C]      the pixels of x as rows
    F  [C, R*S*K]      the filters as rows
    U  [N*H*W, R*S*K]  the windows of dy as rows: unfold(dy)

    Y = X F, and y = fold(Y) + b
    dX = U F^T         dF = X^T U         db = sum of dy over n, p, q

    saved : (x, w)

Y is not built whole: its columns for position (r, s) are X w[:, :, r, s], and are added to y at once. Groups are transposed
convolutions of their own: K is then the number of filters of one group.
"""

from __future__ import annotations

from minidl.backend import Array
from minidl.ops.conv2d.im2col import by_position, rows
from minidl.ops.gemm import add_rows, gemm
from minidl.ops.groups import groups_of, joined
from minidl.window import Pair, Sides, Windows, channels_first, channels_last, fold, unfold


def forward(
    x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Sides, output_padding: Pair, groups: int, dilation: Pair
) -> tuple[Array, tuple]:
    (N, C, H, W), (_, Kg, R, S) = x.shape, w.shape
    windows = Windows((H, W), (R, S), stride, padding, dilation)
    P, Q = windows.image(output_padding)
    X, y = channels_last(x).reshape(-1, C), []  # [N*H*W, C]
    for c, _ in groups_of(groups, C, groups * Kg):
        columns = (gemm(X[:, c], w_rs) for w_rs in by_position(w[c]))
        y.append(fold(columns, (N, Kg, P, Q), windows, like=x))
    whole = joined(y, axis=1)
    return whole if b is None else whole + b.reshape(-1, 1, 1), (x, w)


def backward(
    dy: Array, saved: tuple, needs: tuple, *, stride: Pair, padding: Sides, output_padding: Pair, groups: int, dilation: Pair
) -> tuple:
    x, w = saved
    (N, C, H, W), (_, Kg, R, S) = x.shape, w.shape
    windows = Windows((H, W), (R, S), stride, padding, dilation)
    X, dx, dw = channels_last(x).reshape(-1, C), [], []  # [N*H*W, C]
    for c, k in groups_of(groups, C, groups * Kg) if needs[0] or needs[1] else ():
        U = unfold(dy[:, k], windows)  # [N*H*W, R*S*Kg]
        if needs[0]:
            dx.append(gemm(U, rows(w[c]).T))
        if needs[1]:
            dw.append(gemm(X[:, c].T, U))
    return (
        channels_first(joined(dx, axis=1).reshape(N, H, W, C)) if needs[0] else None,
        joined(dw, axis=0).reshape(C, R, S, Kg).transpose(0, 3, 1, 2) if needs[1] else None,
        add_rows(channels_last(dy).reshape(-1, groups * Kg)) if needs[2] else None,
    )
