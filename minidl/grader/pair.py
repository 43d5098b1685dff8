"""The pair of functions that the laws call: every call goes to a child process, and what comes back is not believed.

Results must be of the form that a kernel returns, or the law in progress is broken with a lesson. What the child changed in
its arguments is remembered, and written into the law's own arrays where the law asks about that (`replay`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn

from minidl.backend import Array, is_array
from minidl.grader.submission import Submission
from minidl.grader.worker import Lost, plain
from minidl.op import Kernel
from minidl.signature import brackets
from minidl.verdicts import Broken

KINDS = {"f": "floating-point numbers", "i": "integers", "u": "unsigned integers", "b": "bools", "c": "complex numbers"}
APART = "backward runs in a process of its own: it knows dy, saved and the attributes, nothing else that forward left"
DISTURBED = {
    "containers": "changed a list or a dict that it was given; make a new one",
    "returned": "wrote over an array that its last call returned; make a new one every time",
}
KNOWS_LESS = ("NameError", "UnboundLocalError", "AttributeError", "TypeError", "KeyError", "IndexError")


class Pair:
    """forward and backward over the wire; `kernel` is them as a Kernel of the op."""

    def __init__(self, submission: Submission):
        self.submission, self.op = submission, submission.op
        self.replay = False
        self.changes: dict[str, str] = {}  # half -> the first change of an argument, in words
        self.witness: Callable[[tuple, dict[str, Any], Array], None] | None = None  # sees every result of forward
        self.inputs: tuple[Array, ...] = ()  # of the last forward
        self.dy: Array = None  # of the last backward
        self.kind = ""  # what y must hold: 'f' for floating-point numbers, or '' if nobody knows
        self.kernel = Kernel(self.op, submission.file.name, self.forward, self.backward, half=submission.half)

    def forward(self, *inputs: Array, **attrs: Any) -> tuple:
        """(y, saved) or (y, saved, aux)."""
        self.inputs, form = inputs, self.submission.forms.get("forward")
        names = [name for name, x in zip(self.names(inputs), inputs, strict=True) if x is not None]
        if form is None:
            return self._call("forward", inputs, attrs, names)
        given = tuple(inputs[i] for i in form.inputs) or inputs  # of a variadic op: all of them
        kwargs = dict(zip(form.names, given, strict=True)) if form.names else {}
        result = self._call("forward", () if form.names else given, kwargs | self._attrs("forward", attrs), names)
        self._check_forward(result, inputs, attrs)
        if self.witness:
            self.witness(inputs, attrs, result[0])
        return result

    def backward(self, dy: Array, saved: Any, needs: tuple[bool, ...], **attrs: Any) -> Any:
        """One gradient per input."""
        self.dy = dy
        if (form := self.submission.forms.get("backward")) is None:
            return self._call("backward", (dy, saved, needs), attrs, ["dy"])
        asked = {"needs": needs} if form.needs else {}
        grads = self._call("backward", (dy, saved), asked | self._attrs("backward", attrs), ["dy"])
        if not isinstance(grads, tuple | list):
            return grads  # the laws have words for it
        taken = self.submission.taken
        if len(grads) == len(taken) < len(needs):  # an input that forward leaves out has no gradient
            grads = [grads[taken.index(i)] if i in taken else None for i in range(len(needs))]
        for name, dx in zip(self.names(needs), grads, strict=False):
            if dx is not None and not is_array(dx):
                raise Broken(f"d{name} must be an array or None; backward returned {_what(dx)}")
            _not_narrower(f"d{name}", dx, dy.dtype)
        if form.needs or len(grads) != len(needs):
            return tuple(grads)
        return tuple(dx if need else None for dx, need in zip(grads, needs, strict=True))

    # ---- calls -----------------------------------------------------------------------------------------------------------

    def _call(self, half: str, args: tuple, kwargs: dict[str, Any], names: list[str]) -> Any:
        """What the half returned. Broken if it raised, Lost if it hung, died or did not keep to the protocol."""
        worker = self.submission.workers[half]
        try:
            header, value, sent = worker.call(args, kwargs)
            if isinstance(header.get("error"), dict):
                self._blame(half, header["error"])
            if not _is_reply(value, len(sent)):
                raise worker.garbage()
        except Lost as error:
            raise Lost(f"{half} {error}") from None
        result, changed, disturbed = value
        for index, array in changed.items():
            name = names[index] if index < len(names) else "saved"
            self.changes.setdefault(half, f"{half} changed {name} in place; compute into a new array")
            here = sent[index]
            if self.replay and here.flags.writeable and (array.shape, array.dtype) == (here.shape, here.dtype):
                here[...] = array
        if disturbed:
            self.changes.setdefault(half, f"{half} {DISTURBED[disturbed]}")
        return result

    def _attrs(self, half: str, attrs: dict[str, Any]) -> dict[str, Any]:
        """The attributes that a half takes, as it takes them."""
        return {name: self.submission.as_taken(name, attrs[name]) for name in self.submission.forms[half].attrs}

    def names(self, inputs: tuple) -> list[str]:
        """The names of the inputs: x, w, b, or xs0, xs1."""
        operands = self.op.signature.expand(len(inputs))
        return [f"{o.name}{i}" if o.variadic else o.name for i, o in enumerate(operands)]

    # ---- words -----------------------------------------------------------------------------------------------------------

    def _check_forward(self, result: Any, inputs: tuple, attrs: dict[str, Any]) -> None:
        """Broken unless forward returned what a forward returns; the values are the laws' business."""
        aux = [o.name for o in self.op.signature.aux]
        form = f"(y, saved, ({', '.join(aux)},))" if aux else "(y, saved)"
        if not isinstance(result, tuple | list) or len(result) != 2 + bool(aux):
            raise Broken(f"forward must return {form}, got {_what(result)}; if backward needs nothing, saved is ()")
        if not is_array(result[0]):
            raise Broken(f"forward must return {form} with an array y, got {_what(result[0])} for y")
        shape = self.op.shape(*(None if x is None else x.shape for x in inputs), **attrs)
        if result[0].shape != shape:
            raise Broken(f"y has shape {brackets(result[0].shape)}, but must have shape {brackets(shape)}")
        if self.kind and result[0].dtype.kind != self.kind:
            raise Broken(f"y must hold {KINDS[self.kind]}, got {result[0].dtype}")
        _not_narrower("y", result[0], next((x.dtype for x in inputs if x is not None and x.dtype.kind == "f"), None))
        if aux and not (isinstance(result[2], tuple | list) and len(result[2]) == len(aux) and all(map(is_array, result[2]))):
            raise Broken(f"forward must return {form}, got {_what(result[2])} for the third")

    def _blame(self, half: str, error: dict[str, Any]) -> NoReturn:
        """Broken, in words, for an exception in the child."""
        kind, message = plain(str(error.get("kind"))), plain(str(error.get("message")))
        raised = f"{kind}: {message}" if message else kind
        if half not in self.submission.own:
            raise Broken(f"{self.submission.other}'s {half} could not use what your forward saved ({raised})")
        if kind == "Refused":
            raise Broken(_located(half, message))
        where = plain(f"{self.submission.file.name}:{error['line']}: {error.get('code')}") if error.get("line") else ""
        where = f"\n{where}" if where else ""
        if kind == "SystemExit":
            raise Broken(f"{half} called sys.exit: a kernel returns, it does not exit{where}")
        if kind == "MemoryError":
            raise Broken(f"{half} passed the limit of {self.submission.limits.memory} MB (--memory-limit): {message}{where}")
        hint = f"\n({APART})" if half == "backward" and kind in KNOWS_LESS else ""
        raise Broken(f"{half} raised {raised}{where}{hint}")


