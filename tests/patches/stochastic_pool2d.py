"""Planted bugs in stochastic pooling: draws that are not in proportion, and gradients that go elsewhere."""

from patches import Patch


def row(old: str, new: str, law: str) -> Patch:
    return Patch("stochastic_pool2d[philox]", old, new, law, "minidl.ops.stochastic_pool2d")


def in_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("stochastic_pool2d[cuda]", old, new, law, "stochastic_pool2d.cu", "minidl.ops.stochastic_pool2d.cuda")


def by_launch(old: str, new: str, law: str) -> Patch:
    return Patch("stochastic_pool2d[cuda]", old, new, law, "minidl.ops.stochastic_pool2d.cuda")


PATCHES = [
    in_cuda("uniform(bits[k]) * above[k]", "uniform(bits[k]) * along[k]", "forward_is_the_definition"),
    in_cuda("above[k] += along[k], along[k] = 0;", "above[k] += along[k];", "forward_is_the_definition"),
    in_cuda("above[k] + along[k] <= drop[k]", "along[k] <= drop[k]", "forward_is_the_definition"),
    in_cuda("first / 8)", "0)", "forward_is_the_definition"),
    in_cuda("(row % P * Q + q) * C + c;  //", "row % P * Q + q + c * P * Q;  //", "forward_is_the_definition"),
    in_cuda("j == first % 8 ?", "j == 0 ?", "forward_is_the_definition"),
    in_cuda("philox(key + 2 * n,", "philox(key,", "batches_are_independent"),
    in_cuda("(A)(code.at[k] == position)", "(A)(code.at[k] >= position)", "forward_is_the_definition"),
    in_cuda("0 <= v + s && v + s < w.W", "0 < v + s && v + s < w.W", "forward_is_the_definition"),
    in_cuda("squares[k] * one_over", "total[k] * one_over", "forward_is_the_definition"),
    in_cuda("== position ? (A)g.at[k] : 0", "== position + 1 ? (A)g.at[k] : 0", "backward_is_the_derivative"),
    in_cuda("(A)g.at[k] * one_over", "(A)g.at[k] * 1e-3 + 0 * one_over", "backward_is_the_derivative"),
    in_cuda("2 * (A)here.at[k] - (A)mean.at[k]", "2 * (A)here.at[k]", "backward_is_the_derivative"),
    in_cuda("sum[k] += part.at[k] * (2", "sum[k] += part.at[k] * (1", "backward_is_the_derivative"),
    by_launch("xp.ascontiguousarray(key)", "key", "strides_do_not_matter"),
    by_launch("dx = xp.empty((N, H, W, C), dtype=dy.dtype)", "dx = xp.empty((N, H, W, C))", "float_types_are_kept"),
    row("reshape(N, P, Q, C) * rows[-1]", "reshape(N, P, Q, C) * rows[0]", "forward_is_the_definition"),
    row(".reshape(N, P, Q, C) *", ".reshape(N, C, P, Q).transpose(0, 2, 3, 1) *", "forward_is_the_definition"),
    row("rows[r - 1] + along[:, cut]", "rows[r] + along[:, cut]", "forward_is_the_definition"),
    row("rows[r - 1] + along[:, cut]", "along[:, cut]", "forward_is_the_definition"),
    row("for along in within[:-1]:", "for along in within[1:]:", "forward_is_the_definition"),
    row("        code += (rows[r] <= drop).view(np.uint8)\n", "", "forward_is_the_definition"),
    row("sums.append(sums[-1] + term)", "sums.append(sums[0] + term)", "forward_is_the_definition"),
    row("window_sums(a * a, windows)", "window_sums(a, windows)", "forward_is_the_definition"),
    row("window_sums(a * a, windows)", "window_sums(a, windows) ** 2", "forward_is_the_definition"),
    row("window_sums(a, windows)), x))", "window_sums(a[:, ::-1], windows)), x))", "forward_is_the_definition"),
    row("(code == i)", "(code >= i)", "forward_is_the_definition"),
    row("fold((g * chosen for", "fold((g + 0 * chosen for", "backward_is_the_derivative"),
    row("masks(saved[0], g, windows))", "masks(saved[0][::-1], g, windows))", "backward_is_the_derivative"),
    row("masks(saved[0], g, windows))", "masks(saved[0] + np.uint8(1), g, windows))", "backward_is_the_derivative"),
    row("2 * x * twice - less", "x * twice - less", "backward_is_the_derivative"),
    row("2 * x * twice - less", "2 * x * twice", "backward_is_the_derivative"),
    row("share = g * one_over(", "share = g * 1e-3 + 0 * one_over(", "backward_is_the_derivative"),
    row("channels_last(widen(dy))\n", "channels_last(widen(dy)) + 1\n", "backward_is_linear_and_repeatable"),
    row("g * chosen for", "g.__imul__(2) * chosen for", "arguments_are_left_alone"),
    row(
        ", g = Windows.over(x_shape, kernel_size, stride, padding, ceil_mode=ceil_mode), channels_last(widen(dy))\n",
        "= Windows.over(x_shape, kernel_size, stride, padding, ceil_mode=ceil_mode)\n"
        "    g = widen(dy).ravel('K').reshape(len(dy), *windows.grid, -1)\n",
        "strides_do_not_matter",
    ),
    row("zeros(code.shape, dtype=x.dtype)", "zeros(code.shape)", "float_types_are_kept"),
    row("code, x.shape)", "code * 1.0, x.shape)", "float_types_are_kept"),
    row("xp_of(x).zeros(code.shape", "np.zeros(code.shape", "array_library_does_not_matter"),
    row("xp_of(total).where(", "np.where(", "array_library_does_not_matter"),
    row("random_uniforms(key,", "random_uniforms(key[:1] + 0 * key,", "batches_are_independent"),
]
