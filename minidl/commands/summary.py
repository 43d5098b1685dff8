"""`minidl summary`: layers, parameters, multiply-adds and receptive fields; with --memory, what training will need."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace

from minidl import modelfile
from minidl.commands import options
from minidl.memory import Memory, along_depth, forecast
from minidl.modes import shapes_only
from minidl.recipe import Recipe
from minidl.summary import summarise


def add_arguments(parser: ArgumentParser) -> None:
    """A model file, and what training is to be forecast."""
    options.model_file(parser)
    options.settings(parser)
    add, recipe = parser.add_argument, Recipe()
    add("--classes", type=options.whole, metavar="N", help="outputs of the model; default: the class's own default")
    add("--memory", action="store_true", help="take training steps, and forecast what training needs of memory")
    add("--batch-size", type=options.whole, metavar="N", help=f"with --memory: images in a batch; default {recipe.batch_size}")
    add("--accumulate", type=options.whole, metavar="N", help=f"with --memory: batches in a step; default {recipe.accumulate}")
    add("--optimizer", metavar="NAME", help=f"with --memory: the update rule; default {recipe.optimizer}")
    options.as_json(parser)


def run(args: Namespace) -> int:
    """Count; the exit code."""
    for name in ("batch_size", "accumulate", "classes"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    for name in ("batch_size", "accumulate", "optimizer"):
        if getattr(args, name) is not None and not args.memory:
            raise ValueError(f"--{name.replace('_', '-')} is for the forecast of memory; add --memory")
    source = modelfile.load(args.model, dict(args.set))
    with shapes_only():
        model = source.build(args.classes)
    found = summarise(model)
    if args.memory:
        found = replace(found, memory=_forecast(source, model, args))
    options.show(args, found.as_json(), lambda: str(found))
    return 0


def _forecast(source: modelfile.ModelFile, model: modelfile.Model, args: Namespace) -> Memory:
    """Measured on the net itself, or where it is deeper than two that it names in `forecast_from`, on those. A net that
    computes otherwise from step to step names options in `forecast_with`, by which all of it is there."""
    plan = (args.batch_size or Recipe().batch_size, args.optimizer, args.accumulate or Recipe().accumulate)
    depths, layers = getattr(model, "forecast_from", None), getattr(model, "layers", 0)
    in_place = dict(getattr(model, "forecast_with", ()))
    told = {name: value for name, value in in_place.items() if value is not None and source.options.get(name, value) != value}
    source = source._replace(options={**source.options, **in_place})
    if depths is None or layers <= max(depths):
        return replace(forecast(source.build(args.classes), *plan), in_place=told)
    nets = [source._replace(options={**source.options, "depth": depth}).build(args.classes) for depth in depths]
    shallow, deep = (forecast(net, *plan) for net in nets)
    return replace(along_depth(shallow, deep, depths, layers), in_place=told)
