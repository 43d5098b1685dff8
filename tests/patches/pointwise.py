"""Planted bugs in the pointwise machinery, tried on every arithmetic op, and in the formulas of arithmetic."""

from minidl.laws import LAWS
from patches import Patch

VALUE, SLOPE, LINEAR, ALONE, STRIDES, TYPES, LIBRARY, BATCH = (law.__name__ for law in LAWS)
MACHINERY = "minidl.ops.pointwise"

FORWARD, BACKWARD = "y = f(xp_of(x), x, **attrs)", "return (dx(xp_of(dy), dy, *saved, **attrs),)"
UNARY = [
    (FORWARD, "x *= 1.25; y = f(xp_of(x), x, **attrs)", ALONE),
    (FORWARD, "y = f(xp_of(x), x.astype(np.float64), **attrs)", TYPES),
    (FORWARD, "y = f(np, np.asarray(x), **attrs)", LIBRARY),
    (FORWARD, 'y = f(xp_of(x), x.ravel(order="K").reshape(x.shape), **attrs)', STRIDES),
    (BACKWARD, "dy *= 2.0; return (dx(xp_of(dy), dy, *saved, **attrs),)", ALONE),
    (BACKWARD, "return (dx(xp_of(dy), dy.astype(np.float64), *saved, **attrs),)", TYPES),
]
UNARY_WITH_A_SLOPE = [
    (BACKWARD, "return (dx(xp_of(dy), abs(dy), *saved, **attrs),)", LINEAR),
    (BACKWARD, "return (dx(xp_of(dy), xp_of(dy).ones_like(dy), *saved, **attrs),)", SLOPE),
    (BACKWARD, 'return (dx(xp_of(dy), dy.ravel(order="K").reshape(dy.shape), *saved, **attrs),)', STRIDES),
]
BINARY = [
    ("y = f(xp_of(a, b), a, b)", "b += 1.0; y = f(xp_of(a, b), a, b)", ALONE),
    ("y = f(xp_of(a, b), a, b)", "y = f(xp_of(a, b), a.astype(np.float64), b)", TYPES),
    ("y = f(xp_of(a, b), a, b)", "y = f(np, np.asarray(a), b)", LIBRARY),
    ("y = f(xp_of(a, b), a, b)", 'y = f(xp_of(a, b), a.ravel(order="K").reshape(a.shape), b)', STRIDES),
    ("a_shape, b_shape, *kept = saved", "dy *= 2.0; a_shape, b_shape, *kept = saved", ALONE),
    ("unbroadcast(da(xp, dy, *kept)", "unbroadcast(da(xp, dy * dy, *kept)", LINEAR),
    (", a_shape) if needs[0] else None", ", a_shape)", SLOPE),
    (", b_shape) if needs[1] else None", ", b_shape)", SLOPE),
    ("unbroadcast(db(xp, dy, *kept), b_shape)", "db(xp, dy, *kept)", SLOPE),
    ("axis < new or shape[axis - new] == 1", "axis < new", SLOPE),
    ("widen(dy).sum(axis=axes)", "widen(dy).mean(axis=axes)", SLOPE),
    (".reshape(shape).astype(dy.dtype, copy=False)", ".reshape(shape)", TYPES),
]


def machinery(room: str, ops: str, rows: list[tuple[str, str, str]]) -> list[Patch]:
    """The same bugs for many ops: each is declared again on top of the broken machinery."""
    return [Patch(f"{op}[pointwise]", old, new, law, MACHINERY, then=room) for op in ops.split() for old, new, law in rows]


def formulas(room: str, rows: dict[str, list[tuple[str, str, str]]]) -> list[Patch]:
    """Bugs of one op each."""
    return [Patch(f"{op}[pointwise]", old, new, law, room) for op, bugs in rows.items() for old, new, law in bugs]


