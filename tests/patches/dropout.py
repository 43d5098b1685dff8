"""Planted bugs in dropout: most are masks that do not belong to the key."""

from patches import Patch


def row(old: str, new: str, law: str) -> Patch:
    return Patch("dropout[philox]", old, new, law, "minidl.ops.dropout")


PATCHES = [
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
