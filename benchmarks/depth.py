"""What depth costs: time and memory of one training step of Alpha-Net at 128, 256, 512 and 1024 layers. Goal: proportional.

    python -m benchmarks.depth                         alpha structure, 8 images of 32x32; writes results/depth.json and .png
    python -m benchmarks.depth --structure residual    another

A tape that looked through all its nodes at every op would cost the square of the depth. Here each layer costs what it costs:
the time of a step, and the most memory that it holds, over the number of layers are the same at every depth, within 10 %.

Time: forward, backward and SGD's update, the nets in turns; the median over the rounds. Memory: what one more step allocates at
its peak, beside weights and momentum, as NumPy and Python report it (tracemalloc); gradients are part of it. `off` is how far
a figure lies from the line through 0 that fits best; `layer` is the slope of the line with an offset of its own.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minidl
from benchmarks import clock, report
from minidl import Tensor, optim
from minidl.doctor import available_cores
from minidl.evaluation import loss_of
from models.alphanet import AlphaNet32

DEPTHS, BATCH, ROUNDS, SIZE = (128, 256, 512, 1024), 8, 3, 32
WITHIN = 0.10  # of proportional


class Fit(NamedTuple):
    """Figures over depths: of the line with an offset and of the one through 0, and how far each figure is from the latter."""

    offset: float
    slope: float
    proportional: float
    off: list[float]

    @property
    def worst(self) -> float:
        """The largest distance."""
        return max(map(abs, self.off))


def fit(depths: Sequence[int], figures: Sequence[float]) -> Fit:
    """Least squares; the line through 0 counts distances as parts of itself, so that small nets weigh as much as large ones."""
    slope, offset = np.polyfit(depths, figures, 1)
    each = [figure / depth for depth, figure in zip(depths, figures, strict=True)]
    proportional = float(np.exp(np.mean(np.log(each))))
    return Fit(float(offset), float(slope), proportional, [one / proportional - 1 for one in each])


def training_step(depth: int, structure: str, batch: int) -> Callable[[], None]:
    """A net of this depth, and one step of its training on images that stay the same."""
    minidl.manual_seed(0)
    model = AlphaNet32(depth=depth, structure=structure, size=SIZE)
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((batch, *model.input_shape), dtype=np.float32))
    labels = rng.integers(10, size=batch)

    def step() -> None:
        loss_of(model, model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds_of(step: Callable[[], None]) -> float:
    """Of one step."""
    with clock.no_garbage_collection():
        start = time.perf_counter()
        step()
        return time.perf_counter() - start


def bytes_of(step: Callable[[], None]) -> int:
    """That one step holds at most, beside what is there before it."""
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def measured(depths: Sequence[int], structure: str, batch: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each depth."""
    steps = {depth: training_step(depth, structure, batch) for depth in depths}
    for step in steps.values():
        step()  # what is made once
    turns = [{depth: seconds_of(step) for depth, step in steps.items()} for _ in range(rounds)]
    return [
        {"depth": depth, "seconds": statistics.median(turn[depth] for turn in turns), "bytes": bytes_of(steps[depth])}
        for depth in depths
    ]


def told(rows: list[dict[str, Any]], time_fit: Fit, memory_fit: Fit) -> list[str]:
    """The table, and in words the lines through it."""
    table = report.Table(
        {"layers": 6, "step, s": 8, "a layer, ms": 11, "off": 6, "memory, MB": 10, "a layer, kB": 11, "off ": 6}
    )
    lines = table.head()
    for row, slow, large in zip(rows, time_fit.off, memory_fit.off, strict=True):
        depth, seconds, size = row["depth"], row["seconds"], row["bytes"]
        cells = [f"{depth:,}", f"{seconds:.2f}", f"{1e3 * seconds / depth:.2f}", f"{slow:+.1%}"]
        lines.append(table.row([*cells, f"{size / 1e6:.0f}", f"{size / 1e3 / depth:.0f}", f"{large:+.1%}"]))
    lines.append("")
    for name, found, unit, scale in (("Time", time_fit, "ms", 1e3), ("Memory", memory_fit, "kB", 1e-3)):
        line = f"{scale * found.offset:+.1f} {unit} + {scale * found.slope:.3f} {unit} a layer"
        verdict = "proportional" if found.worst <= WITHIN else "NOT proportional"
        lines.append(f"{name}: {line}; {verdict}, within {found.worst:.1%}.")
    return lines


def plot(rows: list[dict[str, Any]], time_fit: Fit, memory_fit: Fit, structure: str, path: Path) -> None:
    """Both figures over the depth, with the lines through 0."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    depths = [row["depth"] for row in rows]
    parts = (("seconds", 1.0, "seconds a step", time_fit), ("bytes", 1e-6, "MB a step", memory_fit))
    for axes, (key, scale, label, found) in zip(figure.subplots(1, 2), parts, strict=True):
        line = np.array([0, max(depths)])
        axes.plot(line, scale * found.proportional * line, color="0.7", label="proportional")
        axes.plot(depths, [scale * row[key] for row in rows], "o", label="measured")
        axes.set(xlabel="layers", ylabel=label, xticks=depths, ylim=(0, None), title=f"within {found.worst:.1%}")
        axes.legend(frameon=False)
    figure.suptitle(f"Alpha-Net, {structure}, {SIZE}x{SIZE}: a training step by depth")
    figure.savefig(path, dpi=110)


def main(words: list[str] | None = None) -> int:
    """Measure, print, write; 1 where a figure is not proportional."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.depth", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--structure", choices=("plain", "residual", "alpha"), default="alpha", help="default alpha")
    add("--depths", type=lambda text: [int(word) for word in text.split(",")], default=DEPTHS, help="layers, 128,256,...")
    add("--batch", type=int, default=BATCH, help=f"images; default {BATCH}")
    add("--rounds", type=int, default=ROUNDS, help=f"turns; default {ROUNDS}")
    add("--threads", type=int, default=available_cores(), help="default: the machine's cores")
    add("--out", type=Path, default=report.RESULTS, help="folder for depth.json and depth.png; default benchmarks/results")
    args = parser.parse_args(words)
    with minidl.threads(args.threads):
        rows = measured(args.depths, args.structure, args.batch, args.rounds)
    fits = [fit(args.depths, [row[key] for row in rows]) for key in ("seconds", "bytes")]
    print(*told(rows, *fits), sep="\n")
    facts = {"structure": args.structure, "batch": args.batch, "rounds": args.rounds, "threads": args.threads}
    fitted = {name: found._asdict() for name, found in zip(("time", "memory"), fits, strict=True)}
    machine = report.machine()
    print(report.save(args.out / "depth.json", "depth", rows, machine=machine, **facts, fit=fitted))
    plot(rows, *fits, args.structure, args.out / "depth.png")
    return 0 if all(found.worst <= WITHIN for found in fits) else 1


if __name__ == "__main__":
    raise SystemExit(main())