ARITHMETIC = {
    "add": [("a, b: a + b,\n    da", "a, b: a + b * b,\n    da", VALUE)],
    "subtract": [
        ("a, b: a - b,\n    da", "a, b: b - a,\n    da", VALUE),
        ("db=lambda xp, dy: -dy", "db=lambda xp, dy: dy", SLOPE),
    ],
    "multiply": [
        ("da=lambda xp, dy, a, b: dy * b,", "da=lambda xp, dy, a, b: dy * a,", SLOPE),
        ("db=lambda xp, dy, a, b: dy * a,", "db=lambda xp, dy, a, b: a,", SLOPE),
    ],
    "divide": [
        ("a, b: a / b,\n    da", "a, b: b / a,\n    da", VALUE),
        ("-dy * y / b", "dy * y / b", SLOPE),
        ("-dy * y / b", "-dy * y", SLOPE),
        ("dy, b, y: dy / b", "dy, b, y: dy * b", SLOPE),
    ],
    "power": [
        ("a, b: a**b,\n    da", "a, b: b**a,\n    da", VALUE),
        ("dy * b * a **", "dy * a **", SLOPE),
        ("a ** (b - (b != 0))", "a**b", SLOPE),
        ("dy * y * xp.log(a", "dy * xp.log(a", SLOPE),
    ],
    "maximum": [
        ("dy * (a > b) + dy * (a >= b)", "dy * (b > a) + dy * (b >= a)", SLOPE),
        ("0.5 * (dy * (b > a) + dy * (b >= a))", "dy * (b > a) + dy * (b >= a)", SLOPE),
        ("xp.maximum(a, b)", "xp.minimum(a, b)", VALUE),
    ],
    "minimum": [
        ("dy * (a < b) + dy * (a <= b)", "dy * (a < b) + dy * (b <= a)", SLOPE),
        ("0.5 * (dy * (b < a) + dy * (b <= a))", "0.5 * dy * (b < a)", SLOPE),
        ("xp.minimum(a, b)", "xp.maximum(a, b)", VALUE),
    ],
    "negative": [("dx=lambda xp, dy: -dy", "dx=lambda xp, dy: dy", SLOPE), ("f=lambda xp, x: -x", "f=lambda xp, x: +x", VALUE)],
    "exp": [
        ("dx=lambda xp, dy, y: dy * y,", "dx=lambda xp, dy, y: dy * xp.exp(y),", SLOPE),
        ("xp, x: xp.exp(x)", "xp, x: xp.exp(-x)", VALUE),
    ],
    "log": [
        ("dx=lambda xp, dy, x: dy / x", "dx=lambda xp, dy, x: dy * x", SLOPE),
        ("xp, x: xp.log(x)", "xp, x: xp.log(1 + x)", VALUE),
    ],
    "sqrt": [("0.5 * dy / y", "dy / y", SLOPE), ("0.5 * dy / y", "0.5 * dy * y", SLOPE)],
    "abs": [("dy * xp.sign(x)", "dy * x", SLOPE), ("dy * xp.sign(x)", "dy * (x > 0)", SLOPE)],
    "sin": [("dy * xp.cos(x)", "-dy * xp.cos(x)", SLOPE), ("dy * xp.cos(x)", "dy * xp.sin(x)", SLOPE)],
    "cos": [("-dy * xp.sin(x)", "dy * xp.sin(x)", SLOPE), ("xp, x: xp.cos(x)", "xp, x: xp.cos(-2 * x)", VALUE)],
    "clip": [
        ("xp.clip(x, min, max)", "xp.clip(x, max, min)", VALUE),
        ("dy * inside", "dy", SLOPE),
        (")) & (x <=", ")) | (x <=", SLOPE),
        ("-math.inf if min is None else min)) & (x", "min or 0)) & (x", SLOPE),
    ],
}
WHERE = [
    ("where(condition, a, b)\n", "where(condition, b, a)\n", VALUE),
    ("unbroadcast(dy * condition", "unbroadcast(dy", SLOPE),
    ("dy * ~condition", "dy * condition", SLOPE),
    ("dy * ~condition", "dy * np.logical_not(condition)", LIBRARY),
    ("dy * ~condition", "dy.astype(np.float64) * ~condition", TYPES),
    (" if needs[1] else None", "", SLOPE),
    (", b_shape) if", ", a_shape) if", SLOPE),
    ("    condition, a_shape, b_shape = saved", "    condition, a_shape, b_shape = saved\n    dy *= 2.0", ALONE),
    ("    condition, a_shape, b_shape = saved", "    condition, a_shape, b_shape = saved\n    condition ^= True", ALONE),
    ("    y = xp_of", '    a = a.ravel(order="K").reshape(a.shape)\n    y = xp_of', STRIDES),
]

ROOM = "minidl.ops.arithmetic"
PATCHES = [
    *machinery(ROOM, "add subtract multiply divide power maximum minimum", BINARY),
    *machinery(ROOM, "negative exp log sqrt abs sin cos clip", UNARY + UNARY_WITH_A_SLOPE),
    *formulas(ROOM, ARITHMETIC),
    *formulas("minidl.ops.where", {"where": WHERE}),
]
