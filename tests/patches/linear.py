"""Planted bugs in linear and matmul."""

from patches import Patch

FORWARD, BACKWARD = "forward_is_the_definition", "backward_is_the_derivative"
LINEAR, ALONE, TYPES = "backward_is_linear_and_repeatable", "arguments_are_left_alone", "float_types_are_kept"
LIBRARY, STRIDES, BATCHES = "array_library_does_not_matter", "strides_do_not_matter", "batches_are_independent"


def linear(old: str, new: str, law: str) -> Patch:
    return Patch("linear[gemm]", old, new, law, "minidl.ops.linear")


def matmul(old: str, new: str, law: str) -> Patch:
    return Patch("matmul[gemm]", old, new, law, "minidl.ops.matmul")


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
]
