"""Planted bugs in what moves numbers: reshape, permute, broadcast_to; getitem; pad; concat, stack."""

from patches import Patch

FORWARD, BACKWARD = "forward_is_the_definition", "backward_is_the_derivative"
LINEAR, ALONE = "backward_is_linear_and_repeatable", "arguments_are_left_alone"
TYPES, LIBRARY, STRIDES = "float_types_are_kept", "array_library_does_not_matter", "strides_do_not_matter"


def shape(kernel: str, old: str, new: str, law: str) -> Patch:
    return Patch(f"{kernel}[array]", old, new, law, "minidl.ops.shape")


def getitem(old: str, new: str, law: str) -> Patch:
    return Patch("getitem[array]", old, new, law, "minidl.ops.getitem")


def pad(old: str, new: str, law: str) -> Patch:
    return Patch("pad[array]", old, new, law, "minidl.ops.pad")


def joining(kernel: str, old: str, new: str, law: str) -> Patch:
    return Patch(f"{kernel}[array]", old, new, law, "minidl.ops.joining")


RESHAPED, RESHAPED_BACK = "    return x.reshape(shape), x.shape", "    return (dy.reshape(saved),)"
PERMUTED, PERMUTED_BACK = "    return x.transpose(axes), ()", "    return (dy.transpose(inverse),)"
BROADCAST, SUMMED = "xp_of(x).broadcast_to(x, shape), x.shape", "    return (unbroadcast(dy, saved),)"
PICKED, SCATTERED = "    return x[beside(x, index)], x.shape", "        dx[index] = dy\n"
FILLED, CROPPED = "    y[inner(y.shape, pad)] = x", "    return (dy[inner(dy.shape, pad)],)"
CONCATENATED = "    return joined(xs, axis), tuple(x.shape[axis] for x in xs)"
STACKED, UNSTACKED = "    return xp_of(*xs).stack(xs, axis=axis), ()", "dy[along(axis, j)] if need else None"

