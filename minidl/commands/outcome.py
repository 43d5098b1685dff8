"""How a training ended: result.json, the pictures, and what is said."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from minidl.evaluation import Evaluation
from minidl.progress import clock
from minidl.runs import Run
from minidl.train import Record


def finished(out: Run, metrics: list[Record], test: Evaluation, classes: list[str], parameters: int, seconds: float) -> None:
    """Write and say what came out of the test, which was read once, with the weights of the best validation epoch."""
    measures = {"test_accuracy": test.accuracy, "test_loss": test.loss, "parameters": parameters, "seconds": seconds}
    best = write_result(out, "done", metrics, **measures)
    pictures = _draw(out, metrics, test.confusion, classes)
    right, n = int(np.trace(test.confusion)), int(test.confusion.sum())
    print(f"\nbest    epoch {best['epoch']}, chosen on validation: {best['val_accuracy']:.2%}")
    print(f"test    {test.accuracy:.2%}, {right} of {n} images right, loss {test.loss:.4f}")
    print(f"time    {clock(seconds)}")
    print(f"run     {out.path}: checkpoint.safetensors, metrics.jsonl, result.json{pictures}", flush=True)


def stopped(out: Run, metrics: list[Record]) -> int:
    """After Ctrl-C: keep what was learnt, say where, and leave the test images unread. The exit code."""
    best, again = write_result(out, "stopped", metrics), f"`minidl train --resume {out.path}` goes on"
    if not best:
        print(f"\nminidl: stopped before the first epoch ended; {out.path} holds no weights; {again}", file=sys.stderr)
        return 130
    _draw(out, metrics, None, [])
    kept = f"epoch {best['epoch']}, {best['val_accuracy']:.2%} on validation"
    epochs = "1 epoch" if len(metrics) == 1 else f"{len(metrics)} epochs"
    print(f"\nminidl: stopped after {epochs}; {out.path} keeps the best, {kept}; {again}", file=sys.stderr)
    return 130


def write_result(out: Run, status: str, metrics: list[Record], **more: Any) -> dict[str, Any]:
    """result.json; returns the record of the best epoch, {} where none ended."""
    best: dict[str, Any] = max(metrics, key=lambda record: (record["val_accuracy"], -record["val_loss"])) if metrics else {}
    kept = {"best_epoch": best["epoch"], "val_accuracy": best["val_accuracy"], "val_loss": best["val_loss"]} if best else {}
    out.write_json("result.json", {"status": status, **more, **kept, "epochs": len(metrics)})
    return best


def _draw(out: Run, metrics: list[Record], confusion: np.ndarray | None, classes: list[str]) -> str:
    """Draw the pictures; what to add to the list of files, or why they are missing."""
    from minidl import plots

    try:
        plots.curves(metrics, out.path / "curves.png")
        if confusion is None:
            return ", curves.png"
        plots.confusion(confusion, classes, out.path / "confusion.png")
    except ImportError as error:
        return f" (no pictures: {error})"
    return ", curves.png, confusion.png"
