"""Do signals live through a thousand layers? Sizes of maps and gradients, block by block, in the first step of Alpha-Net.

    python -m benchmarks.signals     all structures, v1 and v4, the last batch norms begun at 1 and as AlphaNet begins
                                     them; writes results/signals.json and .png

Digits of 16x16, 32 of them, before any training. L: layers in all blocks. `maps`: root mean square of a block's output.
`gradients`: of the loss by that output, over that by the last block's, so that 1 means that all of it arrives. `norm`: of the
gradient by all weights together, what a step of SGD would be multiplied by; 'overflow' where float32 holds it no more.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from benchmarks import report
from minidl import Tensor, data
from minidl.evaluation import loss_of
from models.alphanet import VERSIONS, AlphaNet32

SIZE, BATCH = 16, 32
STRUCTURES, STARTS = ("plain", "residual", "alpha"), {"1": 1.0, "1/sqrt(L)": None}
TABLE = report.Table({"net ": 27, "first maps": 10, "last maps": 10, "gradients": 10, "norm": 10})


def watched(model: AlphaNet32) -> list[Tensor]:
    """A list into which each block puts its output, gradient kept, when the model computes."""
    outputs: list[Tensor] = []

    def listen(block: Any) -> None:
        forward = block.forward

        def forward_and_tell(*inputs: Tensor) -> Tensor:
            outputs.append(forward(*inputs).retain_grad())
            return outputs[-1]

        block.forward = forward_and_tell

    for stage in model.stages:
        for block in getattr(model, stage):
            listen(block)
    return outputs


def measured(structure: str, depth: int, start: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """One net's row."""
    minidl.manual_seed(0)
    model = AlphaNet32(depth=depth, structure=structure, size=SIZE, last_gamma=STARTS[start])
    outputs = watched(model)
    with np.errstate(over="ignore", invalid="ignore"):  # to see where numbers end is the purpose
        loss = loss_of(model, model(Tensor(images)), labels)
        loss.backward()
        maps = [root_mean_square(y.numpy()) for y in outputs]
        gradients = [root_mean_square(y.grad) for y in outputs]
        norm = math.hypot(*(float(np.linalg.norm(p.grad.astype(np.float64))) for p in model.parameters()))
    about = {"structure": structure, "depth": depth, "start": start}
    return about | {"loss": loss.item(), "maps": maps, "gradients": gradients, "norm": finite(norm)}


def root_mean_square(x: np.ndarray) -> float | None:
    """Squared in float64; None where x itself holds what is no number."""
    return finite(float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))))


def finite(value: float) -> float | None:
    """The value, or None for infinity and NaN, which JSON has not."""
    return value if math.isfinite(value) else None


def rows() -> Iterator[dict[str, Any]]:
    """A net at a time."""
    images, labels = next(iter(data.DataLoader(data.load("digits", size=(SIZE, SIZE), channels=3).train, BATCH)))
    for depth in (VERSIONS[1], VERSIONS[4]):
        for structure in STRUCTURES:
            for start in list(STARTS)[: 1 if structure == "plain" else 2]:  # AlphaNet begins plain nets at 1
                yield measured(structure, depth, start, images, labels)


def told(found: list[dict[str, Any]]) -> list[str]:
    """The table; its gradients are those of the first block's output."""
    lines = TABLE.head()
    for row in found:
        first, last = row["maps"][0], row["maps"][-1]
        back = row["gradients"][0] and row["gradients"][0] / row["gradients"][-1]
        cells = ("overflow" if cell is None else f"{cell:.3g}" for cell in (first, last, back, row["norm"]))
        lines.append(TABLE.row([title(row), *cells]))
    return lines


def title(row: dict[str, Any]) -> str:
    """Of a net."""
    return f"{row['structure']}, {row['depth']:,}, {row['start']}"


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """Maps and gradients over the depth, on a logarithmic scale: what grows by a factor in each block is a straight line,
    which ends where float32 does."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4), layout="constrained")
    colours = {structure: f"C{i}" for i, structure in enumerate(STRUCTURES)}
    for axes, key in zip(figure.subplots(1, 2), ("maps", "gradients"), strict=True):
        for row in found:
            sizes = np.array(row[key], float) / (row[key][-1] if key == "gradients" else 1)
            style = "--" if row["start"] == "1" else "-"
            width = 0.9 if row["depth"] == VERSIONS[1] else 2.0
            across = np.linspace(0, 1, len(sizes))
            axes.plot(across, sizes, style, color=colours[row["structure"]], linewidth=width, label=title(row))
        axes.set(yscale="log", xlabel="block, as a part of all", ylabel=f"root mean square of {key}")
    figure.axes[1].set_ylabel("root mean square of gradients, last block = 1")
    lines = figure.axes[0].get_lines()
    figure.legend(handles=lines, loc="outside right upper", frameon=False, title="structure, layers,\nlast batch norm at")
    figure.suptitle(f"Alpha-Net's first step, digits of {SIZE}x{SIZE}")
    figure.savefig(path, dpi=110)


def main(words: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signals", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder for signals.json and .png")
    args = parser.parse_args(words)
    found = list(rows())
    print(*told(found), sep="\n")
    facts = {"machine": report.machine(), "size": SIZE, "batch": BATCH}
    print(report.save(args.out / "signals.json", "signals", found, **facts))
    plot(found, args.out / "signals.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
