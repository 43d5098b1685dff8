"""What commands show while they work: a row per epoch, under the rows a bar that moves, and a word while images are read.

The bar needs a terminal and tqdm; without either the rows come alone, so that a log file stays readable.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from minidl.train import Progress

HEADER = "epoch      train loss  train acc.   val. loss   val. acc.  images/s     left  * best so far"


class Display:
    """Rows and a bar for a run of `epochs` passes over `images` images; `quiet` shows neither.

    done  epochs that were made before, by a run that this one resumes
    """

    def __init__(self, epochs: int, images: int, *, done: int = 0, quiet: bool = False):
        self.epochs, self.images, self.quiet, self.started = epochs, images, quiet, time.perf_counter()
        self.before = done * images
        self.bar = None if quiet else _bar(epochs * images)
        self.latest: Progress | None = None
        self._say(HEADER)

    def on_batch(self, p: Progress) -> None:
        """Move the bar, if it is time: what is shown is read from the device."""
        self.latest = p
        if self.bar is not None and time.time() - self.bar.last_print_t >= self.bar.mininterval:
            self._move()

    def _move(self) -> None:
        """To where the latest batch was."""
        if self.bar is not None and (p := self.latest) is not None:
            done = (p.epoch - 1) * self.images + p.images
            self.bar.n, rate = done, p.images / max(p.seconds, 1e-9)
            self.bar.set_description_str(
                f"{p.epoch:>4}/{self.epochs:<4}  {p.loss:>10.4f}  {p.accuracy:>10.2%}  "
                f"{rate:>8,.0f} images/s  {clock(self._left(done)):>7} left ",
                refresh=False,
            )
            self.bar.update(0)

    def on_epoch(self, record: dict[str, float], is_best: bool) -> None:
        """One row; a star marks the best epoch on validation so far."""
        epoch = int(record["epoch"])
        self._say(
            f"{epoch:>4}/{self.epochs:<4}  {record['train_loss']:>10.4f}  {record['train_accuracy']:>10.2%}  "
            f"{record['val_loss']:>10.4f}  {record['val_accuracy']:>10.2%}  {record['images_per_second']:>8,.0f}  "
            f"{clock(self._left(epoch * self.images)):>7}{'  *' if is_best else ''}"
        )

    def close(self) -> None:
        """Take the bar away; the rows stay."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _left(self, done: int) -> float:
        """Seconds until the end at the mean rate so far, evaluation included."""
        return (time.perf_counter() - self.started) * (self.epochs * self.images - done) / (done - self.before)

    def _say(self, row: str) -> None:
        if self.bar is not None:
            self._move()
            self.bar.write(row, file=sys.stdout)
        elif not self.quiet:
            print(row, flush=True)


class Reading:
    """Says on stderr that images are being read, where that takes more than two seconds: once, or as it goes on a terminal."""

    def __init__(self, name: str, *, quiet: bool = False):
        self.name, self.quiet, self.started, self.next = name, quiet, time.perf_counter(), 2.0

    def on_read(self, done: int, total: int) -> None:
        """So many images of all are read."""
        seconds = time.perf_counter() - self.started
        if seconds < self.next or self.quiet:
            return
        live = sys.stderr.isatty()
        self.next = seconds + 0.5 if live else float("inf")
        left = clock(seconds * (total - done) / done)
        text = f"reading {total:,} images of {self.name}: {done / total:.0%}, {left} left"
        print(f"\r{text} " if live else text, end="" if live else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line that moves."""
        if 2.0 < self.next < float("inf"):
            print(file=sys.stderr)


def _bar(total: int) -> Any:
    """tqdm's bar on a terminal, else None."""
    if not sys.stdout.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, leave=False, file=sys.stdout, dynamic_ncols=True, bar_format="{desc}|{bar}|", mininterval=0.1)


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
