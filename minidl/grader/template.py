"""The file that a student starts from: `minidl check conv2d --template > mine.py`."""

from __future__ import annotations

from contextlib import suppress

from minidl.draw import Random
from minidl.grader.parameters import expected
from minidl.op import Op
from minidl.signature import ShapeError

FORM = '''"""{op}: a kernel of my own.  Grade it:  minidl check {op} THIS_FILE.py

{doc}
"""

import numpy as np


def {forward}:
    """{inputs}  ->  {output}, and whatever backward needs.

{attrs}
    """
    raise NotImplementedError("forward is yours to write")  # at the end: return {returned}


def {backward}:
    """One gradient per input.

    dy     the gradient of the loss by y, of y's shape
    saved  the second thing that forward returned; nothing else is left of the forward pass
    needs  one True or False per input ({needs}): return None where it is False.
           Leave `needs` out of the signature to compute every gradient always.
    """
    raise NotImplementedError("backward is yours to write")  # at the end: return {gradients}
'''


def template(op: Op) -> str:
    """A Python file with the signatures of both halves, the shapes, what to return, and the op's own mathematics."""
    operands = op.signature.inputs
    names = [o.name for o in operands]
    grads = [f"d{o.name}" if o.kind == "float" else "None" for o in operands]
    aux = ", ".join(o.name for o in op.signature.aux)
    return FORM.format(
        op=op.name,
        doc=(op.__doc__ or "").strip().replace("\\", "\\\\").replace('"""', "'''"),
        forward=expected(op, "forward"),
        backward=expected(op, "backward"),
        inputs="  ".join(f"{o}{' or None' if o.optional else ''}" for o in operands),
        output=op.signature.output,
        attrs="\n".join(_attributes(op)) or "    No attributes.",
        returned=f"y, saved, ({aux},)" if aux else "y, saved",
        needs="one per array" if operands[0].variadic else ", ".join(names),
        gradients="tuple(gradients)" if operands[0].variadic else f"({', '.join(grads)}{',' * (len(grads) == 1)})",
    )


def _attributes(op: Op) -> list[str]:
    """A line per attribute: its default, and the form in which it arrives where that is another."""
    problem, width = op.ask(Random(0)), max(map(len, op.attrs), default=0)
    shapes = tuple(None if x is None else x.shape for x in problem.inputs)
    told = []
    for name, default in op.attrs.items():
        line = f"    {name:<{width}}  default {default!r}"
        with suppress(ShapeError, ValueError, TypeError):
            arrives = op.settle(shapes, {**problem.attrs, name: default})[0][name]
            line += f", which arrives as {arrives!r}" if arrives != default else ""
        told.append(line)
    return told
