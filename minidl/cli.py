"""The command `minidl`.

    minidl train models/lenet.py          learn, and leave a run folder
    minidl train net.py --data photos     learn images of your own, one folder a class
    minidl train --resume runs/lenet-1    go on where a run was stopped
    minidl evaluate runs/lenet-1          loss and accuracy of a run, class by class
    minidl predict runs/lenet-1 seven.png what is in an image
    minidl summary models/lenet.py        layers, parameters, multiply-adds, memory
    minidl check conv2d student.py        grade a kernel
    minidl doctor                         what this machine has, and what to do about it

Exit codes: 0 done; 1 done, and the answer is no (a law broken, something amiss); 2 could not be done; 130 stopped by Ctrl-C.
What goes wrong is said in one line. Commands import what they need when they run, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

# command -> the module that has its add_arguments(parser) and run(args) -> exit code, and what --help says
COMMANDS = {
    "train": ("minidl.commands.train", "train a model and leave a run folder"),
    "evaluate": ("minidl.commands.evaluate", "loss and accuracy of a trained run, class by class"),
    "predict": ("minidl.commands.predict", "say what is in images"),
    "summary": ("minidl.commands.summary", "layers, parameters, multiply-adds and memory of a model"),
    "check": ("minidl.check", "grade a student's kernel by the laws"),
    "doctor": ("minidl.commands.doctor", "what this machine has, what is wrong, and what to do about it"),
}
EXPECTED_ERRORS = (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError, RuntimeError)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise what `main` prints."""
        raise ValueError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a file name may hold letters that this terminal cannot show
    debug, words = "--debug" in words, [word for word in words if word != "--debug"] or ["--help"]
    try:
        args, unknown = build_parser(words).parse_known_args(words)
        if unknown:
            raise ValueError(_unknown(unknown[0], args))
        return args.run(args) or 0
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("minidl: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `minidl summary ... | head`: nobody listens, also not to what is left in the buffer
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if debug:
            raise
        print(f"minidl: {one_line(error, words)}", file=sys.stderr)
        return 2


def one_line(error: Exception, words: Sequence[str]) -> str:
    """What went wrong, and where in the user's own file if it was there."""
    text = " ".join(str(getattr(error, "in_short", error)).splitlines()).strip() or type(error).__name__
    if isinstance(error, MemoryError):
        smaller = "--batch-size" if "train" in words[:1] else "network, or one for smaller images"
        text = f"out of memory: {text}; try a smaller {smaller}"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = str(error.filename)
        text = f"{name[:40]}...: this name of {len(name):,} letters is too long for a file; shorten it"
    where = _line_in_users_file(error, words)
    if where and where not in text:
        ours = isinstance(error, ValueError) or type(error).__module__.startswith("minidl")
        kind = "" if ours else f"{type(error).__name__}: "
        return f"{where}: {kind}{text}"
    if not isinstance(error, EXPECTED_ERRORS):
        return f"internal error, {type(error).__name__}: {text}; run again with --debug for the traceback"
    return text


def _unknown(word: str, args: argparse.Namespace) -> str:
    near = get_close_matches(word.partition("=")[0], re.findall(r"--[\w-]+", args.usage), n=1)
    hint = f"did you mean {near[0]}?" if near else f"see `minidl {args.command} --help`"
    return f"{args.command}: nothing is called {word}; {hint}"


def _line_in_users_file(error: Exception, words: Sequence[str]) -> str | None:
    """Where in a model file named on the command line, or in a run folder's copy of one, the error arose."""
    if "minidl.modelfile" not in sys.modules:
        return None
    from minidl.modelfile import line_of

    folders = [Path(word.rpartition(".py")[0]).parent for word in words if ".py" in word]
    folders += [Path(word) / "model" for word in words if os.path.isdir(f"{word}/model")]  # Path.is_dir raises for a long name
    return next((where for folder in folders if (where := line_of(error, folder))), None)


def build_parser(words: Sequence[str]) -> Parser:
    """The parser. Only the command that is called is imported, for its options; the others are named."""
    parser = Parser("minidl", description="Deep learning from scratch, to read, check and measure.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"minidl {version('minidl')}")
    parser.epilog = "With --debug any command shows the traceback of an error."
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    called = next((word for word in words if not word.startswith("-")), None)
    for name, (module, about) in COMMANDS.items():
        sub = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False)
        if name == called:
            command = import_module(module)
            command.add_arguments(sub)
            sub.set_defaults(run=command.run, usage=sub.format_usage())
    return parser
