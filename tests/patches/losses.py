"""Planted bugs in softmax and the losses."""

from patches import Patch


def softmax(old: str, new: str, law: str) -> Patch:
    return Patch("softmax[stable]", old, new, law, "minidl.ops.softmax")


def log_softmax(old: str, new: str, law: str) -> Patch:
    return Patch("log_softmax[stable]", old, new, law, "minidl.ops.log_softmax")


def cross_entropy(old: str, new: str, law: str) -> Patch:
    return Patch("softmax_cross_entropy[log_sum_exp]", old, new, law, "minidl.ops.softmax_cross_entropy")


def in_cuda(old: str, new: str, law: str) -> Patch:
    module = "minidl.ops.softmax_cross_entropy.cuda"
    return Patch("softmax_cross_entropy[cuda]", old, new, law, "softmax_cross_entropy.cu", module)


def launching(old: str, new: str, law: str) -> Patch:
    return Patch("softmax_cross_entropy[cuda]", old, new, law, "minidl.ops.softmax_cross_entropy.cuda")


def of_softmax(old: str, new: str, law: str, op: str = "softmax") -> Patch:
    return Patch(f"{op}[cuda]", old, new, law, "softmax.cu", f"minidl.ops.{op}.cuda")


def mse(old: str, new: str, law: str) -> Patch:
    return Patch("mse_loss[difference]", old, new, law, "minidl.ops.mse_loss")


def bce(old: str, new: str, law: str) -> Patch:
    return Patch("binary_cross_entropy_with_logits[stable]", old, new, law, "minidl.ops.bce_with_logits")


