"""A student's file, loaded: its halves in their processes, and the problems that its signatures can express.

A half that the file lacks is served by one of minidl's own kernels. `pose(draw)` asks the op for a problem and keeps to
what the file can be asked; `notes` says what that leaves ungraded.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from minidl.draw import Draw, Random
from minidl.grader.parameters import Half, Mismatch, near_attribute, read, read_backward, read_forward
from minidl.grader.worker import Limits, Lost, NotStarted, Worker, plain
from minidl.op import Kernel, Op, Problem
from minidl.signature import ShapeError

HALVES = ("forward", "backward")
OWN_WORK = {"numpy", *sys.stdlib_module_names}


class CannotGrade(ValueError):
    """There is nothing to judge: no such file, a syntax error, signatures that cannot be called."""


class Failed(Exception):
    """The file failed before its first call: loading it hung, exited or crashed."""


class Submission:
    """One file to grade as a kernel of `op`; `other` is the kernel that lends the missing half."""

    def __init__(self, op: Op, file: Path, other: Kernel, limits: Limits):
        self.op, self.file, self.other, self.limits = op, file.resolve(), other, limits
        self.workers: dict[str, Worker] = {}
        try:
            self._load()
            self._bound()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child processes."""
        for worker in self.workers.values():
            worker.close()

    def said(self) -> str:
        """The end of what the file printed."""
        return "\n".join(text for half in self.own if (text := self.workers[half].said().strip()))

    # ---- loading -------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Start a process per half, both at once, and find out what the file holds."""
        for half in HALVES:
            self.workers[half] = Worker(half, self.file, self.limits)
        told = self._loaded("forward")
        halves = told["halves"]
        self.own = tuple(half for half in HALVES if half in halves)
        self.half, self.imports = bool(told.get("half")), [str(name) for name in told["imports"]]
        if not self.own:
            raise CannotGrade(f"{self.file.name} has neither forward nor backward; `--template` prints a file to start from")
        for half in HALVES:
            if half not in self.own:
                self.workers[half].close()
                self.workers[half] = Worker(half, self.file, self.limits, (self.op.name, self.other.name))
            if half not in self.own or half == "backward":
                self._loaded(half)
        readers = {"forward": read_forward, "backward": read_backward}
        try:
            self.forms: dict[str, Half] = {half: readers[half](self.op, read(halves[half])) for half in self.own}
        except Mismatch as error:
            raise CannotGrade(f"{self.file.name}: {error}") from None

    def _loaded(self, half: str) -> dict[str, Any]:
        """What the process of a half says of its file; CannotGrade or Failed if it could not load it."""
        try:
            told = self.workers[half].load()
        except NotStarted as error:
            raise CannotGrade(f"{error}  (--memory-limit {self.limits.memory} may be too small)") from None
        except Lost as error:
            raise Failed(f"loading {self.file.name} {error}") from None
        broken = told.get("error")
        if isinstance(broken, dict):
            where = f"{self.file.name}:{broken.get('line', '?')}"
            words = plain(f"{where}: {broken.get('kind')}: {broken.get('message')}")
            if broken.get("failed"):
                raise Failed(f"loading the file ended it: {words}")
            raise CannotGrade(words)
        if not isinstance(told.setdefault("halves", {}), dict) or not isinstance(told.setdefault("imports", []), list):
            raise Failed(f"loading {self.file.name} wrote to the grader's pipe what is no reply")
        return told

    # ---- what can be asked -----------------------------------------------------------------------------------------------

    def _bound(self) -> None:
        """What the signatures leave out: `fixed` attributes, `integers`, and `taken`, the inputs that forward names."""
        lead = self.forms[self.own[0]]
        self.fixed = tuple(name for name in self.op.attrs if name not in lead.attrs)
        asked = {name for form in self.forms.values() for name in form.integers}
        tuples = {name for seed in range(20) for name, value in self.op.ask(Random(seed)).attrs.items() if type(value) is tuple}
        self.integers = tuple(name for name in self.op.attrs if name in asked & tuples and name not in self.fixed)
        everything = tuple(range(len(self.op.signature.inputs)))
        self.taken = lead.inputs if self.own[0] == "forward" and not self.op.signature.inputs[0].variadic else everything

    def pose(self, draw: Draw) -> Problem | None:
        """The problem that `draw` answers, brought to what the signatures can express; None if that is impossible."""
        inputs, attrs = self.op.ask(draw)
        if not self.op.signature.inputs[0].variadic:
            inputs = tuple(x if i in self.taken else None for i, x in enumerate(inputs))
        wanted = attrs | {name: self.op.attrs[name] for name in self.fixed}
        wanted |= {name: attrs[name][0] for name in self.integers if type(attrs[name]) is tuple and attrs[name]}
        shapes = tuple(None if x is None else x.shape for x in inputs)
        with suppress(ShapeError, ValueError, TypeError):
            attrs = self.op.settle(shapes, wanted)[0]
            if self.op.domain:
                self.op.domain(*inputs, **attrs)
            uneven = any(type(attrs[name]) is tuple and len(set(attrs[name])) != 1 for name in self.integers)
            if not uneven and not (len(self.own) == 1 and self.other.why_not(shapes, attrs)):
                return Problem(inputs, attrs)
        return None

    def as_taken(self, name: str, value: Any) -> Any:
        """An attribute's value as the file takes it: 2 for (2, 2) where its signature has an int."""
        return value[0] if name in self.integers and isinstance(value, tuple) and value else value

    def notes(self) -> list[str]:
        """What is not graded, one sentence each."""
        notes = []
        if len(self.own) == 1:
            missing = next(half for half in HALVES if half not in self.own)
            notes.append(f"{missing}: not in the file; {self.other}'s was used")
        if self.fixed:
            values = ", ".join(f"{name}={self.op.attrs[name]!r}" for name in self.fixed)
            notes.append(f"{self.own[0]} leaves out, so these stayed at their defaults: {values}")
        if self.integers:
            notes.append(f"{', '.join(self.integers)}: with equal entries only, since the signature takes an int")
        if absent := [o.name for i, o in enumerate(self.op.signature.inputs) if i not in self.taken]:
            notes.append(f"forward leaves out {', '.join(absent)}: graded without it")
        for name in sorted({name for form in self.forms.values() for name in form.unknown}):
            near = near_attribute(self.op, name)
            notes.append(f"{plain(name)} is no attribute of {self.op.name}{near}: it kept its own default")
        if strange := [n for n in self.imports if n.split(".")[0] not in OWN_WORK and n != "minidl.backend"]:
            notes.append(f"who did the work: the file imports {plain(', '.join(strange))[:200]}")
        if any(worker.unlimited for worker in self.workers.values()):
            notes.append("memory: this system does not limit it")
        return notes


def lent(submission: Submission) -> str:
    """What a lone forward must know: whose backward it was paired with, and what that expects."""
    if submission.own != ("forward",):
        return ""
    return f"(backward is {submission.other}'s, which expects {saved_description(submission.other)})"


def saved_description(kernel: Kernel) -> str:
    """The lines of a kernel's docstring that say what `saved` holds."""
    module = sys.modules.get(kernel.forward.__module__)  # none for a kernel typed at a prompt
    texts = (module and module.__doc__, kernel.forward.__doc__, kernel.op.__doc__)
    for text in texts:
        if match := re.search(r"^[ ]*saved\b.*(?:\n(?![ ]*\w+[ ,\w]* : )[ ]+\S.*)*", text or "", re.MULTILINE):
            return " ".join(match[0].split())
    return "saved : not described"
