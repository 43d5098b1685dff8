"""`minidl summary`: layers, parameters, multiply-adds and saved bytes of one forward pass."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from minidl import modelfile
from minidl.commands import options
from minidl.summary import summarise


def add_arguments(parser: ArgumentParser) -> None:
    """A model file and the size of the pass."""
    options.model_file(parser)
    add = parser.add_argument
    add("--classes", type=options.whole, metavar="N", help="outputs of the model; default: the class's own default")
    add("--batch-size", type=options.whole, default=1, metavar="N", help="images in the pass; default 1")
    options.as_json(parser)


def run(args: Namespace) -> int:
    """Count; the exit code."""
    for name in ("batch_size", "classes"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    source = modelfile.load(args.model)
    model = source.build(args.classes)
    found = summarise(model, args.batch_size)
    options.show(args, found.as_json(), lambda: str(found))
    return 0
