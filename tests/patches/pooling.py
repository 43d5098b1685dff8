"""Planted bugs in max, average, global average and adaptive average pooling."""

from patches import Patch


def maximum(old: str, new: str, law: str) -> Patch:
    return Patch("max_pool2d[shifts]", old, new, law, "minidl.ops.max_pool2d.shifts")


def separable(old: str, new: str, law: str) -> Patch:
    return Patch("max_pool2d[separable]", old, new, law, "minidl.ops.max_pool2d.separable")


def compiled(old: str, new: str, law: str) -> Patch:
    return Patch("max_pool2d[compiled]", old, new, law, "minidl.ops.max_pool2d.compiled")


def loops(old: str, new: str, law: str) -> Patch:
    return Patch("max_pool2d[compiled]", old, new, law, "minidl.ops.max_pool2d.loops", "minidl.ops.max_pool2d.compiled")


def in_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("max_pool2d[cuda]", old, new, law, "max_pool2d.cu", "minidl.ops.max_pool2d.cuda")


def by_launch(old: str, new: str, law: str) -> Patch:
    return Patch("max_pool2d[cuda]", old, new, law, "minidl.ops.max_pool2d.cuda")


def average(old: str, new: str, law: str) -> Patch:
    return Patch("avg_pool2d[shifts]", old, new, law, "minidl.ops.avg_pool2d")


def overall(old: str, new: str, law: str) -> Patch:
    return Patch("global_avg_pool2d[mean]", old, new, law, "minidl.ops.global_avg_pool2d")


def adaptive(old: str, new: str, law: str) -> Patch:
    return Patch("adaptive_avg_pool2d[matrices]", old, new, law, "minidl.ops.adaptive_avg_pool2d")


def window(op: str, old: str, new: str, law: str) -> Patch:
    then = {"max_pool2d": "minidl.ops.max_pool2d.shifts", "avg_pool2d": "minidl.ops.avg_pool2d"}[op]
    return Patch(f"{op}[shifts]", old, new, law, "minidl.window", then=then)


BINS = "first, end = p * H // P, -(-(p + 1) * H // P)"

