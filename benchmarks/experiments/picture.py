"""A table as a picture: how each net learnt, and how the columns differ, with what is claimed beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.charts import COLOURS, MARKS
from benchmarks.experiments import claims, tell
from minidl.plots import GREY, INK

Record = dict[str, Any]
LIGHT = "#E4E4E4"


def draw(record: Record, path: str | Path) -> Path:
    """Above a panel of curves for each net that was trained, below one of differences for each pair of columns."""
    from matplotlib.figure import Figure

    rows = [row for row in record["rows_of"] if any(run["row"] == row for run in record["rows"])]
    compared = [pair for pair in tell.pairs(record) if tell.rows_of(record, pair)]
    figure = Figure(figsize=(11, 6.2), dpi=100, layout="constrained", facecolor="white")
    above, below = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    form = record["form"]
    title = f"{tell.ABOUT[record['table']]}: {form['title']} at {form['size']}x{form['size']}, {len(form['seeds'])} seeds"
    above.suptitle(title[0].upper() + title[1:], color=INK, fontsize=11)
    for axis, row in zip(np.atleast_1d(above.subplots(1, max(len(rows), 1), sharey=True)), rows, strict=False):
        _curves(axis, record, row)
    handles, labels = above.axes[0].get_legend_handles_labels()
    above.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    above.axes[0].set_ylabel("validation accuracy (%)", fontsize=9)
    panels = np.atleast_1d(below.subplots(1, max(len(compared), 1), sharey=True))
    for axis, pair in zip(panels, compared, strict=False):
        _differences(axis, record, pair, rows)
    below.supxlabel("points of test accuracy; x: claimed", fontsize=9)
    figure.savefig(path, format="png")
    return Path(path)


def _curves(axis: Any, record: Record, row: str) -> None:
    """Validation accuracy over the epochs: the mean over the seeds in a line, from least to greatest in a band."""
    for i, column in enumerate(record["columns"]):
        place = (row, column)
        runs = [run for run in record["rows"] if (run["row"], run["column"]) == place and "test_accuracy" in run]
        if not runs:  # or all of them diverged, which the table says
            continue
        length = min(len(run["curves"]["val_accuracy"]) for run in runs)
        each = 100 * np.array([run["curves"]["val_accuracy"][:length] for run in runs])
        epochs = np.arange(1, length + 1)
        style = {"color": COLOURS[i], "marker": MARKS[i] if length < 20 else "", "markersize": 4}
        axis.plot(epochs, each.mean(axis=0), label=column, **style)
        axis.fill_between(epochs, each.min(axis=0), each.max(axis=0), color=COLOURS[i], alpha=0.15, linewidth=0)
    axis.set_title(row, fontsize=10)
    axis.set_xlabel("epoch", fontsize=9)
    axis.xaxis.get_major_locator().set_params(integer=True)
    _plain(axis)


def _differences(axis: Any, record: Record, pair: tuple[str, str], rows: list[str]) -> None:
    """A dot with its interval for each row and for all; crosses where the paper claims them."""
    axis.axvline(0, color=GREY, linewidth=1)
    places = [*((row, [row]) for row in rows), ("all rows", tell.rows_of(record, pair))]
    for height, (name, of) in enumerate(places):
        found = tell.of_rows(record, pair, of)
        if found is None:
            continue
        joined = name == "all rows"
        if not math.isinf(found.high):
            axis.plot([found.low, found.high], [height, height], color=INK, linewidth=2 if joined else 1)
        axis.plot(found.value, height, "D" if joined else "o", color=INK, markersize=6 if joined else 4)
        claim = claims.claimed_difference(record["table"], *pair, of)
        if claim is not None and (joined or name in claims.VERSIONS):
            axis.plot(claim, height, "x", color=COLOURS[1], markersize=9, markeredgewidth=2, label="claimed")
    axis.set_yticks(range(len(places)), [name for name, _ in places], fontsize=9)
    axis.set_ylim(len(places) - 0.5, -0.5)
    axis.set_title(" minus\n".join(pair), fontsize=9)
    _plain(axis)


def _plain(axis: Any) -> None:
    axis.grid(color=LIGHT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=9)
    axis.spines[["top", "right"]].set_visible(False)
