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
from pathlib import Path
from typing import Any

from minidl import modelfile, nn
from minidl.data import Normalise
from minidl.nn.weights import load_weights, save_weights

FORMAT = 1
EXPECTED: dict[str, dict[str, type]] = {
    "model": {"file": str, "class": str, "classes": list},
    "data": {"name": str, "mean": list, "std": list},
}


class Run:
    """An open run folder. JSON and weights are written beside their place and moved into it: none is ever half there."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def checkpoint(self) -> Path:
        """Where the weights are."""
        return self.folder / "checkpoint.safetensors"

    # ---- while training ----------------------------------------------------------------------------------------------

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """config.json or result.json."""
        beside = self.folder / f".{name}.part"
        beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        os.replace(beside, self.folder / name)

    def add_metrics(self, record: dict[str, float]) -> None:
        """One more line of metrics.jsonl."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def save(self, model: nn.Module) -> None:
        """The model's weights as the checkpoint."""
        save_weights(model, self.checkpoint)

    def keep_model(self, source: modelfile.ModelFile) -> str:
        """Copy the model file and what it imports from its folder; the copy's name in the run folder."""
        (self.folder / "model").mkdir()
        for file in source.files:
            shutil.copyfile(file, self.folder / "model" / file.name)
        return f"model/{source.path.name}"

    # ---- afterwards --------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """config.json, checked; ValueError, one line, where it is broken."""
        path = self.folder / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: broken JSON ({error}); restore the file or train again") from None
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise ValueError(f"{path}: no configuration of this version of minidl (format {FORMAT}); train again")
        for part, keys in EXPECTED.items():
            for key, kind in keys.items():
                value = config[part].get(key) if isinstance(config.get(part), dict) else None
                if not isinstance(value, kind):
                    raise ValueError(f"{path}: {part}.{key} should be a {kind.__name__}, got {value!r}; train again")
        return config

    def model(self) -> modelfile.Model:
        """The trained model, built from the folder's own copy of the model file."""
        config = self.config()["model"]
        file = self.folder / config["file"]
        if not file.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(f"{self.folder}: config.json names a model file outside the run folder, {config['file']!r}")
        if not self.checkpoint.is_file():
            raise FileNotFoundError(f"{self.folder}: no checkpoint.safetensors; the training ended before its first epoch did")
        model = modelfile.load(f"{file}:{config['class']}").build(len(config["classes"]))
        load_weights(model, self.checkpoint)
        return model

    def normalise(self) -> Normalise:
        """What was done to the training images, and must be done to every image since."""
        config = self.config()["data"]
        return Normalise(config["mean"], config["std"])


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
