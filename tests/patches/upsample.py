"""Planted bugs in upsampling."""

from patches import Patch


def row(old: str, new: str, law: str) -> Patch:
    return Patch("upsample[array]", old, new, law, "minidl.ops.upsample")


COPIED = "return x.repeat(scale[0], axis=2).repeat(scale[1], axis=3), x.shape"
BLOCKS = "sum(dy_wide[:, :, i :: scale[0], j :: scale[1]] for i, j in np.ndindex(scale))"

PATCHES = [
    row(COPIED, "return x.repeat(scale[1], axis=2).repeat(scale[0], axis=3), x.shape", "forward_is_the_definition"),
    row(COPIED, "return xp_of(x).tile(x, (1, 1, *scale)), x.shape", "forward_is_the_definition"),
    row("xp.clip((p + 0.5) / s - 0.5, 0, H - 1)", "xp.clip(p / s, 0, H - 1)", "forward_is_the_definition"),
    row("xp.clip((p + 0.5) / s - 0.5, 0, H - 1)", "(p + 0.5) / s - 0.5", "forward_is_the_definition"),
    row("(H - 1) / max(P - 1, 1)", "H / P", "forward_is_the_definition"),
    row("xp.maximum(1 - abs(u - h), 0)", "xp.maximum(1 - abs(u - h), 0) ** 2", "forward_is_the_definition"),
    row(BLOCKS, BLOCKS + " / (scale[0] * scale[1])", "backward_is_the_derivative"),
    row(BLOCKS, BLOCKS.replace("np.ndindex(scale)", "np.ndindex(scale[::-1])"), "backward_is_the_derivative"),
    row(BLOCKS, "dy_wide[:, :, :: scale[0], :: scale[1]]", "backward_is_the_derivative"),
    row(BLOCKS, BLOCKS.replace("sum(dy_wide", "sum(np.asarray(dy_wide)"), "array_library_does_not_matter"),
    row("dx = product(product(A.T, dy_wide), B)", "dx = -(A.T @ dy_wide @ B)", "backward_is_the_derivative"),
    row("dx = product(product(A.T, dy_wide), B)", "dx = A.T @ dy_wide @ B + 1", "backward_is_linear_and_repeatable"),
    row("    dy_wide = widen(dy)\n", "    dy_wide = dy\n    dy_wide += 1e-6\n", "arguments_are_left_alone"),
    row("narrow(product(product(A, x_wide), B.T), x)", "A @ x_wide @ B.T", "float_types_are_kept"),
    row("(narrow(dx, dy),)", "(dx,)", "float_types_are_kept"),
    row("xp, P = xp_of(like), s * H", "xp, P = np, s * H", "array_library_does_not_matter"),
    row("product(product(A, x_wide), B.T)", "A @ (x_wide - x.mean(axis=0)) @ B.T", "batches_are_independent"),
]
