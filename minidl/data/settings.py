"""Settings written as one word, `classes=20,seed=3`. What is unknown, said twice or unreadable is one clear line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Readers = Mapping[str, Callable[[str], Any]]  # name of a setting -> what makes a value of its text, or raises ValueError


def read_settings(text: str, readers: Readers, who: str) -> dict[str, Any]:
    """`name=value,name=value` as values by name; ValueError that names `who`, and the settings that there are."""
    found: dict[str, Any] = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        if name not in readers:
            raise ValueError(f"{who}: nothing is called {name!r}; settings are {', '.join(f'{n}=' for n in readers)}")
        if not (equals and value):
            raise ValueError(f"{who}: {name} needs a value, {name}=...; got {word!r}")
        if name in found:
            raise ValueError(f"{who}: {name} is given twice, {found[name]} and {value}; leave one out")
        try:
            found[name] = readers[name](value if readers[name] is str else _plain(value))
        except ValueError:
            kind = "whole number" if readers[name] is int else "number"
            raise ValueError(f"{who}: {name} should be a {kind}, got {value!r}") from None
    return found


def _plain(text: str) -> str:
    """The text of a number, if it is written as all write it: Python would read 2_0, full-width digits and blanks too."""
    if not text.isascii() or "_" in text or text != text.strip():
        raise ValueError(text)
    return text


def is_whole(value: Any, least: int, most: int) -> bool:
    """Is it a whole number from least to most, and no truth value?"""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value: Any) -> bool:
    """Is it a number, and no truth value?"""
    return isinstance(value, int | float) and not isinstance(value, bool)
