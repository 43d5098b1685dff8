"""Planted bugs in the activations: the machinery's, tried on every one of them, and those of their formulas."""

from minidl.laws import LAWS
from patches import Patch
from patches.pointwise import UNARY, UNARY_WITH_A_SLOPE, formulas, machinery

VALUE, SLOPE, LINEAR, ALONE, STRIDES, TYPES, LIBRARY, BATCH = (law.__name__ for law in LAWS)

TODAY = {
    "relu": [
        ("xp.clip(x, 0, math.inf)", "xp.clip(x, -math.inf, 0)", VALUE),
        ("(y > 0).astype(dy.dtype) * dy", "(y >= 0).astype(dy.dtype) * dy", SLOPE),
        ("(y > 0).astype(dy.dtype) * dy", "y * dy", SLOPE),
        ("(y > 0).astype(dy.dtype) * dy", "(y > 0).astype(float) * dy", TYPES),
    ],
    "leaky_relu": [
        ("xp.maximum(x, 0) + negative_slope * xp.minimum(x, 0)", "xp.maximum(x, negative_slope * x)", VALUE),
        ("dy * positive + negative_slope", "dy * positive - negative_slope", SLOPE),
        ("(dy * ~positive)", "dy", SLOPE),
        ("(dy * ~positive)", "(dy * np.float64(1) * ~positive)", TYPES),
    ],
    "relu6": [
        ("xp.clip(x, 0, 6)", "xp.clip(x, 0, 7)", VALUE),
        ("(y > 0) & (y < 6)", "(y > 0)", SLOPE),
        ("(y > 0) & (y < 6)", "(y >= 0) & (y <= 6)", SLOPE),
    ],
    "hardtanh": [
        ("xp.clip(x, min_val, max_val)", "xp.clip(x, -1, 1)", VALUE),
        ("(y > min_val) & (y < max_val)", "(y > min_val)", SLOPE),
        ("(y > min_val) & (y < max_val)", "(y > -max_val) & (y < max_val)", SLOPE),
    ],
    "elu": [
        ("+ alpha * xp.expm1(", "+ xp.expm1(", VALUE),
        ("xp.expm1(xp.minimum(x, 0))", "xp.exp(xp.minimum(x, 0))", VALUE),
        ("(xp.minimum(y, 0) + alpha)", "(xp.minimum(y, 0) + 1)", SLOPE),
        ("(y <= 0) * (xp.minimum(y, 0) + alpha)", "(xp.minimum(y, 0) + alpha)", SLOPE),
        ("(xp.minimum(y, 0) + alpha)", "xp.minimum(y, 0)", SLOPE),
    ],
    "sigmoid": [
        ("return xp.maximum(e, x >= 0) / (1 + e)", "return e / (1 + e)", VALUE),
        ("return xp.maximum(e, x >= 0) / (1 + e)", "return np.where(x >= 0, 1.0, e) / (1 + e)", LIBRARY),
        ("dy * y * (1 - y)", "dy * y * (1 + y)", SLOPE),
        ("dy * y * (1 - y)", "dy * (1 - y)", SLOPE),
    ],
    "tanh": [
        ("dy * (1 - y * y)", "dy * (1 - y)", SLOPE),
        ("dy * (1 - y * y)", "dy * (1 + y * y)", SLOPE),
        ("xp, x: xp.tanh(x)", "xp, x: xp.tanh(x / 2)", VALUE),
    ],
    "softplus": [
        ("xp.maximum(z, 0) + xp.log1p(", "xp.log1p(", VALUE),
        (" * (z <= threshold)", "", VALUE),
        ("logistic(xp, beta * x), beta", "logistic(xp, x), beta", SLOPE),
        ("beta * x > threshold),", "x > threshold),", SLOPE),
        ("threshold) / beta", "threshold)", VALUE),
    ],
    "silu": [
        ("x: x * logistic(xp, x)", "x: x * logistic(xp, -x)", VALUE),
        ("dy * s * (1 + x * (1 - s))", "dy * s * (1 - x * (1 - s))", SLOPE),
        ("dy * s * (1 + x * (1 - s))", "dy * s", SLOPE),
        ("dy * s * (1 + x * (1 - s))", "dy * s * (1 + (1 - s))", SLOPE),
    ],
    "gelu": [
        ("return x * normal_cdf(xp, x)", "return x * normal_cdf(xp, x) / 2", VALUE),
        ("GELU_CUBE = math.sqrt(2 / math.pi), 0.044715", "GELU_CUBE = math.sqrt(2 / math.pi), 0.04", VALUE),
        ("xp.exp(-0.5 * x * x)", "xp.exp(-x * x)", SLOPE),
        ("normal_cdf(xp, x) + x * density", "normal_cdf(xp, x) + density", SLOPE),
        ("1 + 3 * GELU_CUBE * x * x", "1 + GELU_CUBE * x * x", SLOPE),
        ("x * (1 - t * t) * GELU_SCALE", "x * GELU_SCALE", SLOPE),
    ],
}
CLASSIC = {
    "identity": [
        ("f=lambda xp, x: x,", "f=lambda xp, x: 2 * x,", VALUE),
        ("dx=lambda xp, dy: dy,", "dx=lambda xp, dy: dy + 1,", SLOPE),
    ],
    "binary_step": [
        ("(x >= 0).astype(x.dtype)", "(x <= 0).astype(x.dtype)", VALUE),
        ("(x >= 0).astype(x.dtype)", "(x >= 0) * 1.0", TYPES),
        ("xp.zeros_like(dy)", "dy", SLOPE),
        ("xp.zeros_like(dy)", "np.zeros(dy.shape, dy.dtype)", LIBRARY),
        ("xp.zeros_like(dy)", "xp.ones_like(dy)", LINEAR),
    ],
    "piecewise_linear": [
        ("xp.clip(x + 0.5, 0, 1)", "xp.clip(x, 0, 1)", VALUE),
        ("(y > 0) & (y < 1)", "(y < 1)", SLOPE),
        ("(y > 0) & (y < 1)", "(y > 0) * (y < 1) * 0.5", SLOPE),
    ],
    "arctan": [("dy / (1 + squared(x))", "dy / (1 - squared(x))", SLOPE), ("dy / (1 + squared(x))", "dy / (1 + x)", SLOPE)],
    "lecun_tanh": [
        ("LECUN * xp.tanh(2 / 3 * x)", "LECUN * xp.tanh(x)", VALUE),
        ("dy * (2 / 3) * (LECUN", "dy * (LECUN", SLOPE),
        ("LECUN - y * y / LECUN", "LECUN - y * y", SLOPE),
    ],
    "multiquadric": [
        ("narrow(xp.sqrt(1 + squared(x)), x)", "1 + squared(x)", VALUE),
        ("dy * (x / y)", "2 * dy * (x / y)", SLOPE),
        ("dy * (x / y)", "dy / y", SLOPE),
    ],
    "inverse_multiquadric": [
        ("narrow(1 / xp.sqrt(1 + squared(x)), x)", "1 / (1 + squared(x))", VALUE),
        ("-widen(dy) * x * y * y * y", "widen(dy) * x * y * y * y", SLOPE),
        ("-widen(dy) * x * y * y * y", "-widen(dy) * x * y * y", SLOPE),
    ],
    "gaussian": [
        ("xp.exp(-squared(x))", "xp.exp(-0.5 * squared(x))", VALUE),
        ("-2 * dy * (x * y)", "-dy * (x * y)", SLOPE),
        ("-2 * dy * (x * y)", "-2 * dy * x", SLOPE),
    ],
    "logit": [
        ("/ (1 - clipped(x, eps))", "/ (1 + clipped(x, eps))", VALUE),
        ("x.clip(eps, 1 - eps)", "x.clip(eps, 1)", VALUE),
        ("dy * (x == p) / (p * (1 - p))", "dy / (p * (1 - p))", SLOPE),
        ("/ (p * (1 - p))", "/ (1 - p)", SLOPE),
    ],
    "probit": [
        ("xp.exp(0.5 * y * y)", "xp.exp(-0.5 * y * y)", SLOPE),
        ("math.sqrt(2 * math.pi) *", "math.sqrt(math.pi) *", SLOPE),
        ("f=normal_quantile", "f=lambda xp, x: normal_quantile(xp, 1 - x)", VALUE),
    ],
}
PRELU = [
    ("per_channel(w, x) * xp.minimum", "per_channel(w, x) + xp.minimum", VALUE),
    ("(1,) * (x.ndim - 2)", "(1,) * max(x.ndim - 3, 0)", VALUE),
    ("slope * (dy * (x <= 0))", "(dy * (x <= 0))", SLOPE),
    ("slope * (dy * (x <= 0))", "slope * dy", SLOPE),
    ("unbroadcast(dy * xp.minimum(x, 0)", "unbroadcast(dy * x", SLOPE),
    ("unbroadcast(dy * xp.minimum(x, 0)", "unbroadcast(dy * dy * xp.minimum(x, 0)", LINEAR),
    (" if needs[1] else None", "", SLOPE),
    ("    x, w = saved", "    x, w = saved\n    w *= 0.5", ALONE),
    ("xp.minimum(x, 0), slope.shape)", "np.minimum(x, 0), slope.shape)", LIBRARY),
    ("dx = dy * (x > 0)", "dx = np.float64(1) * dy * (x > 0)", TYPES),
    ("    xp = xp_of(x)", "    xp = xp_of(x)\n    x = x - x.mean(axis=0)", BATCH),
    ("slope.shape).reshape", "slope.shape).__truediv__(len(x)).reshape", BATCH),
    ("    xp = xp_of(x)", '    xp = xp_of(x)\n    x = x.ravel(order="K").reshape(x.shape)', STRIDES),
]
MAXOUT = [
    ("p.max(axis=2)", "p.min(axis=2)", VALUE),
    ("x.reshape(N, C // pieces, pieces, *rest)", "x.reshape(N, pieces, C // pieces, *rest).swapaxes(1, 2)", VALUE),
    ("p.argmax(axis=2)", "p.argmin(axis=2)", SLOPE),
    ("(winner == j)", "(winner != j)", SLOPE),
    ("for j in range(pieces)], axis=2)", "for j in range(pieces)], axis=1)", SLOPE),
    ("for j in range(pieces)], axis=2)", "for j in reversed(range(pieces))], axis=2)", SLOPE),
    ("dy * (winner", "dy * dy * (winner", LINEAR),
    ("    (winner,) = saved", "    (winner,) = saved\n    winner += 1", ALONE),
    ("p.max(axis=2)", "np.maximum.reduce(p, axis=2)", LIBRARY),
    ("    p = x.reshape", '    p = x.reshape(x.shape, order="A").ravel(order="K").reshape', STRIDES),
    ("dy * (winner == j)", "dy * ((winner == j) * 1.0)", TYPES),
    ("    p = x.reshape", "    p = (x - x.mean(axis=0)).reshape", BATCH),
]

SLOPED = [name for name in CLASSIC if name != "binary_step"]

PATCHES = [
    *machinery("minidl.ops.activations", " ".join(TODAY), UNARY + UNARY_WITH_A_SLOPE),
    *machinery("minidl.ops.activations_classic", " ".join(CLASSIC), UNARY),
    *machinery("minidl.ops.activations_classic", " ".join(SLOPED), UNARY_WITH_A_SLOPE),
    *formulas("minidl.ops.activations", TODAY),
    *formulas("minidl.ops.activations_classic", CLASSIC),
    *formulas("minidl.ops.prelu", {"prelu": PRELU}),
    *(Patch("maxout[argmax]", old, new, law, "minidl.ops.maxout") for old, new, law in MAXOUT),
]
