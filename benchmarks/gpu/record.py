"""What the report holds: rows, step by step, in a JSON file and as Markdown beside it. Both are whole after every row."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import indent
from types import MappingProxyType
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
    apart    of a step whose rows have a 'precision': each -> the words above a table of its own
    """

    name: str
    title: str
    seconds: float
    rows: Callable[[Run], Iterator[Row]]
    table: report.Table
    cells: Callable[[Row], list[str]]
    apart: Mapping[str, str] = MappingProxyType({})

    def line(self, row: Row) -> str:
        """A row as it is printed and kept."""
        if "not_run" in row:
            return self.table.row([row["what"]]) + f" not run: {row['not_run']}"
        return self.table.row([row["what"], *self.cells(row)]) + (f" {row['note']}" if row.get("note") else "")

    def page(self, rows: list[Row]) -> list[str]:
        """The lines below the title: a table, or one for each precision."""
        if not any("precision" in row for row in rows) or not self.apart:
            return self._table(rows)
        lines = []
        for precision, words in self.apart.items():
            of_it = [row for row in rows if row.get("precision", precision) == precision]
            lines += ["", f"### {precision}", "", words, *self._table(of_it)]
        return lines

    def _table(self, rows: list[Row]) -> list[str]:
        """The rows; what is said of them stands below."""
        lines, notes = ["", *self.table.head()], []
        for row in rows:
            table, bar, note = self.line(row).rpartition("|")
            lines.append(table + bar)
            notes += [f"- {row['what']}:{note}"] if note.strip() else []
        return [*lines, "", *notes] if notes else lines


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
        self.texts: list[str] = []  # of the rows in the JSON file, made once: hundreds are written hundreds of times
        self.steps: list[Step] = []

    def begin(self, step: Step) -> None:
        """A title and the head of a table."""
        self.steps.append(step)
        words = [f"{precision}: {said}" for precision, said in step.apart.items()]
        print("", f"## {step.title}", "", *words, *[""][: len(words)], *step.table.head(), sep="\n", flush=True)

    def add(self, row: Row) -> None:
        """Print and keep a row of the step that began last."""
        self.rows.append({**row, "of": self.steps[-1].name})
        self.texts.append(indent(json.dumps(self.rows[-1], indent=1), "  "))
        print(self.steps[-1].line(row), flush=True)
        self.write()

    def write(self) -> None:
        """Both files, each put in the place of the last in one go."""
        if self.path is None:
            return
        fresh = self.path.with_suffix(".part")
        fresh.write_text(self.json(), encoding="utf-8")
        os.replace(fresh, self.path)
        fresh.write_text(self.markdown(), encoding="utf-8")
        os.replace(fresh, self.path.with_suffix(".md"))

    def json(self) -> str:
        """The result file, as `report.save` writes it."""
        head = json.dumps({**report.origin("gpu_report"), "finished": self.done, **self.more}, indent=1).removesuffix("\n}")
        rows = ",\n".join(self.texts)
        return f'{head},\n "rows": [\n{rows}\n ]\n}}\n'

    def markdown(self) -> str:
        """The report to be read."""
        lines = ["# The GPU report", "", *self.head]
        lines += [] if self.done else ["", "**Not finished**: what follows is what was measured until it was stopped."]
        for step in self.steps:
            lines += ["", f"## {step.title}", *step.page([row for row in self.rows if row["of"] == step.name])]
        return "\n".join([*lines, ""])
