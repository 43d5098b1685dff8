"""`minidl train --weights FILE --freeze PART,...`: start from what another training learnt, and train only the rest."""

from __future__ import annotations

import hashlib
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from typing import Any, NamedTuple

from minidl import modelfile, nn
from minidl.nn.loaded import Loaded, inside

DEFAULTS = {"weights": None, "freeze": None}


def add_arguments(parser: ArgumentParser) -> None:
    """--weights and --freeze."""
    about = "start from these weights, .safetensors or .pth; a head of another number of classes starts anew, all else must fit"
    parser.add_argument("--weights", default=SUPPRESS, metavar="FILE", help=about)
    about = "leave these parts as they are, such as features or conv1,bn1,layer1: not trained, and their batch norms evaluate"
    parser.add_argument("--freeze", default=SUPPRESS, metavar="PART[,PART]", help=about)


class Pretrained(NamedTuple):
    """What a model brings to its training."""

    loaded: Loaded | None  # None too where a run is resumed: its weights are its own by now
    weights: dict[str, str] | None  # the file's name and SHA-256
    freeze: list[str]
    frozen: int  # parameters
    trained: int

    def as_json(self) -> dict[str, Any]:
        """For config.json."""
        return {"weights": self.weights, "freeze": self.freeze}

    def lines(self) -> dict[str, str]:
        """What is said before the training begins."""
        lines = {}
        if self.loaded and self.weights:
            lines["weights"] = f"{self.weights['file']}: {self.loaded}"
        if self.freeze:
            lines["frozen"] = f"{', '.join(self.freeze)}: {self.frozen:,} parameters; {self.trained:,} are trained"
        return lines


def prepare(model: modelfile.Model, source: modelfile.ModelFile, classes: int, args: Namespace) -> Pretrained:
    """Load and freeze as the options say; ValueError or OSError, one line, where that cannot be."""
    loaded, weights = None, None
    if args.weights is not None and "resume" not in args:
        loaded = nn.load_weights(model, args.weights, heads=nn.heads(source.build, classes))
        with open(args.weights, "rb") as file:
            weights = {"file": args.weights, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    parts = [] if args.freeze is None else [part.strip() for part in args.freeze.split(",")]
    if parts:
        nn.freeze(model, *parts)
    sizes = {True: 0, False: 0}
    for parameter in model.parameters():
        sizes[parameter.requires_grad] += parameter.size
    if parts and not sizes[True]:
        raise ValueError(f"freeze: nothing is left to train, all {sizes[False]:,} parameters are in {args.freeze}")
    if "resume" not in args:
        _warn_of_fresh(parts, loaded)
    return Pretrained(loaded, weights, parts, frozen=sizes[False], trained=sizes[True])


def _warn_of_fresh(parts: list[str], loaded: Loaded | None) -> None:
    """A word on stderr where what is frozen has learnt nothing."""
    anew = list(loaded.anew) if loaded else parts
    fresh = [part for part in parts if any(inside(part, [head]) or inside(head, [part]) for head in anew)]
    if fresh:
        why = f"{', '.join(anew)} starts anew" if loaded else "there is no --weights"
        print(f"minidl: --freeze {','.join(fresh)}: {why}, and what is frozen stays as random as it starts", file=sys.stderr)


def as_started(config: dict[str, Any]) -> dict[str, str | None]:
    """The two options that a run was started with, from its config.json; ValueError where that is broken."""
    weights, parts = config.get("weights"), config.get("freeze") or []
    file = weights.get("file") if isinstance(weights, dict) else weights
    if not isinstance(file, str | None) or not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError("weights or freeze is broken")
    return {"weights": file, "freeze": ",".join(parts) or None}
