"""Op, Kernel, Problem: one declaration, many readers.

An **Op** is a mathematical function, declared once: from that block it is callable on Tensors, checked by the laws,
benchmarked, documented and gradable. A **Kernel** is one way to compute it, a pair of plain functions on arrays:

    forward(*inputs, **attrs)           -> (y, saved)  or (y, saved, aux)
    backward(dy, saved, needs, **attrs) -> one gradient per input, None where `needs` is False

A **Problem** is inputs + attributes. `OPS` holds every op by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minidl import executor
from minidl.backend import Array, device_of, is_array, xp_of
from minidl.draw import Draw
from minidl.random import stream
from minidl.signature import Operand, Shape, ShapeError, Signature, told
from minidl.tensor import Tensor, anomaly_mode, record

OPS: dict[str, Op] = {}
_REGISTRY: ContextVar[dict[str, Op]] = ContextVar("registry", default=OPS)
_CHOSEN: ContextVar[dict[str, str]] = ContextVar("chosen kernels", default={})  # noqa: B039  (never written in place)
_PLANS_KEPT = 4096  # checked calls remembered per op: a training loop repeats a few


class Problem(NamedTuple):
    """A question to a kernel: inputs (arrays, or None for an optional one left out) and attributes."""

    inputs: tuple[Array | None, ...]
    attrs: dict[str, Any]


class Cost(NamedTuple):
    """Work of one forward pass: multiply-adds (macs) and all other floating-point operations."""

    macs: int = 0
    other: int = 0

    @property
    def operations(self) -> int:
        """A multiply-add counts as two."""
        return 2 * self.macs + self.other


@dataclass(frozen=True, eq=False)
class Kernel:
    """One way to compute an op and its gradient; prints as conv2d[im2col]."""

    op: Op
    name: str
    forward: Callable
    backward: Callable
    refuses: Callable[..., str | None] | None = None  # (*shapes, **attrs) -> one line why not, or None
    analytic: bool = False  # computes on complex arrays too, so the derivative law can take a complex step
    half: bool = True  # accepts float16
    names_needs: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names_needs", "needs" in inspect.signature(self.backward).parameters)

    def __str__(self) -> str:
        return f"{self.op.name}[{self.name}]"

    def why_not(self, shapes: tuple[Shape | None, ...], attrs: dict[str, Any]) -> str | None:
        """One line why this kernel cannot do the problem, or None."""
        return self.refuses(*shapes, **attrs) if self.refuses else None


class Op:
    """A mathematical function. Calling it computes on Tensors (or arrays) and records on the tape.

    name        as users call it: minidl.<name>
    signature   see minidl.signature
    definition  the maths in plain loops, `definition(*inputs, **attrs) -> y`, float64; what every kernel must equal
    problem     problem(d) -> Problem, asking the Draw `d` for sizes and values; attributes in any form a user may write
    doc         the docstring users see (a file passes its own __doc__)
    attrs       attributes and their defaults, stated here only
    shape       shape(*shapes, **attrs) -> output shape, or raises ShapeError; default: the signature's named dimensions
    canonical   canonical(shapes, attrs) -> attrs in the one form kernels see: conv2d makes stride=1 into (1, 1)
    domain      domain(*inputs, **attrs) raises ValueError for values out of range (labels); on a GPU it would wait for
                the device, so there it runs only under detect_anomaly
    workloads   name -> answers for a Table draw: the shapes that real networks use
    cost        cost(*shapes, **attrs) -> Cost
    batched     are the images of a batch independent? default: yes if the output's first dimension is N
    gathers     attribute that collects extra positional arguments: x.reshape(2, 3)
    method      names bound on Tensor: "__add__", "sum"; `reflected` names swap the operands
    """

    def __init__(
        self,
        name: str,
        signature: str,
        definition: Callable,
        problem: Callable,
        *,
        doc: str | None,
        attrs: dict[str, Any] | None = None,
        shape: Callable[..., Shape] | None = None,
        canonical: Callable[[tuple, dict], dict] | None = None,
        domain: Callable[..., None] | None = None,
        workloads: dict[str, dict[str, Any]] | None = None,
        cost: Callable[..., Cost] | None = None,
        batched: bool | None = None,
        gathers: str | None = None,
        method: str | tuple[str, ...] = (),
        reflected: str | None = None,
    ):
        self.name, self.signature, self.definition, self.problem = name, Signature(signature), definition, problem
        self.__doc__, self.__name__ = doc, name
        self.attrs, self.workloads, self.gathers = dict(attrs or {}), dict(workloads or {}), gathers
        self._shape, self.canonical, self.domain, self._cost = shape, canonical, domain, cost
        first = self.signature.output.dims[:1]
        self.batched = first == ("N",) if batched is None else batched
        self.kernels: dict[str, Kernel] = {}
        self.default: str = ""
        self._plans: dict[Any, dict[str, Any]] = {}
        self.__signature__ = self._python_signature()
        registry = _REGISTRY.get()
        registry[name] = self
        if registry is OPS:
            self._bind_methods((method,) if isinstance(method, str) else method, reflected)

    def __repr__(self) -> str:
        return f"<op {self.name}: {self.signature.text}>"

    # ---- kernels -----------------------------------------------------------------------------------------------------

    def kernel(self, name: str, forward: Callable, backward: Callable, **traits: Any) -> Kernel:
        """Register a way to compute this op; the first registered is the default."""
        self.kernels[name] = Kernel(self, name, forward, backward, **traits)
        self.default = self.default or name
        return self.kernels[name]

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Compute this op by the named kernel inside the block; no fallback: what it cannot do, it refuses."""
        if name not in self.kernels:
            raise ValueError(f"{self.name} has no kernel {name!r}: choose from {', '.join(self.kernels)}")
        token = _CHOSEN.set({**_CHOSEN.get(), self.name: name})
        try:
            yield
        finally:
            _CHOSEN.reset(token)

    def chosen(self) -> Kernel:
        """The kernel that a call would use now."""
        return self.kernels[_CHOSEN.get().get(self.name, self.default)]

    # ---- shapes and cost ---------------------------------------------------------------------------------------------

    def shape(self, *shapes: Shape | None, **attrs: Any) -> Shape:
        """The output's shape for inputs of these shapes; raises what a call would raise, without computing anything."""
        return self.settle(shapes, {**self.attrs, **attrs})[1]

    def cost(self, *shapes: Shape | None, **attrs: Any) -> Cost:
        """Work of one forward pass on inputs of these shapes."""
        attrs, y = self.settle(shapes, {**self.attrs, **attrs})
        return self._cost(*shapes, **attrs) if self._cost else Cost(other=int(np.prod(y)))

    def settle(self, shapes: tuple[Shape | None, ...], attrs: dict[str, Any]) -> tuple[dict[str, Any], Shape]:
        """Attributes in canonical form and the output's shape, or a ShapeError."""
        self.signature.bind(self.name, shapes)
        if self.canonical:
            attrs = self.canonical(shapes, attrs)
        if self._shape is None:
            return attrs, self.signature.output_shape(self.name, shapes)
        try:
            return attrs, self._shape(*shapes, **attrs)
        except ShapeError as error:  # a shape rule says what is wrong; who and which shapes is added here
            operands = self.signature.expand(len(shapes))
            raise ShapeError(f"{self.name}: {error}  {told(operands, shapes)}") from None

    def ask(self, d: Draw) -> Problem:
        """The problem that `d` answers, with every attribute in canonical form."""
        inputs, attrs = self.problem(d)
        shapes = tuple(None if a is None else a.shape for a in inputs)
        return Problem(tuple(inputs), self.settle(shapes, {**self.attrs, **attrs})[0])

    # ---- calling -----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        inputs, attrs = self._split(args, attrs)
        tensors = [value if isinstance(value, Tensor) else None for value in inputs]
        arrays = self._arrays(inputs)
        kernel = self.chosen()
        attrs = self._plan(kernel, tuple(None if a is None else a.shape for a in arrays), attrs)
        if self.domain and (anomaly_mode() or xp_of(*arrays) is np):
            self.domain(*arrays, **attrs)
        y, saved, aux = executor.forward(kernel, arrays, attrs)
        out = record(kernel, attrs, tensors, arrays, y, saved)
        return (out, *(Tensor(a) for a in aux)) if aux else out

    def _split(self, args: tuple, attrs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Positional and keyword arguments into (inputs, attributes with defaults)."""
        operands = self.signature.inputs
        if operands[0].variadic:  # concat([a, b, c], axis): the arrays come as one list
            if not args or isinstance(args[0], Tensor) or not isinstance(args[0], list | tuple):
                raise TypeError(f"{self.name}: expected a list of Tensors first; the signature is {self.signature.text}")
            inputs, rest = list(args[0]), args[1:]
        else:
            taken = 1 if self.gathers else len(operands)
            inputs, rest = list(args[:taken]), args[taken:]
            inputs += [self._missing(operand, inputs, attrs) for operand in operands[len(inputs) :]]
        if rest:
            attrs = {**self._positional(rest), **attrs}
        for name in attrs:
            if name not in self.attrs:
                raise TypeError(f"{self.name}: no attribute {name!r}; it has {', '.join(self.attrs) or 'none'}")
        return tuple(inputs), {**self.attrs, **attrs}

    def _missing(self, operand: Operand, inputs: list, attrs: dict[str, Any]) -> Any:
        """An input that was not given by position: by keyword, drawn from the stream, left out, or an error."""
        if operand.name in attrs:
            return attrs.pop(operand.name)
        if operand.kind == "key":
            return stream().keys(len(inputs[0]))
        if operand.optional:
            return None
        raise TypeError(f"{self.name}: missing input {operand}; the signature is {self.signature.text}")

    def _positional(self, rest: tuple) -> dict[str, Any]:
        if self.gathers:
            return {self.gathers: rest[0] if len(rest) == 1 and isinstance(rest[0], tuple | list) else rest}
        if len(rest) > len(self.attrs):
            expected = [o.name for o in self.signature.inputs] + list(self.attrs)
            raise TypeError(f"{self.name}: {len(rest) - len(self.attrs)} argument(s) too many; it takes {expected}")
        return dict(zip(self.attrs, rest, strict=False))

    def _arrays(self, inputs: tuple) -> tuple[Array | None, ...]:
        """Tensors and numbers as arrays of one float type on one device, or an error that says how to make them so."""
        operands = self.signature.expand(len(inputs))
        arrays = [value.data if isinstance(value, Tensor) else value for value in inputs]
        lead = next((a for a, o in zip(arrays, operands, strict=True) if o.kind == "float" and is_array(a)), None)
        for i, (operand, array) in enumerate(zip(operands, arrays, strict=True)):
            if array is None:
                if not operand.optional:
                    raise TypeError(f"{self.name}: input {operand} is missing (None); the signature is {self.signature.text}")
            elif type(array) is np.ndarray and operand.kind == "float" and lead is not None and array.dtype == lead.dtype:
                if array.dtype.kind not in "fc":
                    raise TypeError(_wants_float(self.name, operand, array))
            else:
                arrays[i] = self._convert(operand, array, lead)
        return tuple(arrays)

    def _convert(self, operand: Operand, value: Any, lead: Array | None) -> Array:
        xp = np if lead is None else xp_of(lead)
        if not is_array(value):
            if operand.kind == "float" and not isinstance(value, int | float | list | tuple):
                raise TypeError(f"{self.name}: {operand} expects a Tensor, array or number, got {type(value).__name__}")
            like = np.float32 if lead is None else lead.dtype
            return xp.asarray(value, dtype=like) if operand.kind == "float" else xp.asarray(value)
        if isinstance(value, np.generic):
            value = xp.asarray(value)
        if operand.kind == "float":
            if value.dtype.kind not in "fc":
                raise TypeError(_wants_float(self.name, operand, value))
            if lead is not None and value.dtype != lead.dtype:
                raise TypeError(
                    f"{self.name}: {operand} is {value.dtype} but another input is {lead.dtype}; "
                    f"nothing is cast silently: use .astype({str(lead.dtype)!r})"
                )
        elif operand.kind == "key" and lead is not None and xp is not np and isinstance(value, np.ndarray):
            value = xp.asarray(value)  # keys are drawn on the host and expanded where the data is
        elif operand.kind == "int" and value.dtype.kind not in "iu":
            raise TypeError(f"{self.name}: {operand} expects integers, got {value.dtype}; use .astype('int64')")
        elif operand.kind == "bool" and value.dtype.kind != "b":
            raise TypeError(f"{self.name}: {operand} expects booleans, got {value.dtype}; write a comparison")
        if lead is not None and device_of(value) != device_of(lead):
            raise ValueError(
                f"{self.name}: {operand} is on {device_of(value)} but another input is on {device_of(lead)}; "
                f"move one with .to({device_of(lead)!r})"
            )
        return value

    def _plan(self, kernel: Kernel, shapes: tuple[Shape | None, ...], attrs: dict[str, Any]) -> dict[str, Any]:
        """Canonical attributes of a call that was checked; remembered, since a training loop repeats its calls."""
        try:
            key = (kernel, shapes, tuple(attrs.values()))
            if (plan := self._plans.get(key)) is not None:
                return plan
        except TypeError:  # an attribute that cannot be hashed (a list): check every time
            key = None
        plan, _ = self.settle(shapes, attrs)
        if why := kernel.why_not(shapes, plan):
            others = [k.name for k in self.kernels.values() if k is not kernel and not k.why_not(shapes, plan)]
            remedy = f" Use {self.name}.using({others[0]!r})." if others else ""
            raise ValueError(f"{kernel} refuses this problem: {why}.{remedy}")
        if key is not None and len(self._plans) < _PLANS_KEPT:
            self._plans[key] = plan
        return plan

    # ---- faces -------------------------------------------------------------------------------------------------------

    def _bind_methods(self, names: tuple[str, ...], reflected: str | None) -> None:
        op = self
        for name in names:
            setattr(Tensor, name, lambda self, *args, **attrs: op(self, *args, **attrs))
        if reflected:
            setattr(Tensor, reflected, lambda self, other: op(other, self))

    def _python_signature(self) -> inspect.Signature:
        """What help(minidl.conv2d) shows: inputs, then attributes with their defaults."""
        P = inspect.Parameter
        inputs = [
            P(o.name, P.POSITIONAL_OR_KEYWORD, default=None if o.optional else P.empty)
            for o in self.signature.inputs
            if o.kind != "key"
        ]
        return inspect.Signature(inputs + [P(n, P.KEYWORD_ONLY, default=v) for n, v in self.attrs.items()])


def _wants_float(op: str, operand: Operand, array: Array) -> str:
    return f"{op}: {operand} expects floating point, got {array.dtype}; use .astype('float32')"


@contextmanager
def separate_registry() -> Iterator[dict[str, Op]]:
    """Ops declared inside the block go to a registry of their own (mutants, experiments) and bind no methods."""
    ops: dict[str, Op] = {}
    token = _REGISTRY.set(ops)
    try:
        yield ops
    finally:
        _REGISTRY.reset(token)
