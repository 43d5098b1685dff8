"""Planted bugs in local response normalisation."""

from patches import Patch


def row(old: str, new: str, law: str) -> Patch:
    return Patch("lrn[window]", old, new, law, "minidl.ops.lrn")


PATCHES = [
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
]
