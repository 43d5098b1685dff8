"""minidl/methods.py declares exactly what the ops bind on Tensor, with the same argument names."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import minidl  # noqa: F401  (declares every op)
from minidl import methods
from minidl.op import OPS
from minidl.tensor import Tensor


def declared() -> dict[str, ast.FunctionDef]:
    tree = ast.parse(Path(methods.__file__).read_text(encoding="utf-8"))
    return {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def test_declared_methods_are_the_bound_ones() -> None:
    own = {n.name for n in ast.walk(ast.parse(inspect.getsource(Tensor))) if isinstance(n, ast.FunctionDef)}
    machinery = {"__module__", "__doc__", "__slots__", "__annotations__", "__weakref__", "__array_ufunc__", "__hash__"}
    bound = {name for name in vars(Tensor) if name not in own | machinery and name not in Tensor.__slots__}
    assert bound == set(declared())


def test_argument_names_are_those_of_the_ops() -> None:
    for name, function in declared().items():
        if name in OPS and not function.args.vararg:
            said = [a.arg for a in function.args.args[1:]]
            op = OPS[name]
            inputs = [o.name for o in op.signature.inputs[1:]]
            assert len(said) <= len(inputs) + len(op.attrs), name
            assert said[len(inputs) :] == list(op.attrs)[: len(said) - len(inputs)], name
