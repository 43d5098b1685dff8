"""Which nets are trained on what: each table's rows and columns, in a quick form and in a full one.

The recipe is the paper's where it can be: SGD with momentum 0.9, weight decay 1e-4, learning rate 0.01, divided by 10 on a
plateau of the validation loss, no dropout. Its batch of 512 is for a million images; here it is 32 or 64. Not done: its ten
crops in testing, its random scales, and, as these batches fit, its 'batch size division: 10' (`Recipe(accumulate=10)`). With
Adam and a cosine, the other recipe, nets of 128 layers are trained in minutes.

A row is a depth, a column what is compared. `columns` of a table differ in one thing alone; all else of a cell is the usual:
the alpha structure, cross-entropy, the z-score. So the structure's alpha column, the loss's softmax column and the
normalisation's z-score column are one and the same runs, trained once.

Plain and residual nets begin the last batch norm of each block at 1, as is usual; alpha nets at 1/sqrt(layers in blocks), which
they need. In two more columns the others begin there too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.experiments import earlier
from benchmarks.experiments.claims import VERSIONS
from minidl import data
from minidl.recipe import Recipe
from models.alphanet import VERSIONS as NAMED

ALPHANET = "models.alphanet:AlphaNet32"
QUICK_DEPTHS = (8, 14, 20, 26)
ENCODE = "zscore"
FOLDER_LIMIT = 5000  # training images of a folder, if nothing else is said: more take days
PAPER = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "plateau"}
ADAM = {"optimizer": "adam", "lr": 2e-3, "schedule": "cosine", "warmup": 1}
RECIPES: dict[str, dict[str, Any]] = {"paper": PAPER, "adam": ADAM}
EPOCHS = {("digits", "paper"): 30, ("digits", "adam"): 12, ("folder", "paper"): 15, ("folder", "adam"): 15}
AS_ALPHA = "as the alpha structure begins"
BESIDE = {"plain, begun as alpha": "alpha", "residual, begun as alpha": "alpha"}  # compared with this one alone

COLUMNS: dict[str, dict[str, dict[str, Any]]] = {
    "structure": {
        "plain": {"structure": "plain"},
        "residual": {"structure": "residual", "last_gamma": 1},
        "alpha": {"structure": "alpha"},
        "plain, begun as alpha": {"structure": "plain", "last_gamma": AS_ALPHA},
        "residual, begun as alpha": {"structure": "residual", "last_gamma": AS_ALPHA},
    },
    "loss": {"softmax": {"loss": "softmax"}, "AM": {"loss": "am"}, "AM + linear": {"loss": "am_linear"}},
    "normalisation": {"log": {"encode": "log"}, "z-score": {"encode": ENCODE}, "alpha": {"encode": "alpha=0.5"}},
}
COLUMNS["earlier"] = {name: {} for name in earlier.COLUMNS}


@dataclass(frozen=True)
class Form:
    """How a table is measured: on which images, how long, how often.

    data    digits or a folder of images
    title   of the data, without a path
    limit   use so many training images alone; None for all
    """

    name: str
    data: str
    title: str
    size: int
    limit: int | None
    seeds: tuple[int, ...]
    recipe: Recipe

    @property
    def quick(self) -> bool:
        """Is it the short form, with nets that are none of the paper's?"""
        return self.name == "quick"


@dataclass(frozen=True)
class Cell:
    """A net, how its images are encoded, and where it stands in its table."""

    row: str
    column: str
    net: str = ALPHANET  # module:Class
    options: dict[str, Any] = field(default_factory=dict)
    encode: str = ENCODE


