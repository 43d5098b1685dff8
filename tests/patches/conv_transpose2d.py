"""Planted bugs in the transposed convolutions."""

from patches import Patch


def im2col(old: str, new: str, law: str) -> Patch:
    return Patch("conv_transpose2d[im2col]", old, new, law, "minidl.ops.conv_transpose2d.im2col")


def direct(old: str, new: str, law: str) -> Patch:
    return Patch("conv_transpose2d[direct]", old, new, law, "minidl.ops.conv_transpose2d.direct")


def window(old: str, new: str, law: str) -> Patch:
    return Patch("conv_transpose2d[im2col]", old, new, law, "minidl.window", then="minidl.ops.conv_transpose2d.im2col")


PATCHES = [
    im2col("by_position(w[c])", "by_position(w[c][:, :, ::-1, ::-1])", "forward_is_the_definition"),
    im2col("windows.image(output_padding)", "windows.image()", "forward_is_the_definition"),
    im2col("whole + b", "whole - b", "forward_is_the_definition"),
    im2col("rows(w[c]).T", "w[c].reshape(len(w[c]), -1).T", "backward_is_the_derivative"),
    im2col("(C, R, S, Kg).transpose(0, 3, 1, 2)", "(C, Kg, R, S)", "backward_is_the_derivative"),
    im2col(
        "channels_first(joined(dx, axis=1).reshape(N, H, W, C))",
        "joined(dx, axis=1).reshape(N, C, H, W)",
        "backward_is_the_derivative",
    ),
    im2col("unfold(dy[:, k], windows)", "unfold(dy[:, k], windows._replace(stride=(1, 1)))", "backward_is_the_derivative"),
    im2col("unfold(dy[:, k], windows)", "unfold(dy[:, k] + 1, windows)", "backward_is_linear_and_repeatable"),
    im2col("    x, w = saved\n", "    x, w = saved\n    w += w\n", "arguments_are_left_alone"),
    im2col("channels_last(dy).reshape(", "dy.ravel('K').reshape(", "strides_do_not_matter"),
    im2col("whole + b.reshape", "whole + b.astype('float64').reshape", "float_types_are_kept"),
    im2col("gemm(X[:, c].T, U)", "gemm(X[:, c].T, U) / N", "batches_are_independent"),
    window("q : q + Q] += plane", "q : q + Q] = plane", "forward_is_the_definition"),
    window("image[:, top : top + H", "image[:, :H", "forward_is_the_definition"),
    window("sh * (P - 1) + high + more[0]", "sh * P + high + more[0]", "forward_is_the_definition"),
    direct("padded[here] += x", "padded[here] = x", "forward_is_the_definition"),
    direct("padded[:, :, top : top + P", "padded[:, :, bottom : bottom + P", "forward_is_the_definition"),
    direct("(seen * w[c])", "(seen * w[c][:, ::-1])", "backward_is_the_derivative"),
    direct("dw[c] += (", "dw[c] = (", "backward_is_the_derivative"),
    direct("dy.sum(axis=(0, 2, 3))", "dy[0].sum(axis=(1, 2))", "backward_is_the_derivative"),
    direct("xp.zeros_like(w)", "xp.empty_like(w)", "backward_is_linear_and_repeatable"),
    direct("xp.zeros_like(w)", "w", "arguments_are_left_alone"),
    direct("left + Q + right), dtype=x.dtype)", "left + Q + right))", "float_types_are_kept"),
    direct("xp_of(x).zeros(", "__import__('numpy').zeros(", "array_library_does_not_matter"),
    direct("x[:, c, h, v].reshape(N, 1, 1, 1) * w[c]", "x[:1, c, h, v].reshape(1, 1, 1, 1) * w[c]", "batches_are_independent"),
]
