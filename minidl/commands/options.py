"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any


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


def model_file(parser: ArgumentParser) -> None:
    """The argument MODEL.py[:Class]."""
    parser.add_argument(
        "model", metavar="MODEL.py[:Class]", help="the model's file, and the class where the file holds several"
    )


def run_folder(parser: ArgumentParser) -> None:
    """The argument RUN."""
    parser.add_argument("folder", metavar="RUN", help="a run folder, such as runs/lenet-1")


def device(parser: ArgumentParser) -> None:
    """--device."""
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda or cuda:0; default cpu")


def as_json(parser: ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def show(args: Namespace, value: Any, text: Callable[[], str]) -> None:
    """Print the value as JSON where --json asks for it, else the text."""
    print(json.dumps(value, indent=2) if args.json else text(), flush=True)
