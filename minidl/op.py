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
from typing import Any

import numpy as np

from minidl import choice, executor
from minidl.arguments import as_arrays, split
from minidl.backend import Array, xp_of
from minidl.cuda import can_launch
from minidl.draw import Draw
from minidl.kernel import Cost, Kernel, Problem
from minidl.modes import anomaly_mode, modes
from minidl.receptive_field import Seen
from minidl.signature import Shape, ShapeError, Signature, told
from minidl.tensor import Tensor, record

OPS: dict[str, Op] = {}
_REGISTRY: ContextVar[dict[str, Op]] = ContextVar("registry", default=OPS)
_CHOSEN: ContextVar[dict[str, str]] = ContextVar("chosen kernels", default={})  # noqa: B039  (never written in place)
AUTO = "auto"  # the name under which a kernel is chosen
_PLANS_KEPT = 4096  # checked calls remembered per op: a training loop repeats a few


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
    sees        sees(*shapes, **attrs) -> what an output position sees of the input (see minidl/receptive_field.py), so that
                summaries know how much of the image a layer sees; default: not known
    forecast    forecast(kernel name, *shapes, **attrs) -> milliseconds expected of forward and of each backward: by it a kernel
                is chosen where the user names none, for float32 on the host; default: always the first registered
    batched     are the images of a batch independent, so that the executor may slice it (Signature.sliced says which inputs)?
                default: yes if the output's first dimension is N
    gathers     attribute that collects extra positional arguments: x.reshape(2, 3)
    method      names bound on Tensor: "__add__", "sum"; `reflected` names swap the operands

    >>> square = minidl.Op(
    ...     "square",
    ...     "x[...] -> y[...]",
    ...     definition=lambda x: x * x,
    ...     problem=lambda d: minidl.Problem((d.array(d.size("N", 4)),), {}),
    ...     doc="y = x^2        dx = 2 x dy",
    ... )
    >>> kernel = square.kernel("array", lambda x: (x * x, (x,)), lambda dy, saved, needs: (2 * saved[0] * dy,))
    >>> x = Tensor([3.0], requires_grad=True)
    >>> square(x).backward()
    >>> x.grad.item()
    6.0
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
        sees: Callable[..., Seen] | None = None,
        forecast: Callable[..., tuple[float, ...] | None] | None = None,
        batched: bool | None = None,
        gathers: str | None = None,
        method: str | tuple[str, ...] = (),
        reflected: str | None = None,
    ):
        self.name, self.signature, self.definition, self.problem = name, Signature(signature), definition, problem
        self.__doc__, self.__name__ = doc, name
        self.attrs, self.workloads, self.gathers = dict(attrs or {}), dict(workloads or {}), gathers
        self._shape, self.canonical, self.domain, self._cost, self.sees = shape, canonical, domain, cost, sees
        self.forecast, first = forecast, self.signature.output.dims[:1]
        self.batched = first == ("N",) if batched is None else batched
        self.kernels: dict[str, Kernel] = {}
        self.default: str = ""
        self._plans: dict[Any, tuple[Kernel, dict[str, Any]]] = {}
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
        self._plans.clear()
        return self.kernels[name]

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Compute this op by the named kernel inside the block; no fallback: what it cannot do, it refuses. 'auto' chooses.

        >>> x, w = [[[[1.0, 2.0, 4.0]]]], [[[[1.0, -1.0]]]]
        >>> with minidl.conv2d.using("direct"):
        ...     print(minidl.conv2d.chosen(), minidl.conv2d(x, w).numpy().tolist())
        conv2d[direct] [[[[-1.0, -2.0]]]]
        """
        if name not in (*self.kernels, AUTO):
            raise ValueError(f"{self.name} has no kernel {name!r}: choose from {', '.join(self.kernels)}, or {AUTO}")
        token = _CHOSEN.set({**_CHOSEN.get(), self.name: name})
        try:
            yield
        finally:
            _CHOSEN.reset(token)

    def chosen(self) -> Kernel:
        """The kernel that a call would use now; where it depends on the problem (`choice`), the default."""
        return self.kernels[self._named() or self.default]

    def choice(self, *shapes: Shape | Problem | None, **attrs: Any) -> Kernel:
        """The kernel expected to be the fastest for float32 inputs of these shapes, or for a Problem (minidl/choice.py)."""
        return choice.fastest(self, *self._asked(shapes, attrs))

    def explain(self, *shapes: Shape | Problem | None, **attrs: Any) -> str:
        """What is expected of every kernel for inputs of these shapes, or for a Problem, as a table, and which is chosen.

        >>> minidl.conv2d.choice((32, 256, 14, 14), (256, 256, 3, 3), padding=1).name
        'winograd5'
        >>> print(minidl.conv2d.explain((8, 64, 56, 56), (256, 64, 1, 1)).splitlines()[-2])  # print the rest, too
        winograd5              -  a 1x1 filter has nothing to save
        """
        return choice.explained(self, *self._asked(shapes, attrs))

    def _asked(self, shapes: tuple, attrs: dict[str, Any]) -> tuple[tuple[Shape | None, ...], dict[str, Any]]:
        """Shapes, and attributes in canonical form; of a Problem, if that is what was given."""
        if shapes and isinstance(shapes[0], Problem):
            inputs, attrs = shapes[0]
            shapes = tuple(None if x is None else x.shape for x in inputs)
        shapes = self._complete(shapes)
        return shapes, self.settle(shapes, {**self.attrs, **attrs})[0]

    def _named(self) -> str:
        """The kernel that the user named, or the only one that is thought of; '' if one is to be chosen."""
        name = _CHOSEN.get().get(self.name, AUTO)
        several = self.forecast or modes().compiled or any(kernel.source for kernel in self.kernels.values())
        return name if name != AUTO else "" if several else self.default

    # ---- shapes and cost ---------------------------------------------------------------------------------------------

    def shape(self, *shapes: Shape | None, **attrs: Any) -> Shape:
        """The output's shape for inputs of these shapes; raises what a call would raise, without computing anything."""
        return self.settle(self._complete(shapes), {**self.attrs, **attrs})[1]

    def cost(self, *shapes: Shape | None, **attrs: Any) -> Cost:
        """Work of one forward pass on inputs of these shapes."""
        shapes = self._complete(shapes)
        attrs, y = self.settle(shapes, {**self.attrs, **attrs})
        return self._cost(*shapes, **attrs) if self._cost else Cost(other=int(np.prod(y)))

    def _complete(self, shapes: tuple[Shape | None, ...]) -> tuple[Shape | None, ...]:
        """Optional inputs at the end may be left out: conv2d.shape(x, w)."""
        rest = self.signature.inputs[len(shapes) :] if not self.signature.inputs[0].variadic else ()
        shapes += tuple([None for operand in rest if operand.optional or operand.kind == "key"])
        for operand, shape in zip(self.signature.expand(len(shapes)), shapes, strict=False):
            if shape is not None and not isinstance(shape, tuple | list):
                raise TypeError(f"{self.name}: expected the shape of {operand.name}, a tuple, got {type(shape).__name__}")
        if needed := [o.name for o in rest if not (o.optional or o.kind == "key")]:
            raise ShapeError(f"{self.name}: expected a shape for each input; {', '.join(needed)} is missing")
        return shapes

    def settle(self, shapes: tuple[Shape | None, ...], attrs: dict[str, Any]) -> tuple[dict[str, Any], Shape]:
        """Attributes in canonical form and the output's shape, or a ShapeError."""
        self.signature.bind(self.name, shapes)
        self._check_kinds(attrs)
        try:
            if self.canonical:
                attrs = self.canonical(shapes, attrs)
            return attrs, self.output_shape(shapes, attrs)
        except ShapeError as error:  # a rule says what is wrong; who and which shapes is added here
            operands = self.signature.expand(len(shapes))
            raise ShapeError(f"{self.name}: {error}  {told(operands, shapes)}") from None

    def output_shape(self, shapes: tuple[Shape | None, ...], attrs: dict[str, Any]) -> Shape:
        """The output's shape by the rule alone, for a call that was settled."""
        return self._shape(*shapes, **attrs) if self._shape else self.signature.output_shape(self.name, shapes)

    def _check_kinds(self, attrs: dict[str, Any]) -> None:
        """An attribute is of its default's kind: a bool, a number, a word. (What has a canonical form is checked there.)"""
        for name, default in self.attrs.items():
            value, kind = attrs[name], type(default)
            if kind is bool and not isinstance(value, bool):
                raise TypeError(f"{self.name}: {name} must be True or False, got {value!r}")
            if kind is str and not isinstance(value, str):
                raise TypeError(f"{self.name}: {name} must be a word such as {default!r}, got {value!r}")
            if kind is float and (isinstance(value, bool) or not isinstance(value, int | float) or value != value):
                raise TypeError(f"{self.name}: {name} must be a number, got {value!r}")
            if kind is int and not self.canonical and type(value) is not int:
                raise TypeError(f"{self.name}: {name} must be a whole number, got {value!r}")

    def ask(self, d: Draw) -> Problem:
        """The problem that `d` answers, with every attribute in canonical form."""
        inputs, attrs = self.problem(d)
        shapes = tuple(None if a is None else a.shape for a in inputs)
        return Problem(tuple(inputs), self.settle(shapes, {**self.attrs, **attrs})[0])

    # ---- calling -----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        """Compute on Tensors, arrays or numbers: inputs, then attributes by position or name. Records on the tape."""
        inputs, attrs = split(self, args, attrs)
        tensors = [value if isinstance(value, Tensor) else None for value in inputs]
        arrays = as_arrays(self, inputs)
        kernel, attrs = self._plan(arrays, attrs)
        if self.domain and (anomaly_mode() or xp_of(*arrays) is np):
            self.domain(*arrays, **attrs)
        if not kernel.half and any(a is not None and a.dtype == np.float16 for a in arrays):
            raise ValueError(f"{kernel} refuses this problem: it does not compute in float16")
        if kernel.compiles and xp_of(*arrays) is not np:
            raise ValueError(f"{kernel} refuses this problem: it computes on the CPU alone")
        if kernel.source and not can_launch(arrays[0]):
            raise ValueError(f"{kernel} refuses this problem: it computes on a GPU; move the tensors there with .to('cuda')")
        y, saved, aux = executor.forward(kernel, arrays, attrs)
        more = tuple([Tensor(a) for a in aux]) if aux else ()
        out = record(kernel, attrs, tensors, arrays, y, saved, more)
        return (out, *more) if more else out

    def _plan(self, arrays: tuple[Array | None, ...], attrs: dict[str, Any]) -> tuple[Kernel, dict[str, Any]]:
        """The kernel of a call and its attributes in canonical form, checked. Remembered: a training loop repeats its calls."""
        name, now, shapes = self._named(), modes(), tuple([None if a is None else a.shape for a in arrays])
        first: Any = arrays[0] if arrays else None
        if not name and not (type(first) is np.ndarray and first.dtype == np.float32 and now.precision == "float32"):
            name = choice.ON_GPU if can_launch(first) and type(first) is not np.ndarray else self.default
        try:
            values = tuple(attrs.values())  # and their types: 1 == 1.0 == True, and not all of them are allowed
            chosen_by: Any = None if name else (now.batch, now.compiled)
            if name == choice.ON_GPU:
                chosen_by = first.dtype, now.precision
            key = (name, shapes, values, tuple(map(type, values)), chosen_by)
            if (plan := self._plans.get(key)) is not None:
                return plan
        except TypeError:  # an attribute that cannot be hashed (a list): check every time
            key = None
        attrs, _ = self.settle(shapes, attrs)
        if name == choice.ON_GPU:
            kernel = choice.on_gpu(self, shapes, attrs, first.dtype)
        else:
            kernel = self.kernels[name] if name else choice.fastest(self, shapes, attrs, now.batch)
        if why := kernel.why_not(shapes, attrs):
            others = [k.name for k in self.kernels.values() if k is not kernel and not k.why_not(shapes, attrs)]
            other = self.default if self.default in others else others[0] if others else ""
            remedy = f" Use {self.name}.using({other!r})." if other else ""
            raise ValueError(f"{kernel} refuses this problem: {why}.{remedy}")
        if key is not None and len(self._plans) < _PLANS_KEPT:
            self._plans[key] = kernel, attrs
        return kernel, attrs

    # ---- faces -------------------------------------------------------------------------------------------------------

    def _bind_methods(self, names: tuple[str, ...], reflected: str | None) -> None:
        op = self

        def method(self: Tensor, *args: Any, **attrs: Any) -> Any:
            return op(self, *args, **attrs)

        def reflected_method(self: Tensor, other: Any) -> Any:
            return op(other, self)

        for function in (method, reflected_method):
            function.__name__, function.__qualname__, function.__doc__ = self.name, f"Tensor.{self.name}", self.__doc__
        for name in names:
            setattr(Tensor, name, method)
        if reflected:
            setattr(Tensor, reflected, reflected_method)

    def _python_signature(self) -> inspect.Signature:
        """What help(minidl.conv2d) shows: inputs, then attributes with their defaults."""
        P = inspect.Parameter
        inputs = [
            P(o.name, P.POSITIONAL_OR_KEYWORD, default=None if o.optional else P.empty)
            for o in self.signature.inputs
            if o.kind != "key"
        ]
        return inspect.Signature(inputs + [P(n, P.KEYWORD_ONLY, default=v) for n, v in self.attrs.items()])


@contextmanager
def separate_registry() -> Iterator[dict[str, Op]]:
    """Ops declared inside the block go to a registry of their own (mutants, experiments) and bind no methods."""
    ops: dict[str, Op] = {}
    token = _REGISTRY.set(ops)
    try:
        yield ops
    finally:
        _REGISTRY.reset(token)


def bind_method(name: str, method: Any) -> None:
    """Bind what is no op of its own on Tensor too (x.flatten(), x.T); like an op's methods, not for a mutant."""
    if _REGISTRY.get() is OPS:
        setattr(Tensor, name, method)
