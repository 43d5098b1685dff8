"""Matrix products on a GPU without cuBLAS: who takes them, how they are cut, and what laws with small problems do not see."""

TESTS = ("tests/test_own_products.py", "tests/test_gemm_cuda.py")

BUGS: dict[str, list[tuple[str, str]]] = {
    "minidl/ops/gemm.py": [
        ("    if by_own_kernel(a, b):\n        return matmul(a, b)\n", ""),
        ("        return matmul(a, b, precision)\n", "        return matmul(a, b)\n"),
        ("        return matmul(a, b)\n", "        return matmul(a, b, modes().precision)\n"),
        ("or type(a) is np.ndarray or", "or"),
        (" or not can_launch(a)", ""),
        ("a.dtype.name in NAMES and all", "all"),
        ("all(b.dtype == a.dtype for b in others)", "True"),
        ("    if by_own_kernel(a):\n        return column_sums(xp_of(a).ascontiguousarray(a))\n", ""),
    ],
    "minidl/ops/rows.py": [
        ("column_sums(X) if by_own_kernel(X) else", ""),
        ("column_sums(X, Y) if by_own_kernel(X, Y) else", ""),
    ],
    "minidl/ops/columns.py": [("TILE * max(1, -(-P // TILE))", "TILE * -(-P // TILE)")],
    "minidl/ops/gemm_cuda.py": [
        ("A.reshape(math.prod(A.shape[:-1]), A.shape[-1])", "A.reshape(-1, A.shape[-1])"),
        ("    if out.size and K:\n", "    if out.size:\n"),
        ("0 if bias is None else bias\n", "0\n"),
        ("    if dtype.name not in NAMES:\n", "    if False:\n"),
        ("step >= 0 and step % a.itemsize == 0", "step % a.itemsize == 0"),
        ("        return factor(xp_of(a)", "        pass\n    if not a.flags.c_contiguous:\n        return factor(xp_of(a)"),
        ("K // LEAST, WORKSPACE // out.size", "K // LEAST"),
        ("4 * FULL // blocks, K // LEAST", "4 * FULL // blocks, K // LEAST // 1000"),
        ("* sums.itemsize", "* out.itemsize"),
        ("int(bias is not None and splits == 1)", "int(bias is not None)"),
        ("columns = 0 if bias is None else N", "columns = 0"),
        ("steps = left.step, left.next, right.step, right.next", "steps = left.next, right.next"),
        ("pack_size(most, out, left.numbers, right.numbers, counts", "pack_size(most, out, counts"),
        ("pack_size(most, out, left", "pack_size(most, left"),
        ("min(M, N) >= 64 and", "min(M, N) >= 32 and"),
        ("-(-K // LEAST) >= FULL", "-(-K // LEAST) > 1"),
        ("also=(COLUMNS,),", ""),
        (" if out.itemsize < 8 else 0", ""),
    ],
    "minidl/ops/gemm.cu": [
        ("place0 + place < places && k0 + k < last", "k0 + k < last"),  # reads beyond the arrays, which nothing is made of
        ("u / 4 * 16 + threadIdx.x", "u / 4 * 4 + threadIdx.x"),
        ("v / 4 * 32 +", "v / 4 * 4 +"),
        ("threadIdx.x / 32 % WN * 8 * NT", "threadIdx.x / 32 % WN * 4 * NT"),
        ("parts + split * stack * M * N + to", "parts + to"),
        ("(k0 + k) * step + place0 + place", "(k0 + k) * step + place"),
        ("n0 = tile % across * COLUMNS", "n0 = tile % across * ROWS"),
        ("tile < tiles * splits; tile += gridDim.x", "tile < tiles * splits; tile += tiles * splits"),
    ],
    "minidl/cuda/tiles.cuh": [
        ("for (int s = 0; s < splits; s++) sum", "for (int s = 1; s < splits; s++) sum"),
        ("bias[i % columns]", "bias[i / columns]"),
        ("step % STAGES *", "step % 2 *"),
        ("v / 2 * 8 + threadIdx.x % 4 * 2 + v % 2", "v / 2 * 8 + threadIdx.x % 4 + v % 2 * 4"),
    ],
}
