"""Breaks a kernel's source in every small way, to see whether the laws notice.

`mutants(source)` yields (label, source) for each single change inside the arithmetic of a module: an operator swapped, a
number raised by one, a term dropped, operands exchanged, `+=` made `=`, a comparison shifted. Definitions, problems, shape
rules and costs are not reached from there: they are what the arithmetic is judged by.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator

ARITHMETIC_KEYWORDS = {"f", "dx", "da", "db", "mask"}  # lambdas that hold the arithmetic of pointwise ops
SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult}
SHIFTED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Every single small change of the module's arithmetic."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()
    for place, (where, node) in enumerate(_arithmetic(tree)):
        for what, change in _changes(node):
            broken = copy.deepcopy(tree)
            label = f"{where}: {what}: {ast.unparse(node)}"
            change(list(_arithmetic(broken))[place][1])
            seen[label] += 1
            yield f"{label} (#{seen[label]})", ast.unparse(ast.fix_missing_locations(broken))


def _arithmetic(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """(name, node) that may be changed: what is reached from forward, backward and the lambdas of pointwise ops."""
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    todo = [name for name in functions if name.endswith(("forward", "backward"))]
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue
        name = ast.unparse(statement.targets[0]) if isinstance(statement, ast.Assign) else "module"
        for call in ast.walk(statement):
            if isinstance(call, ast.keyword) and call.arg in ARITHMETIC_KEYWORDS:
                todo += [n.id for n in ast.walk(call.value) if isinstance(n, ast.Name)]
                if isinstance(call.value, ast.Lambda):
                    yield from ((f"{name}.{call.arg}", n) for n in _candidates(call.value.body))
    reached: set[str] = set()
    while todo:
        if (name := todo.pop()) in functions and name not in reached:
            reached.add(name)
            todo += [n.id for n in ast.walk(functions[name]) if isinstance(n, ast.Name)]
    for name in (n for n in functions if n in reached):
        parts = [part for part in functions[name].body if not isinstance(part, ast.Expr)]  # an expression: the docstring
        yield from ((name, n) for part in parts for n in _candidates(part))


def _candidates(node: ast.AST) -> Iterator[ast.AST]:
    for n in ast.walk(node):
        if isinstance(n, ast.BinOp | ast.AugAssign | ast.Compare | ast.UnaryOp | ast.Constant) and hasattr(n, "lineno"):
            yield n


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    match node:
        case ast.BinOp(op=op):
            if type(op) in SWAPPED:
                yield "operator swapped", lambda n: setattr(n, "op", SWAPPED[type(n.op)]())
            if isinstance(op, ast.Add | ast.Sub):
                yield "term dropped", _keep_left
            if isinstance(op, ast.Sub | ast.Div | ast.MatMult):
                yield "operands exchanged", _exchange
        case ast.AugAssign(op=ast.Add() | ast.Sub()):
            yield "assigned, not added", _assign
        case ast.Compare(ops=[op]) if type(op) in SHIFTED:
            yield "comparison shifted", lambda n: setattr(n, "ops", [SHIFTED[type(n.ops[0])]()])
        case ast.UnaryOp(op=ast.USub()):
            yield "minus dropped", lambda n: setattr(n, "op", ast.UAdd())
        case ast.Constant(value=value) if type(value) in (int, float):
            yield "plus one", lambda n: setattr(n, "value", n.value + 1)


def _keep_left(n: ast.BinOp) -> None:
    n.op, n.right = ast.Add(), ast.Constant(0)


def _exchange(n: ast.BinOp) -> None:
    n.left, n.right = n.right, n.left


def _assign(n: ast.AugAssign) -> None:
    """x += y becomes x -= x - y, which assigns: no statement has to be replaced by another kind."""
    value = ast.Name(n.target.id, ast.Load()) if isinstance(n.target, ast.Name) else copy.deepcopy(n.target)
    if hasattr(value, "ctx"):
        value.ctx = ast.Load()
    n.op, n.value = ast.Sub(), ast.BinOp(value, ast.Sub(), n.value)
