"""What the report holds: rows, step by step, in a JSON file and as Markdown beside it. Both are whole after every row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import report
from benchmarks.gpu.budget import Budget

Row = dict[str, Any]
NO_TIME = "no time left"
OWED = "owed: needs a GPU"


class Run(NamedTuple):
    """What every step may ask.

    device    'cuda', or 'cpu' in a rehearsal
    budget    how long it may still take
    rows      those of the earlier steps
    verified  a file that lists the CUDA sources which the laws let pass, for the steps that choose kernels;
              until the laws have ended, what minidl's own list has
    """

    device: str
    threads: int
    rounds: int
    seed: int
    rivals: list[str]
    budget: Budget
    rows: list[Row]
    verified: Path
    write_verified: bool = False

    @property
    def rehearsal(self) -> bool:
        """Is there no GPU in it?"""
        return self.device == "cpu"

    def of(self, step: str) -> list[Row]:
        """The rows of a step, of those that were measured."""
        return [row for row in self.rows if row["of"] == step and "not_run" not in row]


class Step(NamedTuple):
    """A part of the report.

    seconds  its box, of a run of 9 minutes
    rows     rows(run) -> what it finds, row by row; a row has 'what', and 'not_run' with the reason where nothing was measured
    table    the columns behind 'what'
    cells    cells(row) -> their text
    """

    name: str
    title: str
    seconds: float
    rows: Callable[[Run], Iterator[Row]]
    table: report.Table
    cells: Callable[[Row], list[str]]

    def line(self, row: Row) -> str:
        """A row as it is printed and kept."""
        if "not_run" in row:
            return self.table.row([row["what"]]) + f" not run: {row['not_run']}"
        return self.table.row([row["what"], *self.cells(row)]) + (f" {row['note']}" if row.get("note") else "")


def not_run(names: Iterable[str], why: str, **more: Any) -> Iterator[Row]:
    """A row for each."""
    return ({"what": name, "not_run": why, **more} for name in names)


class Record:
    """The report so far.

    path  of the JSON file, or None to keep none; the Markdown lies beside it
    head  lines above the tables
    """

    def __init__(self, path: Path | None, head: list[str], **more: Any):
        self.path, self.head, self.more, self.done = path, head, more, False
        self.rows: list[Row] = []
        self.steps: list[Step] = []

    def begin(self, step: Step) -> None:
        """A title and the head of a table."""
        self.steps.append(step)
        print("", f"## {step.title}", "", *step.table.head(), sep="\n", flush=True)

    def add(self, row: Row) -> None:
        """Print and keep a row of the step that began last."""
        self.rows.append({**row, "of": self.steps[-1].name})
        print(self.steps[-1].line(row), flush=True)
        self.write()

    def write(self) -> None:
        """Both files, each put in the place of the last in one go."""
        if self.path is None:
            return
        fresh = self.path.with_suffix(".part")
        report.save(fresh, "gpu_report", self.rows, finished=self.done, **self.more)
        os.replace(fresh, self.path)
        fresh.write_text(self.markdown(), encoding="utf-8")
        os.replace(fresh, self.path.with_suffix(".md"))

    def markdown(self) -> str:
        """The report to be read."""
        lines = ["# The GPU report", "", *self.head]
        lines += [] if self.done else ["", "**Not finished**: what follows is what was measured until it was stopped."]
        for step in self.steps:
            lines += ["", f"## {step.title}", "", *step.table.head()]
            notes = []
            for row in self.rows:
                if row["of"] == step.name:
                    line = step.line(row)
                    table, bar, note = line.rpartition("|")
                    lines.append(table + bar)
                    notes += [f"- {row['what']}:{note}"] if note.strip() else []
            lines += ["", *notes] if notes else []
        return "\n".join([*lines, ""])