PATCHES = [
    softmax("e.sum(axis=axis, keepdims=True)", "e.sum(axis=-1, keepdims=True)", "forward_is_the_definition"),
    softmax(
        "exp(z - z.max(axis=axis, keepdims=True))", "exp(z - z.max(axis=0, keepdims=True) / 2)", "forward_is_the_definition"
    ),
    softmax("exp(z - z.max(axis=axis, keepdims=True))", "exp(z)", "forward_is_the_definition"),
    softmax("dx = y * (g - (g * y).sum(axis=axis, keepdims=True))", "dx = y * (1 - y) * g", "backward_is_the_derivative"),
    softmax("(g * y).sum(axis=axis, keepdims=True)", "(g * y).sum(axis=axis, keepdims=True) * 0", "backward_is_the_derivative"),
    softmax("(g * y).sum(axis=axis, keepdims=True)", "g.sum(axis=axis, keepdims=True)", "backward_is_the_derivative"),
    softmax(
        "(y,), g = saved, widen(dy)", "(y,), g = saved, widen(dy)\n    g = g * g.max()", "backward_is_linear_and_repeatable"
    ),
    softmax("    return narrow(y, x), (y,)", "    return y.astype(np.float64), (y,)", "float_types_are_kept"),
    softmax("xp_of(x).exp(", "np.exp(", "array_library_does_not_matter"),
    of_softmax("top = block_max(top);", "", "forward_is_the_definition"),
    of_softmax("exp(below) / sum", "exp(below)", "forward_is_the_definition"),
    of_softmax("exp((A)x[first + c] - top)", "exp((A)x[first + c])", "forward_is_the_definition"),
    of_softmax("A top = x[first], sum = 0", "A top = x[first], sum = 1", "forward_is_the_definition"),
    of_softmax("(A)dy[first + c] * y[first + c]", "(A)dy[first + c]", "backward_is_the_derivative"),
    of_softmax("value * (slope - sum)", "value * slope", "backward_is_the_derivative"),
    of_softmax(
        "if (sizeof(T) < sizeof(A)) y[first + c] = value;",
        "if (sizeof(T) < sizeof(A)) y[first + c] = 2 * value;",
        "float_types_are_kept",
    ),
    Patch(
        "softmax[cuda]", "moveaxis(x, axis, -1))", "moveaxis(x, 0, -1))", "forward_is_the_definition", "minidl.ops.softmax.cuda"
    ),
    Patch("softmax[cuda]", "xp_of(x).ascontiguousarray(", "(", "strides_do_not_matter", "minidl.ops.softmax.cuda"),
    of_softmax("logs ? below - log_sum", "logs ? below", "forward_is_the_definition", "log_softmax"),
    of_softmax("sum += exp(", "sum += 2 * exp(", "forward_is_the_definition", "log_softmax"),
    of_softmax("logs ? (A)dy[first + c] :", "logs ? (A)dy[first] :", "backward_is_the_derivative", "log_softmax"),
    of_softmax("slope - exp(value) * sum", "slope - value * sum", "backward_is_the_derivative", "log_softmax"),
    of_softmax("slope - exp(value) * sum", "slope - exp(value)", "backward_is_linear_and_repeatable", "log_softmax"),
    Patch(
        "log_softmax[cuda]",
        "x, axis, SOURCE, logs=True",
        "x, axis, SOURCE, logs=False",
        "forward_is_the_definition",
        "minidl.ops.log_softmax.cuda",
    ),
    log_softmax(
        "return z - xp.log(xp.exp(z).sum(axis=axis, keepdims=True))",
        "return z - xp.log(xp.exp(z).mean(axis=axis, keepdims=True))",
        "forward_is_the_definition",
    ),
    log_softmax(
        "    y = log_probabilities(widen(x), axis)", "    y = log_probabilities(widen(x), -1)", "forward_is_the_definition"
    ),
    log_softmax("    z = z - z.max(axis=axis, keepdims=True)\n", "", "forward_is_the_definition"),
    log_softmax("dx = g - xp_of(y).exp(y) * g.sum", "dx = g - y * g.sum", "backward_is_the_derivative"),
    log_softmax(
        "g - xp_of(y).exp(y) * g.sum(axis=axis, keepdims=True)", "g - xp_of(y).exp(y)", "backward_is_linear_and_repeatable"
    ),
    log_softmax("xp_of(y).exp(y) * g.sum(axis=axis, keepdims=True)", "xp_of(y).exp(y) * g", "backward_is_the_derivative"),
    log_softmax(
        "    z = z - z.max(axis=axis, keepdims=True)\n",
        "    z -= z.max(axis=axis, keepdims=True)\n",
        "arguments_are_left_alone",
    ),
    log_softmax("return narrow(y, x), (y,)", "return y.astype(x.dtype), (y.astype(np.float64),)", "float_types_are_kept"),
    log_softmax("    xp = xp_of(z)\n", "    xp = np\n", "array_library_does_not_matter"),
    Patch(
        "softmax_cross_entropy[log_sum_exp]",
        "    z = z - z.max(axis=axis, keepdims=True)\n",
        "",
        "forward_is_the_definition",
        "minidl.ops.log_softmax",
        then="minidl.ops.softmax_cross_entropy",
    ),
    cross_entropy("-(1 - label_smoothing) * log_p[", "-log_p[", "forward_is_the_definition"),
    cross_entropy("label_smoothing * log_p.mean(axis=1)", "label_smoothing * log_p.sum(axis=1)", "forward_is_the_definition"),
    cross_entropy("    losses = xp.where(counts, losses, 0)\n", "", "forward_is_the_definition"),
    cross_entropy(
        "number = counts.sum(dtype=p.dtype)", "number = xp.ones_like(counts).sum(dtype=p.dtype)", "forward_is_the_definition"
    ),
    cross_entropy("xp.where(counts, widen(dy) / divisor, 0)", "xp.where(counts, widen(dy), 0)", "backward_is_the_derivative"),
    cross_entropy(
        "xp.where(counts, widen(dy) / divisor, 0)", "widen(dy) / divisor + xp.zeros_like(p[:, 0])", "backward_is_the_derivative"
    ),
    cross_entropy("    dz[xp.arange(N), classes] -= 1 - label_smoothing\n", "", "backward_is_the_derivative"),
    cross_entropy("dz = p - label_smoothing / C", "dz = p - label_smoothing", "backward_is_the_derivative"),
    cross_entropy("classes] -= 1 - label_smoothing", "classes] -= 1", "backward_is_the_derivative"),
    cross_entropy("dz = p - label_smoothing / C", "dz = p", "arguments_are_left_alone"),
    cross_entropy(
        "return narrow(loss, scores), (xp.exp(log_p), labels)",
        "return narrow(loss, scores), (xp.exp(log_p).astype(np.float64), labels)",
        "float_types_are_kept",
    ),
    cross_entropy(
        "log_p[xp.arange(len(labels)), classes]", "log_p[np.arange(len(labels)), classes]", "array_library_does_not_matter"
    ),
    in_cuda("top = block_max(top);", "", "forward_is_the_definition"),
    in_cuda("sum += exp(below), all += below", "sum += exp(below), all += z[c]", "forward_is_the_definition"),
    in_cuda("smoothing * (all / C - log_sum)", "smoothing * all / C", "forward_is_the_definition"),
    in_cuda("loss = -(1 - smoothing) * own", "loss = -own", "forward_is_the_definition"),
    in_cuda("losses[n] = label == ignored ? 0 : loss", "losses[n] = loss", "forward_is_the_definition"),
    in_cuda("number += labels[n] != ignored", "number += 1", "forward_is_the_definition"),
    in_cuda("mean ? number : 1", "number", "forward_is_the_definition"),
    in_cuda(
        "for (int n = threadIdx.x; n < N; n += blockDim.x) sum", "for (int n = 1; n < N; n++) sum", "forward_is_the_definition"
    ),
    in_cuda("tops[n] = top, log_sums[n] = log_sum", "tops[n] = top, log_sums[n] = sum", "backward_is_the_derivative"),
    in_cuda("(A)dy[0] / divisor[0]", "(A)dy[0]", "backward_is_the_derivative"),
    in_cuda("label == ignored ? 0 : each", "each", "backward_is_the_derivative"),
    in_cuda("each ? (A)dy[n] :", "each ? (A)dy[0] :", "backward_is_the_derivative"),
    in_cuda("(A)dy[0] / divisor[0]", "1 / divisor[0]", "backward_is_linear_and_repeatable"),
    in_cuda("p - smoothing / C", "p", "backward_is_the_derivative"),
    in_cuda("(c == label ? 1 - smoothing : 0)", "(c == label)", "backward_is_the_derivative"),
    launching("xp.ascontiguousarray(scores), xp", "scores, xp", "strides_do_not_matter"),
    launching("ascontiguousarray(labels.astype", "asarray(labels.astype", "strides_do_not_matter"),
    launching("(xp.ascontiguousarray(dy), scores", "(dy, scores", "strides_do_not_matter"),
    launching("narrow(losses, scores), (", "losses, (", "float_types_are_kept"),
    launching("xp.empty_like(scores), tops", "xp.empty(scores.shape), tops", "float_types_are_kept"),
    launching(
        "dscores, divisor, threads =",
        "dscores, divisor, threads = scores, tops if each else divisor, threads_for(C)\n    _ =",
        "arguments_are_left_alone",
    ),
    mse("reduced(difference * difference, reduction)", "reduced(difference * difference, 'mean')", "forward_is_the_definition"),
    mse(
        "reduced(difference * difference, reduction)",
        "reduced(difference * difference / 2, reduction)",
        "forward_is_the_definition",
    ),
    mse("(2 * spread(widen(dy), reduction, difference.size))", "(2 * widen(dy))", "backward_is_the_derivative"),
    mse("(2 * spread(widen(dy)", "(spread(widen(dy)", "backward_is_the_derivative"),
    mse("-dx if needs[1] else None", "dx if needs[1] else None", "backward_is_the_derivative"),
    mse("dx if needs[0] else None, ", "dx, ", "backward_is_the_derivative"),
    mse(
        "    (difference,) = saved\n",
        "    (difference,) = saved\n    dy = dy / (1e-9 + abs(dy))\n",
        "backward_is_linear_and_repeatable",
    ),
    mse(
        "widen(prediction) - widen(target)\n", "(widen(prediction) - widen(target)).ravel(order='K')\n", "strides_do_not_matter"
    ),
    mse(
        "return narrow(loss, prediction), (difference,)",
        "return narrow(loss, prediction), (difference * np.float64(1),)",
        "float_types_are_kept",
    ),
    mse("widen(prediction) - widen(target)\n", "np.subtract(prediction, target)\n", "array_library_does_not_matter"),
    bce(
        "(1 - t) * x + (1 + (pos_weight - 1) * t) * softplus_of_minus(x)",
        "(1 - t) * x + (1 + pos_weight * t) * softplus_of_minus(x)",
        "forward_is_the_definition",
    ),
    bce("losses = (1 - t) * x", "losses = -t * x", "forward_is_the_definition"),
    bce(
        "xp.maximum(-x, 0) + xp.log1p(xp.exp(-xp.abs(x)))",
        "xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))",
        "forward_is_the_definition",
    ),
    bce("xp.where(x > 0, e, 1) / (1 + e)", "xp.where(x > 0, 1, e) / (1 + e)", "backward_is_the_derivative"),
    bce("((1 - t) - (1 + (pos_weight - 1) * t)", "((1 - t) - (1 + pos_weight * t)", "backward_is_the_derivative"),
    bce("softplus_of_minus(x) - x) * share", "softplus_of_minus(x) + x) * share", "backward_is_the_derivative"),
    bce("share = spread(widen(dy), reduction, x.size)", "share = widen(dy)", "backward_is_the_derivative"),
    bce("    if needs[1]:\n", "    if True:\n", "backward_is_the_derivative"),
    bce(
        "x, t = widen(scores), widen(target)\n",
        "x, t = widen(scores), widen(target)\n    x += 0.1\n",
        "arguments_are_left_alone",
    ),
    bce(
        "xp.where(x > 0, e, 1) / (1 + e)", "xp.where(x > 0, e, 1.0 * (x == x)).astype(float) / (1 + e)", "float_types_are_kept"
    ),
    bce("xp.where(x > 0, e, 1)", "np.where(x > 0, e, 1)", "array_library_does_not_matter"),
]
