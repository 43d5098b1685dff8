"""A right file that prints at every call, and more than anyone reads."""


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
    print("forward was here, with a mean of", y.mean(), "." * 10_000)
    return y, (x, y, s)


def backward(dy, saved, n, alpha, beta, k, convention):
    x, y, s = saved
    alpha = alpha / n if convention == "pytorch" else alpha
    return (dy * s**-beta - 2 * alpha * beta * x * window_sum(dy * y / s, n),)