PATCHES = [
    in_cuda("row % P * sh - top", "row % P * sh", "forward_is_the_definition"),
    in_cuda("first + r * dh", "first + r", "forward_is_the_definition"),
    in_cuda("h < 0 || h >= H", "h < 0 || h >= H - 1", "forward_is_the_definition"),
    in_cuda("if (v < 0 || v >= W) continue", "if (v < 0 || v >= W) break", "forward_is_the_definition"),
    in_cuda("none || value > best[k]", "none || value < best[k]", "forward_is_the_definition"),
    in_cuda("larger ? r * S + s :", "larger ? r * R + s :", "backward_is_the_derivative"),
    in_cuda("|| value != value", "|| true", "forward_is_the_definition"),
    in_cuda("(h + w.top) / w.sh, w.P - 1", "(h + w.top) / w.sh, w.P - 2", "backward_is_the_derivative"),
    in_cuda("p >= 0 && h", "p > 0 && h", "backward_is_the_derivative"),
    in_cuda("<= w.dw * (S - 1)", "< w.dw * (S - 1)", "backward_is_the_derivative"),
    in_cuda("behind % gap ? -1 : behind / gap", "behind / gap", "backward_is_the_derivative"),
    in_cuda("behind % gap ? -1 : behind / gap", "behind % gap ? -1 : behind", "backward_is_the_derivative"),
    in_cuda("sum[k] += chosen", "sum[k] = chosen", "backward_is_the_derivative"),
    in_cuda("== position ? (A)g.at[k] : 0", "== position ? (A)g.at[k] : 1", "backward_is_linear_and_repeatable"),
    in_cuda("int h = first + r * dh;", "((T*)x)[0] = 0; int h = first + r * dh;", "arguments_are_left_alone"),
    by_launch("channels_last(dy)", "dy.ravel('K').reshape(code.shape)", "strides_do_not_matter"),
    by_launch("dtype=dy.dtype", "dtype=float", "float_types_are_kept"),
    compiled("channels_last(x), Windows", "x.reshape(len(x), *x.shape[2:], -1), Windows", "forward_is_the_definition"),
    compiled("dilation, ceil_mode)\n    y", "dilation)\n    y", "forward_is_the_definition"),
    compiled("np.zeros((N, H, W, C), dy.dtype)", "np.zeros((N, H, W, C))", "float_types_are_kept"),
    loops("pixel[c] > best[c] or", "pixel[c] < best[c] or", "forward_is_the_definition"),
    compiled("padding[::2], dilation, y, code", "padding[::2], (1, 1), y, code", "forward_is_the_definition"),
    compiled("padding[::2], dilation, dx", "(0, 0), dilation, dx", "backward_is_the_derivative"),
    loops("where[c] = number if larger", "where[c] = s if larger", "backward_is_the_derivative"),
    loops("if where[c] == number else", "if where[c] >= number else", "backward_is_the_derivative"),
    loops("to[c] += g[c]", "to[c] = g[c]", "backward_is_the_derivative"),
    maximum("y = xp.maximum(y, seen)", "y = xp.minimum(y, seen)", "forward_is_the_definition"),
    maximum("xp_of(x), pad(x, windows, -INFINITY)", "xp_of(x), pad(x, windows)", "forward_is_the_definition"),
    maximum(
        "(x.shape, kernel_size, stride, padding, dilation, ceil_mode)",
        "(x.shape, kernel_size, stride, padding, dilation)",
        "forward_is_the_definition",
    ),
    maximum("(seen > y)", "(seen < y)", "backward_is_the_derivative"),
    maximum("code_type(i)", "code_type(i - 1)", "backward_is_the_derivative"),
    maximum("(code == i)", "(code >= i)", "backward_is_the_derivative"),
    maximum("yield share * mask", "yield share", "backward_is_the_derivative"),
    maximum(".astype(dy.dtype) * dy\n", ".astype(dy.dtype) * (dy + 1)\n", "backward_is_linear_and_repeatable"),
    maximum("    code, _ = saved\n", "    code, _ = saved\n    code += 1\n", "arguments_are_left_alone"),
    maximum("channels_last(dy), saved", "dy.ravel('K').reshape(len(dy), *windows.grid, -1), saved", "strides_do_not_matter"),
    maximum("(code, x.shape) if", "(code.astype('float64'), x.shape) if", "float_types_are_kept"),
    maximum("xp.arange(count)", "np.arange(count)", "array_library_does_not_matter"),
    maximum("code = xp.maximum(code,", "code = np.maximum(code,", "array_library_does_not_matter"),
    maximum("(code == i)", "(code[:1] == i)", "batches_are_independent"),
    separable("y = xp.maximum(y, value)", "y = xp.minimum(y, value)", "forward_is_the_definition"),
    separable("windows.at(0, s)[2]", "windows.at(0, 0)[2]", "forward_is_the_definition"),
    separable("zip(seen[1:], codes[1:], strict=True)", "zip(seen[1:-1], codes[1:-1])", "forward_is_the_definition"),
    separable("(value > y)", "(value < y)", "backward_is_the_derivative"),
    separable("number(S * r) for", "number(R * r) for", "backward_is_the_derivative"),
    separable("code[:, cut] + number", "code[:, cuts[0]] + number", "backward_is_the_derivative"),
    separable("codes, code[:, cuts[0]] +", "codes, code[:, cuts[0]] * 0 +", "backward_is_the_derivative"),
    separable("    y = seen[0]\n", "    y = seen[0]\n    y += 1\n", "arguments_are_left_alone"),
    separable("(code, x.shape) if", "(code / number(1), x.shape) if", "float_types_are_kept"),
    separable("code = xp.maximum(code,", "code = np.maximum(code,", "array_library_does_not_matter"),
    separable("code[:, cuts[0]] +", "code[:1, cuts[0]] +", "batches_are_independent"),
    window("max_pool2d", "q : q + Q] += plane", "q : q + Q] = plane", "backward_is_the_derivative"),
    window("max_pool2d", "xp_of(like).zeros(", "xp_of(like).empty(", "backward_is_linear_and_repeatable"),
    window("max_pool2d", "(last < length + before)", "(last <= length + before)", "forward_is_the_definition"),
    average("total += padded", "total = padded", "forward_is_the_definition"),
    average(
        "total / counted(total, x.shape, windows, count_include_pad)",
        "total / math.prod(kernel_size)",
        "forward_is_the_definition",
    ),
    average("if count_include_pad else", "if not count_include_pad else", "forward_is_the_definition"),
    average("length + after) if", "length + before) if", "forward_is_the_definition"),
    average(
        "share / counted(share, saved, windows, count_include_pad)",
        "share / counted(share, saved, windows, True)",
        "backward_is_the_derivative",
    ),
    average("share / counted", "share * counted", "backward_is_the_derivative"),
    average(".copy()  #", "  #", "arguments_are_left_alone"),
    average("n.astype(like.dtype)", "n.astype(float)", "float_types_are_kept"),
    average("xp.arange(", "np.arange(", "array_library_does_not_matter"),
    average("share / counted", "share / len(dy) / counted", "batches_are_independent"),
    window("avg_pool2d", "q : q + Q] += plane", "q : q + Q] = plane", "backward_is_the_derivative"),
    overall(".mean(axis=(2, 3)", ".sum(axis=(2, 3)", "forward_is_the_definition"),
    overall("widen(dy) / (H * W)", "dy / H", "backward_is_the_derivative"),
    overall("widen(dy) / (H * W)", "dy", "backward_is_the_derivative"),
    overall("widen(dy) / (H * W)", "(dy + 1) / (H * W)", "backward_is_linear_and_repeatable"),
    overall("H, W = saved\n", "H, W = saved\n    dy *= 2.0\n", "arguments_are_left_alone"),
    overall("widen(x).mean", "widen(x).ravel('K').reshape(x.shape).mean", "strides_do_not_matter"),
    overall("widen(dy) / (H * W)", "dy.astype(np.float64) / (H * W)", "float_types_are_kept"),
    overall("xp_of(dy).broadcast_to", "np.broadcast_to", "array_library_does_not_matter"),
    overall(".mean(axis=(2, 3)", ".mean(axis=(0, 2, 3)", "batches_are_independent"),
    adaptive(BINS, "first, end = p * H // P, (p + 1) * H // P", "forward_is_the_definition"),
    adaptive(BINS, "first, end = p * (H // P), -(-(p + 1) * H // P)", "forward_is_the_definition"),
    adaptive(" / (end - first))", " * 1)", "forward_is_the_definition"),
    adaptive("x.shape[2 + i], output_size[i])", "x.shape[2 + i], output_size[1 - i])", "forward_is_the_definition"),
    adaptive("product(product(A.T, dy_wide), B)", "product(product(A.T, dy_wide), abs(B) > 0)", "backward_is_the_derivative"),
    adaptive("product(product(A.T, dy_wide), B)", "product(product(A.T, dy_wide), B) + 1", "backward_is_linear_and_repeatable"),
    adaptive("    dy_wide = widen(dy)\n", "    dy_wide = dy\n    dy_wide *= 1.001\n", "arguments_are_left_alone"),
    adaptive("widen(x)", "widen(x).ravel('K').reshape(x.shape)", "strides_do_not_matter"),
    adaptive(".astype(like.dtype)", "", "float_types_are_kept"),
    adaptive("xp = xp_of(like)", "xp = np", "array_library_does_not_matter"),
    adaptive("widen(x)", "widen(x) - x.mean(axis=0)", "batches_are_independent"),
]
