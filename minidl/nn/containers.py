"""Modules that hold modules: one after another, or as a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minidl.nn.module import Module


class _Container(Module):
    """Modules by number; the names are "0", "1", ... unless given."""

    def _put(self, name: str, module: Any) -> None:
        kind = type(self).__name__
        if not isinstance(module, Module):
            remedy = "; make an object of it with ()" if isinstance(module, type) and issubclass(module, Module) else ""
            raise TypeError(f"{kind}: {name} is {_what(module)}, expected a Module such as nn.ReLU(){remedy}")
        if hasattr(self, name) or not name or "." in name:
            raise ValueError(f"{kind}: a child cannot be called {name!r}: the name is taken, empty or has a dot")
        setattr(self, name, module)

    def append(self, module: Module) -> Any:
        """Put one more at the end; returns self."""
        self._put(str(len(self)), module)
        return self

    def __len__(self) -> int:
        return len(list(self.children()))

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        """The module at a position; a slice is a container of the same modules."""
        if not isinstance(index, slice):
            return list(self.children())[index]
        part = type(self).__new__(type(self))
        part.training = self.training
        for name, module in list(self.named_children())[index]:
            part._put(name, module)
        return part


class Sequential(_Container):
    """Each module is given what the one before it returns; names are "0", "1", ..., or by keyword or by one dict.

    >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU())([[1.0, 2.0]]).shape
    (1, 3)
    >>> nn.Sequential(dense=nn.Linear(2, 3), relu=nn.ReLU())
    Sequential(
      (dense): Linear(in_features=2, out_features=3, bias=True)
      (relu): ReLU()
    )
    """

    def __init__(self, *modules: Module | dict[str, Module], **named: Module):
        for i, module in enumerate(modules):
            for name, part in module.items() if isinstance(module, dict) else [(str(i), module)]:
                self._put(name, part)
        for name, part in named.items():
            self._put(name, part)

    def forward(self, x: Any) -> Any:
        """x through every module in turn."""
        for module in self.children():
            x = module(x)
        return x


class ModuleList(_Container):
    """A list whose modules are found by parameters(), state_dict(), train(), ...; it has no forward of its own.

    >>> blocks = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(2))
    >>> list(blocks.state_dict())
    ['0.weight', '1.weight']
    """

    def __init__(self, modules: Iterable[Module] = ()):
        if not isinstance(modules, Iterable):
            raise TypeError(f"ModuleList: expected a list of modules, got one {type(modules).__name__}; write [it]")
        self.extend(modules)

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Put more at the end; returns self."""
        for module in modules:
            self.append(module)
        return self


def _what(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
