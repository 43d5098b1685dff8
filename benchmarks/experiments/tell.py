"""A result file as tables and sentences. Everything said is worked out from the runs in the file, here and nowhere else.

An accuracy is the mean over the seeds +- its standard error, in per cent of the test images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks import report
from benchmarks.experiments import claims, differences, plan
from benchmarks.experiments.differences import Difference

Record = dict[str, Any]
ABOUT = {
    "structure": "the structure of the blocks",
    "loss": "the loss, of alpha nets",
    "normalisation": "the encoding of the images, for alpha nets",
    "earlier": "nets before Alpha-Net, and Alpha-Nets as large",
}
SIZED = ("structure", "earlier")  # tables whose columns are nets of different sizes
READ = (
    "Accuracies are means over the seeds ± their standard error, in per cent of the test images. Differences are taken seed by "
    "seed, with Student's 95 % interval in brackets; it covers other seeds, not other test images or other data. Each pair is "
    "judged for itself: of twenty intervals one is expected to miss."
)


def lines(record: Record) -> list[str]:
    """The whole, in Markdown."""
    found = ["", f"`{record['command']}`: {_made_of(record)}", "", *measured(record), ""]
    if record["table"] in SIZED:
        found += [*sizes(record), ""]
    found += [*compared(record), ""]
    if record["form"]["name"] == "quick" and record["table"] in claims.CLAIMED:
        found += ["What the paper claims, of larger nets on other images:", "", *claimed(record["table"]), ""]
    return found + [f"- {note}" for note in notes(record)] + [""]


# ---- the figures -----------------------------------------------------------------------------------------------------


def accuracies(record: Record, row: str, column: str) -> dict[int, float]:
    """Seed -> per cent, of the runs that came to an end."""
    runs = _runs(record, row, column)
    return {run["seed"]: 100 * run["test_accuracy"] for run in runs if "test_accuracy" in run}


def pairs(record: Record) -> list[tuple[str, str]]:
    """(column, other): what is compared with what."""
    columns = [column for column in record["columns"] if column not in plan.BESIDE]
    if record["table"] == "earlier":
        return [(column, columns[0]) for column in columns[1:]]
    each = [(columns[j], columns[i]) for i in range(len(columns)) for j in range(i + 1, len(columns))]
    return each + [(other, column) for column, other in plan.BESIDE.items() if column in record["columns"]]


def of_rows(record: Record, pair: tuple[str, str], rows: Sequence[str]) -> Difference | None:
    """Of these rows, joined; in points of accuracy."""
    each = [differences.paired(*(accuracies(record, row, column) for column in pair)) for row in rows]
    images = next((run["images"]["test"] for run in record["rows"]), 1)
    return differences.difference(each, least=100 / images)


def rows_of(record: Record, pair: tuple[str, str]) -> list[str]:
    """The rows that have both columns."""
    return [row for row in record["rows_of"] if of_rows(record, pair, [row])]


# ---- the tables ------------------------------------------------------------------------------------------------------


def measured(record: Record) -> list[str]:
    """A row for each net, a column for each of what is compared; beside it the paper's figure where the net is one of its."""
    known = {(row, column): claims.claimed(record["table"], row, column) for row, column in _cells(record)}
    beside = any(figure is not None for figure in known.values())
    heads = [head for column in record["columns"] for head in ([column, "claimed"] if beside else [column])]
    found = _head("net", *heads)
    for row in record["rows_of"]:
        cells = []
        for column in record["columns"]:
            figure = known[row, column]
            cells += [_cell(record, row, column), *(["" if figure is None else f"{figure:.1f}"] if beside else [])]
        found.append(_row(row, *cells))
    return found


def compared(record: Record) -> list[str]:
    """Differences between the columns with their 95 % intervals, and what they say of the claims."""
    found = _head("points of accuracy", *record["rows_of"], "all rows", "claimed", "here the claim is")
    for pair in pairs(record):
        rows = rows_of(record, pair)
        joined = of_rows(record, pair, rows)
        claim = claims.claimed_difference(record["table"], *pair, rows)
        each = {row: of_rows(record, pair, [row]) for row in record["rows_of"]}
        alone = [found for found in each.values() if found]
        said = differences.verdict(claim, joined, alone) if joined and claim is not None else "not tested"
        cells = [shown(each[row]) for row in record["rows_of"]]
        found.append(_row(" - ".join(pair), *cells, shown(joined), "" if claim is None else f"{claim:+.1f}", said))
    return found


def claimed(table: str) -> list[str]:
    """The paper's table."""
    columns = claims.CLAIMED[table]
    found = _head("the paper's", *columns)
    return found + [
        _row(f"{name}, claimed", *(f"{figures[i]:.1f}" for figures in columns.values()))
        for i, name in enumerate(claims.VERSIONS)
    ]


def sizes(record: Record) -> list[str]:
    """How large each net is, and how long a step of its training took."""
    found = _head("net", "", "parameters", "multiply-adds", "data per layer", "ms a step", "seconds a run")
    steps = {(step["row"], step["column"]): step["seconds"] for step in record["steps"]}
    for row, column in _cells(record):
        if runs := _runs(record, row, column):
            run, took = runs[0], median(run["seconds"] for run in runs)
            figures = [f"{run[key]:,.0f}" for key in ("parameters", "macs", "data_per_layer")]
            found.append(
                _row(row, column + _how_equal(record, run), *figures, f"{1e3 * steps[row, column]:.1f}", f"{took:.0f}")
            )
    return found


