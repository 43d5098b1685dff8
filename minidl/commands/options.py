"""Options that several commands share, and how they print."""

from __future__ import annotations

import ast
import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any

from minidl.data import Encoding


def whole(text: str) -> int:
    """The type of an option that is a whole number."""
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def number(text: str) -> float:
    """The type of an option that is a number."""
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a number, got {text!r}") from None


def encoding(text: str) -> str:
    """The type of --encode: the name of an encoding, as short as it can be."""
    try:
        return str(Encoding.named(text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


MODEL = "MODEL.py[:Class]"


def model_file(parser: ArgumentParser, **more: Any) -> None:
    """The argument MODEL.py[:Class]."""
    parser.add_argument("model", metavar=MODEL, help="the model's file, and the class where the file holds several", **more)


def settings(parser: ArgumentParser) -> None:
    """--set NAME=VALUE, as often as wanted; `dict(args.set)` has them by name."""
    about = "an option of the model's constructor, such as --set size=64 or --set batch_norm=True; may be repeated"
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help=about)


def setting(text: str) -> tuple[str, Any]:
    """The type of an option NAME=VALUE: a value that is no Python number, truth value or tuple is text."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise ArgumentTypeError(f"expected NAME=VALUE, such as size=64, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value


def run_folder(parser: ArgumentParser) -> None:
    """The argument RUN."""
    parser.add_argument("folder", metavar="RUN", help="a run folder, such as runs/lenet-1")


def device(parser: ArgumentParser, default: str = "cpu") -> None:
    """--device."""
    parser.add_argument("--device", default=default, metavar="NAME", help="cpu, cuda or cuda:0; default cpu")


def as_json(parser: ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def show(args: Namespace, value: Any, text: Callable[[], str]) -> None:
    """Print the value as JSON where --json asks for it, else the text."""
    print(json.dumps(value, indent=2) if args.json else text(), flush=True)
