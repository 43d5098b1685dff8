"""Arithmetic in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def named(name: str) -> Callable:
    """The function of that name in torch."""

    def twin(*tensors: Any, **attrs: Any) -> Any:
        import torch

        return getattr(torch, name)(*tensors, **attrs)

    return twin


TWINS = {
    name: named(name)
    for name in "add subtract multiply divide maximum minimum where negative exp log sqrt abs sin cos clip".split()
} | {"power": named("pow")}
