"""The tables of README.md and benchmarks/README.md, made of the result files.

    python -m benchmarks.tables                  writes them between their marks

    <!-- table: models -->
    ...
    <!-- end -->

Each is named for its result file (`speed`, in README.md, is a short form of `models`); where there is none, there is no table.
A picture of the same name is shown below it.
tests/test_docs.py fails if a table is not what this makes of the file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import depth, report, signals, sizes, stats
from benchmarks.experiments import tell
from benchmarks.nets import NETS

README = Path(__file__).parent / "README.md"
READMES = (README, README.parent.parent / "README.md")
MARKED = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.S)
QUICK = [f"{table}_quick" for table in ("structure", "loss", "normalisation", "earlier")]
MEASURED = (*QUICK, "structure_digits_adam", "loss_digits_adam")  # of the experiments
KINDS = {"stock": "PyTorch", "tuned": "PyTorch tuned"}
LONGEST = 12  # rows of a profile

Row = dict[str, Any]


def main() -> int:
    """Write the READMEs anew."""
    for readme in READMES:
        readme.write_text(renewed(readme.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def renewed(text: str, results: Path = report.RESULTS) -> str:
    """The text with every marked table as the result files have it."""

    def one(found: re.Match) -> str:
        path, picture = results / f"{SHORT.get(found[2], found[2])}.json", results / f"{found[2]}.png"
        lines = TABLES[found[2]](json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []
        if picture.exists():
            lines += ["", f"![{PICTURES[found[2]]}](results/{picture.name})", ""]
        return found[1] + "".join(f"{line}\n" for line in lines) + found[4]

    return MARKED.sub(one, text)


def models(record: Row) -> list[str]:
    """A row for every net and batch size; above 1 minidl is faster."""
    lines = [*_made_by(record), *_head("net", "images", "images/s", *KINDS.values(), "goal", "SGD alone", "memory")]
    for row in record["rows"]:
        if "best" not in row:
            continue
        net = NETS[row["net"]]
        goal = [f"{value:g}" for value in net.goal if value is not None] if row["batch"] == net.batch else []
        memory = row["memory_ratios"].get(row["best"]["stock"])
        shown = [_title(row), str(row["batch"]), f"{row['images_per_second']:.3g}"]
        shown += [_ratio(row, kind) for kind in KINDS]
        shown.append(goal[0] + (f" ({goal[1]})" if goal[1:] else "") if goal else "")
        lines.append(_row(*shown, " / ".join(_two(_of_sgd(row, kind)) for kind in KINDS if row["best"][kind]), _two(memory)))
    return lines + [line for row in record["rows"] if "profile" in row for line in _profile(row)]


def speed(record: Row) -> list[str]:
    """PyTorch's time of a training step over ours, in the best layout: a row for every net."""
    about = record["machine"]
    where = f"float32, {record['threads']} threads of an {about['processor']}"
    lines = [
        "",
        f"PyTorch {about['torch']}'s time of a training step over ours, {where} (above 1 minidl is faster; 95 % interval):",
        "",
    ]
    lines += _head("net", "images", *(f"{name}'s / ours" for name in KINDS.values()), "our memory / PyTorch's")
    for row in record["rows"]:
        if "best" in row:
            ratios = (str(stats.Ratio(**row["ratios"][row["best"][kind]])) if row["best"][kind] else "" for kind in KINDS)
            memory = _two(row["memory_ratios"].get(row["best"]["stock"]))
            lines.append(_row(_title(row), str(row["batch"]), *ratios, memory))
    made = record["command"].partition(" --json")[0]
    return [*lines, "", f"'Tuned' has its page faults tuned away and SGD fused. `{made}`", ""]


def kernels(record: Row) -> list[str]:
    """A row for every workload and phase: the fastest kernel, and where there are compiled ones, the fastest of those."""
    best: dict[tuple[str, ...], Row] = {}
    for row in record["rows"]:
        place = (row["op"], row["workload"], row.get("phase", ""), row.get("compiled", False))
        if "ratios" in row and (place not in best or row["median"] < best[place]["median"]):
            best[place] = row
    lines = [*_made_by(record), *_head("op", "workload", "phase", "fastest kernel", "ms", "roof", *KINDS.values())]
    for place, row in best.items():
        figures = (row["kernel"], f"{1e3 * row['median']:#.3g}", f"{row['roofline']:.0%}")
        lines.append(_row(*place[:3], *figures, *(_ratio(row, kind) for kind in KINDS)))
    return lines


