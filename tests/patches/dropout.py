"""Planted bugs in dropout: most are masks that do not belong to the key."""

from patches import Patch


def row(old: str, new: str, law: str) -> Patch:
    return Patch("dropout[philox]", old, new, law, "minidl.ops.dropout")


def in_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("dropout[cuda]", old, new, law, "dropout.cu", "minidl.ops.dropout.cuda")


def by_launch(old: str, new: str, law: str) -> Patch:
    return Patch("dropout[cuda]", old, new, law, "minidl.ops.dropout.cuda")


PATCHES = [
    in_cuda("0x80000000u) >= least", "0x80000000u) < least", "forward_is_the_definition"),
    in_cuda(" ^ 0x80000000u", "", "forward_is_the_definition"),
    in_cuda("u.bits[j + k]", "u.bits[7 - j - k]", "forward_is_the_definition"),
    in_cuda("key + 2 * n", "key", "forward_is_the_definition"),
    in_cuda("philox(key + 2 * n, i % eights)", "philox(key + 2 * n, 0)", "forward_is_the_definition"),
    in_cuda("(D + 7) / 8", "D / 8", "forward_is_the_definition"),
    in_cuda("block + 1, x1", "block, x1", "forward_is_the_definition"),
    in_cuda("round < 10", "round < 9", "forward_is_the_definition"),
    in_cuda("if (first + j >= D) break;", "if (first + j + V >= D) break;", "forward_is_the_definition"),
    in_cuda("store(y +", "((T*)x)[0] = 0, store(y +", "arguments_are_left_alone"),
    by_launch("int(p * 2**32)", "int(p * 2**31)", "forward_is_the_definition"),
    by_launch("1 / (1 - p) if", "1 - p if", "forward_is_the_definition"),
    by_launch("    (key,) = saved\n", "    key = saved[0] + saved[0].dtype.type(1)\n", "backward_is_the_derivative"),
    by_launch("return dropped(dy, key, p, style, training), None", "return dy, None", "backward_is_the_derivative"),
    by_launch("xp.ascontiguousarray(a)", "a.ravel('K')", "strides_do_not_matter"),
    by_launch("xp.ascontiguousarray(key)", "key", "strides_do_not_matter"),
    by_launch("xp.empty_like(images)", "xp.empty(images.shape)", "float_types_are_kept"),
    row("(bits >= int(p * 2**32))", "(bits < int(p * 2**32))", "forward_is_the_definition"),
    row("a * keep * (1 / (1 - p))", "a * keep * (1 - p)", "forward_is_the_definition"),
    row('return a if style == "inverted" else a * (1 - p)', "return a", "forward_is_the_definition"),
    row("    if not training:\n", "    if style == 'inverted' and not training:\n", "forward_is_the_definition"),
    row("reshape(a.shape)\n    return", "reshape(a.shape[::-1]).T\n    return", "forward_is_the_definition"),
    row(
        "    return dropped(dy, key, p, style, training), None",
        "    return dropped(dy, key, p, 'paper', training), None",
        "backward_is_the_derivative",
    ),
    row("    (key,) = saved\n", "    key = saved[0] + np.uint64(1)\n", "backward_is_the_derivative"),
    row("    return dropped(dy, key, p, style, training), None", "    return dy, None", "backward_is_the_derivative"),
    row(
        "    (key,) = saved\n", "    key = np.random.randint(2**31, size=saved[0].shape)\n", "backward_is_linear_and_repeatable"
    ),
    row(
        "    return dropped(x, key, p, style, training), (key,)",
        "    x *= 1 - p\n    return dropped(x / (1 - p), key, p, style, training), (key,)",
        "arguments_are_left_alone",
    ),
    row("a * keep * (1 / (1 - p))", "a.ravel(order='K').reshape(a.shape) * keep * (1 / (1 - p))", "strides_do_not_matter"),
    row("a * keep * (1 / (1 - p))", "a * (keep * (1 / (1 - p)))", "float_types_are_kept"),
    row("a * keep * (1 / (1 - p))", "np.where(keep, a, 0) * (1 / (1 - p))", "array_library_does_not_matter"),
    row("    bits = random_bits(key, a.size // len(a))", "    bits = random_bits(key[:1], a.size)", "batches_are_independent"),
]
