"""`minidl check OP STUDENT.py`: grade a file that holds `forward`, `backward` or both, by all the laws.

    minidl check conv2d mine.py                     a line per law, and the smallest counterexample of each that is broken
    minidl check conv2d mine.py --seed 17           other problems
    minidl check conv2d half.py --with im2col       a lone half, beside the other half of minidl's kernel
    minidl check conv2d --template > mine.py        a file to start from

Exit code: 0 the laws hold, 1 a law is broken (or the file hung, exited, crashed), 2 nothing could be graded.
The file runs in child processes under limits of time and memory; how it all works: minidl/grader/__init__.py.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minidl.grader.grade import Grading, Judgement
from minidl.grader.report import WIDTH, as_dict, lines, wrapped
from minidl.grader.submission import HALVES, CannotGrade, Failed, Submission, lent
from minidl.grader.template import template
from minidl.grader.worker import Limits, plain
from minidl.laws import forward_is_the_definition
from minidl.op import OPS, Kernel, Op

CASES = 60
SMALLEST_MEMORY = 64  # MiB
PRINTED_LINES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minidl check`."""
    parser.add_argument("op", metavar="OP", help="what the file computes: conv2d, lrn, ...")
    parser.add_argument("student", metavar="STUDENT.py", nargs="?", help="a file with forward, backward or both")
    parser.add_argument("--seed", type=int, default=0, help="the first problem's seed (default 0)")
    parser.add_argument("--cases", type=int, default=CASES, help=f"problems per law (default {CASES})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument(
        "--with", dest="kernel", metavar="KERNEL", help="minidl's kernel that lends the half that the file lacks"
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=Limits().seconds,
        metavar="SECONDS",
        help="for one call; for all calls 20 times that (default 10)",
    )
    parser.add_argument(
        "--memory-limit", type=int, default=Limits().memory, metavar="MB", help="for each child process (default 2048)"
    )
    parser.add_argument("--template", action="store_true", help="print a file to start from, and grade nothing")


def run(args: argparse.Namespace) -> int:
    """Grade, print, and return the exit code."""
    told: dict[str, Any] = {
        "op": args.op,
        "file": args.student,
        "seed": args.seed,
        "cases": args.cases,
        "laws": [],
        "not_graded": [],
    }
    try:
        op = _op(args.op)
        if args.template:
            print(template(op), end="")
            return 0
        _check_options(args)
        code = _grade(op, _file(args.student), _kernel(op, args.kernel), args, told)
    except CannotGrade as error:
        code, told["verdict"], told["message"] = 2, "could not grade", str(error)
        if not args.json:
            print(f"minidl check: {plain(str(error))}", file=sys.stderr)
    if args.json:
        print(json.dumps({**told, "exit_code": code}))
    return code


def _grade(op: Op, file: Path, kernel: Kernel, args: argparse.Namespace, told: dict[str, Any]) -> int:
    """Grade and print as the judgements come; `told` is filled for --json."""
    say = _silent if args.json else _say
    judgements: list[Judgement] = []
    try:
        with Submission(op, file, kernel, Limits(args.time_limit, args.memory_limit)) as submission:
            grading = Grading(submission, args.seed, args.cases)
            say(f"{op.name}: {file.name}, {args.cases} problem{'s' * (args.cases > 1)} for each law, from seed {args.seed}", "")
            for judgement in grading:
                earlier = next((j for j in judgements if j.message == judgement.message), None)
                note = "" if judgement.law is forward_is_the_definition else lent(submission)
                last = list(lines(submission, judgement, note, earlier))
                say(*last)
                judgements.append(judgement)
            told["laws"] = [as_dict(submission, judgement) for judgement in judgements]
            told["not_graded"], printed = grading.notes(), submission.said()
            if args.kernel and len(submission.own) == len(HALVES):
                told["not_graded"].append(f"--with {args.kernel} was not needed: the file has both halves")
    except Failed as error:
        told["verdict"], told["message"] = "fail", str(error)
        say(f"FAIL: {error}")
        return 1
    broken = [j for j in judgements if j.verdict == "FAIL"]
    told["verdict"] = "fail" if broken else "pass"
    told["printed"] = printed if broken else ""
    say(*[""] * bool(last[-1]), *_closing(judgements, told), *_again(op, args, broken))
    return 1 if broken else 0


def _closing(judgements: list[Judgement], told: dict[str, Any]) -> Iterator[str]:
    """What was not graded, what the file printed, and the verdict."""
    if notes := told["not_graded"]:
        yield from ("Not graded:", *(line for note in notes for line in wrapped(f"- {note}", "  ", "    ")), "")
    if printed := told["printed"].splitlines():
        yield from ("The file printed (the end of it):", *(f"  | {line[-WIDTH:]}" for line in printed[-PRINTED_LINES:]), "")
    count = Counter(judgement.verdict for judgement in judgements)
    words = {"FAIL": "broken", "ok": "hold", "--": "not judged"}
    counted = [f"{count[verdict]} {word}" for verdict, word in words.items() if count[verdict]]
    yield f"{'FAIL' if count['FAIL'] else 'PASS'}: of {len(judgements)} laws {', '.join(counted)}."


def _again(op: Op, args: argparse.Namespace, broken: list[Judgement]) -> list[str]:
    """How to see the first counterexample again, alone."""
    found = next((j.counterexample for j in broken if j.counterexample), None)
    if found is None:
        return []
    options = f" --with {args.kernel}" if args.kernel else ""
    return [f"The first counterexample again: minidl check {op.name} {args.student}{options} --seed {found.seed} --cases 1"]


def _op(name: str) -> Op:
    if name in OPS:
        return OPS[name]
    near = difflib.get_close_matches(name, OPS, 4)
    raise CannotGrade(
        f"there is no op {plain(name)!r}; " + (f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(OPS)}")
    )


def _kernel(op: Op, name: str | None) -> Kernel:
    if name is None:
        return next(iter(op.kernels.values()))  # registered first: the plain one, whose `saved` the op's docstring tells
    lend = [kernel.name for kernel in op.kernels.values() if not kernel.source]  # the grader has no GPU
    if name not in lend:
        raise CannotGrade(f"{op.name} has no kernel {plain(name)!r} for --with; choose from {', '.join(lend)}")
    return op.kernels[name]


def _file(name: str | None) -> Path:
    if name is None:
        raise CannotGrade("which file? minidl check OP STUDENT.py; `minidl check OP --template` prints one to start from")
    path = Path(name)
    if not path.is_file():
        raise CannotGrade(f"no file {plain(name)!r}" if not path.exists() else f"{plain(name)!r} is no file")
    return path


def _check_options(args: argparse.Namespace) -> None:
    if os.name != "posix":
        raise CannotGrade("the limits on a student's process need Linux or macOS; on Windows run minidl inside WSL")
    if args.cases < 1 or args.seed < 0:
        raise CannotGrade(f"--cases must be at least 1 and --seed at least 0, got {args.cases} and {args.seed}")
    if not 0 < args.time_limit < 86400 or args.memory_limit < SMALLEST_MEMORY:
        raise CannotGrade(
            f"--time-limit must be above 0 seconds and --memory-limit at least {SMALLEST_MEMORY} MB, "
            f"got {args.time_limit:g} and {args.memory_limit}"
        )


def _say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def _silent(*lines: str) -> None:
    """For --json."""
