"""Wrong in backward: where windows overlap, the last one wins instead of all being added."""

import numpy as np


def forward(x, w, stride=1, padding=0):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    (N, _, H, W), (K, _, R, S) = x.shape, w.shape
    P, Q = (H - R) // stride + 1, (W - S) // stride + 1
    y = np.zeros((N, K, P, Q), x.dtype)
    for p in range(P):
        for q in range(Q):
            patch = x[:, :, p * stride : p * stride + R, q * stride : q * stride + S]
            y[:, :, p, q] = np.einsum("ncrs,kcrs->nk", patch, w)
    return y, (x, w, stride, padding)


def backward(dy, saved):
    x, w, stride, padding = saved
    (_, _, R, S), (_, _, P, Q) = w.shape, dy.shape
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for p in range(P):
        for q in range(Q):
            here = (slice(None), slice(None), slice(p * stride, p * stride + R), slice(q * stride, q * stride + S))
            dx[here] = np.einsum("nk,kcrs->ncrs", dy[:, :, p, q], w)
            dw += np.einsum("nk,ncrs->kcrs", dy[:, :, p, q], x[here])
    H, W = x.shape[2] - 2 * padding, x.shape[3] - 2 * padding
    return dx[:, :, padding : padding + H, padding : padding + W], dw
