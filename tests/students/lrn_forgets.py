"""A forward that leaves things behind for backward, instead of in `saved`."""

kept = {}


def window_sum(a, n):
    total, C = a.copy(), a.shape[1]
    for r in range(1, min(n // 2, C - 1) + 1):
        total[:, r:] += a[:, :-r]
        total[:, :-r] += a[:, r:]
    return total


def forward(x, n, alpha, beta, k, convention):
    alpha = alpha / n if convention == "pytorch" else alpha
    s = k + alpha * window_sum(x * x, n)
    y = x * s**-beta
    kept["x"], kept["y"], kept["s"] = x, y, s
    return y, ()


def backward(dy, saved, n, alpha, beta, k, convention):
    x, y, s = kept["x"], kept["y"], kept["s"]
    alpha = alpha / n if convention == "pytorch" else alpha
    return (dy * s**-beta - 2 * alpha * beta * x * window_sum(dy * y / s, n),)
