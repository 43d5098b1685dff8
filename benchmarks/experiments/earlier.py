"""Alpha-Nets as large as the nets before them: once with as many parameters, once with as many multiply-adds.

The earlier nets are those of models/ for small images, as they are. Alpha-Net's depth can be any even number from 8 on: the one
whose parameters (or multiply-adds) come nearest, by their ratio, is taken, and the table says how near that is. The earlier
nets are of different sizes, for two as large would be set beside the same Alpha-Nets, and their rows would not be independent.

'Data per layer' is a phrase that nobody defines. Here it is how many numbers a layer hands on for one image: the mean over all
convolutions and dense layers of the size of their output.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from minidl.modes import shapes_only
from minidl.summary import Summary, summarise

COLUMNS = ("earlier", "equal parameters", "equal MACs")
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain, 14 layers": ("models.resnet:PlainNet", {"depth": 14}),
    "ResNet-20": ("models.resnet:ResNet20", {}),
    "ResNet-56": ("models.resnet:ResNet56", {}),
}
QUICK = ("plain, 14 layers", "ResNet-20")
ALPHANET, USUAL = "models.alphanet:AlphaNet32", {"structure": "alpha", "loss": "softmax"}
LEAST, MOST = 8, 256  # layers that are tried
WEIGHTED = ("conv2d", "linear")


def cells(quick: bool, size: int) -> list[tuple[str, str, str, dict[str, Any]]]:
    """(row, column, net, options): an earlier net and the two Alpha-Nets beside it."""
    found = []
    for row in QUICK if quick else NETS:
        net, options = NETS[row]
        theirs, ours = options | {"size": size}, USUAL | {"size": size}
        found.append((row, COLUMNS[0], net, theirs))
        for column, key in zip(COLUMNS[1:], ("parameters", "macs"), strict=True):
            wanted = facts(net, theirs)[key]
            depth = nearest(wanted, lambda depth, ours=ours, key=key: facts(ALPHANET, ours | {"depth": depth})[key])
            found.append((row, column, ALPHANET, ours | {"depth": depth}))
    return found


def nearest(wanted: float, figure: Callable[[int], float]) -> int:
    """The even depth whose figure, which grows with it, comes nearest to the wanted one by its ratio."""
    best, distance = LEAST, math.inf
    for depth in range(LEAST, MOST + 1, 2):
        here = abs(math.log(figure(depth) / wanted))
        if here >= distance:
            break
        best, distance = depth, here
    return best


def build(net: str, options: dict[str, Any], classes: int = 10) -> Any:
    """The model `module:Class`."""
    module, _, name = net.partition(":")
    return getattr(importlib.import_module(module), name)(classes, **options)


def facts(net: str, options: dict[str, Any], classes: int = 10) -> dict[str, float]:
    """How large it is, without any memory being taken: parameters, multiply-adds, data per layer."""
    return dict(_facts(net, tuple(sorted(options.items())), classes))


@cache
def _facts(net: str, options: tuple[tuple[str, Any], ...], classes: int) -> dict[str, float]:
    with shapes_only():
        found = summarise(build(net, dict(options), classes))
    return {"parameters": found.parameters, "macs": found.macs, "data_per_layer": data_per_layer(found)}


def data_per_layer(net: Summary) -> float:
    """The mean output of a convolution or dense layer for one image, in numbers."""
    sizes = [math.prod(layer.output[1:]) for layer in net.layers if layer.op in WEIGHTED]
    return sum(sizes) / len(sizes)