@dataclass(frozen=True)
class Job:
    """One run: a cell with a seed."""

    cell: Cell
    form: Form
    seed: int

    def settings(self) -> dict[str, Any]:
        """All that the run depends on, beside the code."""
        form, cell = self.form, self.cell
        images = {"data": data.full_name(form.data), "size": form.size, "limit": form.limit, "encode": cell.encode}
        recipe = form.recipe.as_json()
        for name, usual in {"accumulate": 1, "precision": "float32", "capture": 0}.items():
            if recipe[name] == usual:  # runs from before there was the choice keep their names
                del recipe[name]
        return {"net": cell.net, "options": cell.options, **images, "recipe": recipe, "seed": self.seed}

    @property
    def name(self) -> str:
        """Of the run's file: readable, and another one for other settings."""
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()[:12]
        return f"{self.cell.net.partition(':')[2]}-{_slug(self.cell)}-seed{self.seed}-{digest}"


def quick() -> Form:
    """Under three minutes a table on two cores: nets of 8 to 26 layers, for a few passes over the digits."""
    recipe = Recipe(epochs=3, batch_size=32, shifts=0, **PAPER)
    return Form("quick", "digits", "the digits", 10, None, (0, 1, 2), recipe)


def full(folder: str | None, seeds: int, epochs: int | None, limit: int | None, recipe: str = "paper") -> Form:
    """Hours: the paper's depths, on the digits at 16x16 or on a folder of images at 32x32, such as CIFAR-10's."""
    there = len(data.digits().train if folder is None else data.listing(data.known_folder(folder)).parts["train"])
    if limit is not None and limit > there:
        raise ValueError(f"--limit: expected at most the {there:,} training images there are, got {limit:,}")
    epochs, rule = epochs or EPOCHS["digits" if folder is None else "folder", recipe], RECIPES[recipe]
    end = "" if recipe == "paper" else f"_{recipe}"
    if folder is None:
        made = Recipe(epochs=epochs, batch_size=32, shifts=1, **rule)
        return Form(f"digits{end}", "digits", "the digits", 16, limit, tuple(range(seeds)), made)
    made = Recipe(epochs=epochs, batch_size=64, shifts=4, flips=1, **rule)
    title = Path(folder).resolve().name
    name = f"images_{re.sub(r'[^A-Za-z0-9]+', '_', title)}{end}"
    return Form(name, folder, title, 32, limit or min(FOLDER_LIMIT, there), tuple(range(seeds)), made)


def cells(table: str, form: Form) -> list[Cell]:
    """Row by row."""
    if table == "earlier":
        return [Cell(*cell) for cell in earlier.cells(form.quick, form.size)]
    rows: dict[str, dict[str, Any]] = {f"depth={depth}": {"depth": depth} for depth in QUICK_DEPTHS}
    if not form.quick:
        rows = {name: {"version": i} for i, name in enumerate(VERSIONS, start=1)}
        for name in VERSIONS[2:]:
            rows[name]["recompute"] = "block"  # the same numbers; two such nets beside each other would not fit into 24 GiB
    changes = COLUMNS[table].items()
    return [_cell(row, column, depth | change, form) for row, depth in rows.items() for column, change in changes]


def jobs(cells: list[Cell], form: Form) -> Iterator[Job]:
    """Row by row, of a row seed by seed: what is done when the time is up can be compared column with column."""
    for row in dict.fromkeys(cell.row for cell in cells):
        for seed in form.seeds:
            yield from (Job(cell, form, seed) for cell in cells if cell.row == row)


def as_json(form: Form) -> dict[str, Any]:
    """For a result file: without the folder, which is of this machine."""
    value = asdict(form) | {"recipe": form.recipe.as_json()}
    del value["data"]
    return value


def _cell(row: str, column: str, options: dict[str, Any], form: Form) -> Cell:
    usual = {"structure": "alpha", "loss": "softmax", "size": form.size}
    options = usual | options
    if options.get("last_gamma") == AS_ALPHA:
        layers = options["depth"] if "depth" in options else NAMED[options["version"]]
        options["last_gamma"] = (layers - 2) ** -0.5
    return Cell(row, column, ALPHANET, options, options.pop("encode", ENCODE))


def _slug(cell: Cell) -> str:
    words = [f"{key}{value}" for key, value in sorted(cell.options.items())] + [cell.encode]
    return "-".join("".join(c if c.isalnum() or c in ".=" else "_" for c in word) for word in words)
