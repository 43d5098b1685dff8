"""What a grading prints: lines for a reader, a dictionary for programs."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl.grader.counterexample import TINY, Counterexample
from minidl.grader.grade import Judgement
from minidl.grader.submission import Submission
from minidl.op import Op, Problem
from minidl.signature import ShapeError

WIDTH = 92
MARGIN = " " * 8


def lines(submission: Submission, judgement: Judgement, lent: str = "", earlier: Judgement | None = None) -> Iterator[str]:
    """One law: a single line, or the counterexample and the lesson too.

    `lent` says whose kernel the other half is; `earlier` is a law of which the same was said before.
    """
    head = f"  {judgement.verdict:<4}  {judgement.name}"
    if earlier and judgement.message:
        yield f"{head}: {'the same mistake as' if earlier.verdict == 'FAIL' else 'for the same reason as'} '{earlier.name}'"
        return
    yield head
    if judgement.verdict != "FAIL":
        yield from wrapped(judgement.message)
        return
    if found := judgement.counterexample:
        yield from wrapped(f"{posed(submission, found.problem)}   {origin(found)}")
    yield from wrapped(judgement.message)
    yield from wrapped(lent)
    if found:
        yield from _arrays(submission.op, found)
    law, _, why = (inspect.getdoc(judgement.law) or "").partition("\n\n")
    yield from wrapped(f"The law: {' '.join(law.split())}")
    yield from wrapped(f"Why: {' '.join(why.split())}")
    yield ""


def posed(submission: Submission, problem: Problem) -> str:
    """A problem in the course's letters: x[N=1,C=1,H=3,W=3]  w[K=1,Cg=1,R=2,S=2]  stride=(2, 2)."""
    op, taken = submission.op, submission.taken
    operands, names, words = op.signature.expand(len(problem.inputs)), _names(op, len(problem.inputs)), []
    for i, (operand, name, x) in enumerate(zip(operands, names, problem.inputs, strict=True)):
        if x is not None:
            words.append(f"{name}[{','.join(_sizes(operand.dims, x.shape))}]")
        elif i in taken:
            words.append(f"{name}=None")
    return "  ".join(words + [f"{n}={submission.as_taken(n, v)!r}" for n, v in _telling(op, problem).items()])


def origin(found: Counterexample) -> str:
    """Where a counterexample comes from."""
    return f"(shrunk from seed {found.seed} in {found.tries} tries)" if found.tries else f"(seed {found.seed})"


def as_dict(submission: Submission, judgement: Judgement) -> dict[str, Any]:
    """One law for programs."""
    told: dict[str, Any] = {"law": judgement.law.__name__, "verdict": judgement.verdict, "message": judgement.message}
    found = judgement.counterexample
    told["counterexample"] = found and {
        "problem": posed(submission, found.problem),
        "seed": found.seed,
        "tries": found.tries,
        "inputs": {name: _numbers(x) for name, x in _named(submission.op, found)},
        "attributes": {name: _jsonable(value) for name, value in found.problem.attrs.items()},
        "came": {name: _numbers(came) for name, (came, _) in found.results.items()},
        "expected": {name: _numbers(expected) for name, (_, expected) in found.results.items()},
    }
    return told


# ---- words -------------------------------------------------------------------------------------------------------------


def _sizes(dims: tuple[str, ...], shape: tuple[int, ...]) -> list[str]:
    """['N=1', 'C=2', '3', '3']: the dimensions under `...` have no name."""
    free = len(shape) - len([d for d in dims if d != "..."])
    names = [name for dim in dims for name in ([""] * free if dim == "..." else [dim])]
    return [f"{name}={size}" if name and not name.isdigit() else str(size) for name, size in zip(names, shape, strict=True)]


def _telling(op: Op, problem: Problem) -> dict[str, Any]:
    """The attributes that are not at their defaults."""
    shapes = tuple(None if x is None else x.shape for x in problem.inputs)
    telling = {}
    for name, value in problem.attrs.items():
        try:
            usual = op.settle(shapes, {**problem.attrs, name: op.attrs[name]})[0][name]
        except (ShapeError, ValueError, TypeError):
            usual = None
        if value != usual:
            telling[name] = value
    return telling


def wrapped(text: str, first: str = MARGIN, rest: str = MARGIN) -> Iterator[str]:
    """The lines of a text, broken between words and indented."""
    for line in text.splitlines():
        yield from textwrap.wrap(line, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


# ---- numbers -----------------------------------------------------------------------------------------------------------


def _named(op: Op, found: Counterexample) -> list[tuple[str, Any]]:
    named = zip(_names(op, len(found.problem.inputs)), found.problem.inputs, strict=True)
    return [(name, x) for name, x in (*named, ("dy", found.dy)) if x is not None]


def _names(op: Op, count: int) -> list[str]:
    return [f"{o.name}{i}" if o.variadic else o.name for i, o in enumerate(op.signature.expand(count))]


def _arrays(op: Op, found: Counterexample) -> Iterator[str]:
    """The numbers themselves, where all arrays are tiny; and the memory layout, where that is the point."""
    for name, strides in found.strides.items():
        yield f"{MARGIN}{name} lies in memory with strides {strides}"
    named = _named(op, found)
    if not found.tries or any(x.size > TINY for _, x in named):
        return
    for name, x in named:
        yield from _array(f"{name:<4} = ", x)
    differing = {n: pair for n, pair in found.results.items() if not np.allclose(*pair, rtol=1e-5, atol=1e-8, equal_nan=True)}
    for name, (came, expected) in differing.items():
        yield from _array(f"{name:<4} came     ", came)
        yield from _array(f"{'':<4} expected ", expected)


def _array(head: str, x: Any) -> Iterator[str]:
    text = np.array2string(np.asarray(x), precision=6, separator=", ", floatmode="maxprec", max_line_width=WIDTH - len(head))
    first, *rest = (line for line in text.splitlines() if line.strip())
    yield MARGIN + head + first
    yield from (MARGIN + " " * len(head) + line for line in rest)


def _numbers(x: Any) -> dict[str, Any]:
    x = np.asarray(x)
    return {"shape": list(x.shape), "dtype": str(x.dtype), "values": _jsonable(x.tolist()) if x.size <= TINY else None}


def _jsonable(value: Any) -> Any:
    """A value that JSON has: numbers that it lacks, and anything else, as text."""
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)
