"""Planted bugs in batch normalisation with a residual and a rectifier."""

from patches import Patch


def relu(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm_relu[sums]", old, new, law, "minidl.ops.batch_norm_relu")


def relu_compiled(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm_relu[compiled]", old, new, law, "minidl.ops.batch_norm_relu.compiled")


def relu_loops(old: str, new: str, law: str) -> Patch:
    return Patch(
        "batch_norm_relu[compiled]", old, new, law, "minidl.ops.batch_norm_relu.loops", "minidl.ops.batch_norm_relu.compiled"
    )


def relu_in_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm_relu[cuda]", old, new, law, "batch_norm_relu.cu", "minidl.ops.batch_norm_relu.cuda")


def relu_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm_relu[cuda]", old, new, law, "minidl.ops.batch_norm_relu.cuda")


PATCHES = [
    relu("        z += residual", "        z -= residual", "forward_is_the_definition"),
    relu("clip(z, 0, math.inf", "clip(z, -1, math.inf", "forward_is_the_definition"),
    relu("(widen(x), weight, bias, eps", "(widen(x), weight, None, eps", "forward_is_the_definition"),
    relu("inverse_std, y), aux", "inverse_std, y), aux[::-1]", "forward_is_the_definition"),
    relu("(y > 0)", "(y >= 0)", "backward_is_the_derivative"),
    relu("(g, tuple(of_batch_norm)", "(dy, tuple(of_batch_norm)", "backward_is_the_derivative"),
    relu("*grads, g if", "*grads, dy if", "backward_is_the_derivative"),
    relu("g if needs[3] else None", "g", "backward_is_the_derivative"),
    relu("spent=not needs[3]", "spent=True", "backward_is_the_derivative"),
    relu("if any(needs[:3]):", "if needs[0]:", "backward_is_the_derivative"),
    relu("(y > 0).astype(dy.dtype) * dy", "(y * dy > 0).astype(dy.dtype) * dy", "backward_is_linear_and_repeatable"),
    relu("    *of_batch_norm, y = saved\n", "    *of_batch_norm, y = saved\n    dy *= y > 0\n", "arguments_are_left_alone"),
    relu("        z += residual", "        residual += z\n        z = residual", "arguments_are_left_alone"),
    relu("y = narrow(xp_of", "y = (xp_of", "float_types_are_kept"),
    relu("(y > 0).astype(dy.dtype)", "(y > 0).astype(float)", "float_types_are_kept"),
    relu("(y > 0).astype", "np.greater(y, 0).astype", "array_library_does_not_matter"),
    relu_compiled("else as_rows(residual)", "else as_rows(-residual)", "forward_is_the_definition"),
    relu_compiled("else as_rows(residual)", "else residual.ravel('K').reshape(as_rows(x).shape)", "strides_do_not_matter"),
    relu_compiled(
        "(X, weight, bias, mean, inverse_std), more", "(X, weight, None, mean, inverse_std), more", "forward_is_the_definition"
    ),
    relu_compiled("is None else y), (mean, var)", "is None else y), (var, mean)", "forward_is_the_definition"),
    relu_compiled(
        "(X, weight, bias, mean, inverse_std), None if",
        "(X, weight, None, mean, inverse_std), None if",
        "backward_is_the_derivative",
    ),
    relu_compiled("residual is None else y), (mean", "residual is None else x), (mean", "backward_is_the_derivative"),
    relu_compiled("inverse_std * product", "product", "backward_is_the_derivative"),
    relu_compiled("*line, b, d, masked, dx", "*line, b, b, masked, dx", "backward_is_the_derivative"),
    relu_compiled("plane(masked, X, a, b, d, dx)", "plane(G, X, a, b, d, dx)", "backward_is_the_derivative"),
    relu_compiled("as_images(masked, x) if needs[3] else None", "as_images(masked, x)", "backward_is_the_derivative"),
    relu_compiled("as_images(masked, x) if", "as_images(G, x) if", "backward_is_the_derivative"),
    relu_compiled("as_images(dx, x)\n", "dx.reshape(x.shape)\n", "backward_is_the_derivative"),
    relu_compiled("np.empty_like(X[:1] if y is None else X)", "G", "arguments_are_left_alone"),
    relu_loops("z += residual[r, i]", "z -= residual[r, i]", "forward_is_the_definition"),
    relu_loops("0 if z <= 0 else z", "z", "forward_is_the_definition"),
    relu_loops("z = a[i] * row[i] + c[i]\n            if", "z = a[i] * row[i]\n            if", "forward_is_the_definition"),
    relu_loops("if y is None else y[r, i]", "if y is None else y[0, i]", "backward_is_the_derivative"),
    relu_loops("z = a[i] * row[i] + c[i] if", "z = row[i] if", "backward_is_the_derivative"),
    relu_loops("g[i] if z > 0 else 0", "g[i]", "backward_is_the_derivative"),
    relu_loops("g[i] if z > 0 else 0", "g[i] if g[i] > 0 else 0", "backward_is_linear_and_repeatable"),
    relu_loops("k = r % len(masked)", "k = 0", "backward_is_the_derivative"),
    relu_loops("        mask(G, X, a, c, None, r, masked[0])\n", "", "backward_is_the_derivative"),
    relu_loops("a, slope, level, dx", "a, slope, c, dx", "backward_is_the_derivative"),
    relu_in_cuda("return a * (x - mean) + b", "return a * (x - mean)", "forward_is_the_definition"),
    relu_in_cuda("value <= 0 ? 0 : value", "value", "forward_is_the_definition"),
    relu_in_cuda("added ? residual[i] : (T)0", "added ? (T)0 : residual[i]", "forward_is_the_definition"),
    relu_in_cuda("(added ? (A)at.y : z(at.x)) > 0", "z(at.x) > 0", "backward_is_the_derivative"),
    relu_in_cuda("(added ? (A)at.y : z(at.x)) > 0", "(A)at.x > z.mean", "backward_is_the_derivative"),
    relu_in_cuda("dresidual[i] = g;", "dresidual[i] = at.dy;", "backward_is_the_derivative"),
    relu_in_cuda("sum += g;", "sum += (A)at.dy;", "backward_is_the_derivative"),
    relu_in_cuda("product * inverse_std[c];", "product;", "backward_is_the_derivative"),
    relu_in_cuda("g = z(at.x) > 0 ? (A)at.dy : 0;", "g = at.dy;", "backward_is_the_derivative"),
    relu_in_cuda("- level - slope", "- slope", "backward_is_the_derivative"),
    relu_in_cuda(
        "slope = inverse_std[c] * dweight[c] / M", "slope = (dweight[c] + 1) / M", "backward_is_linear_and_repeatable"
    ),
    relu_cuda("to_x(masked, X", "to_x(G, X", "backward_is_the_derivative"),
    relu_cuda("needs[0] and y is None", "needs[0]", "backward_is_the_derivative"),
    relu_cuda("as_images(masked, x) if needs[3] else None", "as_images(masked, x)", "backward_is_the_derivative"),
    relu_cuda("(as_rows(y), xp_of(X).empty_like(X))", "(as_rows(y), G)", "arguments_are_left_alone"),
    relu_cuda("else as_rows(residual)", "else residual.copy()", "forward_is_the_definition"),
    relu_cuda("narrow(dbias, dy)", "dbias", "float_types_are_kept"),
]
