"""Planted bugs in the three convolutions."""

from patches import Patch


def im2col(old: str, new: str, law: str, file: str = "conv2d.im2col") -> Patch:
    return Patch("conv2d[im2col]", old, new, law, f"minidl.ops.{file}")


def shifts(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[shifts]", old, new, law, "minidl.ops.conv2d.shifts")


def direct(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[direct]", old, new, law, "minidl.ops.conv2d.direct")


def window(kernel: str, old: str, new: str, law: str) -> Patch:
    """A bug in the shared geometry, seen through one kernel."""
    return Patch(f"conv2d[{kernel}]", old, new, law, "minidl.window", then=f"minidl.ops.conv2d.{kernel}")


PATCHES = [
    im2col("rows(w[k]).T", "w[k].reshape(len(w[k]), -1).T", "forward_is_the_definition"),
    im2col("unfold(x[:, c], windows), rows", "unfold(x[:, : w.shape[1]], windows), rows", "forward_is_the_definition"),
    im2col("        y += b\n", "        y -= b\n", "forward_is_the_definition"),
    im2col("by_position(w[k])", "by_position(w[k][:, :, ::-1, ::-1])", "backward_is_the_derivative"),
    im2col("(K, R, S, Cg).transpose(0, 3, 1, 2)", "(K, Cg, R, S)", "backward_is_the_derivative"),
    im2col("unfold(x[:, c], windows)))", "unfold(x[:, c], windows._replace(stride=(1, 1)))))", "backward_is_the_derivative"),
    im2col("add_rows(dY) if needs[2] else None", "add_rows(dY)", "backward_is_the_derivative"),
    im2col("add_rows(dY)", "add_rows(dY) / len(dY)", "backward_is_the_derivative"),
    im2col("add_rows(dY)", "add_rows(dY + 1)", "backward_is_linear_and_repeatable"),
    im2col("    x, w = saved\n", "    x, w = saved\n    w *= 2.0\n", "arguments_are_left_alone"),
    im2col("w.transpose(0, 2, 3, 1).reshape", "w.ravel('K').reshape", "strides_do_not_matter"),
    im2col("        y += b\n", "        y = y + b.astype('float64')\n", "float_types_are_kept"),
    im2col("add_rows(dY)", "add_rows(dY) / len(x)", "batches_are_independent"),
    window("im2col", "padded[:, top : top + H", "padded[:, rows - top - H : rows - top", "forward_is_the_definition"),
    window("im2col", ", ::dh, ::dw]", ", ::dw, ::dh]", "forward_is_the_definition"),
    window("im2col", "total[windows.at(r, s)] += plane", "total[windows.at(r, s)] = plane", "backward_is_the_derivative"),
    window("im2col", "xp_of(like).zeros(", "np.zeros(", "array_library_does_not_matter"),
    shifts("y += gemm", "y = gemm", "forward_is_the_definition"),
    shifts("w[:, :, r, s].T", "w[:, :, -1 - r, -1 - s].T", "forward_is_the_definition"),
    shifts("reshape(-1, Cg)", "reshape(-1, Cg)[::-1]", "backward_is_the_derivative"),
    shifts("w[k, :, r, s])", "w[k, :, -1 - r, -1 - s])", "backward_is_the_derivative"),
    shifts(
        "pad(x[:, c], windows)",
        "pad(x[:, c], windows._replace(padding=(padding[1], padding[0], *padding[2:])))",
        "backward_is_the_derivative",
    ),
    shifts("add_rows(dY) if needs[2]", "add_rows(dY) if needs[1]", "backward_is_the_derivative"),
    shifts("zeros((N * P * Q", "empty((N * P * Q", "backward_is_linear_and_repeatable"),
    shifts("    x, w = saved\n", "    x, w = saved\n    dy *= 0.5\n", "arguments_are_left_alone"),
    shifts("narrow(y, x).reshape", "y.reshape", "float_types_are_kept"),
    shifts("empty(w.shape, dtype=w.dtype)", "empty(w.shape)", "float_types_are_kept"),
    shifts("        y += b\n", "        y += b * len(x)\n", "batches_are_independent"),
    window("shifts", "slice(first * gap, first * gap +", "slice(first, first +", "forward_is_the_definition"),
    window("shifts", "total[:, top : top + H", "total[:, :H", "backward_is_the_derivative"),
    window("shifts", "xp_of(x).full(", "np.full(", "array_library_does_not_matter"),
    direct("(seen * w[k])", "(seen * w[k][:, ::-1, ::-1])", "forward_is_the_definition"),
    direct("first = k // (K // groups) * Cg", "first = k % groups * Cg", "forward_is_the_definition"),
    direct("rows = slice(p * sh, p * sh +", "rows = slice(p * sw, p * sw +", "forward_is_the_definition"),
    direct("(top, bottom), (left, right)", "(bottom, top), (left, right)", "forward_is_the_definition"),
    direct("dx[here] += d", "dx[here] = d", "backward_is_the_derivative"),
    direct("dx[:, :, top : top + H, left : left + W]", "dx[:, :, :H, :W]", "backward_is_the_derivative"),
    direct("(d * padded[here])", "(d * x[here])", "backward_is_the_derivative"),
    direct("xp.zeros_like(w)", "xp.empty_like(w)", "backward_is_linear_and_repeatable"),
    direct("xp.zeros_like(w)", "w", "arguments_are_left_alone"),
    direct("*windows.grid), dtype=x.dtype)", "*windows.grid))", "float_types_are_kept"),
    direct("xp_of(x).pad(", "__import__('numpy').pad(", "array_library_does_not_matter"),
    direct("(d * padded[here]).sum(axis=0)", "(d * padded[here]).mean(axis=0)", "batches_are_independent"),
]
