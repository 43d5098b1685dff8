"""The rows and the bar of `minidl train`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from minidl import progress
from minidl.progress import HEADER, Display, Reading, clock
from minidl.train import Progress

RECORD = {
    "epoch": 1,
    "train_loss": 1.5,
    "train_accuracy": 0.5,
    "val_loss": 1.25,
    "val_accuracy": 0.75,
    "images_per_second": 1e4,
}


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_rows_stand_under_their_heads(capsys: pytest.CaptureFixture) -> None:
    display = Display(epochs=20, images=100)
    display.on_batch(Progress(1, 50, 1.5, np.array(25), 0.1))  # no terminal, so no bar
    display.on_epoch(RECORD, True)
    display.on_epoch({**RECORD, "epoch": 20}, False)
    head, best, last = capsys.readouterr().out.splitlines()
    assert head == HEADER
    assert best.split()[:-2] == ["1/20", "1.5000", "50.00%", "1.2500", "75.00%", "10,000"]
    assert (best.endswith("*"), last.endswith("0:00")) == (True, True)
    assert head.index("left") + len("left") == last.index("0:00") + len("0:00")


def test_quiet_says_nothing(capsys: pytest.CaptureFixture) -> None:
    display = Display(epochs=20, images=100, quiet=True)
    display.on_batch(Progress(1, 50, 1.5, np.array(25), 0.1))
    display.on_epoch(RECORD, True)
    display.close()
    assert capsys.readouterr().out == ""


def test_a_resumed_run_counts_its_own_time_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    clock_ = iter([0.0, 60.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock_))
    Display(epochs=20, images=100, done=10).on_epoch({**RECORD, "epoch": 11}, False)  # a minute an epoch, nine to come
    assert capsys.readouterr().out.splitlines()[-1].endswith(" 9:00")


@pytest.mark.parametrize("terminal", [False, True])
def test_long_reading_is_announced(terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    reading, silent = Reading("photos"), Reading("photos", quiet=True)
    for done in range(1, 101):
        now[0] = 0.1 * done
        reading.on_read(done, 100)
        silent.on_read(done, 100)
    reading.close()
    err = capsys.readouterr().err
    assert err.startswith("\r" * terminal + "reading 100 images of photos: 20%, 0:08 left")
    assert err.endswith("\n")
    assert (err.count("reading"), err.count("\n")) == ((17, 1) if terminal else (1, 1))


def test_quick_reading_is_not(capsys: pytest.CaptureFixture) -> None:
    reading = Reading("photos")
    reading.on_read(100, 100)
    reading.close()
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_on_a_terminal_a_bar_moves_under_the_rows(tmp_path: Path) -> None:
    text = on_a_terminal(tmp_path, "")
    assert "images/s" in text
    assert " left |" in text
    assert "100/100" in text


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_without_tqdm_the_rows_come_alone(tmp_path: Path) -> None:
    text = on_a_terminal(tmp_path, "import sys; sys.modules['tqdm'] = None; ")
    assert " left |" not in text
    assert "100/100" in text


def on_a_terminal(folder: Path, first: str) -> str:
    """What a quick `minidl train` writes to a pseudo-terminal."""
    import pty
    import termios

    tiny.write(folder)
    words = ["train", "net.py", *tiny.QUICK, "--epochs", "100"]
    code = f"{first}import sys; from minidl.cli import main; sys.exit(main({words}))"
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (40, 120))
    with subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=inner, stderr=inner) as process:
        os.close(inner)
        chunks = []
        while chunk := read(outer):
            chunks.append(chunk)
    os.close(outer)
    assert process.returncode == 0
    return b"".join(chunks).decode()


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux: the other end has closed
        return b""
