"""What the commands' options have in common. A bad one is answered by one line and exit code 2."""

from __future__ import annotations

import argparse
import re
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from benchmarks import precision
from benchmarks.rivals import names
from minidl.doctor import available_cores
from minidl.modes import MOST_THREADS


class CannotStart(Exception):
    """Why nothing can be measured: one line, and exit code 2."""


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        """Say it, and end."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def parser(name: str, doc: str | None, rounds: int) -> Parser:
    """The command's parser, with the options that all benchmarks have."""
    p = Parser(f"python -m benchmarks.{name}", description=(doc or "").partition("\n")[0])
    p.add_argument("--rivals", type=names.listed, default=[], metavar="A,B", help=f"of {', '.join(names.TORCH)} (none)")
    p.add_argument("--rounds", type=whole, default=rounds, metavar="N", help=f"how often each is timed ({rounds})")
    help_threads = f"for every rival alike (all cores: {available_cores()})"
    p.add_argument("--threads", type=threads, default=available_cores(), metavar="N", help=help_threads)
    p.add_argument("--device", type=device, default="cpu", help="cpu, cuda or cuda:1")
    help_precision = "of products and convolutions, for every rival (float32)"
    p.add_argument("--precision", choices=precision.NAMES, default=precision.FULL, help=help_precision)
    p.add_argument("--seed", type=lambda text: whole(text, least=0), default=0, help="of the order of turns")
    p.add_argument("--json", type=file, metavar="FILE", help="write the result file")
    p.add_argument("--plot", type=picture, metavar="FILE.png", help="draw the ratios")
    return p


def whole(text: str, least: int = 1) -> int:
    """A whole number of `least` or more."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more, got {text!r}")
    return int(text)


def wholes(text: str) -> list[int]:
    """Some of them, with commas between."""
    return [whole(word) for word in text.split(",")]


def seconds(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")
    return value


def threads(text: str) -> int:
    """As many as minidl runs."""
    count = whole(text)
    if count > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"expected at most {MOST_THREADS}, got {text}")
    return count


def device(text: str) -> str:
    """The name of a device."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"expected cpu, cuda or cuda:1, got {text!r}")
    return text


def file(text: str) -> str:
    """A file that can be written: better to hear of it now than when all is measured."""
    folder = Path(text).resolve().parent
    if not folder.is_dir() or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"cannot write {text!r}: no such folder, or a folder itself")
    return text


def picture(text: str) -> str:
    """The same for a chart, which needs matplotlib."""
    if find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("charts need matplotlib: pip install 'minidl[train]'")
    return file(text)