def choices(record: Row) -> list[str]:
    """What conv2d chooses by itself, over the fastest kernel, forward and backward together."""
    lines = [*_made_by(record), *_head("workload", "chosen", "fastest", "chosen / fastest")]
    rows = [row for row in record["rows"] if row.get("kernel") == "auto" and row["op"] == "conv2d"]
    lines += [_row(row["workload"], row["chosen"], row["fastest"], str(stats.Ratio(**row["over"]))) for row in rows]
    return lines


def calibration(record: Row) -> list[str]:
    """How often a kernel was told from itself, and from itself slowed."""
    lines = [*_made_by(record), *_head("kernel", "trials", "told from itself", "slowed, and found", "slowed to", "measured")]
    for row in record["rows"]:
        counts = (str(row[key]) for key in ("trials", "told_from_itself", "found_slower"))
        lines.append(_row(f"{row['op']} {row['workload']}", *counts, _two(row["planted"]), f"{row['measured']:.3f}"))
    return lines


def costs_of_depth(record: Row) -> list[str]:
    """A step's time and memory by the number of layers."""
    fits = (depth.Fit(**record["fit"][name]) for name in ("time", "memory"))
    return [*_made_by(record), *depth.told(record["rows"], *fits)]


def sizes_of_signals(record: Row) -> list[str]:
    """Of maps and gradients in the first step."""
    return ["", f"`{record['command']}`:", "", *signals.told(record["rows"])]


def sizes_of_nets(record: Row) -> list[str]:
    """What fits: a row for every Alpha-Net."""
    return [*_made_by(record), *sizes.told(record["rows"])]


TABLES: dict[str, Callable[[Row], list[str]]] = {
    "speed": speed,
    "models": models,
    "alphanet": models,
    "crossover": models,
    "kernels": kernels,
    "choices": choices,
    "calibration": calibration,
    "depth": costs_of_depth,
    "signals": sizes_of_signals,
    "sizes": sizes_of_nets,
    **dict.fromkeys(MEASURED, tell.lines),
}
SHORT = {"speed": "models"}  # table -> the result file that it is made of
PICTURES = {
    "models": "PyTorch's time of a training step over ours, net by net",
    "crossover": "images a second by batch size, a line for every rival",
    "kernels": "PyTorch's time over that of our fastest kernel, workload by workload",
    "depth": "time and memory of a training step over the number of layers, on a line through 0",
    "signals": "maps and gradients block by block, of both structures, at 128 and 1,024 layers",
    **{name: f"{tell.ABOUT[name.partition('_')[0]]}: how each net learnt, and the differences" for name in MEASURED},
}


def _made_by(record: Row) -> list[str]:
    about = record["machine"]
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "numpy", "torch") if name in about)
    rounds = f"{record['rounds']} rounds, " if "rounds" in record else ""
    gib = f"{about['memory'] / 2**30:.1f} GiB, " if about.get("memory") else ""
    made = f"`{record['command']}`: {rounds}{record['threads']} threads, {about['processor']}, {gib}"
    return ["", f"{made}{versions}, {about['blas']} ({about['blas_core_type']}).", ""]


def _profile(row: Row) -> list[str]:
    total = sum(part["forward"] + part["backward"] for part in row["profile"])
    lines = ["", f"Where the time of {_title(row)} goes, {row['batch']} images, ms a step:", ""]
    lines += _head("op", "inputs", "calls", "forward", "backward", "of the step")
    for part in row["profile"][:LONGEST]:
        times = (f"{1e3 * part[phase]:.2f}" for phase in ("forward", "backward"))
        share = (part["forward"] + part["backward"]) / total
        lines.append(_row(part["op"], part["shapes"], str(part["calls"]), *times, f"{share:.1%}"))
    return lines


def _title(row: Row) -> str:
    return NETS[row["net"]].title + (", compiled" if row["rival"] == "minidl-compiled" else "")


def _of_sgd(row: Row, kind: str) -> float:
    return row["phase_ratios"][row["best"][kind]]["optimiser"]["value"]


def _ratio(row: Row, kind: str) -> str:
    name = row["best"][kind]
    layout = ", channels last" if name and name.endswith("channels-last") else ""
    return f"{stats.Ratio(**row['ratios'][name])}{layout}" if name else ""


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _head(*names: str) -> list[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
