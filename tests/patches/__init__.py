"""Planted bugs: one-line patches of the kernels, each with the law that must catch it.

One file per room of `minidl/ops`, each with a list PATCHES. A row names the kernel, the old text (found exactly once in the
file), the new text, and the law. `file` is the module that is patched; `then` a module that is run again on top of
it (an activation on top of a patched `pointwise`, a kernel on top of a patched `window`). Patched loops run as Python; of a
CUDA source `file` is the name, "lrn.cu", and `then` the module that launches it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import types
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

from minidl import jit
from minidl.op import Kernel, separate_registry


class Patch(NamedTuple):
    """One planted bug."""

    kernel: str  # "lrn[window]"
    old: str
    new: str
    law: str
    file: str  # "minidl.ops.lrn"
    then: str = ""

    @property
    def op(self) -> str:
        return self.kernel.partition("[")[0]

    def __str__(self) -> str:
        return f"{self.kernel}: {self.old.strip()} -> {self.new.strip() or 'nothing'}"


def all_patches() -> list[Patch]:
    """Every row of every file here."""
    modules = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return [patch for module in modules for patch in module.PATCHES]


def plant(patch: Patch, op_kernels: dict[str, Kernel]) -> Kernel:
    """The patched kernel, under the op it claims to compute."""
    name = patch.kernel.partition("[")[2].rstrip("]")
    if patch.file.endswith(".cu"):
        return _in_cuda(patch, op_kernels[name])
    source = inspect.getsource(importlib.import_module(patch.file))
    count = source.count(patch.old)
    if count != 1:
        raise ValueError(f"{patch}: the old text stands {count} times in {patch.file}, expected once")
    with separate_registry() as ops, mock.patch.object(jit, "loop", lambda function: function):
        patched = module = run_module(patch.file, source.replace(patch.old, patch.new))
        if patch.then:
            module = run_module(patch.then, inspect.getsource(importlib.import_module(patch.then)), {patch.file: module})
        if patch.file.endswith(".loops"):
            module.loops = lambda: patched
    original = op_kernels[name]
    mutant = ops[patch.op].kernels[name] if patch.op in ops else module
    return like(original, f"{name}, patched", mutant, module)


def _in_cuda(patch: Patch, original: Kernel) -> Kernel:
    """The kernel with a line of its CUDA source changed, or of one that a module beneath it launches."""
    module = run_module(patch.then, inspect.getsource(importlib.import_module(patch.then)))
    source, count = module.SOURCE.text, module.SOURCE.text.count(patch.old)
    if count != 1:
        raise ValueError(f"{patch}: the old text stands {count} times in {patch.file}, expected once")
    module.SOURCE.text = source.replace(patch.old, patch.new)
    if (top := original.forward.__module__) != patch.then:
        module = run_module(top, inspect.getsource(importlib.import_module(top)), {patch.then: module})
    return like(original, f"{original.name}, patched", module, module)


def like(original: Kernel, name: str, mutant: Kernel | types.ModuleType, module: types.ModuleType) -> Kernel:
    """The original's traits with the functions of a changed kernel, or of the changed module that holds them."""
    forward, backward = mutant.forward, mutant.backward
    prepare = {key: tuple(getattr(module, f.__name__, f) for f in pair) for key, pair in original.prepare.items()}
    return replace(original, name=name, forward=forward, backward=backward, prepare=prepare)


def run_module(name: str, source: str, instead: dict[str, types.ModuleType] | None = None) -> types.ModuleType:
    """Execute a module's source under its own name, without disturbing the one that is imported."""
    original = sys.modules[name]
    module = types.ModuleType(name)
    module.__file__, module.__package__ = original.__file__, original.__package__
    if hasattr(original, "__path__"):
        module.__path__ = original.__path__
    replaced = {**(instead or {}), name: module}
    kept = {key: sys.modules[key] for key in replaced}
    sys.modules.update(replaced)
    try:
        exec(compile(source, f"{original.__file__} (patched)", "exec"), module.__dict__)
    finally:
        sys.modules.update(kept)
    return module
