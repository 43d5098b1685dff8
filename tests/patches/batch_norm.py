"""Planted bugs in batch normalisation, training and inference."""

from patches import Patch


def training(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm[two_pass]", old, new, law, "minidl.ops.batch_norm")


def sums(old: str, new: str, law: str, file: str = "minidl.ops.batch_norm.sums") -> Patch:
    return Patch("batch_norm[sums]", old, new, law, file)


def rows(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm[sums]", old, new, law, "minidl.ops.rows", then="minidl.ops.batch_norm.sums")


def compiled(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm[compiled]", old, new, law, "minidl.ops.batch_norm.compiled")


def loops(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm[compiled]", old, new, law, "minidl.ops.batch_norm.loops", "minidl.ops.batch_norm.compiled")


def in_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm[cuda]", old, new, law, "batch_norm.cu", "minidl.ops.batch_norm.cuda")


def cuda(old: str, new: str, law: str, file: str = "minidl.ops.batch_norm.cuda", then: str = "") -> Patch:
    return Patch("batch_norm[cuda]", old, new, law, file, then)


def columns(old: str, new: str, law: str) -> Patch:
    return cuda(old, new, law, "minidl.ops.columns", "minidl.ops.batch_norm.cuda")


def inference(old: str, new: str, law: str) -> Patch:
    return Patch("batch_norm_inference[scale_and_shift]", old, new, law, "minidl.ops.batch_norm_inference")


def power(old: str, new: str, law: str) -> Patch:
    return Patch("signed_power[rows]", old, new, law, "minidl.ops.signed_power")


def alpha(old: str, new: str, law: str) -> Patch:
    return Patch("alpha_batch_norm[sums]", old, new, law, "minidl.ops.alpha_batch_norm")


PATCHES = [
    compiled("own = guess + first / m", "own = first / m", "forward_is_the_definition"),
    compiled("second - first * first / m", "second", "forward_is_the_definition"),
    compiled("(var + eps) ** -0.5\n\n", "var ** -0.5\n\n", "forward_is_the_definition"),
    compiled("along(b, X)", "along(-b, X)", "backward_is_the_derivative"),
    compiled("inverse_std * product", "product", "backward_is_the_derivative"),
    compiled("- b * mean", "+ b * mean", "backward_is_the_derivative"),
    compiled("as_images(dx, x)", "dx.reshape(x.shape)", "backward_is_the_derivative"),
    loops("second[i] += d * d", "second[i] += d", "forward_is_the_definition"),
    loops("out[i] = a[i] * row[i] + c[i]", "out[i] = a[i] * row[i]", "forward_is_the_definition"),
    loops("(row[i] - middle[i])", "row[i]", "backward_is_the_derivative"),
    loops("first[i] += g[i]", "first[i] += row[i]", "backward_is_linear_and_repeatable"),
    loops("a[i] * g[i] +", "g[i] +", "backward_is_the_derivative"),
    in_cuda("sum * sum / here.size;", "0;", "forward_is_the_definition"),
    in_cuda("own[here.slot] = guess +", "own[here.slot] =", "forward_is_the_definition"),
    in_cuda("sum / here.size;\n", "sum / rows;\n", "forward_is_the_definition"),
    in_cuda("* d * d;\n        }\n        within", "* d;\n        }\n        within", "forward_is_the_definition"),
    in_cuda(
        "within += scatter[p * C + c] + min(rows, R - p / repeats * rows)",
        "within += scatter[p * C + c] + rows",
        "forward_is_the_definition",
    ),
    in_cuda("R - p / repeats * rows) * (own", "R - p * rows) * (own", "forward_is_the_definition"),
    in_cuda("sqrt(within + eps)", "sqrt(within)", "forward_is_the_definition"),
    in_cuda("a * ((A)value - middle) + b", "a * (A)value + b", "forward_is_the_definition"),
    in_cuda("r + k * step < here.end) use", "k == 0) use", "forward_is_the_definition"),
    in_cuda("here.end - 1) * width + here.column", "here.end - 1) * width", "forward_is_the_definition"),
    in_cuda("value = parts[0][lane];", "value = 0;", "backward_is_the_derivative"),
    in_cuda("row + (int)threadIdx.x / 32", "row", "forward_is_the_definition"),
    in_cuda(
        "(A)at.dy * ((A)at.x - middle);\n        });\n        sum",
        "(A)at.dy * (A)at.x;\n        });\n        sum",
        "backward_is_the_derivative",
    ),
    in_cuda("product * inverse_std[c];", "product;", "backward_is_the_derivative"),
    in_cuda("- level - slope", "- slope", "backward_is_the_derivative"),
    in_cuda("slope = inverse_std[c] * dweight[c] / M", "slope = dweight[c] / M", "backward_is_the_derivative"),
    in_cuda("level = dbias[c] / M", "level = (dbias[c] + 1) / M", "backward_is_linear_and_repeatable"),
    in_cuda("i / C) * P * C + i % C", "i / C) * P * C", "backward_is_the_derivative"),
    cuda("if needs[0] else None\n", "\n", "backward_is_the_derivative"),
    cuda("narrow(dweight, dy)", "dweight", "float_types_are_kept"),
    cuda("as_rows(dy)", "dy.ravel('K').reshape(as_rows(x).shape)", "strides_do_not_matter"),
    columns("xp.ascontiguousarray(a)", "a", "strides_do_not_matter"),
    columns("xp.full(C, value,", "xp.full(C, 1 - value,", "forward_is_the_definition"),
    training("var = (centred * centred).mean(axis=axes)", "var = wide.var(axis=axes, ddof=1)", "forward_is_the_definition"),
    training(
        "return narrow(y, x), (x, weight, mean, inverse_std), (mean, var)",
        "return narrow(y, x), (x, weight, mean, inverse_std), (mean, var + eps)",
        "forward_is_the_definition",
    ),
    training("inverse_std = (var + eps) ** -0.5", "inverse_std = 1 / (var**0.5 + eps)", "forward_is_the_definition"),
    training("y = y + along_channels(bias, x)", "y = y + bias.sum()", "forward_is_the_definition"),
    training("return (0, *range(2, x.ndim))", "return tuple(range(2, x.ndim)) or (0,)", "forward_is_the_definition"),
    training("common = along_channels(dbias / M, x) + xhat", "common = xhat", "backward_is_the_derivative"),
    training(" + xhat * along_channels(dweight / M, x)", "", "backward_is_the_derivative"),
    training(
        "M = widen(dy), all_but_channels(x), x.size // x.shape[1]",
        "M = widen(dy), all_but_channels(x), len(x)",
        "backward_is_the_derivative",
    ),
    training(
        "        scale = inverse_std if weight is None else weight * inverse_std\n",
        "        scale = inverse_std\n",
        "backward_is_the_derivative",
    ),
    training(
        "along_channels(dbias / M, x) + xhat * along_channels(dweight / M, x)",
        "along_channels(dbias / M, x) + xhat * along_channels(g.sum(axis=axes) / M, x)",
        "backward_is_the_derivative",
    ),
    training("dbias = g.sum(axis=axes)  # [C]", "dbias = g.sum(axis=axes) + eps", "backward_is_linear_and_repeatable"),
    training(
        "    x, weight, mean, inverse_std = saved\n",
        "    x, weight, mean, inverse_std = saved\n    mean *= 1 + eps\n",
        "arguments_are_left_alone",
    ),
    training(
        "return a.reshape(a.shape + (1,) * (x.ndim - 2))",
        "return a.astype(np.float64).reshape(a.shape + (1,) * (x.ndim - 2))",
        "float_types_are_kept",
    ),
    training("var = (centred * centred).mean", "var = np.square(centred).mean", "array_library_does_not_matter"),
    sums(" - m * rest**2", "", "forward_is_the_definition"),
    sums("return guess + rest,", "return guess - rest,", "forward_is_the_definition"),
    sums("inverse_std = (var + eps) ** -0.5", "inverse_std = 1 / (var**0.5 + eps)", "forward_is_the_definition"),
    sums("along(-a * mean if", "along(0 * mean if", "forward_is_the_definition"),
    sums("a * inverse_std * dweights / M", "a * dweights / M", "backward_is_the_derivative"),
    sums("-a * dbiases / M - b * mean", "-a * dbiases / M", "backward_is_the_derivative"),
    sums("X[some] - middle, C)", "X[some], C)", "backward_is_the_derivative"),
    sums("dx = g if spent else xp.empty_like(X)", "dx = g", "arguments_are_left_alone"),
    sums("if needs[0] or needs[1]:", "if needs[1]:", "backward_is_the_derivative"),
    sums(
        "dbias = None, None, channel_sums(g, C)",
        "dbias = None, None, channel_sums(g + 1, C)",
        "backward_is_linear_and_repeatable",
    ),
    sums("    centred = X - along(guess, X)\n", "    X -= along(guess, X)\n    centred = X\n", "arguments_are_left_alone"),
    sums("as_rows(widen(dy))", "widen(dy).ravel('K').reshape(as_rows(x).shape)", "strides_do_not_matter"),
    sums("narrow(dbias, dy) if", "dbias.astype(float) if", "float_types_are_kept"),
    rows("tile(a, X.shape[1] // len(a))", "repeat(a, X.shape[1] // len(a))", "forward_is_the_definition"),
    rows("like.ndim - 1, *range(1, like.ndim - 1)", "*range(like.ndim - 1, 0, -1)", "forward_is_the_definition"),
    rows("xp_of(X).ones(", "__import__('numpy').ones(", "array_library_does_not_matter"),
    inference(
        "along(-scale * mean if",
        "along(-mean if",
        "forward_is_the_definition",
    ),
    inference(
        "bias - scale * mean, X)",
        "bias - scale * X.mean(), X)",
        "forward_is_the_definition",
    ),
    inference("dmean = -scale * dbias", "dmean = -dbias", "backward_is_the_derivative"),
    inference("dvar = -0.5 * scale", "dvar = 0.5 * scale", "backward_is_the_derivative"),
    inference("scale * t * inverse_std**2", "scale * t * inverse_std", "backward_is_the_derivative"),
    inference("dweight = t * inverse_std\n", "dweight = t\n", "backward_is_the_derivative"),
    inference("narrow(a, dy) if need else None", "None if a is None else narrow(a, dy)", "backward_is_the_derivative"),
    inference(
        "        dx = as_images(g * along(scale, g), x)",
        "        dx = as_images(g * along(g.mean() * scale, g), x)",
        "backward_is_linear_and_repeatable",
    ),
    inference("dbias = channel_sums(g, C)", "g *= 1 + eps\n        dbias = channel_sums(g, C)", "arguments_are_left_alone"),
    inference(
        "        dweight = t * inverse_std\n",
        "        dweight = t * np.sqrt(inverse_std**2)\n",
        "array_library_does_not_matter",
    ),
    inference("* mean if bias is None", "* mean if bias is None or len(x) < 2", "batches_are_independent"),
    power("xp_of(X).copysign(p - least, X)", "p - least", "forward_is_the_definition"),
    power("copysign(p - least, X)", "copysign(p, X)", "forward_is_the_definition"),
    power("    t += epsilon\n", "", "forward_is_the_definition"),
    power("y *= along(widen(weight), y)", "y += along(widen(weight), y)", "forward_is_the_definition"),
    power("y += along(widen(bias), y)", "y += along(widen(bias) * epsilon, y)", "forward_is_the_definition"),
    power("        p /= t  #", "        p *= t  #", "backward_is_the_derivative"),
    power("        p /= t  #", "        p /= t * t  #", "backward_is_the_derivative"),
    power(
        "p *= alpha if weight is None else along(alpha * widen",
        "p *= 1 if weight is None else along(widen",
        "backward_is_the_derivative",
    ),
    power("p *= alpha if weight is None else along(alpha * widen(weight), p)", "p *= alpha", "backward_is_the_derivative"),
    power("channel_products(g, signed(p, X, epsilon**alpha), C)", "channel_products(g, p, C)", "backward_is_the_derivative"),
    power("    if needs[2]:\n", "    if needs[1]:\n", "backward_is_the_derivative"),
    power("channel_sums(g, C)", "channel_sums(g + epsilon, C)", "backward_is_linear_and_repeatable"),
    power("        p *= g\n", "        g *= 2\n        p *= g / 2\n", "arguments_are_left_alone"),
    power("as_rows(widen(dy))", "widen(dy).ravel('K').reshape(as_rows(x).shape)", "strides_do_not_matter"),
    power("y = signed(above(X, epsilon)", "y = np.float64(1) * signed(above(X, epsilon)", "float_types_are_kept"),
    power("t = xp_of(X).abs(X)", "t = np.abs(X)", "array_library_does_not_matter"),
    power("as_rows(widen(x))\n", "as_rows(widen(x) / len(x))\n", "batches_are_independent"),
    alpha("(widen(x), None, None, eps=eps)", "(widen(x), weight, None, eps=eps)", "forward_is_the_definition"),
    alpha("power.forward(z, weight, bias,", "power.forward(z, weight, None,", "forward_is_the_definition"),
    alpha("inverse_std), aux\n", "inverse_std), aux[::-1]\n", "forward_is_the_definition"),
    alpha("z = normalised(x, mean, inverse_std)", "z = x", "backward_is_the_derivative"),
    alpha("-inverse_std * mean", "-mean", "backward_is_the_derivative"),
    alpha("(dz, (x, None, mean", "(dz, (x, weight, mean", "backward_is_the_derivative"),
    alpha("(dz, (x, None, mean", "(dy, (x, None, mean", "backward_is_the_derivative"),
    alpha("    if needs[0]:\n", "    if True:\n", "backward_is_the_derivative"),
    alpha(
        "(x, None, mean, inverse_std), (True",
        "(x, None, dz.mean() + 0 * mean, inverse_std), (True",
        "backward_is_linear_and_repeatable",
    ),
    alpha("x, g = widen(x), widen(dy)", "x, g = widen(x), dy.__imul__(2)", "arguments_are_left_alone"),
    alpha("narrow(a, dy) for", "a.astype(float) for", "float_types_are_kept"),
    alpha("return narrow(y, x), (x,", "return y, (x,", "float_types_are_kept"),
    alpha(
        "g = widen(x), widen(dy)\n", "g = widen(x), widen(dy) * __import__('numpy').ones(1)\n", "array_library_does_not_matter"
    ),
]
