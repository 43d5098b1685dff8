"""PyTorch twins of the models: one file per file of models/, each with TWINS, a list of ModelTwin.

A twin is written here with PyTorch's own layers and, where torchvision has the net, torchvision's parameter names; weights are
copied by name, strictly. So a test of a twin is also a test of the names.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

from minidl import nn


class ModelTwin(NamedTuple):
    """One architecture in both frameworks, at a size that float64 can afford."""

    name: str
    ours: Callable[[], nn.Module]
    theirs: Callable[[], Any]  # () -> torch.nn.Module; imports torch inside
    input: tuple[int, ...]  # N, C, H, W


def all_model_twins() -> list[ModelTwin]:
    """Of every file in this folder."""
    modules = (importlib.import_module(f"model_twins.{info.name}") for info in pkgutil.iter_modules(__path__))
    return [twin for module in modules for twin in module.TWINS]
