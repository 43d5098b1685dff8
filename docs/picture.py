"""Draws docs/minidl.png, the README's picture, from a run of the main job.

minidl train models/lenet.py --out runs/picture && python docs/picture.py runs/picture
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from safetensors.numpy import load_file

INK, BLUE, ORANGE, PALE = "#1a1a2e", "#0072b2", "#d55e00", "#eef3f8"
HOPS = (
    ("loss.backward()", "your training loop"),
    ("Tensor.backward", "minidl/tensor.py: the latest node of the heap, its gradient dy"),
    ("im2col.backward", "minidl/ops/conv2d/im2col.py:  dF = dYᵀ X    dX = dY F    db = Σ dY"),
)


def main(run: Path, out: Path) -> None:
    """Curves, first filters and the two hops, side by side."""
    figure = Figure(figsize=(12, 3.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subfigures(1, 3, width_ratios=(1.1, 0.75, 1.75))
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    curves(left, metrics, json.loads((run / "result.json").read_text(encoding="utf-8")))
    filters(middle, load_file(run / "checkpoint.safetensors")["C1.weight"])
    hops(right)
    figure.savefig(out)


def curves(part: object, metrics: list[dict], result: dict) -> None:
    """Accuracy over epochs."""
    axes = part.subplots()
    epochs = [row["epoch"] for row in metrics]
    axes.plot(epochs, [100 * row["train_accuracy"] for row in metrics], color=ORANGE, label="training, shifted")
    axes.plot(epochs, [100 * row["val_accuracy"] for row in metrics], color=BLUE, label="validation")
    axes.set(xlabel="epoch", ylabel="accuracy, %", ylim=(80, 100.5))
    axes.set_title(f"LeNet-5 on digits: {100 * result['test_accuracy']:.1f} % on test", fontsize=11, color=INK)
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def filters(part: object, weight: object) -> None:
    """The six 5x5 filters of the first layer."""
    part.suptitle("its first filters", fontsize=11, color=INK)
    largest = abs(weight).max()
    for axes, image in zip(part.subplots(3, 2).flat, weight[:, 0], strict=True):
        axes.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes.set(xticks=[], yticks=[])


def hops(part: object) -> None:
    """Where a gradient goes."""
    axes = part.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 3))
    axes.axis("off")
    axes.set_title("two hops from loss.backward() to the arithmetic", fontsize=11, color=INK)
    for i, (name, where) in enumerate(HOPS):
        y = 2.55 - i
        box = {"boxstyle": "round,pad=0.45", "facecolor": PALE, "edgecolor": BLUE}
        axes.text(0.02, y, name, family="monospace", fontsize=13, color=INK, bbox=box, va="center")
        axes.text(0.02, y - 0.37, where, fontsize=9.5, color=INK, va="center")
        if i:
            axes.annotate("", (0.16, y + 0.2), (0.16, y + 0.47), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "lw": 2})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("minidl.png"))
