"""A run folder: all that one training leaves behind, and all that is needed to use it.

    config.json             the model's file, class and input, the data and its normalisation, the recipe, seed, versions
    model/*.py              the model file as it was, with the files beside it that it imports
    metrics.jsonl           one line per epoch
    checkpoint.safetensors  weights of the epoch with the best validation accuracy
    result.json             test accuracy, best epoch, parameters, seconds
    curves.png confusion.png

Nothing here is ever unpickled: settings are JSON, weights are safetensors. The model file alone is code, and `evaluate` and
`predict` run it: use run folders of people whose code you would run.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minidl import modelfile, nn
from minidl.data import Normalise
from minidl.nn.weights import load_weights, save_weights

FORMAT = 1
TEXT = ("text", lambda value: isinstance(value, str) and value)
NAMES = ("a list of names", lambda value: isinstance(value, list) and value and all(isinstance(name, str) for name in value))
NUMBERS = ("a list of numbers", lambda value: isinstance(value, list) and value and all(type(x) in (int, float) for x in value))
ABOVE_0 = ("a list of numbers above 0", lambda value: NUMBERS[1](value) and min(value) > 0)
EXPECTED: dict[str, dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "model": {"file": TEXT, "class": TEXT, "classes": NAMES},
    "data": {"name": TEXT, "mean": NUMBERS, "std": ABOVE_0},
}


class Run:
    """An open run folder. JSON and weights are written beside their place and moved into it: none is ever half there."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """Where the weights are."""
        return self.path / "checkpoint.safetensors"

    # ---- while training ----------------------------------------------------------------------------------------------

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """config.json or result.json."""
        beside = self.path / f".{name}.part"
        beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        os.replace(beside, self.path / name)

    def add_metrics(self, record: dict[str, float]) -> None:
        """One more line of metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def save(self, model: nn.Module) -> None:
        """The model's weights as the checkpoint."""
        save_weights(model, self.checkpoint)

    def keep_model(self, source: modelfile.ModelFile) -> str:
        """Copy the model file and what it imports from its folder; the copy's name in the run folder."""
        (self.path / "model").mkdir()
        for file in source.files:
            shutil.copyfile(file, self.path / "model" / file.name)
        return f"model/{source.path.name}"

    # ---- afterwards --------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """config.json, checked; ValueError, one line, where it is broken."""
        path = self.path / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: broken JSON ({error}); restore the file or train again") from None
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise ValueError(f"{path}: no configuration of this version of minidl (format {FORMAT}); train again")
        for part, keys in EXPECTED.items():
            for key, (words, right) in keys.items():
                value = config[part].get(key) if isinstance(config.get(part), dict) else None
                if not right(value):
                    raise ValueError(f"{path}: {part}.{key} should be {words}, got {value!r}; train again")
        return config

    def model(self) -> modelfile.Model:
        """The trained model, built from the folder's own copy of the model file."""
        config = self.config()["model"]
        file = self.path / config["file"]
        if not file.resolve().is_relative_to(self.path.resolve()):
            raise ValueError(f"{self.path}: config.json names a model file outside the run folder, {config['file']!r}")
        if not self.checkpoint.is_file():
            raise FileNotFoundError(f"{self.path}: no checkpoint.safetensors; the training ended before its first epoch did")
        model = modelfile.load(f"{file}:{config['class']}").build(len(config["classes"]))
        load_weights(model, self.checkpoint)
        return model

    def normalise(self, channels: int) -> Normalise:
        """What was done to the training images, and must be done to every image since."""
        data = self.config()["data"]
        if not len(data["mean"]) == len(data["std"]) == channels:
            raise ValueError(
                f"{self.path}/config.json: data.mean and data.std need {channels} number(s) each, one per channel, "
                f"got {data['mean']} and {data['std']}; train again"
            )
        return Normalise(data["mean"], data["std"])


def create(out: str | None, model: str) -> Run:
    """A new run folder: `out`, or the first free one of runs/model-1, runs/model-2, ... Nothing is overwritten."""
    if out is not None:
        folder = Path(out)
        if folder.is_dir() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty, and nothing is overwritten; choose another --out or remove it first")
        _make(folder, exist_ok=True)
        return Run(folder)
    number = 1
    while True:
        try:
            _make(folder := Path("runs") / f"{model}-{number}", exist_ok=False)
            return Run(folder)
        except FileExistsError:
            number += 1


def open_run(path: str) -> Run:
    """The run folder at `path`; FileNotFoundError that says what was found instead."""
    folder = Path(path)
    if (folder / "config.json").is_file():
        return Run(folder)
    if not folder.exists():
        there = sorted(p.parent.name for p in Path("runs").glob("*/config.json"))[:8]
        hint = f"; runs/ has {', '.join(there)}" if there else "; `minidl train MODEL.py` makes one"
        raise FileNotFoundError(f"{folder}: no such run folder{hint}")
    what = "a folder without config.json" if folder.is_dir() else "a file"
    raise FileNotFoundError(f"{folder}: expected a run folder, as `minidl train` makes them, got {what}")


def _make(folder: Path, exist_ok: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file; choose another --out") from None
        raise
    except OSError as error:
        raise OSError(f"cannot make the run folder {folder}: {error.strerror}; choose another --out") from None
