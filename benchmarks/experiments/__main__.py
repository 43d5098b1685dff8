"""Alpha-Net's claims, measured over several seeds.

    python -m benchmarks.experiments structure --quick    under three minutes on two cores; also loss, normalisation, earlier
    python -m benchmarks.experiments structure --recipe adam    v1, 128 layers, on the digits at 16x16: half an hour
    python -m benchmarks.experiments structure            the same by the paper's recipe: hours
    python -m benchmarks.experiments structure --data FOLDER --hours 20    on images of your own; v2, v3, v4 while time lasts

Each finished run is kept in a folder (--work): the same command, typed again, goes on where it was stopped.
Writes TABLE_FORM.json, .md and .png into benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import options, report
from benchmarks.experiments import picture, plan, tell
from benchmarks.experiments.plan import Cell, Form, Job
from benchmarks.experiments.runs import Store, step_times, work
from minidl.doctor import available_cores

WORK = "runs/experiments"
FULL_ONLY = ("data", "recipe", "seeds", "epochs", "limit", "hours")


def main(words: list[str] | None = None) -> int:
    """Measure, print, write; the exit code."""
    asked = parser()
    args = asked.parse_args(words)
    try:
        form = form_of(args)
        store = Store(args.work)
    except (OSError, ValueError) as error:
        asked.error(str(error))
    try:
        record = measure(args.table, form, store, args.jobs, args.hours)
    except KeyboardInterrupt:
        kept = f"{store.folder} keeps the finished runs, and the same command goes on from there"
        print(f"benchmarks.experiments: stopped; {kept}", file=sys.stderr)
        return 130
    write(record, args.out, command(args))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = options.Parser("python -m benchmarks.experiments", description=(__doc__ or "").partition("\n")[0])
    add = p.add_argument
    add("table", choices=plan.COLUMNS, help="what is compared")
    add("--quick", action="store_true", help="nets of 8 to 26 layers, a few epochs on the digits")
    add("--data", metavar="FOLDER", help="images, such as CIFAR-10's; the digits if not given")
    add("--recipe", choices=plan.RECIPES, help="SGD as in the paper, or Adam with a cosine (paper)")
    add("--seeds", type=options.whole, metavar="N", help="runs of each net (3)")
    add("--epochs", type=options.whole, metavar="N", help="(30 on the digits, 12 with Adam; 15 on a folder)")
    add("--limit", type=options.whole, metavar="N", help="training images (all digits, 5000 of a folder)")
    add("--hours", type=number, metavar="X", help="go on to v2, v3, v4 while time lasts; 0 shows what is there")
    add("--jobs", type=options.whole, default=available_cores(), metavar="N", help="runs at a time, each on a core (all)")
    add("--work", default=WORK, metavar="DIR", help=f"where finished runs are kept ({WORK})")
    add("--out", type=Path, default=report.RESULTS, metavar="DIR", help="where the results go (benchmarks/results)")
    return p


def number(text: str) -> float:
    """Hours, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected hours, 0 or more, got {text!r}")
    return value


def form_of(args: argparse.Namespace) -> Form:
    """Quick or full; ValueError or OSError where the options or the folder will not do."""
    if not args.out.is_dir():
        raise ValueError(f"--out: no such folder, {args.out}")
    if args.quick:
        if given := [name for name in FULL_ONLY if getattr(args, name) is not None]:
            raise ValueError(f"--quick is always the same; leave out --{given[0]}, or leave out --quick")
        return plan.quick()
    return plan.full(args.data, args.seeds or 3, args.epochs, args.limit, args.recipe or "paper")


# ---- measuring ---------------------------------------------------------------------------------------------------------


def measure(table: str, form: Form, store: Store, processes: int, hours: float | None = None) -> dict[str, Any]:
    """Train what is missing and can be done in time; all that is there as a record for a result file."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    started, cells = time.time(), plan.cells(table, form)
    jobs = list(plan.jobs(cells, form))
    missing = [job for job in jobs if store.run_of(job) is None]
    wanted = [job for job in missing if hours or form.quick or (hours is None and job.cell.row in rows_asked(table, cells))]
    print(f"{table}, {form.name}: {len(jobs)} runs, {len(jobs) - len(missing)} of them there", flush=True)
    until = None if hours is None else started + 3600 * hours
    todo = [(job, store.hours_of(job) if hours else 0.0) for job in wanted]
    for count, job in enumerate(work(todo, store, processes, until), start=1):
        print(f"{count:>4} of {len(todo)}  {said(job, store)}", flush=True)
    rows = [found for job in jobs if (found := store.run_of(job))]
    trained = [cell for cell in cells if any((run["row"], run["column"]) == (cell.row, cell.column) for run in rows)]
    return {
        "table": table,
        "form": plan.as_json(form),
        "rows_of": list(dict.fromkeys(cell.row for cell in cells)),
        "columns": list(dict.fromkeys(cell.column for cell in cells)),
        "rows": rows,
        "steps": step_times(trained, form) if table in tell.SIZED else [],
        "not_measured": not_measured(cells, form, store, rows),
        "minutes": (time.time() - started) / 60,
        "resumed": len(jobs) - len(missing),
        "load": load,
    }


def rows_asked(table: str, cells: list[Cell]) -> set[str]:
    """The rows of the full form that are measured whatever it takes: v1; of the earlier nets all."""
    return {cell.row for cell in cells} if table == "earlier" else {cells[0].row}


def not_measured(cells: list[Cell], form: Form, store: Store, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells without a run, and the hours of one core that all their seeds would take, from a step measured now."""
    there = {(run["row"], run["column"]) for run in rows}
    left = [cell for cell in cells if (cell.row, cell.column) not in there]
    if left:
        print("a step of each net that was not trained is timed, to say how long it would take", flush=True)
    hours = {id(cell): len(form.seeds) * store.hours_of(Job(cell, form, 0)) for cell in left}
    return [{"row": cell.row, "column": cell.column, "hours": hours[id(cell)]} for cell in left]


def said(job: Job, store: Store) -> str:
    """A finished run in a line."""
    run = store.run_of(job) or {}
    outcome = f"{100 * run['test_accuracy']:.2f} %" if "test_accuracy" in run else "diverged"
    return f"{job.cell.row:<18} {job.cell.column:<16} seed {job.seed}  {outcome:>8}  {run.get('seconds', 0):.0f} s"


def command(args: argparse.Namespace) -> str:
    """As it was typed, without the folders of this machine."""
    words = ["python -m benchmarks.experiments", args.table, *["--quick"] * args.quick, *["--data FOLDER"] * bool(args.data)]
    words += [f"--{name} {value}" for name in FULL_ONLY[1:] if (value := getattr(args, name)) is not None]
    return " ".join(words)


def write(record: dict[str, Any], out: Path, command: str) -> None:
    """Keep the runs; print and keep the tables, draw the picture."""
    name, rows = f"{record['table']}_{record['form']['name']}", record.pop("rows")
    machine = report.machine()
    path = report.save(out / f"{name}.json", "experiments", rows, command=command, machine=machine, **record)
    print(show(path))
    print(f"{path} and beside it .md and .png; {60 * record['minutes']:.0f} s")


def show(path: Path) -> str:
    """The tables of a result file, kept beside it as .md, and the picture as .png."""
    record, name = json.loads(path.read_text(encoding="utf-8")), path.stem
    text = "\n".join(tell.lines(record))
    path.with_suffix(".md").write_text(f"# {name}\n{text}\n![{name}]({name}.png)\n", encoding="utf-8")
    picture.draw(record, path.with_suffix(".png"))
    return text


if __name__ == "__main__":
    sys.exit(main())
