"""Planted bugs in local response normalisation."""

from patches import Patch


def row(old: str, new: str, law: str) -> Patch:
    return Patch("lrn[window]", old, new, law, "minidl.ops.lrn")


def run(old: str, new: str, law: str) -> Patch:
    return Patch("lrn[run]", old, new, law, "minidl.ops.lrn.run")


def loops(old: str, new: str, law: str) -> Patch:
    return Patch("lrn[compiled]", old, new, law, "minidl.ops.lrn.loops", "minidl.ops.lrn.compiled")


def in_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("lrn[cuda]", old, new, law, "lrn.cu", "minidl.ops.lrn.cuda")


def compiled(old: str, new: str, law: str) -> Patch:
    return Patch("lrn[compiled]", old, new, law, "minidl.ops.lrn.compiled")


PATCHES = [
    loops("s[c] = k", "s[c] = 1", "forward_is_the_definition"),
    loops("range(-h, h + 1)", "range(-h, h)", "forward_is_the_definition"),
    loops("C - max(0, j)]", "C - abs(j)]", "forward_is_the_definition"),
    loops("out[c] = pixel[c] * root[c] ** power", "out[c] = pixel[c] * root[c] ** (power - 1)", "forward_is_the_definition"),
    loops("* square * square *", "* square *", "backward_is_the_derivative"),
    loops("out[c] += pixel[c] * total[c]", "out[c] -= pixel[c] * total[c]", "backward_is_the_derivative"),
    loops(
        "        for c in range(C):\n            out[c] += ",
        "        for c in range(1, C):\n            out[c] += ",
        "backward_is_the_derivative",
    ),
    loops("g[c] = factor", "root[c] *= root[c]\n            g[c] = factor", "arguments_are_left_alone"),
    in_cuda("d <= REACH; d++", "d < REACH; d++", "forward_is_the_definition"),
    in_cuda("c + d >= 0 :", "c + d > 0 :", "forward_is_the_definition"),
    in_cuda("c + d < C)", "c + d <= C)", "forward_is_the_definition"),
    in_cuda("(tile * TILE % C + t) % C", "t", "forward_is_the_definition"),
    in_cuda("{ near[t + REACH] = x[i]; }", "{ near[t + REACH] = x[0]; }", "forward_is_the_definition"),
    in_cuda("pow(s, -beta)", "pow(s, beta)", "forward_is_the_definition"),
    in_cuda("r * sqrt(r)", "sqrt(r)", "forward_is_the_definition"),
    in_cuda("2 * alpha * beta", "alpha * beta", "backward_is_the_derivative"),
    in_cuda("g * *here / s", "g * *here", "backward_is_the_derivative"),
    in_cuda("return shares[t + REACH + d]", "return shares[t + REACH]", "backward_is_the_derivative"),
    in_cuda("shares[t + REACH + d]", "shares[t + d]", "backward_is_the_derivative"),
    in_cuda(
        "(A)dy[i] * s_to_the_minus(beta, s)", "(A)dy[i] * s_to_the_minus(beta, s) + 1", "backward_is_linear_and_repeatable"
    ),
    Patch("lrn[cuda]", 'launch("lrn_forward", X', 'launch("lrn_forward", x', "strides_do_not_matter", "minidl.ops.lrn.cuda"),
    Patch("lrn[cuda]", "xp_of(dy).empty_like(dY)", "xp_of(dy).empty(dY.shape)", "float_types_are_kept", "minidl.ops.lrn.cuda"),
    compiled("number(-2 * share * beta)", "number(-share * beta)", "backward_is_the_derivative"),
    compiled("np.empty_like(X), np.empty_like(X)", "np.empty_like(X), np.empty(X.shape)", "float_types_are_kept"),
    row("for r in range(1, n // 2 + 1)", "for r in range(1, n // 2)", "forward_is_the_definition"),
    row("total[:, :-r] += a[:, r:]", "total[:, :-r] += a[:, :-r]", "forward_is_the_definition"),
    row("z * s**-beta", "z * s**beta", "forward_is_the_definition"),
    row("s = k + alpha *", "s = 1 + alpha *", "forward_is_the_definition"),
    row("dx = g * s**-beta - 2 * alpha", "dx = g * s**-beta + 2 * alpha", "backward_is_the_derivative"),
    row("- 2 * alpha * beta", "- alpha * beta", "backward_is_the_derivative"),
    row("window_sum(g * y / s, n)", "window_sum(g * y, n)", "backward_is_the_derivative"),
    row("window_sum(g * y / s, n)", "g * y / s", "backward_is_the_derivative"),
    row("    x, y, s = saved\n", "    x, y, s = saved\n    dy *= 1.0\n    s += 1e-9\n", "arguments_are_left_alone"),
    row("return narrow(y, x), (x, y, s)", "return y, (x, y, s)", "float_types_are_kept"),
    row("total = a.copy()", "total = np.array(a, np.float64)", "float_types_are_kept"),
    row("total = a.copy()", "total = np.array(a)", "array_library_does_not_matter"),
    run("    if n % 2:\n", "    if n == 1:\n", "forward_is_the_definition"),
    run("half[n // 2 : n // 2 + many]", "half[n // 2 - 1 : n // 2 - 1 + many]", "forward_is_the_definition"),
    run("[..., :C]", "[..., zeros:]", "forward_is_the_definition"),
    run("empty((pixels + 2, zeros + C)", "empty((pixels + 2, 1 + C)", "forward_is_the_definition"),
    run("r * t if beta == 0.75", "r * t if beta", "forward_is_the_definition"),
    run("t ** (4 * beta)", "t ** (2 * beta)", "forward_is_the_definition"),
    run("    r *= r\n", "    r *= t\n", "backward_is_the_derivative"),
    run("    r *= x  #", "    r *= 1  #", "backward_is_the_derivative"),
    run("(-2 * alpha * beta) *", "(-alpha * beta) *", "backward_is_the_derivative"),
    run("    dx += v\n", "    dx += v + alpha\n", "backward_is_linear_and_repeatable"),
    run("r = t * t\n", "t *= t\n    r = t * 1\n", "arguments_are_left_alone"),
    run("channels_last(widen(dy))", "widen(dy).ravel('K').reshape(t.shape)", "strides_do_not_matter"),
    run("dtype=a.dtype", "dtype=float", "float_types_are_kept"),
    run("xp_of(a).empty(", "__import__('numpy').empty(", "array_library_does_not_matter"),
    run("pixels = math.prod(a.shape[:-1])", "pixels = math.prod(a.shape[1:-1])", "batches_are_independent"),
]