def _how_equal(record: Record, run: Record) -> str:
    """Of a net that is to be as large as an earlier one: its depth, and how much larger it is."""
    key = {"equal parameters": "parameters", "equal MACs": "macs"}.get(run["column"])
    if key is None:
        return ""
    (earlier, *_) = _runs(record, run["row"], record["columns"][0])
    return f", {run['options']['depth']} layers ({run[key] / earlier[key] - 1:+.0%})"


def notes(record: Record) -> list[str]:
    """How to read it, and what it cannot say."""
    form, table = record["form"], record["table"]
    found = [READ]
    if form["name"] == "quick":
        found.append(
            f"None of these nets is one of the paper's, and {form['recipe']['epochs']} passes over so few images end long "
            "before training would: a difference here says which learns sooner."
            + " 'Claimed' is the mean over v1 to v4."
            * (table in claims.CLAIMED)
        )
    if table == "structure":
        found.append(
            "At one depth the alpha net has more parameters and multiply-adds than the others: its second convolution is 5x5. "
            "The comparison at equal size is `earlier`."
        )
        found.append(
            "The paper does not say how its nets begin. The last batch norm of each block begins at 1 in plain and residual "
            "nets, as it mostly does, and at 1/sqrt(layers in blocks) in alpha nets: begun at 1, deep ones cannot be trained. "
            "In the last two columns the others begin there too, so that a difference from them is not one of how nets begin."
        )
    if table == "earlier":
        found.append(
            "The only claim is 'approx. 3%' of v3 over ResNet-50, at another size and on other data; it stands here beside "
            "every earlier net. 'Data per layer' is how many numbers a convolution or dense layer hands on for one image, the "
            "mean over all."
        )
    found.append(
        "Before testing, the statistics of all batch norms are taken anew over the training images, with the weights as they "
        "are. Steps are timed on one thread, after all runs, the nets in turns; a run's seconds are those of one core beside "
        "other runs."
    )
    if lost := [f"{run['row']} {run['column']} seed {run['seed']}" for run in record["rows"] if "diverged" in run]:
        found.append(f"The loss went to infinity, and these are in no mean: {', '.join(lost)}.")
    if table in claims.CLAIMED:
        found.append(claims.disagreement())
    return found


# ---- parts -------------------------------------------------------------------------------------------------------------


def shown(found: Difference | None) -> str:
    """+1.2 (-0.3 to +2.7)."""
    if found is None:
        return ""
    if math.isinf(found.high):
        return f"{found.value:+.1f} (one seed)"
    return f"{found.value:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def _made_of(record: Record) -> str:
    form, about, recipe = record["form"], record["machine"], record["form"]["recipe"]
    load = record.get("load", 0.0)
    counts = next((run["images"] for run in record["rows"]), {})
    images = " / ".join(f"{n:,}" for n in counts.values())
    commits = sorted({str(run["commit"]) for run in record["rows"] if run.get("commit")})
    of = f" ({images} images for training, validation, test)" if counts else ""
    return (
        f"{ABOUT[record['table']]}; {form['title']} at {form['size']}x{form['size']}{of}, {recipe['epochs']} epochs in batches "
        f"of {recipe['batch_size']}, {recipe['optimizer']} at {recipe['lr']:g}, {len(form['seeds'])} seeds; "
        f"{record['minutes']:.1f} minutes on {about['cores']} cores of an {about['processor']}"
        + (f" beside other programs (load {load:.1f} at the start)" if load > report.BUSY * about["cores"] else "")
        + (f", {record['resumed']} runs taken from before" if record["resumed"] else "")
        + (f"; code of {', '.join(commits)}" if commits else "")
        + "."
    )


def _cells(record: Record) -> list[tuple[str, str]]:
    return [(row, column) for row in record["rows_of"] for column in record["columns"]]


def _runs(record: Record, row: str, column: str) -> list[Record]:
    return [run for run in record["rows"] if (run["row"], run["column"]) == (row, column)]


def _cell(record: Record, row: str, column: str) -> str:
    """87.32 ± 0.41, or why it is not there."""
    values, wanted = list(accuracies(record, row, column).values()), len(record["form"]["seeds"])
    lost = sum("diverged" in run for run in _runs(record, row, column))
    if not values and not lost:
        hours = next(left["hours"] for left in record["not_measured"] if (left["row"], left["column"]) == (row, column))
        return f"not measured: about {about(hours)}"
    figure = differences.mean(values) if values else None
    words = [] if figure is None else [f"{figure.value:.2f}" + ("" if figure.n == 1 else f" ± {figure.error:.2f}")]
    if lost:
        words.append(f"{lost} diverged")
    if len(values) + lost < wanted:
        words.append(f"{len(values) + lost} of {wanted} seeds")
    return ", ".join(words)


def about(hours: float) -> str:
    """0.3 h, 12 h, 1,200 h."""
    return f"{hours:,.0f} h" if hours >= 10 else f"{max(hours, 0.1):.1f} h"


def _head(*names: str) -> list[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
