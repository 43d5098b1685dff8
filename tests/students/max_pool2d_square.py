"""Max pooling as it is drawn on the board: square windows, no padding, the first largest wins."""

import numpy as np


def forward(x, kernel_size: int, stride: int):
    (N, C, H, W), k = x.shape, kernel_size
    P, Q = (H - k) // stride + 1, (W - k) // stride + 1
    y, won = np.empty((N, C, P, Q), x.dtype), np.empty((N, C, P, Q), np.int64)
    for p in range(P):
        for q in range(Q):
            window = x[:, :, p * stride : p * stride + k, q * stride : q * stride + k].reshape(N, C, k * k)
            y[:, :, p, q], won[:, :, p, q] = window.max(-1), window.argmax(-1)
    return y, {"won": won, "shape": x.shape, "kernel_size": k, "stride": stride}


def backward(dy, saved):
    won, k, stride = saved["won"], saved["kernel_size"], saved["stride"]
    dx = np.zeros(saved["shape"], dy.dtype)
    for n, c, p, q in np.ndindex(dy.shape):
        r, s = divmod(won[n, c, p, q], k)
        dx[n, c, p * stride + r, q * stride + s] += dy[n, c, p, q]
    return (dx,)
