"""Real training runs of the course's larger nets, start to end, by the command line a student would type.

python -m benchmarks.training alexnet                     the full AlexNet at 227x227 on the digits, enlarged
python -m benchmarks.training resnet20 --data FOLDER      ResNet-20 on a folder of images: train/CLASS/*, test/CLASS/*

Writes results/training_NAME.json and results/training_NAME.png, the run's own curves.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report

RUNS: dict[str, list[str]] = {
    "alexnet": [
        *("models/alexnet.py:AlexNet", "--set", "convention=caffe", "--optimizer", "adam", "--lr", "1e-4"),
        *("--batch-size", "16", "--epochs", "5", "--shifts", "16", "--threads", "1"),
    ],
    "resnet20": [
        *("models/resnet.py:ResNet20", "--optimizer", "sgd", "--lr", "0.1", "--weight-decay", "1e-4"),
        *("--batch-size", "32", "--epochs", "14", "--shifts", "4", "--flips", "--threads", "1"),
    ],
}


def main() -> None:
    """Train, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RUNS)
    parser.add_argument("--data", default="digits", help="a data set's name or a folder of images; default digits")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["train", *RUNS[args.name], "--data", args.data, "--out", str(run)]
        subprocess.run([sys.executable, "-m", "minidl", *words], check=True)
        picture = report.RESULTS / f"training_{args.name}.png"
        shutil.copyfile(run / "curves.png", picture)
        command = f"python -m benchmarks.training {args.name}" + (" --data FOLDER" if args.data != "digits" else "")
        print(report.write(f"training_{args.name}", epochs_of(run), command=command, **facts_of(run)), picture)


def epochs_of(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def facts_of(run: Path) -> dict[str, Any]:
    """What was trained on what, and what came out. Paths of this machine are left out."""
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    model = {key: config["model"][key] for key in ("class", "options", "input_shape")}
    return {
        "model": model,
        "images": config["data"]["images"],
        "recipe": config["recipe"],
        "seed": config["seed"],
        "result": result,
    }


if __name__ == "__main__":
    main()
