"""A run folder: all that one training leaves behind, and all that is needed to use it.

    config.json             the model's file, class and input, the data and its encoding, the recipe, seed, versions
    model/*.py              the model file as it was, with the files beside it that it imports
    metrics.jsonl           one line per epoch
    checkpoint.safetensors  weights of the epoch with the best validation accuracy
    last.safetensors        what `--resume` needs to go on after the last epoch (minidl/state.py)
    result.json             test accuracy, best epoch, parameters, seconds
    curves.png confusion.png

Nothing here is ever unpickled: settings are JSON, weights are safetensors. The model file alone is code, and `evaluate` and
`predict` run it: use run folders of people whose code you would run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minidl import modelfile, nn
from minidl.data import Encoding, Normalise
from minidl.data.encoding import is_named
from minidl.nn.weights import load_weights, read_weights, save_weights
from minidl.state import State, read_state, save_state

FORMAT = 1
TEXT = ("text", lambda value: isinstance(value, str) and value)
NAMES = ("a list of names", lambda value: isinstance(value, list) and value and all(isinstance(name, str) for name in value))
NUMBERS = ("a list of numbers", lambda value: isinstance(value, list) and value and all(type(x) in (int, float) for x in value))
ABOVE_0 = ("a list of numbers above 0", lambda value: NUMBERS[1](value) and min(value) > 0)
ENCODING = ("the name of an encoding", is_named)
OPTIONS = ("options by name", lambda value: isinstance(value, dict))
EXPECTED: dict[str, dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "model": {"file": TEXT, "class": TEXT, "classes": NAMES, "options": OPTIONS},
    "data": {"name": TEXT, "mean": NUMBERS, "std": ABOVE_0, "encode": ENCODING},
}
MEASURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "images_per_second", "seconds")  # of an epoch


class Run:
    """An open run folder. JSON and weights are written beside their place and moved into it: none is ever half there."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """Where the weights are."""
        return self.path / "checkpoint.safetensors"

    @property
    def last(self) -> Path:
        """Where the training stands."""
        return self.path / "last.safetensors"

    # ---- while training ----------------------------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """One training at a time works in the folder; the lock falls with its process. (Not on Windows.)"""
        try:
            import fcntl
        except ImportError:
            yield
            return
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(f"{self.path}: another process is training here; stop it first, or let it end") from None
            yield
        finally:
            os.close(folder)

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """config.json or result.json."""
        self._write(name, json.dumps(value, indent=2) + "\n")

    def _write(self, name: str, text: str) -> None:
        beside = self.path / f".{name}.part"
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, self.path / name)

    def keep_epoch(self, record: dict[str, float], state: State, best: nn.Module | None) -> None:
        """Its line of metrics.jsonl; what the next epoch needs; and, where it is the best so far, its weights as checkpoint.

        In this order: a process that is killed between two of them leaves a folder that can be resumed.
        """
        self.add_metrics(record)
        self.keep_state(state)
        if best is not None:
            self.save(best)

    def add_metrics(self, record: dict[str, float]) -> None:
        """One more line of metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def keep_state(self, state: State) -> None:
        """What the next epoch needs."""
        save_state(state, self.last)

    def save(self, model: nn.Module) -> None:
        """The model's weights as the checkpoint."""
        save_weights(model, self.checkpoint)

    def keep_model(self, source: modelfile.ModelFile) -> str:
        """Copy the model file and what it imports from its folder; the copy's name in the run folder."""
        (self.path / "model").mkdir()
        for file in source.files:
            shutil.copyfile(file, self.path / "model" / file.name)
        return f"model/{source.path.name}"

    # ---- going on ----------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Where the training stands, checked for itself."""
        if not self.last.is_file():
            raise FileNotFoundError(f"{self.path}: no last.safetensors, so there is nothing to go on from; train again")
        return read_state(self.last)

    def metrics(self, epochs: int) -> list[dict[str, float]]:
        """The records of so many epochs, checked; a line more is left out, of an epoch that was not finished."""
        path = self.path / "metrics.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        if len(lines) < epochs:
            raise ValueError(f"{path}: {len(lines)} lines for {epochs} finished epochs; restore the file or train again")
        return [_checked_record(path, number, line) for number, line in enumerate(lines[:epochs], start=1)]

    def best_weights(self) -> Mapping[str, np.ndarray]:
        """The arrays of the checkpoint."""
        return read_weights(self.checkpoint)[0]

    def go_on(self, metrics: list[dict[str, float]], config: dict[str, Any]) -> None:
        """Make the folder that of a training after so many epochs, whatever a killed process left half done."""
        with uninterrupted():
            for left in self.path.glob("*.safetensors.*.tmp"):
                left.unlink()
            (self.path / "result.json").unlink(missing_ok=True)
            self._write("metrics.jsonl", "".join(json.dumps(record) + "\n" for record in metrics))
            self.write_json("config.json", config)

    # ---- afterwards --------------------------------------------------------------------------------------------------

    def result(self) -> dict[str, Any]:
        """result.json; {} where the training has written none, or none that can be read."""
        try:
            found = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def config(self) -> dict[str, Any]:
        """config.json, checked; ValueError, one line, where it is broken."""
        path = self.path / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: broken JSON ({error}); restore the file or train again") from None
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise ValueError(f"{path}: no configuration of this version of minidl (format {FORMAT}); train again")
        if isinstance(config.get("model"), dict):
            config["model"].setdefault("options", {})  # the first runs had none
        if isinstance(config.get("data"), dict):
            config["data"].setdefault("encode", "zscore")  # nor these any choice
        for part, keys in EXPECTED.items():
            for key, (words, right) in keys.items():
                value = config[part].get(key) if isinstance(config.get(part), dict) else None
                if not right(value):
                    raise ValueError(f"{path}: {part}.{key} should be {words}, got {value!r}; train again")
        return config

    def model_name(self) -> str:
        """The folder's own copy of the model file, and the class in it: run/model/net.py:Net."""
        config = self.config()["model"]
        file = self.path / config["file"]
        if not file.resolve().is_relative_to(self.path.resolve()):
            raise ValueError(f"{self.path}: config.json names a model file outside the run folder, {config['file']!r}")
        return f"{file}:{config['class']}"

    def model(self) -> modelfile.Model:
        """The trained model, built from the folder's own copy of the model file."""
        config, name = self.config()["model"], self.model_name()
        if not self.checkpoint.is_file():
            raise FileNotFoundError(f"{self.path}: no checkpoint.safetensors; the training ended before its first epoch did")
        model = modelfile.load(name, config["options"]).build(len(config["classes"]))
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
        return Normalise(data["mean"], data["std"], Encoding.named(data["encode"]))

    def brightness(self) -> float:
        """The mean of the training images, 0 black to 1 white: that of the z-score, or noted beside another encoding."""
        data = self.config()["data"]
        noted = data.get("brightness")
        if noted is not None and type(noted) not in (int, float):
            raise ValueError(f"{self.path}/config.json: data.brightness should be a number, got {noted!r}; train again")
        return float(np.mean(data["mean"])) if noted is None else float(noted)


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


def _checked_record(path: Path, number: int, line: bytes) -> dict[str, float]:
    """A line of metrics.jsonl."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.keys() != {"epoch", *MEASURES} or record["epoch"] != number:
        raise ValueError(f"{path}:{number}: expected the record of epoch {number}; restore the file or train again")
    for name in MEASURES:
        if type(record[name]) not in (int, float) or not abs(record[name]) <= sys.float_info.max:
            raise ValueError(f"{path}:{number}: {name} should be a finite number, got {record[name]!r}")
    return record


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C inside the block takes effect at its end."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    came: list[int] = []
    if (before := signal.getsignal(signal.SIGINT)) == signal.SIG_IGN:  # `nohup`, `&` in a script: Ctrl-C is not for us
        yield
        return
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    if came:
        raise KeyboardInterrupt
