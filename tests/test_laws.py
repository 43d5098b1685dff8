"""Attacks on the laws: kernels that are wrong in ways no one-line patch shows, and what the laws say of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Kernel, Tensor
from minidl.draw import Random
from minidl.laws import LAWS, Broken, Undecided

kept: dict[str, Any] = {}


def state_forward(x: Any) -> tuple:
    kept["y"] = np.tanh(x)
    return kept["y"], ()


def state_backward(dy: Any, saved: tuple) -> tuple:
    return (dy * (1 - kept["y"] ** 2),)


def buffer_forward(x: Any) -> tuple:
    y = kept.setdefault(("buffer", x.shape, x.dtype), np.empty_like(x))
    np.tanh(x, out=y)
    return y, (y,)


def right_backward(dy: Any, saved: tuple) -> tuple:
    return (dy * (1 - saved[0] ** 2),)


def rounded_forward(x: Any) -> tuple:
    y = np.tanh(x.astype(np.float16)).astype(x.dtype) if x.dtype == np.float32 else np.tanh(x)
    return y, (y,)


def right_forward(x: Any) -> tuple:
    y = np.tanh(x)
    return y, (y,)


def zero_backward(dy: Any, saved: tuple) -> tuple:
    return (dy * 0,)


REPEATABLE = "backward_is_linear_and_repeatable"
ATTACKS: dict[str, tuple[Callable, Callable, str, str]] = {
    "state instead of saved": (state_forward, state_backward, REPEATABLE, "before and after another call"),
    "one buffer for every call": (buffer_forward, right_backward, REPEATABLE, "memory that it gave away"),
    "float32 rounded to float16": (rounded_forward, right_backward, "float_types_are_kept", "y in float32"),
    "a gradient of zero": (right_forward, zero_backward, "backward_is_the_derivative", r"\(0 times what it should be\)"),
    "no array": (lambda x: ([1.0], ()), right_backward, "forward_is_the_definition", "with an array y, got y of type list"),
    "no tuple": (right_forward, lambda dy, saved: dy, REPEATABLE, "must return a tuple"),
    "one gradient too many": (right_forward, lambda dy, saved: (dy, dy), REPEATABLE, "1 gradients, one per input, got 2"),
}


def judge(law: Callable, kernel: Kernel) -> None:
    for seed in range(60):
        with contextlib.suppress(Undecided):
            law(kernel, kernel.op.ask(Random(seed)), np.random.default_rng(seed))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_caught(name: str) -> None:
    forward, backward, law_name, message = ATTACKS[name]
    kernel = Kernel(minidl.tanh, name, forward, backward)
    law = next(law for law in LAWS if law.__name__ == law_name)
    with pytest.raises(Broken, match=message):
        judge(law, kernel)


def test_missing_further_outputs_are_named() -> None:
    op = minidl.batch_norm
    kernel = Kernel(op, "without statistics", lambda *a, **k: op.chosen().forward(*a, **k)[:2], op.chosen().backward)
    with pytest.raises(Broken, match=r"must return \(y, saved, aux\) with 2 outputs in aux \(mean\[C\], var\[C\]\), got 0"):
        LAWS[0](kernel, op.ask(Random(0)), np.random.default_rng(0))


def test_a_kernel_without_half_types_says_so() -> None:
    op = minidl.tanh
    op.kernels["single"] = Kernel(op, "single", right_forward, right_backward, half=False)
    try:
        message = r"tanh\[single\] refuses this problem: it does not compute in float16"
        with op.using("single"), pytest.raises(ValueError, match=message):
            op(Tensor(np.ones(2, np.float16)))
    finally:
        del op.kernels["single"]


def test_a_kernel_that_refuses_names_one_that_does_not() -> None:
    op = minidl.conv2d
    chosen = op.chosen()

    def refuses(x: Any, w: Any, b: Any, *, stride: tuple, **_: Any) -> str | None:
        return f"needs stride 1, got {stride[0]}" if stride[0] > 1 else None

    op.kernels["picky"] = Kernel(op, "picky", chosen.forward, chosen.backward, refuses)
    try:
        message = r"conv2d\[picky\] refuses this problem: needs stride 1, got 2. Use conv2d.using\('im2col'\)."
        with op.using("picky"), pytest.raises(ValueError, match=message):
            op(np.ones((1, 1, 4, 4)), np.ones((1, 1, 2, 2)), stride=2)
    finally:
        del op.kernels["picky"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: minidl.gradcheck(minidl.tanh, x, directions=0), ValueError, "directions must be 1 or more, got 0"),
        (lambda x: minidl.gradcheck(lambda t: 3.0, x), TypeError, "must return one Tensor, got float"),
        (lambda x: minidl.gradcheck(lambda t: t.detach() * 2, x), AssertionError, "the result is off the tape"),
    ],
)
def test_gradcheck_asked_carelessly(call: Callable, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(Tensor([0.5], requires_grad=True))
