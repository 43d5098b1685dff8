"""Planted bugs in linear and matmul."""

from patches import Patch

FORWARD, BACKWARD = "forward_is_the_definition", "backward_is_the_derivative"
LINEAR, ALONE, TYPES = "backward_is_linear_and_repeatable", "arguments_are_left_alone", "float_types_are_kept"
LIBRARY, STRIDES, BATCHES = "array_library_does_not_matter", "strides_do_not_matter", "batches_are_independent"


def linear(old: str, new: str, law: str) -> Patch:
    return Patch("linear[gemm]", old, new, law, "minidl.ops.linear")


def matmul(old: str, new: str, law: str) -> Patch:
    return Patch("matmul[gemm]", old, new, law, "minidl.ops.matmul")


def linear_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("linear[cuda]", old, new, law, "minidl.ops.linear.cuda")


def matmul_cuda(old: str, new: str, law: str) -> Patch:
    return Patch("matmul[cuda]", old, new, law, "minidl.ops.matmul.cuda")


def under(op: str, old: str, new: str, law: str) -> Patch:
    """A bug in how products are launched, seen through one op."""
    return Patch(f"{op}[cuda]", old, new, law, "minidl.ops.gemm_cuda", f"minidl.ops.{op}.cuda")


def tiles(op: str, old: str, new: str, law: str) -> Patch:
    """A bug in gemm.cu, or in tiles.cuh."""
    return Patch(f"{op}[cuda]", old, new, law, "gemm.cu", "minidl.ops.gemm_cuda")


PRODUCT = "    return gemm(a, b), (a, b)"
FOLDED = "    if B.ndim == 2:\n        A, dy = rows(A), rows(dy)\n"
DA, DB = "gemm(dy, B.swapaxes(-1, -2))", "gemm(A.swapaxes(-1, -2), dy)"

