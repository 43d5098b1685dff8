"""The laws: what every kernel must obey.

A law is a plain function `law(kernel, problem, rng)` that raises `Broken`, with a lesson, when the kernel breaks it on this
problem, and `Undecided` when the problem cannot tell (a kink where the derivative is measured). The tests, the grader and
the benchmark all use these same functions. Problems are float64; a law that wants another type casts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from minidl import backend, derivative, executor
from minidl.backend import Array
from minidl.op import Kernel, Problem
from minidl.signature import brackets
from minidl.verdicts import Broken, Undecided, bits_equal, returned_by, same, shape_of_gradient, unchanged

Law = Callable[[Kernel, Problem, np.random.Generator], None]


def forward_is_the_definition(kernel: Kernel, problem: Problem, rng: np.random.Generator) -> None:
    """forward computes what the definition, written in plain loops, says.

    A gradient can be the exact derivative of the wrong function: so the function itself comes first.
    """
    y, _, aux = _forward(kernel, problem)
    expected = kernel.op.definition(*problem.inputs, **problem.attrs)
    expected, expected_aux = expected if kernel.op.signature.aux else (expected, ())
    same("y", y, expected, 1e-9)
    shape = kernel.op.shape(*_shapes(problem), **problem.attrs)
    if y.shape != shape:
        raise Broken(f"y has shape {brackets(y.shape)}, but the op's shape rule says {brackets(shape)}")
    for operand, got, want in zip(kernel.op.signature.aux, aux, expected_aux, strict=True):
        same(operand.name, got, want, 1e-9)


def backward_is_the_derivative(kernel: Kernel, problem: Problem, rng: np.random.Generator) -> None:
    """backward(dy) is J^T dy: along a random direction v, <backward(dy), v> is the measured slope of <dy, forward>.

    dy is random: under an all-ones dy an all-zero softmax backward passes. Which gradients are asked for is random too:
    the others must be None.
    """
    y, saved, _ = _forward(kernel, problem)
    dy = _normal(rng, y.shape)
    floats = [i for i, x in enumerate(problem.inputs) if _is_float(x)]
    asked = {i for i in floats if rng.random() < 0.7} or set(floats[:1])
    needs = tuple(i in asked for i in range(len(problem.inputs)))
    for i, name, dx in _named(kernel, _backward(kernel, problem, saved, dy, needs)):
        if i not in asked:
            if dx is not None:
                raise Broken(f"d{name} was not asked for (needs[{i}] is False) but was computed; return None and save the work")
            continue
        shape_of_gradient(name, dx, problem.inputs[i])
        v = _normal(rng, dx.shape)
        v /= np.abs(v).max(initial=1e-300)
        slope = _slope(kernel, problem, i, dy, v)
        verdict = derivative.agree(float((dx * v).sum()), dx * v, slope)
        if verdict is None:
            raise Undecided(f"d{name}: the slope is {slope.value:.6g} give or take {slope.doubt:.2g}; a kink is near")
        if not verdict:
            lesson = derivative.worst(dx, partial(_slope, kernel, problem, i, dy))
            raise Broken(f"d{name}: {lesson}")
        if kernel.names_needs:
            alone = _backward(kernel, problem, saved, dy, tuple(j == i for j in range(len(needs))))[i]
            shape_of_gradient(name, alone, problem.inputs[i])
            same(f"d{name}, when no other gradient is asked for,", alone, dx, 1e-9)


def backward_is_linear_and_repeatable(kernel: Kernel, problem: Problem, rng: np.random.Generator) -> None:
    """backward(2u + v) = 2 backward(u) + backward(v), and the same call gives the same bits.

    A backward that is not linear in dy is no derivative; one that changes from call to call reads memory it never wrote,
    or state it should not have: what backward needs is in `saved`, whatever was computed in between.
    """
    y, saved, _ = _forward(kernel, problem)
    u, v = _normal(rng, y.shape), _normal(rng, y.shape)
    du = _backward(kernel, problem, saved, u)
    before = _copy(y)
    _forward(kernel, Problem(tuple(_shuffled(x) for x in problem.inputs), problem.attrs))  # a call in between
    if not bits_equal(y, before):
        raise Broken("a later call of forward changed the y of an earlier one: it writes into memory that it gave away")
    du2, dv, dw = (_backward(kernel, problem, saved, dy) for dy in (u.copy(), v, 2 * u + v))
    again, _, _ = _forward(kernel, problem)
    if not bits_equal(y, again):
        raise Broken("forward gave two different results for the same inputs: it reads something that is not an input")
    for (_, name, a), (_, _, a2), (_, _, b), (_, _, c) in zip(
        _named(kernel, du), _named(kernel, du2), _named(kernel, dv), _named(kernel, dw), strict=True
    ):
        if a is not None:
            if not bits_equal(a, a2):
                raise Broken(
                    f"d{name}: backward gave two different results for the same dy and saved, before and after another call"
                )
            same(f"d{name} for dy = 2u + v, against 2 d{name}(u) + d{name}(v):", c, 2 * a + b, 1e-9)


def arguments_are_left_alone(kernel: Kernel, problem: Problem, rng: np.random.Generator) -> None:
    """forward does not change its inputs; backward does not change inputs, dy, saved or y.

    The tape shares these arrays with other ops: an in-place edit corrupts a gradient computed somewhere else.
    """
    before = [_copy(x) for x in problem.inputs]
    y, saved, _ = _forward(kernel, problem)
    unchanged("forward", _input_names(kernel, problem), before, problem.inputs)
    dy = _normal(rng, y.shape)
    kept, y_before, dy_before = _copy(saved), y.copy(), dy.copy()
    _backward(kernel, problem, saved, dy)
    unchanged("backward", _input_names(kernel, problem), before, problem.inputs)
    unchanged("backward", ["dy", "y"], [dy_before, y_before], [dy, y])
    flat, flat_before = list(_flatten(saved)), list(_flatten(kept))
    unchanged("backward", [f"saved[{i}]" for i in range(len(flat))], flat_before, flat)


def strides_do_not_matter(kernel: Kernel, problem: Problem, rng: np.random.Generator) -> None:
    """The same numbers in another memory layout give the same result.

    Transposed, reversed, channels-last, sliced and broadcast arrays all reach kernels; code that pairs arrays by memory
    order, or reshapes what it thinks is contiguous, is silently wrong on them.
    """
    odd = [_laid_out(x, rng) for x in problem.inputs]
    plain = Problem(tuple(None if x is None else np.array(x, order="C") for x in odd), problem.attrs)
    y, saved, _ = _forward(kernel, plain)
    y_odd, saved_odd, _ = _forward(kernel, Problem(tuple(odd), problem.attrs))
    same("y, for inputs in another memory layout,", y_odd, y, 1e-10)
    dy = _laid_out(_normal(rng, y.shape), rng)
    expected = _backward(kernel, plain, saved, np.array(dy, order="C"))
    got = _backward(kernel, plain, saved_odd, dy)
    for (_, name, a), (_, _, b) in zip(_named(kernel, got), _named(kernel, expected), strict=True):
        if b is not None:
            same(f"d{name}, for inputs and dy in another memory layout,", a, b, 1e-10)


def float_types_are_kept(kernel: Kernel, problem: Problem, rng: np.random.Generator) -> None:
    """float32 in, float32 out (float16 too, where the kernel claims it), and nothing saved in float64.

    One float64 constant array doubles the memory and halves the speed of everything after it, and no test of values sees it.
    """
    for dtype, rtol in ((np.float32, 5e-5), (np.float16, 5e-2)):
        if dtype is np.float16 and not kernel.half:
            continue
        low = _cast(problem, dtype)
        y, saved, aux = _forward(kernel, low)
        dy = _normal(rng, y.shape).astype(dtype)
        for name, array in [("y", y), *zip([o.name for o in kernel.op.signature.aux], aux, strict=True)]:
            if array.dtype.kind == "f" and array.dtype != dtype and not (name != "y" and array.dtype == np.float32):
                raise Broken(f"{name} is {array.dtype} for {np.dtype(dtype)} inputs")
        for i, array in enumerate(_flatten(saved)):
            if getattr(array, "dtype", None) == np.float64 and getattr(array, "ndim", 0) > 0:
                raise Broken(f"saved[{i}] is float64 {brackets(array.shape)} for {np.dtype(dtype)} inputs")
        grads = _backward(kernel, low, saved, dy)
        high = _cast(low, np.float64)
        y64, saved64, _ = _forward(kernel, high)
        largest = max((float(np.abs(x).max(initial=0.0)) for x in high.inputs if _is_float(x)), default=0.0)
        same(f"y in {np.dtype(dtype)}", y.astype(np.float64), y64, rtol, floor=0.02 * largest)
        grads64 = _backward(kernel, high, saved64, dy.astype(np.float64))
        for (_, name, dx), (_, _, dx64) in zip(_named(kernel, grads), _named(kernel, grads64), strict=True):
            if dx is not None:
                if dx.dtype != dtype:
                    raise Broken(f"d{name} is {dx.dtype} for {np.dtype(dtype)} inputs")
                floor = 0.02 * float(np.abs(dy).max(initial=0.0))  # a gradient is a sum of multiples of dy, and they may cancel
                same(f"d{name} in {np.dtype(dtype)}", dx.astype(np.float64), dx64, rtol, floor=floor)


def array_library_does_not_matter(kernel: Kernel, problem: Problem, rng: np.random.Generator) -> None:
    """On CuPy (where a GPU is) and on every registered stand-in: the same result, computed by that library alone.

    A formula that calls np.something on its arrays works on every laptop and fails, or crawls through the host, on a GPU.
    A compiled kernel is for NumPy's arrays and is not held to it: the op hands it no others. A CUDA kernel is held to the op's
    plain one on NumPy, and by a GPU alone.
    """
    if kernel.compiles:
        return
    libraries = [library for library in backend.other_libraries() if not kernel.source or library.name == "cupy"]
    if not libraries:
        raise Undecided("nothing on this machine could tell" if kernel.source else "no array library beside NumPy here")
    plain = kernel.op.kernels[kernel.op.default] if kernel.source else kernel
    y, saved, _ = _forward(plain, problem)
    dy = _normal(rng, y.shape)
    grads = _backward(plain, problem, saved, dy)
    for library in libraries:
        moved = Problem(tuple(None if x is None else library.from_numpy(x) for x in problem.inputs), problem.attrs)
        y2, saved2, _ = _forward(kernel, moved)
        same(f"y on {library.name}", returned_by(library, "y", y2), y, 1e-9)
        for (_, name, a), (_, _, b) in zip(
            _named(kernel, _backward(kernel, moved, saved2, library.from_numpy(dy))), _named(kernel, grads), strict=True
        ):
            if b is not None:
                same(f"d{name} on {library.name}", returned_by(library, f"d{name}", a), b, 1e-9)


def batches_are_independent(kernel: Kernel, problem: Problem, rng: np.random.Generator) -> None:
    """The batch computed in two parts is the batch computed whole; gradients of shared inputs are summed over the parts.

    This is what lets the executor compute slices on threads, wherever it cuts. An op that looks across the batch (batch norm in
    training) declares batched=False and is not held to it.
    """
    sliced = kernel.op.signature.sliced(_shapes(problem))
    if not kernel.op.batched or not any(sliced):
        return
    n = next(len(x) for x, s in zip(problem.inputs, sliced, strict=True) if s)
    cut = int(rng.integers(1, n)) if n > 1 else 1
    y, saved, _ = _forward(kernel, problem)
    dy = _normal(rng, y.shape)
    whole = _backward(kernel, problem, saved, dy)
    ys, parts = [], []
    for part in (slice(0, cut), slice(cut, n)):
        if part.start < part.stop:
            inputs = tuple(x[part] if s else x for x, s in zip(problem.inputs, sliced, strict=True))
            y_part, saved_part, _ = _forward(kernel, Problem(inputs, problem.attrs))
            ys.append(y_part)
            parts.append(_backward(kernel, Problem(inputs, problem.attrs), saved_part, dy[part]))
    same("y, computed in two parts of the batch,", np.concatenate(ys), y, 1e-9)
    for i, name, dx in _named(kernel, whole):
        if dx is not None:
            got = np.concatenate([g[i] for g in parts]) if sliced[i] else sum(g[i] for g in parts)
            same(f"d{name}, computed in two parts of the batch,", got, dx, 1e-9)


LAWS: tuple[Law, ...] = (
    forward_is_the_definition,
    backward_is_the_derivative,
    backward_is_linear_and_repeatable,
    arguments_are_left_alone,
    strides_do_not_matter,
    float_types_are_kept,
    array_library_does_not_matter,
    batches_are_independent,
)


# ---- running a kernel ------------------------------------------------------------------------------------------------


def _forward(kernel: Kernel, problem: Problem) -> tuple[Array, Any, tuple]:
    with _blaming("forward"):
        y, saved, aux = executor.forward(kernel, problem.inputs, problem.attrs)
    if not backend.is_array(y):
        raise Broken(f"forward must return (y, saved) with an array y, got y of type {type(y).__name__}")
    if len(aux) != len(kernel.op.signature.aux):
        named = ", ".join(str(o) for o in kernel.op.signature.aux) or "none"
        raise Broken(
            f"forward must return (y, saved, aux) with {len(kernel.op.signature.aux)} outputs in aux ({named}), got {len(aux)}"
        )
    return y, saved, aux


def _backward(kernel: Kernel, problem: Problem, saved: Any, dy: Array, needs: tuple[bool, ...] | None = None) -> tuple:
    """Every gradient, unless `needs` says which."""
    needs = tuple(x is not None and x.dtype.kind == "f" for x in problem.inputs) if needs is None else needs
    with _blaming("backward"):
        return executor.backward(kernel, dy, saved, needs, problem.attrs)


@contextmanager
def _blaming(half: str) -> Iterator[None]:
    """A kernel that raises has broken the law it was asked about."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise Broken(f"{half} raised {type(error).__name__}: {error}") from error


