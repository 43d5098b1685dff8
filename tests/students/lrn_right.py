"""Local response normalisation, right."""


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
    return y, (x, y, s)


def backward(dy, saved, n, alpha, beta, k, convention):
    x, y, s = saved
    alpha = alpha / n if convention == "pytorch" else alpha
    return (dy * s**-beta - 2 * alpha * beta * x * window_sum(dy * y / s, n),)