PATCHES = [
    linear("        y += b\n", "        y -= b\n", FORWARD),
    linear("        y += b\n", "        y[0] += b\n", FORWARD),
    linear("    if b is not None:\n        y += b\n", "", FORWARD),
    linear("y.reshape(*x.shape[:-1], len(w))", "y.ravel(order='K').reshape(*x.shape[:-1], len(w))", FORWARD),
    linear("        y += b\n", "        y += b * len(x)\n", BATCHES),
    linear("y = gemm(w, rows(x).T).T", "y = np.matmul(rows(x), w.T)", LIBRARY),
    linear("y = gemm(w, rows(x).T).T", "y = gemm(w, rows(x).astype(np.float64).T).T", TYPES),
    linear("gemm(rows(dy), w)", "gemm(rows(dy), w[::-1])", BACKWARD),
    linear(".reshape(x.shape) if needs[0] else None", ".reshape(x.shape)", BACKWARD),
    linear("gemm(rows(dy).T, rows(x))", "gemm(rows(dy).T, rows(x)) / len(x)", BATCHES),
    linear("gemm(rows(dy).T, rows(x))", "gemm(rows(x).T, rows(dy)).reshape(w.shape)", BACKWARD),
    linear("gemm(rows(dy).T, rows(x))", "gemm(rows(abs(dy)).T, rows(x))", LINEAR),
    linear("add_rows(rows(dy))", "rows(dy).mean(axis=0)", BACKWARD),
    linear("add_rows(rows(dy))", "rows(dy)[0]", BACKWARD),
    linear("    x, w = saved\n", "    x, w = saved\n    dy *= 1 + 1e-6\n", ALONE),
    matmul(PRODUCT, "    return b @ a, (a, b)", FORWARD),
    matmul(PRODUCT, "    return np.dot(a, b), (a, b)", FORWARD),
    matmul(PRODUCT, "    return np.einsum('...ij,...jk', a, b), (a, b)", FORWARD),
    matmul(PRODUCT, "    return np.asarray(a) @ np.asarray(b), (a, b)", LIBRARY),
    matmul(PRODUCT, "    return gemm(a, b), (a, b.astype(np.float64))", TYPES),
    matmul("gemm(rows(a), b).reshape(*a.shape[:-1], b.shape[1])", "gemm(rows(a), b)", FORWARD),
    matmul(DA, "dy @ B", BACKWARD),
    matmul(DA, "dy.swapaxes(-1, -2) @ B", BACKWARD),
    matmul(f"unbroadcast({DA}, A.shape)", f"({DA})", BACKWARD),
    matmul(
        f"unbroadcast({DB}, B.shape).reshape(b.shape) if needs[1] else None",
        f"unbroadcast({DB}, B.shape).reshape(b.shape)",
        BACKWARD,
    ),
    matmul(DB, "dy.swapaxes(-1, -2) @ A", BACKWARD),
    matmul(FOLDED, FOLDED.replace("rows(A), rows(dy)", "rows(A[:1]), rows(dy[:1])"), BACKWARD),
    matmul(FOLDED, FOLDED + "    dy *= 2.0\n", ALONE),
    tiles("linear", "more[i] = bias[n + i]", "more[i] = bias[i]", FORWARD),
    tiles("linear", "sums[u][v] += a[u] * b[v]", "sums[u][v] = a[u] * b[v]", FORWARD),
    tiles("linear", "k0 + k < last", "k0 + k < last - 1", FORWARD),
    tiles("linear", "place0 + place < places", "place0 + place < places - 1", FORWARD),
    tiles("linear", "threadIdx.x % 32 / 8 * 4 + u % 4", "threadIdx.x % 32 / 8 + u % 4", FORWARD),
    tiles("linear", "TURNED || WAITS ? 1", "WAITS ? 1", FORWARD),
    tiles("linear", "(k0 + k) * step + place0", "(k0 + k) * (step - 1) + place0", BACKWARD),
    tiles("linear", "k += DEEP;", "", BACKWARD),
    tiles("linear", "begin(s + STAGES - 1);", "begin(s + STAGES);", BACKWARD),
    tiles("linear", "        __syncthreads();  // all have", "        // all have", FORWARD),
    under("linear", "places if along else terms, stack", "terms if along else places, stack", FORWARD),
    under("linear", "along = a.shape[2] == 1 or terms == 1", "along = True", BACKWARD),
    under("linear", "out = xp.empty((stack, M, N), dtype=dtype)", "out = xp.empty((stack, M, N))", TYPES),
    linear_cuda("w.T, b, modes()", "w.T, None, modes()", FORWARD),
    linear_cuda("products(dY, w,", "products(abs(dY), w,", LINEAR),
    linear_cuda("products(dY.T, rows(x), precision=precision)", "products(dY.T, rows(x)) / len(x)", BATCHES),
    linear_cuda("column_sums(xp_of(dY).ascontiguousarray(dY))", "column_sums(dY)", STRIDES),
    tiles("matmul", "a + s * a_next", "a", FORWARD),
    tiles("matmul", "b + s * b_next", "b + s * a_next", FORWARD),
    tiles("matmul", "(s * M + m) * N + n", "(s * N + m) * N + n", FORWARD),
    tiles("matmul", "tile / (across * down) % stack", "tile / (across * down * stack)", FORWARD),
    under("matmul", "stacked(B, lead), precision", "stacked(B, lead)[::-1], precision", FORWARD),
    under("matmul", "step >= 0 and step % a.itemsize == 0", "step % a.itemsize == 0", STRIDES),
    matmul_cuda("dy, B.swapaxes(-1, -2), precision", "dy, B, precision", BACKWARD),
    matmul_cuda("unbroadcast(matmul(A.swapaxes(-1, -2), dy, precision), B.shape)", "matmul(A.swapaxes(-1, -2), dy)", BACKWARD),
    matmul_cuda("    if needs[0]:", "    if True:", BACKWARD),
    matmul_cuda("return matmul(a, b, modes().precision), (a, b)", "return matmul(a.astype(float), b), (a, b)", TYPES),
]
