"""Pictures of a run, as small PNG files: how it learnt, what it confuses, what it got wrong, what it looks for.

Drawn on Matplotlib's Agg canvas through Figure objects: no window, no pyplot, no global state. The two colours (Okabe and
Ito's blue and vermilion) are told apart by all readers, and nothing is said by colour alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidl.extras import install

BLUE, VERMILION, INK, GREY = "#0072B2", "#D55E00", "#222222", "#777777"
MOST_NUMBERED = 16  # classes; with more, the cells of a confusion matrix are too small for numbers
MOST_LETTERS = 24  # of a class's name


def curves(metrics: Sequence[dict[str, Any]], path: str | Path, *, title: str = "", kept: int | None = None) -> Path:
    """Loss and accuracy over epochs, training and validation.

    metrics  one record per epoch, as metrics.jsonl holds them
    kept     the epoch to mark, whose weights were kept; if not given, the most accurate on validation, of equals the least loss
    """
    if not metrics:
        raise ValueError("curves: no epoch to draw; metrics holds no row")
    epochs, validation = _column(metrics, "epoch"), 100 * _column(metrics, "val_accuracy")
    figure = _figure(9.6, 4.0, title)
    loss, accuracy = figure.subplots(1, 2)
    losses = _two_lines(loss, epochs, _column(metrics, "train_loss"), _column(metrics, "val_loss"))
    _two_lines(accuracy, epochs, 100 * _column(metrics, "train_accuracy"), validation)
    loss.set(title="Loss", ylabel="mean loss per image")
    accuracy.set(title="Accuracy", ylabel="images classified correctly (%)")
    _spread_losses(loss, losses)
    _mark_kept(accuracy, epochs, validation, kept or _best(metrics))
    for axis in (loss, accuracy):
        axis.legend(frameon=False)
    return _save(figure, path)


def confusion(matrix: np.ndarray, classes: Sequence[str], path: str | Path, *, title: str = "") -> Path:
    """How many images of each true class (row) were taken for each class (column), and each class's accuracy."""
    matrix = np.asarray(matrix)
    if matrix.shape != (len(classes), len(classes)):
        raise ValueError(f"confusion: expected one row and one column per class, {len(classes)}, got {list(matrix.shape)}")
    n, right, total = len(classes), int(np.trace(matrix)), int(matrix.sum())
    side = float(np.clip(0.42 * n, 3.6, 7.2))
    title = title or f"{right:,} of {total:,} images right ({right / max(total, 1):.1%})"
    figure = _figure(side + 2.6, side + 1.2, title, dpi=120 if n <= 12 else 90)
    cells, bars = figure.subplots(1, 2, sharey=True, width_ratios=(side, 1.3))
    _draw_cells(cells, matrix)
    _draw_class_accuracy(bars, matrix)
    cells.set(xlabel="predicted class", ylabel="true class")
    if n <= 2 * MOST_NUMBERED:
        names, turned = [_short(name) for name in classes], max(map(len, classes)) > 3
        cells.set_xticks(range(n), names, rotation=45 if turned else 0, ha="right" if turned else "center", parse_math=False)
        cells.set_yticks(range(n), names, parse_math=False)  # a folder may be called $x$
    return _save(figure, path)


def mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    path: str | Path,
    *,
    confidence: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    most: int = 24,
) -> Path:
    """The images [n, C, H, W] in 0..1 whose prediction is wrong; where `confidence` (the probability that the network gave
    its prediction) is told, the surest come first."""
    wrong = np.flatnonzero(np.asarray(labels) != np.asarray(predictions))
    if confidence is not None:
        wrong = wrong[np.argsort(-np.asarray(confidence)[wrong], kind="stable")]
    shown, names = wrong[:most], classes or [str(i) for i in range(int(max(np.max(labels), np.max(predictions))) + 1)]
    columns = min(max(len(shown), 3), 6)
    rows = max(-(-len(shown) // columns), 1)
    figure = _figure(1.35 * columns + 0.4, 1.75 * rows + 0.7, f"{len(wrong):,} of {len(labels):,} images wrong")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, i in zip(axes, shown, strict=False):
        axis.imshow(_picture(images[i]), cmap="gray", vmin=0, vmax=1)
        sure = "" if confidence is None else f"\np = {confidence[i]:.2f}"
        title = f"{_short(names[labels[i]])}, taken for {_short(names[predictions[i]])}{sure}"
        axis.set_title(title, fontsize=8, color=INK, parse_math=False)
    return _save(figure, path)


def filters(weights: np.ndarray, path: str | Path, *, most: int = 96) -> Path:
    """Filters [K, C, R, S] of a first layer: in colour for three channels, otherwise grey, a row per filter."""
    weights = np.asarray(weights, np.float32)[:most]
    if weights.ndim != 4:
        raise ValueError(f"filters: expected weights [K, C, R, S], got {list(weights.shape)}")
    K, C, R, S = weights.shape
    limit = float(np.abs(weights).max()) or 1.0
    shades = weights / (2 * limit) + 0.5
    tiles = shades.transpose(0, 2, 3, 1) if C == 3 else shades.reshape(K * C, R, S, 1).repeat(3, axis=3)
    sheet = _sheet(tiles, C if C not in (1, 3) else int(np.ceil(np.sqrt(1.6 * K))))
    height, width = sheet.shape[:2]
    scale = min(0.15, 9 / max(height, width))  # inches per weight
    figure = _figure(
        scale * width + 1, scale * height + 0.9, f"{K} filters {R}x{S}\nblack {-limit:.2g}, grey 0, white {limit:.2g}"
    )
    axis = figure.subplots()
    axis.set_axis_off()
    axis.imshow(sheet, interpolation="nearest")
    return _save(figure, path)


# ---- parts of the pictures -----------------------------------------------------------------------------------------------


def _figure(width: float, height: float, title: str, dpi: int = 120) -> Any:
    """An empty figure, width and height in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"pictures need Matplotlib: {install('train')}") from error
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
    if title:
        figure.suptitle(title, color=INK, fontsize=12)
    return figure


def _save(figure: Any, path: str | Path) -> Path:
    path = Path(path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # boxes in place of letters it has not
        figure.savefig(path, format="png")
    return path


def _short(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 3]}..."


def _column(metrics: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """One measure over the epochs; what is missing, None or infinite leaves a gap."""
    values = np.array([row.get(name) for row in metrics], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _two_lines(axis: Any, epochs: np.ndarray, train: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Draw both; returns all their values."""
    values = np.concatenate([train, validation])
    marker = {"markersize": 4 if len(epochs) <= 40 else 0, "linewidth": 1.6}
    axis.plot(epochs, train, "o--", color=BLUE, label="training", markerfacecolor="white", **marker)
    axis.plot(epochs, validation, "s-", color=VERMILION, label="validation", **marker)
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.margins(x=0.04, y=0.08)
    if len(epochs) == 1:
        axis.set_xticks(epochs)
        axis.set_ylim(0, 1.15 * max(np.nanmax(values, initial=0), 1e-3))
    axis.grid(color="#E4E4E4", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    return values


def _spread_losses(axis: Any, losses: np.ndarray) -> None:
    """A logarithmic axis where the loss falls over more than a factor of ten: the end is as visible as the start."""
    if np.nanmin(losses, initial=np.inf) > 0 and np.nanmax(losses, initial=0) > 10 * np.nanmin(losses, initial=np.inf):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")


def _best(metrics: Sequence[dict[str, Any]]) -> float:
    """The epoch of highest validation accuracy, of equals that of least loss; NaN where nothing was validated."""
    accuracy, loss = _column(metrics, "val_accuracy"), _column(metrics, "val_loss")
    best = np.lexsort((np.nan_to_num(loss, nan=np.inf), np.nan_to_num(-accuracy, nan=np.inf)))[0]
    return float("nan") if np.isnan(accuracy[best]) else metrics[best]["epoch"]


def _mark_kept(axis: Any, epochs: np.ndarray, validation: np.ndarray, kept: float) -> None:
    for epoch, value in zip(epochs, validation, strict=True):
        if epoch == kept:
            label = f"kept: {value:.1f} %, epoch {kept}"
            axis.plot(epoch, value, "s", color=VERMILION, markersize=8, markeredgecolor=INK, label=label)


def _draw_cells(axis: Any, matrix: np.ndarray) -> None:
    """Blue on the diagonal, vermilion beside it, the deeper the larger the share of its row; numbers where they fit."""
    n = len(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    depth = np.where(matrix > 0, 0.2 + 0.8 * share, 0)[..., None]
    colour = np.where(np.eye(n, dtype=bool)[..., None], _rgb(BLUE), _rgb(VERMILION))
    axis.imshow(1 - depth * (1 - colour), aspect="auto", interpolation="nearest")
    axis.tick_params(length=0)
    axis.spines[:].set_color("#CCCCCC")
    if n <= MOST_NUMBERED:
        for i, j in np.argwhere(matrix):
            shade = "white" if depth[i, j] > 0.6 else INK
            axis.text(j, i, f"{matrix[i, j]:,}", ha="center", va="center", fontsize=9 if n <= 12 else 7, color=shade)


def _draw_class_accuracy(axis: Any, matrix: np.ndarray) -> None:
    """One bar per class, as long as the share of its images that is right."""
    n, of = len(matrix), matrix.sum(axis=1)
    accuracy = 100 * np.diag(matrix) / np.maximum(of, 1)
    axis.barh(range(n), np.full(n, 100), color="#EFEFEF", height=0.72)
    axis.barh(range(n), accuracy, color=BLUE, height=0.72)
    axis.set(xlim=(0, 100), xlabel="class accuracy (%)", xticks=(0, 50, 100))
    axis.tick_params(axis="y", length=0, labelleft=False)
    axis.spines[:].set_visible(False)
    if n <= MOST_NUMBERED:
        for i in range(n):
            text = f"{accuracy[i]:.1f}" if of[i] else "no image"
            inside = accuracy[i] > 50
            axis.text(4 if inside else accuracy[i] + 4, i, text, va="center", fontsize=8, color="white" if inside else INK)


def _rgb(colour: str) -> np.ndarray:
    """'#0072B2' as three numbers 0..1."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def _picture(image: np.ndarray) -> np.ndarray:
    """[C, H, W] as imshow takes it: [H, W, 3], or [H, W] where the channels do not make a colour."""
    grey = len(image) != 3 or (np.ptp(image, axis=0) == 0).all()
    return image[0] if grey else np.clip(image.transpose(1, 2, 0), 0, 1)


def _sheet(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles [n, h, w, c] laid out in rows, one white pixel between them:
    [rows * (h + 1) - 1, columns * (w + 1) - 1, c]."""
    n, h, w, c = tiles.shape
    rows = -(-n // columns)
    sheet = np.ones((rows * columns, h + 1, w + 1, c), np.float32)
    sheet[:n, :h, :w] = tiles
    return sheet.reshape(rows, columns, h + 1, w + 1, c).swapaxes(1, 2).reshape(rows * (h + 1), columns * (w + 1), c)[:-1, :-1]
