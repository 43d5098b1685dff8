"""Which module is computing: names for what a listener hears.

>>> from minidl.modes import listening
>>> from minidl.naming import naming
>>> model, heard = nn.Sequential(nn.Linear(2, 3), nn.ReLU()), []
>>> with naming(model) as calls, listening(lambda kernel, *_: heard.append((calls[-1], kernel.op.name))):
...     y = model([[1.0, 2.0]])
>>> heard
[('0', 'linear'), ('1', 'relu')]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minidl.nn import Module


@contextmanager
def naming(model: Module) -> Iterator[list[str]]:
    """Yields a list of the modules whose `forward` is running, the innermost last: the model itself is called ''."""
    calls = [""]
    modules = list(model.named_modules())
    own = [vars(module).get("forward") for _, module in modules]  # set on the instance: by a user, or by naming further out
    for name, module in modules:
        vars(module)["forward"] = _noted(module.forward, name, calls)
    try:
        yield calls
    finally:
        for (_, module), forward in zip(modules, own, strict=True):
            if forward is None:
                del vars(module)["forward"]
            else:
                vars(module)["forward"] = forward


def _noted(forward: Any, name: str, calls: list[str]) -> Any:
    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        try:
            return forward(*args, **kwargs)
        finally:
            calls.pop()

    return noted
