"""The PyTorch twin of every op, or the reason why it has none.

One file per room of `minidl/ops`, each with a dict TWINS: op name -> a function of torch tensors and the op's attributes
(canonical form) that returns what PyTorch computes, or a string that says why PyTorch has no such thing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable


def all_twins() -> dict[str, Callable | str]:
    """Every entry of every file here."""
    modules = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return {name: twin for module in modules for name, twin in module.TWINS.items()}
