"""Planted bugs in the convolutions."""

from patches import Patch


def im2col(old: str, new: str, law: str, file: str = "conv2d.im2col") -> Patch:
    return Patch("conv2d[im2col]", old, new, law, f"minidl.ops.{file}")


def shifts(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[shifts]", old, new, law, "minidl.ops.conv2d.shifts")


def direct(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[direct]", old, new, law, "minidl.ops.conv2d.direct")


def gemm_1x1(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[gemm_1x1]", old, new, law, "minidl.ops.conv2d.gemm_1x1")


def winograd(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[winograd]", old, new, law, "minidl.ops.conv2d.winograd")


def beneath(file: str, old: str, new: str, law: str) -> Patch:
    """A bug in the matrices or the tiles of Winograd."""
    return Patch("conv2d[winograd]", old, new, law, f"minidl.ops.conv2d.{file}", then="minidl.ops.conv2d.winograd")


def cuda_im2col(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[cuda_im2col]", old, new, law, "im2col.cu", "minidl.ops.conv2d.cuda_im2col")


def cuda_im2col_py(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[cuda_im2col]", old, new, law, "minidl.ops.conv2d.cuda_im2col")


def under(kernel: str, old: str, new: str, law: str) -> Patch:
    """A bug in the sums of columns, seen through one kernel."""
    return Patch(f"conv2d[{kernel}]", old, new, law, "columns.cu", "minidl.ops.columns")


def sums_py(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[cuda_im2col]", old, new, law, "minidl.ops.columns", "minidl.ops.conv2d.cuda_im2col")


def cuda_winograd(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[cuda_winograd]", old, new, law, "winograd.cu", "minidl.ops.conv2d.cuda_winograd")


def cuda_winograd_py(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[cuda_winograd]", old, new, law, "minidl.ops.conv2d.cuda_winograd")


def fft(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[fft]", old, new, law, "minidl.ops.conv2d.fft")


def window(kernel: str, old: str, new: str, law: str) -> Patch:
    """A bug in the shared geometry, seen through one kernel."""
    return Patch(f"conv2d[{kernel}]", old, new, law, "minidl.window", then=f"minidl.ops.conv2d.{kernel}")


def implicit(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[cuda_implicit_gemm]", old, new, law, "implicit_gemm.cu", "minidl.ops.conv2d.cuda_implicit_gemm")


def gathering(old: str, new: str, law: str) -> Patch:
    return Patch("conv2d[cuda_implicit_gemm]", old, new, law, "minidl.ops.conv2d.cuda_implicit_gemm")


FORWARD = "forward_is_the_definition"
BACKWARD = "backward_is_the_derivative"
LINEAR = "backward_is_linear_and_repeatable"


PATCHES = [
    implicit("m / Q % P * ym + ya", "m / Q % P * ym", "forward_is_the_definition"),
    implicit("row_x[r] + j * xs", "row_x[r] + j", "forward_is_the_definition"),
    implicit("            if (++j == J) j = 0, i++;", "            if (++j == J) j = 0;", "forward_is_the_definition"),
    implicit("bias[bias_at + column]", "bias[column]", "forward_is_the_definition"),
    implicit(
        "        copies_left<STAGES - 2>();\n        __syncthreads();  // all",
        "        copies_left<STAGES - 2>();  // all",
        "forward_is_the_definition",
    ),
    implicit("return threadIdx.x / 32 / WN * 16 * MT + 8 * u", "return 8 * u", "forward_is_the_definition"),
    implicit("first + 8 * v, 4 * i + t", "first + 8 * v, i + t", "forward_is_the_definition"),
    implicit("k0 + r < columns", "true", "forward_is_the_definition"),  # reads beyond the filters
    implicit("k0 + my_a < outputs", "true", "backward_is_the_derivative"),
    implicit("split * each, last", "split, last", "backward_is_the_derivative"),
    implicit("tap / J * ys + ya", "tap / J * ys", "backward_is_the_derivative"),
    implicit("sum += parts[s * numbers + i]", "sum = parts[s * numbers + i]", "backward_is_the_derivative"),
    gathering("-(step * dilation // stride)", "step * dilation // stride", "backward_is_the_derivative"),
    gathering("math.gcd(stride, dilation)", "1", "backward_is_the_derivative"),
    gathering("(a + before - first * dilation) // stride", "(a + before) // stride", "backward_is_the_derivative"),
    gathering("b = None if b is None else xp.ascontiguousarray(b)", "pass", "strides_do_not_matter"),
    gathering("dF.transpose(0, 3, 1, 2)", "dF.transpose(0, 3, 2, 1)", "backward_is_the_derivative"),
    im2col("rows(w[k]).T", "w[k].reshape(len(w[k]), -1).T", "forward_is_the_definition"),
    im2col("unfold(x[:, c], windows), rows", "unfold(x[:, : w.shape[1]], windows), rows", "forward_is_the_definition"),
    im2col("        y += b\n", "        y -= b\n", "forward_is_the_definition"),
    im2col("by_position(w[k])", "by_position(w[k][:, :, ::-1, ::-1])", "backward_is_the_derivative"),
    im2col("(K, R, S, Cg).transpose(0, 3, 1, 2)", "(K, Cg, R, S)", "backward_is_the_derivative"),
    im2col("unfold(x[:, c], windows)))", "unfold(x[:, c], windows._replace(stride=(1, 1)))))", "backward_is_the_derivative"),
    im2col("add_rows(dY) if needs[2] else None", "add_rows(dY)", "backward_is_the_derivative"),
    im2col("add_rows(dY)", "add_rows(dY) / len(dY)", "backward_is_the_derivative"),
    im2col("add_rows(dY)", "add_rows(dY + 1)", "backward_is_linear_and_repeatable"),
    im2col("    x, w = saved\n", "    x, w = saved\n    w *= 2.0\n", "arguments_are_left_alone"),
    im2col("w.transpose(0, 2, 3, 1).reshape", "w.ravel('K').reshape", "strides_do_not_matter"),
    im2col("        y += b\n", "        y = y + b.astype('float64')\n", "float_types_are_kept"),
    im2col("add_rows(dY)", "add_rows(dY) / len(x)", "batches_are_independent"),
    window("im2col", "padded[:, top : top + H", "padded[:, rows - top - H : rows - top", "forward_is_the_definition"),
    window("im2col", ", ::dh, ::dw]", ", ::dw, ::dh]", "forward_is_the_definition"),
    window("im2col", "q : q + Q] += plane", "q : q + Q] = plane", "backward_is_the_derivative"),
    window("im2col", "xp_of(like).zeros(", "np.zeros(", "array_library_does_not_matter"),
    shifts("y += gemm", "y = gemm", "forward_is_the_definition"),
    shifts("w[:, :, r, s].T", "w[:, :, -1 - r, -1 - s].T", "forward_is_the_definition"),
    shifts("reshape(-1, Cg)", "reshape(-1, Cg)[::-1]", "backward_is_the_derivative"),
    shifts("w[k, :, r, s])", "w[k, :, -1 - r, -1 - s])", "backward_is_the_derivative"),
    shifts(
        "pad(x[:, c], windows)",
        "pad(x[:, c], windows._replace(padding=(padding[1], padding[0], *padding[2:])))",
        "backward_is_the_derivative",
    ),
    shifts("add_rows(dY) if needs[2]", "add_rows(dY) if needs[1]", "backward_is_the_derivative"),
    shifts("zeros((N * P * Q", "empty((N * P * Q", "backward_is_linear_and_repeatable"),
    shifts("    x, w = saved\n", "    x, w = saved\n    dy *= 0.5\n", "arguments_are_left_alone"),
    shifts("narrow(y, x).reshape", "y.reshape", "float_types_are_kept"),
    shifts("empty(w.shape, dtype=w.dtype)", "empty(w.shape)", "float_types_are_kept"),
    shifts("        y += b\n", "        y += b * len(x)\n", "batches_are_independent"),
    window("shifts", "slice(first * gap, first * gap +", "slice(first, first +", "forward_is_the_definition"),
    window("shifts", "image[:, top : top + H", "image[:, :H", "backward_is_the_derivative"),
    window("shifts", "xp_of(x).full(", "np.full(", "array_library_does_not_matter"),
    direct("(seen * w[k])", "(seen * w[k][:, ::-1, ::-1])", "forward_is_the_definition"),
    direct("first = k // (K // groups) * Cg", "first = k % groups * Cg", "forward_is_the_definition"),
    direct("rows = slice(p * sh, p * sh +", "rows = slice(p * sw, p * sw +", "forward_is_the_definition"),
    direct("(top, bottom), (left, right)", "(bottom, top), (left, right)", "forward_is_the_definition"),
    direct("dx[here] += d", "dx[here] = d", "backward_is_the_derivative"),
    direct("dx[:, :, top : top + H, left : left + W]", "dx[:, :, :H, :W]", "backward_is_the_derivative"),
    direct("(d * padded[here])", "(d * x[here])", "backward_is_the_derivative"),
    direct("xp.zeros_like(w)", "xp.empty_like(w)", "backward_is_linear_and_repeatable"),
    direct("xp.zeros_like(w)", "w", "arguments_are_left_alone"),
    direct("*windows.grid), dtype=x.dtype)", "*windows.grid))", "float_types_are_kept"),
    direct("xp_of(x).pad(", "__import__('numpy').pad(", "array_library_does_not_matter"),
    direct("(d * padded[here]).sum(axis=0)", "(d * padded[here]).mean(axis=0)", "batches_are_independent"),
    gemm_1x1("Y += b", "Y -= b", "forward_is_the_definition"),
    gemm_1x1(":: stride[0], :: stride[1]])", ":: stride[1], :: stride[0]])", "forward_is_the_definition"),
    gemm_1x1("W[k].T) for c, k", "W[k].T) for k, c", "forward_is_the_definition"),
    gemm_1x1(
        "dx[:, :: stride[0], :: stride[1]] = dX", "dx[:, : dX.shape[1], : dX.shape[2]] = dX", "backward_is_the_derivative"
    ),
    gemm_1x1("gemm(dY[:, k].T, X[:, c])", "gemm(dY[:, k].T, X[::-1, c])", "backward_is_the_derivative"),
    gemm_1x1("if needs[1]:", "if needs[0]:", "backward_is_the_derivative"),
    gemm_1x1("xp_of(dX).zeros(", "xp_of(dX).empty(", "backward_is_linear_and_repeatable"),
    gemm_1x1("    x, w = saved\n", "    x, w = saved\n    x *= 0.5\n", "arguments_are_left_alone"),
    gemm_1x1("seen.reshape(-1, C), w", "x.ravel('K').reshape(-1, C), w", "forward_is_the_definition"),
    gemm_1x1("(N, H, W, C), dtype=dX.dtype)", "(N, H, W, C))", "float_types_are_kept"),
    gemm_1x1("xp_of(dX).zeros(", "__import__('numpy').zeros(", "array_library_does_not_matter"),
    gemm_1x1("gemm(dY[:, k], W[k])", "gemm(dY[:, k] - dY.mean(), W[k])", "batches_are_independent"),
    winograd("F.transpose(0, 2, 1))", "F[::-1].transpose(0, 2, 1))", "forward_is_the_definition"),
    winograd("both(down.A.T, across.A.T, M", "both(across.A.T, down.A.T, M", "forward_is_the_definition"),
    winograd("Y + b[k]", "Y - b[k]", "forward_is_the_definition"),
    winograd("by_place(U[:, :, k])\n", "by_place(U[:, :, : k.stop - k.start])\n", "forward_is_the_definition"),
    winograd("both(down.B.T, across.B.T, dV)", "both(down.B, across.B, dV)", "backward_is_the_derivative"),
    winograd("both(down.A, across.A, split", "both(-down.A, across.A, split", "backward_is_the_derivative"),
    winograd("w.reshape(K * Cg, R * S).T)", "w.reshape(K * Cg, R * S)[:, ::-1].T)", "forward_is_the_definition"),
    winograd("dU.reshape(-1, K * Cg).T", "dU.reshape(-1, K * Cg).T[:, ::-1]", "backward_is_the_derivative"),
    winograd("if needs[2] else None", "if needs[0] else None", "backward_is_the_derivative"),
    winograd("    x, U = saved\n", "    x, U = saved\n    U += 1.0\n", "backward_is_linear_and_repeatable"),
    winograd(
        "    dY, dF = padded_outputs(dy, tiles), None\n",
        "    x *= 1.5\n    dY, dF = padded_outputs(dy, tiles), None\n",
        "arguments_are_left_alone",
    ),
    winograd("*tiles.map, K), dtype=x.dtype)", "*tiles.map, K))", "float_types_are_kept"),
    winograd("xp_of(w).kron(", "__import__('numpy').kron(", "array_library_does_not_matter"),
    winograd(
        "add_rows(channels_last(dy).reshape(-1, K))",
        "add_rows(channels_last(dy).reshape(-1, K)) / len(dy)",
        "batches_are_independent",
    ),
    beneath("tiles", "columns, : piece.shape[4]] += piece", "columns, : piece.shape[4]] = piece", "backward_is_the_derivative"),
    beneath("tiles", "[:, ::mr, ::ms]", "[:, ::ms, ::mr]", "forward_is_the_definition"),
    beneath("tiles", "top : top + shape[2]", ": shape[2]", "backward_is_the_derivative"),
    beneath("tiles", "xp_of(like).zeros(", "xp_of(like).empty(", "backward_is_linear_and_repeatable"),
    beneath(
        "tiles",
        "end - first, tw, -1).transpose(2, 3, 0, 4, 1, 5)\n    return",
        "end - first, tw, -1).transpose(2, 3, 1, 4, 0, 5)\n    return",
        "forward_is_the_definition",
    ),
    beneath("cook_toom", "Fraction(i == count - 1)", "Fraction(i == 0)", "forward_is_the_definition"),
    beneath("cook_toom", "[a - b for a, b in", "[a + b for a, b in", "forward_is_the_definition"),
    beneath("cook_toom", "row] for row in M], dtype=dtype)", "row] for row in M])", "float_types_are_kept"),
    fft(", windows, x.shape).conj()", ", windows, x.shape)", "forward_is_the_definition"),
    fft("(0, 0), windows.grid)", "(padding[0], padding[2]), windows.grid)", "forward_is_the_definition"),
    fft("y + widen(b)", "y - widen(b)", "forward_is_the_definition"),
    fft("return smooth(rows), smooth(columns)", "return smooth(rows - 1), smooth(columns)", "forward_is_the_definition"),
    fft("wide[:, :: dilation[0], :: dilation[1]] = w", "wide[:, : w.shape[2], : w.shape[3]] = w", "forward_is_the_definition"),
    fft("(padding[0], padding[2]), (H, Wd)", "(0, 0), (H, Wd)", "backward_is_the_derivative"),
    fft("dY[..., k].conj().swapaxes", "dY[..., k].swapaxes", "backward_is_the_derivative"),
    fft(
        "span(windows.size, dilation))[:, :: dilation[0]",
        "span(windows.size, dilation))[:, :: dilation[1]",
        "backward_is_the_derivative",
    ),
    fft("xp_of(w).zeros(", "xp_of(w).empty(", "backward_is_linear_and_repeatable"),
    fft("    x, w = saved\n", "    x, w = saved\n    w -= 1.0\n", "arguments_are_left_alone"),
    fft("channels_first(narrow(y if", "channels_first((y if", "float_types_are_kept"),
    fft("xp_of(images).fft", "__import__('numpy').fft", "array_library_does_not_matter"),
    fft("y if b is None else y + widen(b)", "y if b is None else y + widen(b) * len(x)", "batches_are_independent"),
    cuda_im2col("c = first + j % Cg", "c = j % Cg", "forward_is_the_definition"),
    cuda_im2col("j / Cg % S * dw - left", "j / Cg % S * dh - left", "forward_is_the_definition"),
    cuda_im2col("0 <= v && v < W", "0 < v && v < W", "forward_is_the_definition"),
    cuda_im2col("if (p == P) p = 0, n++;", "", "forward_is_the_definition"),
    cuda_im2col("product[row * Kg + k] + bias", "product[row * Kg + k]", "forward_is_the_definition"),
    cuda_im2col("A bias = b[first + k]", "A bias = b[k]", "forward_is_the_definition"),
    cuda_im2col("Q - 1); q >= 0", "Q - 1); q > 0", "backward_is_the_derivative"),
    cuda_im2col("h - p * sh <= (R - 1) * dh", "h - p * sh < (R - 1) * dh", "backward_is_the_derivative"),
    cuda_im2col("if (p * sh + r * dh != h) continue;", "", "backward_is_the_derivative"),
    cuda_im2col("row % H + top", "row % H", "backward_is_the_derivative"),
    cuda_im2col("(r * S + s) * Cg + c]", "(s * R + r) * Cg + c]", "backward_is_the_derivative"),
    cuda_im2col("dx[(row * W + v) * C + first + c] = sum", "dx[(row * W + v) * C + c] = sum", "backward_is_the_derivative"),
    cuda_im2col("A sum = 0;\n            for (int p", "A sum = 1;\n            for (int p", LINEAR),
    *(
        under(kernel, old, new, law)
        for kernel in ("cuda_im2col", "cuda_winograd", "cuda_implicit_gemm")
        for old, new, law in (
            ("sum += more", "sum = more", BACKWARD),
            ("sum += more", "sum += here.end - here.first", LINEAR),
        )
    ),
    under("cuda_im2col", "sum = over_warps(sum);", "", BACKWARD),
    under("cuda_implicit_gemm", "sums[here.slot] = sum", "sums[part] = sum", BACKWARD),
    sums_py("narrow(joined(SOURCE, sums)[0], X)", "joined(SOURCE, sums)[0]", "float_types_are_kept"),
    cuda_im2col_py("if needs[2] else None", "", "backward_is_the_derivative"),
    cuda_im2col_py("*windows.dilation, top, left", "*windows.dilation, left, top", "forward_is_the_definition"),
    cuda_im2col_py("dF[k] += gemm(d.T", "dF[k] = gemm(-d.T", "backward_is_the_derivative"),
    cuda_im2col_py(" and not any(windows.padding)", "", "forward_is_the_definition"),
    cuda_im2col_py(
        "    x, w = saved\n    windows, dx", "    x, w = saved\n    w *= 2.0\n    windows, dx", "arguments_are_left_alone"
    ),
    cuda_im2col_py("xp_of(b).ascontiguousarray(b)", "b", "strides_do_not_matter"),
    cuda_im2col_py("column_sums(channels_last(dy)", "column_sums(channels_last(dy) / len(dy)", "batches_are_independent"),
    cuda_winograd("sums[q] += across[q][column] * value", "sums[q] += across[q][0] * value", FORWARD),
    cuda_winograd("if (down[p][row] != 0) out", "if (down[p][row] > 0) out", FORWARD),
    cuda_winograd("% th * MR - top, v", "% th * MR, v", FORWARD),
    cuda_winograd("v = i / Cg % tw * MS - left", "v = i / Cg % tw * MR - left", FORWARD),
    cuda_winograd("0 <= v + column", "0 < v + column", FORWARD),
    cuda_winograd("int c = first + i % Cg", "int c = i % Cg", FORWARD),
    cuda_winograd("tile[j / MS][j % MS] + bias", "tile[j / MS][j % MS]", FORWARD),
    cuda_winograd("w[(i * R + r) * S + s]", "w[(i * R + R - 1 - r) * S + s]", FORWARD),
    cuda_winograd("out[row][column] += down", "out[row][column] = down", FORWARD),
    cuda_winograd("dU[(p * TS + q) * count + i]", "dU[(q * TR + p) * count + i]", BACKWARD),
    cuda_winograd("up <= (TR - 1) / MR", "up < 1", BACKWARD),
    cuda_winograd("pixels, up * MR, before * MS", "pixels, before * MR, up * MS", BACKWARD),
    cuda_winograd("column - before >= tw) continue", "column - before >= tw - 1) continue", BACKWARD),
    cuda_winograd("p + row < P && q", "p + row < P - 1 && q", BACKWARD),
    cuda_winograd("A pixels[MR][MS] = {};", "A pixels[MR][MS] = {}; pixels[0][0] = 1;", LINEAR),
    cuda_winograd_py("y[part], tiles, k)", "y[part], tiles, slice(0, k.stop - k.start))", FORWARD),
    cuda_winograd_py("else xp.ascontiguousarray(b)", "else b", "strides_do_not_matter"),
    cuda_winograd_py("xp_of(w).ascontiguousarray(w)", "w", "strides_do_not_matter"),
    cuda_winograd_py("xp.zeros_like(U)", "xp.zeros(U.shape)", "float_types_are_kept"),
    cuda_winograd_py("xp.zeros_like(U)", "U", "arguments_are_left_alone"),
    cuda_winograd_py("if needs[2] else None", "", BACKWARD),
    cuda_winograd_py("top, _, left, _ = tiles.padding", "left, _, top, _ = tiles.padding", FORWARD),
    cuda_winograd_py("column_sums(dY.reshape", "column_sums(dY[:1].reshape", "batches_are_independent"),
    gathering("column_sums(dY.reshape", "column_sums(dY[:1].reshape", "batches_are_independent"),
    gathering(" if needs[2] else None", "", BACKWARD),
    gathering("counts=(outputs, Cg, dY_at, X_at)", "counts=()", BACKWARD),
]
