"""A model small enough to train in a test, as a student would write it, and the file it lies in."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidl.cli import main

NET = """
import minidl
from minidl import nn


class Tiny(nn.Module):
    input_shape = (1, 8, 8)

    def __init__(self, classes=10):
        self.hidden = nn.Linear(64, 16)
        self.output = nn.Linear(16, classes)

    def forward(self, x):
        return self.output(minidl.tanh(self.hidden(x.flatten(1))))
"""

QUICK = ["--limit", "200", "--epochs", "2", "--no-shifts", "--lr", "0.01"]  # half a second; well above chance


def write(folder: Path, text: str = NET, name: str = "net.py") -> Path:
    """The model file in a folder."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def said(words: str, capsys: pytest.CaptureFixture) -> str:
    """What a command that is refused says: one line on stderr, nothing else."""
    capsys.readouterr()
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    return err.removeprefix("minidl: ").strip()
