"""Run `minidl check` in this process, on a file or on source text, and read what it says."""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from pathlib import Path
from typing import NamedTuple

from minidl import check

STUDENTS = Path(__file__).parent / "students"
LRN = (STUDENTS / "lrn_right.py").read_text(encoding="utf-8")
LAWS = 8


class Outcome(NamedTuple):
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def law(self, name: str) -> str:
        """What is said about the first law whose name begins so, in one line."""
        lines = self.out.splitlines()
        start = next(i for i, line in enumerate(lines) if line[8:].startswith(name))
        end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith("        "))
        return " ".join(" ".join(lines[start:end]).split())


def grade(op: str, student: Path | str, *options: str) -> Outcome:
    """Grade a file, or source text as student.py in a folder of its own."""
    parser, out, err = argparse.ArgumentParser(), io.StringIO(), io.StringIO()
    check.add_arguments(parser)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if isinstance(student, str):
            path = Path(folder, "student.py")
            path.write_text(student, encoding="utf-8")
            student = path
        code = check.run(parser.parse_args([op, str(student), *options]))
    return Outcome(code, out.getvalue(), err.getvalue())


def template(op: str) -> str:
    """What `minidl check OP --template` prints."""
    parser, out = argparse.ArgumentParser(), io.StringIO()
    check.add_arguments(parser)
    with contextlib.redirect_stdout(out):
        assert check.run(parser.parse_args([op, "--template"])) == 0
    return out.getvalue()


def patched(source: str, *pairs: tuple[str, str]) -> str:
    """The source with old texts, each found exactly once, replaced."""
    for old, new in pairs:
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times"
        source = source.replace(old, new)
    return source