def _not_narrower(name: str, array: Array, dtype: Any) -> None:
    """Broken if numbers were rounded on the way; said before a law calls the rounded numbers wrong."""
    if array is not None and dtype is not None and array.dtype.kind == "f" and array.dtype.itemsize < dtype.itemsize:
        raise Broken(
            f"{name} is {array.dtype} for {dtype} inputs; give new arrays the type of the old: np.zeros(shape, x.dtype)"
        )


def _is_reply(value: Any, count: int) -> bool:
    """Is this (result, {index of a changed argument: array}, what else was disturbed)?"""
    if not (isinstance(value, tuple) and len(value) == 3 and isinstance(value[1], dict) and isinstance(value[2], str)):
        return False
    indices_fit = all(isinstance(index, int) and 0 <= index < count for index in value[1])
    return indices_fit and all(map(is_array, value[1].values())) and value[2] in ("", *DISTURBED)


def _located(half: str, message: str) -> str:
    """The message of a value that could not travel, with the place in the words of kernels."""
    names = ("y", "saved", "aux") if half == "forward" else ()
    match = re.match(r"result\[(\d+)\]", message)
    if match is None:
        return f"{half} returned what the grader cannot take: {message}"
    i = int(match[1])
    name = names[i] if i < len(names) else f"gradient {i}"
    return f"{half} returned what the grader cannot take: {name}{message[match.end() :]}"


def _what(value: Any) -> str:
    """A value in a few words."""
    if is_array(value):
        return f"an array {brackets(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
