"""Pictures of benchmark results, as small PNG files, in the style of minidl.plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minidl.plots import BLUE, GREY, INK, VERMILION

COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito: told apart by all readers
MARKS = ("o", "s", "^", "D", "v")
MOST = 40  # lines of a chart
SERIES = {"stock": "PyTorch, faster layout", "tuned": "PyTorch tuned, faster layout"}

Row = dict[str, Any]


def kernels(rows: list[Row], path: str | Path) -> Path:
    """PyTorch's time over ours, for every workload and phase: the best kernel of each, with the ratio's interval."""
    best: dict[str, Row] = {}
    for row in rows:
        if row.get("ratios"):
            place = f"{row['op']} {row['workload']}, {row['phase']}"
            key = place + " compiled" * row.get("compiled", False)
            if key not in best or row["median"] < best[key]["median"]:
                best[key] = row
    series: dict[str, dict[str, Row]] = {}
    for row in list(best.values())[:MOST]:
        place = f"{row['op']} {row['workload']}, {row['phase']}"
        for kind, rival in row["best"].items():
            if rival:
                series.setdefault(SERIES[kind], {})[f"{place} [{row['kernel']}]"] = row["ratios"][rival]
    shown = f"; the first {MOST} of {len(best)}" if len(best) > MOST else ""
    return ratios(series, path, f"PyTorch's time / ours (right of 1: ours is faster{shown})")


def models(rows: list[Row], path: str | Path) -> Path:
    """PyTorch's time of a training step over ours, for every net, batch and rival."""
    series: dict[str, dict[str, Row]] = {}
    for row in rows:
        for rival, ratio in row.get("ratios", {}).items():
            kind = row["rival"].removeprefix("minidl").replace("-", ", ")
            series.setdefault(rival, {})[f"{row['net']}, {row['batch']} images{kind}"] = ratio
    return ratios(series, path, "PyTorch's step / ours (right of 1: ours is faster)")


def ratios(series: dict[str, dict[str, Row]], path: str | Path, title: str) -> Path:
    """A dot with its interval for every label and series, on a logarithmic axis with a line at 1."""
    labels = list(dict.fromkeys(label for dots in series.values() for label in dots))
    figure = _figure(9.0, 1.4 + 0.28 * max(len(labels), 3) * max(1, len(series) / 2), title)
    axis = figure.subplots()
    axis.axvline(1, color=GREY, linewidth=1)
    for i, (name, dots) in enumerate(series.items()):
        heights = [labels.index(label) + 0.8 * ((i + 0.5) / len(series) - 0.5) for label in dots]
        values = [dot["value"] for dot in dots.values()]
        low = [dot["value"] - dot["low"] for dot in dots.values()]
        high = [dot["high"] - dot["value"] for dot in dots.values()]
        style = {"fmt": MARKS[i % 5], "color": COLOURS[i % 5], "markersize": 4, "elinewidth": 1}
        axis.errorbar(values, heights, xerr=(low, high), label=name, **style)
    axis.set_xscale("log")
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.invert_yaxis()
    _plain_numbers(axis.xaxis)
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=len(series), frameon=False, fontsize=8)
    return _save(figure, path)


def crossover(rows: list[Row], path: str | Path) -> Path:
    """Batch size against images per second: where one rival overtakes another."""
    nets = list(dict.fromkeys(row["net"] for row in rows))
    figure = _figure(1.0 + 4.2 * len(nets), 3.8, "Training, images per second")
    for axis, net in zip(figure.subplots(1, len(nets), squeeze=False)[0], nets, strict=True):
        here = [row for row in rows if row["net"] == net and "images_per_second" in row]
        for i, rival in enumerate(dict.fromkeys(row["rival"] for row in here)):
            points = sorted((row["batch"], row["images_per_second"]) for row in here if row["rival"] == rival)
            axis.plot(*zip(*points, strict=True), marker=MARKS[i % 5], color=COLOURS[i % 5], label=rival)
        axis.set(title=net, xlabel="images in a batch", xscale="log", yscale="log")
        batches = sorted({row["batch"] for row in here})
        axis.set_xticks(batches, [str(batch) for batch in batches])
        axis.minorticks_off()
        _plain_numbers(axis.yaxis)
        axis.legend(frameon=False, fontsize=8)
    return _save(figure, path)


def _plain_numbers(axis: Any) -> None:
    """1, 1.5, 2, 3, 5, 7, 10, ... in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if high < 30 * low else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _figure(width: float, height: float, title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    figure.suptitle(title, color=INK, fontsize=11)
    return figure


def _save(figure: Any, path: str | Path) -> Path:
    figure.savefig(path, format="png")
    return Path(path)
