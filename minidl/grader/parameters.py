"""What `forward` and `backward` ask for, read from their signatures.

    forward(x, w, b, stride=1, padding=0)     inputs by name (or by position, under other names), attributes by name
    backward(dy, saved, needs, *, stride)     dy and saved first; needs only if it is named

An attribute that forward leaves out stays at its default; an optional input that it leaves out is None. What cannot be called
at all is a Mismatch, which shows the signature that was expected.
"""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from minidl.op import Op
from minidl.signature import Operand

POSITIONAL = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")


class Mismatch(ValueError):
    """A signature that the grader cannot call."""


class Parameter(NamedTuple):
    """One parameter as the child told it; `default` is the name of the default's type, '' if there is none."""

    name: str
    kind: str
    default: str
    integer: bool


class Half(NamedTuple):
    """How to call one half."""

    inputs: tuple[int, ...]  # forward: which of the op's inputs it takes
    names: tuple[str, ...]  # forward: their names if they go by keyword, () if they go by position
    attrs: tuple[str, ...]  # the attributes that it takes
    integers: tuple[str, ...]  # those it takes as an int: stride=1
    needs: bool
    unknown: tuple[str, ...]  # parameters that are nothing of the op's; their own defaults stay


def expected(op: Op, half: str) -> str:
    """The signature of a half that takes everything: forward(x, w, b, *, stride, padding)."""
    names = [f"*{o.name}" if o.variadic else o.name for o in op.signature.inputs]
    star = ["*"] if op.attrs and not op.signature.inputs[0].variadic else []
    first = names + star if half == "forward" else ["dy", "saved", "needs"] + ["*"] * bool(op.attrs)
    return f"{half}({', '.join(first + list(op.attrs))})"


def read(told: Any) -> list[Parameter]:
    """The parameters in a child's report; Mismatch if it is no such report."""
    try:
        return [Parameter(str(p["name"]), str(p["kind"]), str(p["default"]), bool(p["integer"])) for p in told]
    except (TypeError, KeyError) as error:
        raise Mismatch("the child process reported no signature") from error


def read_forward(op: Op, parameters: list[Parameter]) -> Half:
    """How to call a student's forward."""
    rest, attrs, unknown = _sort(op, "forward", parameters)
    takes_all = any(p.kind == "VAR_POSITIONAL" for p in parameters)
    operands = op.signature.inputs
    if operands[0].variadic:
        if not takes_all or rest:
            raise _mismatch(op, "forward", "its inputs come one by one, any number of them")
        return Half((), (), attrs, _integers(op, parameters), False, unknown)
    inputs = tuple(range(len(operands))) if takes_all else _match(op, operands, [p.name for p in rest])
    by_position = takes_all or any(p.kind == "POSITIONAL_ONLY" for p in rest)
    return Half(inputs, () if by_position else tuple(p.name for p in rest), attrs, _integers(op, parameters), False, unknown)


def read_backward(op: Op, parameters: list[Parameter]) -> Half:
    """How to call a student's backward."""
    first = [p for p in parameters if p.kind in POSITIONAL][:2]
    takes_all = any(p.kind == "VAR_POSITIONAL" for p in parameters)
    if not takes_all and (len(first) < 2 or {p.name for p in first} & {"needs", *op.attrs}):
        raise _mismatch(op, "backward", "it takes the gradient of y and what forward saved")
    if [p.name for p in first][:1] == ["saved"] or [p.name for p in first][1:] == ["dy"]:
        raise _mismatch(op, "backward", "dy comes first, then saved")
    others = [p for p in parameters if p not in first]
    rest, attrs, unknown = _sort(op, "backward", [p for p in others if p.name != "needs"])
    if rest:
        name = rest[0].name
        raise _mismatch(op, "backward", f"the grader has nothing to give for `{name}`{near_attribute(op, name)}")
    return Half((), (), attrs, _integers(op, parameters), any(p.name == "needs" for p in others), unknown)


def _sort(op: Op, half: str, parameters: list[Parameter]) -> tuple[list[Parameter], tuple[str, ...], tuple[str, ...]]:
    """(parameters that must be inputs, attributes taken, parameters nobody knows)."""
    operands = {o.name for o in op.signature.inputs}
    rest, unknown = [], []
    for p in parameters:
        if p.name in op.attrs or p.kind.startswith("VAR"):
            continue
        if p.default and (half == "backward" or (p.default != "NoneType" and p.name not in operands)):
            unknown.append(p.name)
        else:
            rest.append(p)
    everything = any(p.kind == "VAR_KEYWORD" for p in parameters)
    attrs = tuple(name for name in op.attrs if everything or name in {p.name for p in parameters})
    return rest, attrs, tuple(unknown)


def _match(op: Op, operands: tuple[Operand, ...], names: list[str]) -> tuple[int, ...]:
    """Which inputs these parameters are: by name if all are names of inputs, else by position."""
    known = [o.name for o in operands]
    for name in names:
        if name not in known and (near := near_attribute(op, name)):
            raise _mismatch(op, "forward", f"`{name}` is no input of {op.name}{near}")
    places = [known.index(name) for name in names if name in known]
    if len(places) < len(names):  # names of the student's own: by position
        places = [i for i, name in enumerate(names) if name not in known or known.index(name) == i]
    left_out = [o for i, o in enumerate(operands) if i not in places]
    if places != sorted(places) or len(places) < len(names) or any(not o.optional for o in left_out) or len(names) > len(known):
        raise _mismatch(op, "forward", f"its inputs, in this order, are {', '.join(map(str, operands))}")
    return tuple(places)


def near_attribute(op: Op, name: str) -> str:
    """The words (did you mean `padding`?), if a name is close to an attribute's."""
    near = difflib.get_close_matches(name, op.attrs, 1) or [a for a in op.attrs if len(name) > 2 and a.startswith(name)]
    return f" (did you mean `{near[0]}`?)" if near else ""


def _integers(op: Op, parameters: list[Parameter]) -> tuple[str, ...]:
    return tuple(p.name for p in parameters if p.integer and p.name in op.attrs)


def _mismatch(op: Op, half: str, why: str) -> Mismatch:
    return Mismatch(f"{half} cannot be called: {why}; expected {expected(op, half)}")
