"""Planted bugs in bias and rectifier."""

from patches import Patch


def rows(old: str, new: str, law: str) -> Patch:
    return Patch("bias_relu[rows]", old, new, law, "minidl.ops.bias_relu")


def in_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("bias_relu[cuda]", old, new, law, "bias_relu.cu", "minidl.ops.bias_relu.cuda")


def cuda(old: str, new: str, law: str) -> Patch:
    return Patch("bias_relu[cuda]", old, new, law, "minidl.ops.bias_relu.cuda")


PATCHES = [
    rows("X + along(bias, X)", "X - along(bias, X)", "forward_is_the_definition"),
    rows("clip(Y, 0, math.inf", "clip(Y, -0.5, math.inf", "forward_is_the_definition"),
    rows("as_images(xp_of(Y)", "(lambda Y, x: Y.reshape(x.shape))(xp_of(Y)", "forward_is_the_definition"),
    rows("(y > 0)", "(y >= 0)", "backward_is_the_derivative"),
    rows("channel_sums(as_rows(widen(dx))", "channel_sums(as_rows(widen(dy))", "backward_is_the_derivative"),
    rows("if needs[1] else None", "if needs[0] else None", "backward_is_the_derivative"),
    rows("return dx if needs[0] else None, dbias", "return dx, dbias", "backward_is_the_derivative"),
    rows("(y > 0).astype(dy.dtype) * dy", "(y * dy > 0).astype(dy.dtype) * dy", "backward_is_linear_and_repeatable"),
    rows("    Y = X + along(bias, X)", "    X += along(bias, X)\n    Y = X", "arguments_are_left_alone"),
    rows("dx = (y > 0).astype(dy.dtype) * dy", "dx = dy\n    dx *= y > 0", "arguments_are_left_alone"),
    rows("as_rows(widen(dx))", "widen(dx).ravel('K').reshape(-1, y.shape[1])", "strides_do_not_matter"),
    rows("y.shape[1]), dy)", "y.shape[1]), dx.astype(float))", "float_types_are_kept"),
    rows("(y > 0).astype(dy.dtype)", "(y > 0).astype(float)", "float_types_are_kept"),
    rows("(y > 0).astype(dy.dtype)", "np.greater(y, 0).astype(dy.dtype)", "array_library_does_not_matter"),
    rows("along(bias, X)", "along(bias, X) / len(x)", "batches_are_independent"),
    in_cuda("(A)value + b", "(A)value - b", "forward_is_the_definition"),
    in_cuda("here.column % C", "0", "forward_is_the_definition"),
    in_cuda("z <= 0 ? 0 : z", "z", "forward_is_the_definition"),
    in_cuda("z <= 0 ? 0 : z", "z < b ? 0 : z", "forward_is_the_definition"),
    in_cuda("(A)at.y > 0 ?", "(A)at.y >= 0 ?", "backward_is_the_derivative"),
    in_cuda("sum += g;", "sum += (A)at.dy;", "backward_is_the_derivative"),
    in_cuda("sum = over_warps(sum);", "", "backward_is_the_derivative"),
    in_cuda("dbias[here.slot] = sum", "dbias[here.slot] = sum + 1", "backward_is_linear_and_repeatable"),
    in_cuda("mine[p * C]", "mine[p]", "backward_is_the_derivative"),
    cuda("if needs[0] else None", "", "backward_is_the_derivative"),
    cuda("empty_like(G), parts_of(G)", "asarray(G), parts_of(G)", "arguments_are_left_alone"),
    cuda("as_rows(dy)", "dy.ravel('K').reshape(as_rows(y).shape)", "strides_do_not_matter"),
    cuda("narrow(joined(SOURCE, sums)[0], dy)", "joined(SOURCE, sums)[0]", "float_types_are_kept"),
    cuda("*parts, C,", "*parts, len(x) % C + 1,", "batches_are_independent"),
]