def _slope(kernel: Kernel, problem: Problem, i: int, dy: np.ndarray, v: np.ndarray) -> derivative.Slope:
    """The measured slope of <dy, forward> when input i moves along v."""

    def at(t: complex) -> np.ndarray:
        moved = (*problem.inputs[:i], problem.inputs[i] + t * v, *problem.inputs[i + 1 :])
        return _forward(kernel, Problem(moved, problem.attrs))[0]

    return derivative.measure_complex(at, dy) if kernel.analytic else derivative.measure(at, dy)


# ---- reshaping problems ----------------------------------------------------------------------------------------------


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape))  # an array also for the shape ()


def _is_float(x: Any) -> bool:
    return x is not None and x.dtype.kind == "f"


def _shapes(problem: Problem) -> tuple:
    return tuple(None if x is None else x.shape for x in problem.inputs)


def _shuffled(x: Any) -> Any:
    """Other values of the same kind, in the same range: the array read backwards."""
    return x[(slice(None, None, -1),) * x.ndim].copy() if x is not None and x.dtype.kind == "f" else x


def _cast(problem: Problem, dtype: Any) -> Problem:
    return Problem(tuple(x.astype(dtype) if _is_float(x) else x for x in problem.inputs), problem.attrs)


def _input_names(kernel: Kernel, problem: Problem) -> list[str]:
    operands = kernel.op.signature.expand(len(problem.inputs))
    return [f"{o.name}{i}" if o.variadic else o.name for i, o in enumerate(operands)]


