"""Planted bugs in the cosine scores and in AM-Softmax."""

from patches import Patch


def cosine(old: str, new: str, law: str) -> Patch:
    return Patch("cosine_logits[unit_rows]", old, new, law, "minidl.ops.cosine")


def am(old: str, new: str, law: str) -> Patch:
    return Patch("am_softmax[unit_rows]", old, new, law, "minidl.ops.am_softmax")


def am_through_cosine(old: str, new: str, law: str) -> Patch:
    return Patch("am_softmax[unit_rows]", old, new, law, "minidl.ops.cosine", "minidl.ops.am_softmax")


def in_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("am_softmax[cuda]", old, new, law, "am_softmax.cu", "minidl.ops.am_softmax.cuda")


def launching(old: str, new: str, law: str) -> Patch:
    return Patch("am_softmax[cuda]", old, new, law, "minidl.ops.am_softmax.cuda")


def line(old: str, new: str, law: str) -> Patch:
    return Patch("am_softmax_linear[unit_rows]", old, new, law, "minidl.ops.am_softmax_linear")


def line_through_cosine(old: str, new: str, law: str) -> Patch:
    return Patch("am_softmax_linear[unit_rows]", old, new, law, "minidl.ops.cosine", "minidl.ops.am_softmax_linear")


PATCHES = [
    cosine(
        "(u, over_x), (v, over_w) = unit(x), unit(w)",
        "(u, over_x), (v, over_w) = unit(x), (w, unit(w)[1])",
        "forward_is_the_definition",
    ),
    cosine(
        "norm = xp.sqrt((a * a).sum(axis=1, keepdims=True))",
        "norm = xp.abs(a).sum(axis=1, keepdims=True)",
        "forward_is_the_definition",
    ),
    cosine(
        "return (du - u * (u * du).sum(axis=1, keepdims=True)) * inverse", "return du * inverse", "backward_is_the_derivative"
    ),
    cosine(
        "(u * du).sum(axis=1, keepdims=True)) * inverse", "(u * du).sum(axis=1, keepdims=True))", "backward_is_the_derivative"
    ),
    cosine("(u * du).sum(axis=1, keepdims=True)", "(u * du).sum(axis=0, keepdims=True)", "backward_is_the_derivative"),
    cosine("through_unit(gemm(g.T, u), v, over_w)", "through_unit(gemm(g.T, u), v, 1 / over_w)", "backward_is_the_derivative"),
    cosine(
        "narrow(through_unit(gemm(g, v), u, over_x), dy) if needs[0] else None",
        "narrow(through_unit(gemm(g, v), u, over_x), dy)",
        "backward_is_the_derivative",
    ),
    cosine("    g = widen(dy)\n", "    g = widen(dy)\n    v *= 2\n", "arguments_are_left_alone"),
    cosine("xp.where(norm > TINY, norm, xp.inf)", "xp.where(norm > TINY, norm, xp.asarray([np.inf]))", "float_types_are_kept"),
    cosine("norm = xp.sqrt(", "norm = np.sqrt(", "array_library_does_not_matter"),
    cosine(
        "axis=1, keepdims=True))\n    inverse",
        "axis=1, keepdims=True) + 1e-6 * len(a))\n    inverse",
        "batches_are_independent",
    ),
    am("z[right] -= s * m", "z[right] += s * m", "forward_is_the_definition"),
    am("z[right] -= s * m", "z[right] -= m", "forward_is_the_definition"),
    am("z = s * gemm(u, v.T)  # [N, C]", "z = u @ v.T", "forward_is_the_definition"),
    am("    z[right] -= s * m\n", "    z -= s * m\n", "forward_is_the_definition"),
    am("loss = -log_p[right].mean()", "loss = -log_p[right].sum()", "forward_is_the_definition"),
    am("    dcos[xp_of(p).arange(len(labels)), labels] -= 1\n", "", "backward_is_the_derivative"),
    am("(s / len(labels))", "s", "backward_is_the_derivative"),
    am("(s / len(labels))", "(1 / len(labels))", "backward_is_the_derivative"),
    am("narrow(through_unit(gemm(dcos, v), u, over_x), dy)", "narrow((dcos @ v) * over_x, dy)", "backward_is_the_derivative"),
    am(
        "narrow(through_unit(gemm(dcos.T, u), v, over_w), dy)",
        "narrow((dcos.T @ u) * over_w, dy)",
        "backward_is_the_derivative",
    ),
    am("    dcos *= widen(dy) * (s / len(labels))\n", "    dcos *= s / len(labels)\n", "backward_is_linear_and_repeatable"),
    am("dcos = p.copy()", "dcos = p", "arguments_are_left_alone"),
    am("z = s * gemm(u, v.T)  # [N, C]", "z = np.float64(s) * gemm(u, v.T)", "float_types_are_kept"),
    am("xp_of(p).arange(len(labels))", "np.arange(len(labels))", "array_library_does_not_matter"),
    am_through_cosine("return (du - u * (u * du)", "return (du + u * (u * du)", "backward_is_the_derivative"),
    in_cuda("(c == label ? m : 0)", "m", "forward_is_the_definition"),
    in_cuda("- (c == label ? m : 0)", "+ (c == label ? m : 0)", "forward_is_the_definition"),
    in_cuda("norm = sqrt(block_sum(sum))", "norm = block_sum(sum)", "forward_is_the_definition"),
    in_cuda("losses[n] = top + log_sum - own", "losses[n] = log_sum - own", "forward_is_the_definition"),
    in_cuda("loss[0] = sum / N", "loss[0] = sum", "forward_is_the_definition"),
    in_cuda("log(block_sum(sum))", "log(block_sum(sum) / 2)", "forward_is_the_definition"),
    in_cuda("score(c) - top - log_sum) - (c == label)", "score(c) - top - log_sum)", "backward_is_the_derivative"),
    in_cuda("cos[c] = s * (exp", "cos[c] = (exp", "backward_is_the_derivative"),
    in_cuda("(c == label)) / N", "(c == label))", "backward_is_the_derivative"),
    in_cuda("inverse[row] = factor", "inverse[row] = 1", "backward_is_the_derivative"),
    in_cuda("(du[first + d] - u[first + d] * along)", "du[first + d]", "backward_is_the_derivative"),
    in_cuda("along = block_sum(along)", "along *= 1", "backward_is_the_derivative"),
    in_cuda("(A)dy[0] * inverse[row]", "inverse[row]", "backward_is_linear_and_repeatable"),
    launching("(xp.ascontiguousarray(a), u", "(a, u", "strides_do_not_matter"),
    launching("xp.ascontiguousarray(labels.astype", "xp.asarray(labels.astype", "strides_do_not_matter"),
    launching("v, over_w) if needs[1] else None", "v, over_w)", "backward_is_the_derivative"),
    launching("loss = xp.empty((), dtype=x.dtype)", "loss = xp.empty((), dtype=u.dtype)", "float_types_are_kept"),
    launching("da = xp.empty((rows, D), dtype=dy.dtype)", "da = u", "arguments_are_left_alone"),
    line("far = own < edge", "far = own > edge", "forward_is_the_definition"),
    line("far = own < edge", "far = own - m < edge", "forward_is_the_definition"),
    line("z[right] = xp.where(far, own, edge) - m\n", "z[right] = own - m\n", "forward_is_the_definition"),
    line("z[right] = xp.where(far, own, edge) - m\n", "z[right] = xp.where(far, own, edge)\n", "forward_is_the_definition"),
    line("-xp.exp(log_own) if literal else -log_own", "-log_own", "forward_is_the_definition"),
    line("angular + a * (edge - own) if", "angular + a * (1 - own) if", "forward_is_the_definition"),
    line("a * (1 - own) + c", "a * (1 - own)", "forward_is_the_definition"),
    line("a * (1 - own) + c", "a * (own - 1) + c", "forward_is_the_definition"),
    line("xp.where(far, angular, linear).mean()", "xp.where(far, angular, linear).sum()", "forward_is_the_definition"),
    line("    dcos[right] -= s\n", "", "backward_is_the_derivative"),
    line("        dcos *= p[right][:, None]\n", "        pass\n", "backward_is_the_derivative"),
    line("    if not continuous:\n", "    if continuous:\n", "backward_is_the_derivative"),
    line("        dcos *= far[:, None]\n", "        pass\n", "backward_is_the_derivative"),
    line("xp.where(far, dcos[right], -a)", "xp.where(far, dcos[right], a)", "backward_is_the_derivative"),
    line("xp.where(far, dcos[right], -a)", "xp.where(far, dcos[right], dcos[right] - a)", "backward_is_the_derivative"),
    line("dcos *= widen(dy) / len(labels)", "dcos *= widen(dy)", "backward_is_the_derivative"),
    line("dcos *= widen(dy) / len(labels)", "dcos *= 1 / len(labels)", "backward_is_linear_and_repeatable"),
    line("    dcos = s * p\n", "    dcos = p\n    dcos *= s\n", "arguments_are_left_alone"),
    line("edge = xp_of(x), (xp_of(x)", "edge = np, (xp_of(x)", "array_library_does_not_matter"),
    line("log_probabilities(s * z)", "log_probabilities(np.float64(s) * z)", "float_types_are_kept"),
    line_through_cosine("return (du - u * (u * du)", "return (du + u * (u * du)", "backward_is_the_derivative"),
]
