"""Planted bugs in the reductions: sum, mean, var; max, min, argmax."""

from patches import Patch

FORWARD, BACKWARD = "forward_is_the_definition", "backward_is_the_derivative"
LINEAR, ALONE = "backward_is_linear_and_repeatable", "arguments_are_left_alone"
TYPES, LIBRARY, STRIDES = "float_types_are_kept", "array_library_does_not_matter", "strides_do_not_matter"


def sums(kernel: str, old: str, new: str, law: str) -> Patch:
    return Patch(f"{kernel}[array]", old, new, law, "minidl.ops.reduce")


def extremes(kernel: str, old: str, new: str, law: str) -> Patch:
    return Patch(f"{kernel}[array]", old, new, law, "minidl.ops.extremes")


SPREAD_SUM = "    return (xp_of(dy).broadcast_to(spread(dy, saved, axis), saved),)"
SPREAD_MEAN = "    dx = narrow(spread(widen(dy), saved, axis) / count(saved, axis), dy)"
SPREAD_VAR = "    return (narrow(scale * spread(dy, x.shape, axis) * (x - m), dy),)"
SUM = "    return narrow(widen(x).sum(axis=axis, keepdims=keepdims), x)"
MEAN = "narrow(widen(x).mean(axis=axis, keepdims=keepdims), x)"
SHARE = "    return (hits * share,)"
NUMPY = "    import numpy as np\n"

PATCHES = [
    sums("sum", SUM, SUM.replace("axis=axis", "axis=axis[:1]"), FORWARD),
    sums("sum", SUM, SUM.replace(", keepdims=keepdims", ""), FORWARD),
    sums("sum", SUM, "    return np.add.reduce(x, axis=axis, keepdims=keepdims)", LIBRARY),
    sums("sum", SUM, "    return widen(x).sum(axis=axis, keepdims=keepdims)", TYPES),
    sums("sum", SPREAD_SUM, "    return (dy * np.ones(saved),)", BACKWARD),
    sums("sum", SPREAD_SUM, "    return (xp_of(dy).broadcast_to(spread(-dy, saved, axis), saved),)", BACKWARD),
    sums("sum", SPREAD_SUM, "    return (spread(dy, saved, axis) + np.zeros(saved),)", TYPES),
    sums("sum", SPREAD_SUM, "    dy += 1\n" + SPREAD_SUM, ALONE),
    sums("sum", SPREAD_SUM, "    return (xp_of(dy).broadcast_to(spread(dy, saved, axis) + 1, saved),)", LINEAR),
    sums("mean", MEAN, MEAN.replace("mean", "sum"), FORWARD),
    sums("mean", MEAN, "narrow(widen(x).sum(axis=axis, keepdims=keepdims) / x.size, x)", FORWARD),
    sums("mean", MEAN, "widen(x).mean(axis=axis, keepdims=keepdims)", TYPES),
    sums("mean", SPREAD_MEAN, "    dx = spread(dy, saved, axis)", BACKWARD),
    sums("mean", SPREAD_MEAN, "    dx = spread(dy, saved, axis) / math.prod(saved)", BACKWARD),
    sums("mean", SPREAD_MEAN, "    dx = spread(dy, saved, axis) / np.asarray(float(count(saved, axis)))[None]", LIBRARY),
    sums("mean", SPREAD_MEAN, "    dy /= count(saved, axis)\n    dx = spread(dy, saved, axis)", ALONE),
    sums(
        "var", "keepdims=keepdims) / (count(x.shape, axis) - correction)", "keepdims=keepdims) / count(x.shape, axis)", FORWARD
    ),
    sums("var", "(d * d).sum", "abs(d).sum", FORWARD),
    sums("var", "m = widen(x).mean(axis=axis, keepdims=True)", "m = x.mean(keepdims=True)", FORWARD),
    sums("var", "    d = x - m\n", "    x -= m\n    d = x\n", ALONE),
    sums("var", "return narrow(y, x), (x, m)", "return y, (x, m)", TYPES),
    sums("var", "scale = 2 / (", "scale = 1 / (", BACKWARD),
    sums("var", "scale = 2 / (count(x.shape, axis) - correction)", "scale = 2 / count(x.shape, axis)", BACKWARD),
    sums("var", SPREAD_VAR, SPREAD_VAR.replace("(x - m)", "x"), BACKWARD),
    sums("var", SPREAD_VAR, SPREAD_VAR.replace(", dy),)", ", m),)"), TYPES),
    sums("var", SPREAD_VAR, "    x -= m\n" + SPREAD_VAR.replace("(x - m)", "x"), ALONE),
    extremes("max", "    y = x.max(axis=axis, keepdims=True)", "    y = abs(x).max(axis=axis, keepdims=True)", FORWARD),
    extremes("max", "    y = x.max(axis=axis, keepdims=True)", "    y = x.max(keepdims=True)", FORWARD),
    extremes(
        "max", "    y = x.max(axis=axis, keepdims=True)", NUMPY + "    y = np.asarray(x).max(axis=axis, keepdims=True)", LIBRARY
    ),
    extremes("max", SHARE, "    return (share + 0 * hits,)", BACKWARD),
    extremes("max", SHARE, "    return (hits * share * hits.sum(axis=axis, keepdims=True),)", TYPES),
    extremes("max", "maximum(ties, 1)", "maximum(ties, 2)", BACKWARD),
    extremes("max", ".astype(dy.dtype)\n    share", ".astype(float)\n    share", TYPES),
    extremes("max", SHARE, "    hits &= share > 0\n" + SHARE, ALONE),
    extremes("min", "    y = x.min(axis=axis, keepdims=True)", "    y = x.max(axis=axis, keepdims=True)", FORWARD),
    extremes("min", "    y = x.min(axis=axis, keepdims=True)", "    y = x.min(axis=axis[-1:], keepdims=True)", FORWARD),
    extremes("min", "    y = x.min(axis=axis, keepdims=True)", "    y = x.astype(float).min(axis=axis, keepdims=True)", TYPES),
    extremes("min", SHARE, "    return (-1.0 * hits * share,)", BACKWARD),
    extremes("min", SHARE, "    return (hits * abs(share),)", LINEAR),
    extremes("min", SHARE, NUMPY + "    return (np.where(hits, share, 0),)", LIBRARY),
    extremes("min", SHARE, "    share *= 2\n    dy *= 0.5\n    return (hits * share,)", ALONE),
    extremes(
        "argmax",
        "return x.argmax(axis=axis, keepdims=keepdims), ()",
        "return x.argmin(axis=axis, keepdims=keepdims), ()",
        FORWARD,
    ),
    extremes("argmax", "return x.argmax(axis=axis, keepdims=keepdims), ()", "return x.argmax(axis=axis), ()", FORWARD),
    extremes(
        "argmax",
        "return x.argmax(axis=axis, keepdims=keepdims), ()",
        "flipped = xp_of(x).flip(x, axis)\n"
        "    last = (x.size if axis is None else x.shape[axis]) - 1 if x.ndim else 0\n"
        "    return last - flipped.argmax(axis=axis, keepdims=keepdims), ()",
        FORWARD,
    ),
    extremes(
        "argmax",
        "x.argmax(axis=axis, keepdims=keepdims), ()",
        "x.__array__().argmax(axis=axis, keepdims=keepdims), ()",
        LIBRARY,
    ),
    extremes("argmax", "return x.argmax(axis=axis,", "x *= 2\n    return x.argmax(axis=axis,", ALONE),
    extremes("argmax", "return x.argmax(axis=axis,", "return x.ravel(order='K').argmax(axis=axis,", STRIDES),
]