def _named(kernel: Kernel, grads: tuple) -> Iterator[tuple[int, str, Any]]:
    """(position, input's name, gradient)."""
    if not isinstance(grads, tuple | list):
        raise Broken(f"backward must return a tuple with one gradient per input, got {type(grads).__name__}")
    operands = kernel.op.signature.expand(len(grads))
    if not kernel.op.signature.inputs[0].variadic and len(grads) != len(kernel.op.signature.inputs):
        raise Broken(f"backward must return {len(kernel.op.signature.inputs)} gradients, one per input, got {len(grads)}")
    for i, (operand, dx) in enumerate(zip(operands, grads, strict=True)):
        yield i, f"{operand.name}{i}" if operand.variadic else operand.name, dx


def _flatten(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for item in value:
            yield from _flatten(item)
    elif value is not None and hasattr(value, "dtype"):
        yield value


def _copy(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_copy(item) for item in value)
    return value.copy() if hasattr(value, "dtype") else value


def _laid_out(x: np.ndarray | None, rng: np.random.Generator) -> np.ndarray | None:
    """The values of x (or x repeated along one axis) in a random memory layout."""
    if x is None or x.ndim == 0:
        return x
    layout = rng.integers(5)
    if layout == 0:
        return np.asfortranarray(x)
    if layout == 1:  # reversed in memory
        flip = (slice(None, None, -1),) * x.ndim
        return np.array(x[flip])[flip]
    if layout == 2:  # every second element of a larger array
        wide = np.repeat(x, 2, axis=-1)
        return wide[..., ::2]
    if layout == 3:  # the second axis fastest: channels-last seen as channels-first
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, min(1, x.ndim - 1), -1)), -1, min(1, x.ndim - 1))
    axis = int(rng.integers(x.ndim))
    if x.dtype.kind != "f":
        return np.asfortranarray(x)
    return np.broadcast_to(np.take(x, [0], axis), x.shape) if x.shape[axis] else x