PATCHES = [
    shape("reshape", RESHAPED, "    return x.T.reshape(shape), x.shape", FORWARD),
    shape("reshape", RESHAPED, "    return x.ravel(order='K').reshape(shape), x.shape", STRIDES),
    shape("reshape", RESHAPED, "    return np.reshape(np.asarray(x), shape), x.shape", LIBRARY),
    shape("reshape", RESHAPED, "    return (x + np.zeros(x.shape)).reshape(shape), x.shape", TYPES),
    shape("reshape", RESHAPED_BACK, "    return (dy,)", BACKWARD),
    shape("reshape", RESHAPED_BACK, "    return (dy.T.reshape(saved),)", BACKWARD),
    shape("reshape", RESHAPED_BACK, "    dy *= 1.5\n    return (dy.reshape(saved),)", ALONE),
    shape("permute", PERMUTED, "    return x.transpose(), ()", FORWARD),
    shape("permute", PERMUTED, "    return x.reshape([x.shape[a] for a in axes]), ()", FORWARD),
    shape("permute", "inverse = [axes.index(i) for i in range(len(axes))]", "inverse = axes", BACKWARD),
    shape("permute", PERMUTED_BACK, "    return (dy.reshape([dy.shape[i] for i in inverse]),)", BACKWARD),
    shape("permute", PERMUTED_BACK, "    return (-dy.transpose(inverse),)", BACKWARD),
    shape("permute", PERMUTED_BACK, "    return (dy.transpose(inverse) ** 3,)", LINEAR),
    shape("permute", PERMUTED_BACK, "    return (dy.transpose(inverse).astype(np.float64),)", TYPES),
    shape("broadcast_to", BROADCAST, "np.broadcast_to(x, shape), x.shape", LIBRARY),
    shape("broadcast_to", BROADCAST, "x + np.zeros(shape), x.shape", TYPES),
    shape("broadcast_to", BROADCAST, "xp_of(x).resize(x, shape), x.shape", LIBRARY),
    shape("broadcast_to", SUMMED, "    return (dy,)", BACKWARD),
    shape("broadcast_to", SUMMED, "    return (unbroadcast(dy, saved) / max(1, dy.ndim - len(saved) + 1),)", BACKWARD),
    shape("broadcast_to", SUMMED, "    return (dy.reshape(-1, *saved).sum(axis=0),)", BACKWARD),
    shape("broadcast_to", SUMMED, "    return (unbroadcast(dy.astype(np.float64), saved),)", TYPES),
    shape("broadcast_to", SUMMED, "    dy *= 2.0\n    return (unbroadcast(dy, saved),)", ALONE),
    getitem(PICKED, "    return x[index], x.shape", LIBRARY),
    getitem(PICKED, "    return x[tuple(index[::-1])], x.shape", FORWARD),
    getitem(PICKED, "    return x[beside(x, index)] + np.zeros(1), x.shape", TYPES),
    getitem(PICKED, "    y = x[beside(x, index)]\n    y *= 2\n    return y / 2 * 2, x.shape", ALONE),
    getitem("full_like(dy, saved)", "full_like(dy, saved, 1.0)", BACKWARD),
    getitem("full_like(dy, saved)", "full_like(dy, saved).astype(float)", TYPES),
    getitem(SCATTERED, "        dx[index] = -dy\n", BACKWARD),
    getitem(SCATTERED, "        dx[index] = abs(dy)\n", LINEAR),
    getitem("    xp.add.at(dx, beside(dy, index), dy_wide)", "    dx[beside(dy, index)] = dy_wide", BACKWARD),
    getitem("    xp.add.at(dx, beside(dy, index), dy_wide)", "    dx[beside(dy, index)] += dy_wide", BACKWARD),
    getitem("    xp.add.at(dx, beside(dy, index), dy_wide)", "    np.add.at(dx, index, dy_wide)", LIBRARY),
    getitem("narrow(dx, dy)", "dx", TYPES),
    pad("pad=pad), value)", "pad=pad), 0.0)", FORWARD),
    pad("pad=pad), value)", "pad=pad), value).astype(float)", TYPES),
    pad("full_like(x, shape(x.shape, pad=pad), value)", "np.full(shape(x.shape, pad=pad), value, x.dtype)", LIBRARY),
    pad(FILLED, "    y[inner(y.shape, pad[::-1])] = x", FORWARD),
    pad("slice(before, size - after)", "slice(after, size - before)", FORWARD),
    pad(CROPPED, "    return (dy[tuple(slice(0, size - a - b) for size, (a, b) in zip(dy.shape, pad))],)", BACKWARD),
    pad(CROPPED, "    return (dy,)", BACKWARD),
    pad(CROPPED, "    return (dy[inner(dy.shape, pad)] + value,)", LINEAR),
    pad(CROPPED, "    dy *= 2\n    return (dy[inner(dy.shape, pad)] / 2,)", ALONE),
    joining("concat", CONCATENATED, CONCATENATED.replace("(xs, axis", "(xs[::-1], axis"), FORWARD),
    joining("concat", CONCATENATED, CONCATENATED.replace("joined(xs, axis)", "np.concatenate(xs, axis=axis)"), LIBRARY),
    joining("concat", CONCATENATED, CONCATENATED.replace("(xs, axis", "([x * np.ones(1) for x in xs], axis"), TYPES),
    joining("concat", "slice(end - n, end))] if", "slice(end - n, end - 1))] if", BACKWARD),
    joining("concat", "slice(end - n, end))] if", "slice(0, n))] if", BACKWARD),
    joining("concat", "    ends = accumulate(saved)", "    ends = accumulate(saved[::-1])", BACKWARD),
    joining("concat", "slice(end - n, end))] if need else None", "slice(end - n, end))]", BACKWARD),
    joining("concat", "    ends = accumulate(saved)", "    dy -= 1\n    ends = accumulate(saved)", ALONE),
    joining("stack", STACKED, "    return xp_of(*xs).stack(xs, axis=0), ()", FORWARD),
    joining("stack", STACKED, "    return xp_of(*xs).stack([xs[0], *xs[:-1]], axis=axis), ()", FORWARD),
    joining("stack", STACKED, "    return np.stack([np.asarray(x) for x in xs], axis=axis), ()", LIBRARY),
    joining("stack", UNSTACKED, "dy[along(axis, -j)] if need else None", BACKWARD),
    joining("stack", UNSTACKED, "dy[along(axis, j)]", BACKWARD),
    joining("stack", UNSTACKED, "dy[along(axis, slice(j, j + 1))] if need else None", BACKWARD),
    joining("stack", UNSTACKED, "dy[along(axis, j)].astype(np.float64) if need else None", TYPES),
    joining("stack", UNSTACKED, "dy[along(axis, j)].__iadd__(j) if need else None", ALONE),
]
