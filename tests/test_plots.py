"""Pictures: they show what they were given, stay small, and never open a window."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minidl import plots
from minidl.extras import install

LARGEST = 200_000  # bytes
TEN = [str(digit) for digit in range(10)]


def run_of(epochs: int) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "train_accuracy": 1 - 1 / (epoch + 1),
            "val_loss": 2.2 / epoch,
            "val_accuracy": 0.99 - 0.9 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.fixture
def drawn(monkeypatch):
    """The figure that the last call would have saved."""
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure) or Path(path))
    return figures


def texts(axis) -> list[str]:
    return [text.get_text() for text in axis.texts]


def dense(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, (n, n))


def pictures() -> dict:
    rng = np.random.default_rng(0)
    noise, labels = rng.random((60, 3, 32, 32)), np.arange(60) % 10
    return {
        "curves, one epoch": lambda path: plots.curves(run_of(1), path),
        "curves": lambda path: plots.curves(run_of(30), path, title="LeNet5 on digits"),
        "curves, many epochs": lambda path: plots.curves(run_of(500), path),
        "confusion": lambda path: plots.confusion(np.diag(range(10)), TEN, path),
        "confusion of one class": lambda path: plots.confusion([[3]], ["cat"], path),
        "confusion, no image": lambda path: plots.confusion(np.zeros((2, 2), int), ["cat", "dog"], path),
        "confusion, all wrong": lambda path: plots.confusion(dense(16), [f"class {i}" for i in range(16)], path),
        "confusion of 1000": lambda path: plots.confusion(dense(1000), [str(i) for i in range(1000)], path),
        "mistakes": lambda path: plots.mistakes(noise, labels, labels[::-1], path, confidence=rng.random(60)),
        "no mistakes": lambda path: plots.mistakes(noise, labels, labels, path),
        "grey filters": lambda path: plots.filters(rng.standard_normal((6, 1, 5, 5)), path),
        "colour filters": lambda path: plots.filters(rng.standard_normal((96, 3, 11, 11)), path),
        "deep filters": lambda path: plots.filters(rng.standard_normal((16, 6, 5, 5)), path),
        "zero filters": lambda path: plots.filters(np.zeros((4, 1, 3, 3)), path),
    }


@pytest.mark.parametrize("draw", pictures().values(), ids=pictures())
def test_every_picture_is_a_small_png(draw, tmp_path):
    path = draw(tmp_path / "picture.png")
    assert path.stat().st_size < LARGEST
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 150
        assert max(image.size) < 1500


def test_curves_show_the_metrics(drawn):
    metrics = run_of(12)
    plots.curves(metrics, "curves.png")
    for axis, measure, scale in zip(drawn[0].axes, ("loss", "accuracy"), (1, 100), strict=True):
        for line, part in zip(axis.lines, ("train", "val"), strict=False):
            assert line.get_xdata().tolist() == list(range(1, 13))
            assert line.get_ydata() == pytest.approx([scale * row[f"{part}_{measure}"] for row in metrics])
        assert axis.get_xlabel()
        assert axis.get_ylabel()
    legend = [text.get_text() for text in drawn[0].axes[1].get_legend().get_texts()]
    assert legend == ["training", "validation", "kept: 91.5 %, epoch 12"]


def marked(figure) -> str:
    return figure.axes[1].get_legend().get_texts()[-1].get_text()


def test_curves_mark_the_epoch_that_was_kept(drawn):
    metrics = run_of(5)
    for row in metrics[2:]:
        row["val_accuracy"] = 0.9
    metrics[3]["val_loss"] = 0.01
    plots.curves(metrics, "x.png")
    assert marked(drawn[0]) == "kept: 90.0 %, epoch 4"
    plots.curves(metrics, "x.png", kept=2)
    assert marked(drawn[1]) == "kept: 54.0 %, epoch 2"


def test_curves_bear_gaps(tmp_path):
    metrics = run_of(4)
    metrics[1] |= {"val_loss": float("nan"), "val_accuracy": None}
    metrics[2] |= {"train_loss": float("inf")}
    plots.curves(metrics, tmp_path / "curves.png")
    no_validation = [{key: value for key, value in row.items() if not key.startswith("val")} for row in run_of(3)]
    plots.curves(no_validation, tmp_path / "curves.png")


def test_confusion_shows_counts_and_class_accuracies(drawn):
    plots.confusion(np.array([[7, 1, 0], [0, 1, 2], [0, 0, 0]]), ["cat", "dog", "owl"], "confusion.png")
    cells, bars = drawn[0].axes
    assert texts(cells) == ["7", "1", "1", "2"]
    assert [text.get_position() for text in cells.texts] == [(0, 0), (1, 0), (1, 1), (2, 1)]
    assert texts(bars) == ["87.5", "33.3", "no image"]
    assert (cells.get_xlabel(), cells.get_ylabel()) == ("predicted class", "true class")
    assert drawn[0].get_suptitle() == "8 of 11 images right (72.7%)"


def test_the_surest_mistakes_come_first(drawn):
    images = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1) / 5
    labels, predictions = np.array([0, 1, 2, 0, 1]), np.array([1, 1, 0, 2, 0])
    plots.mistakes(images, labels, predictions, "x.png", confidence=np.array([0.3, 0.99, 0.9, 0.6, 0.5]), most=3)
    titles = [axis.get_title() for axis in drawn[0].axes]
    assert titles == ["2, taken for 0\np = 0.90", "0, taken for 2\np = 0.60", "1, taken for 0\np = 0.50"]
    assert [axis.images[0].get_array().item() for axis in drawn[0].axes] == pytest.approx([0.4, 0.6, 0.8])
    assert drawn[0].get_suptitle() == "4 of 5 images wrong"


def test_filters_are_laid_out_in_rows(drawn):
    weights = np.arange(2 * 2 * 2, dtype=np.float32).reshape(2, 2, 2, 1) - 3.5
    plots.filters(weights, "x.png")
    shades = drawn[0].axes[0].images[0].get_array()[..., 0] * 7 - 3.5  # back to weights; the gaps are white, 3.5
    expected = [[-3.5, 3.5, -1.5], [-2.5, 3.5, -0.5], [3.5, 3.5, 3.5], [0.5, 3.5, 2.5], [1.5, 3.5, 3.5]]
    np.testing.assert_allclose(shades, expected, atol=1e-6)


MESSAGES = {
    "no epoch": (lambda: plots.curves([], "x.png"), "curves: no epoch to draw; metrics holds no row"),
    "classes": (
        lambda: plots.confusion(np.eye(3), ["cat", "dog"], "x.png"),
        "confusion: expected one row and one column per class, 2, got [3, 3]",
    ),
    "rank": (lambda: plots.filters(np.eye(3), "x.png"), "filters: expected weights [K, C, R, S], got [3, 3]"),
}


@pytest.mark.parametrize(("call", "message"), MESSAGES.values(), ids=MESSAGES)
def test_what_is_wrong_is_said_in_one_line(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=re.escape(f"pictures need Matplotlib: {install('train')}")):
        plots.curves(run_of(1), "x.png")


def test_matplotlib_is_imported_late_and_pyplot_never(tmp_path):
    program = f"""
import sys
from minidl import plots
from minidl.extras import install
assert "matplotlib" not in sys.modules
plots.confusion([[1]], ["cat"], {str(tmp_path / "x.png")!r})
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_classes_may_be_called_anything(tmp_path: Path) -> None:
    names = ["$a$", "$\\frac$", "猫", "a" * 300]
    path = plots.confusion(np.eye(4, dtype=int), names, tmp_path / "names.png")
    with Image.open(path) as image:
        assert max(image.size) < 1000
    plots.mistakes(np.zeros((4, 1, 3, 3)), np.arange(4), np.zeros(4, int), tmp_path / "wrong.png", classes=names)
