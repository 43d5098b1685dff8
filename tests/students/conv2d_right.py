"""A right answer, as a student may write it: R * S shifted products, every attribute, no `needs`."""

import numpy as np


def forward(x, w, b, stride, padding, dilation, groups):
    (N, _, H, W), (K, Cg, R, S) = x.shape, w.shape
    top, bottom, left, right = padding
    xp = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    P = (xp.shape[2] - dilation[0] * (R - 1) - 1) // stride[0] + 1
    Q = (xp.shape[3] - dilation[1] * (S - 1) - 1) // stride[1] + 1
    y = np.zeros((N, K, P, Q), x.dtype)
    for g in range(groups):
        inside, outside = slice(g * Cg, (g + 1) * Cg), slice(g * K // groups, (g + 1) * K // groups)
        for r in range(R):
            for s in range(S):
                view = window(xp, r, s, P, Q, stride, dilation)[:, inside]
                y[:, outside] += np.einsum("ncpq,kc->nkpq", view, w[outside, :, r, s])
    if b is not None:
        y += b[:, None, None]
    return y, (xp, w, b is not None, (H, W))


def backward(dy, saved, stride, padding, dilation, groups):
    xp, w, has_bias, (H, W) = saved
    (K, Cg, R, S), (P, Q) = w.shape, dy.shape[2:]
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for g in range(groups):
        inside, outside = slice(g * Cg, (g + 1) * Cg), slice(g * K // groups, (g + 1) * K // groups)
        for r in range(R):
            for s in range(S):
                view = window(xp, r, s, P, Q, stride, dilation)[:, inside]
                dview = window(dxp, r, s, P, Q, stride, dilation)[:, inside]
                dview += np.einsum("nkpq,kc->ncpq", dy[:, outside], w[outside, :, r, s])
                dw[outside, :, r, s] = np.einsum("nkpq,ncpq->kc", dy[:, outside], view)
    top, _, left, _ = padding
    dx = dxp[:, :, top : top + H, left : left + W]
    return dx, dw, dy.sum((0, 2, 3)) if has_bias else None


def window(x, r, s, P, Q, stride, dilation):
    """The pixel under filter element (r, s), for every output."""
    top, left = r * dilation[0], s * dilation[1]
    return x[:, :, top : top + stride[0] * P : stride[0], left : left + stride[1] * Q : stride[1]]
