"""VGG in PyTorch, narrow and on small images, with torchvision's names."""

from __future__ import annotations

from functools import partial
from typing import Any

from model_twins import ModelTwin
from models import vgg

MAPS, UNITS, CLASSES = (4, 5, 6, 7, 8), 10, 7
PAPER = {  # Table 1, each number as many stages of maps as in MAPS; P is a pool
    "VGG11": "0P1P22P33P44P",
    "VGG13": "00P11P22P33P44P",
    "VGG16": "00P11P222P333P444P",
    "VGG19": "00P11P2222P3333P4444P",
}


def ours(name: str, batch_norm: bool) -> Any:
    narrow = type(name, (getattr(vgg, name),), {"maps": MAPS, "units": UNITS})
    return narrow(CLASSES, batch_norm=batch_norm, size=64)


def theirs(name: str, batch_norm: bool) -> Any:
    from torch import nn

    layers: list = []
    channels = 3
    for mark in PAPER[name]:
        if mark == "P":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        maps = MAPS[int(mark)]
        layers += [nn.Conv2d(channels, maps, 3, padding=1), *[nn.BatchNorm2d(maps)] * batch_norm, nn.ReLU()]
        channels = maps

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*layers)
            first = [nn.Linear(8 * 4, UNITS), nn.ReLU(), nn.Dropout()]
            self.classifier = nn.Sequential(*first, nn.Linear(UNITS, UNITS), nn.ReLU(), nn.Dropout(), nn.Linear(UNITS, CLASSES))

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features(x).flatten(1))

    return Twin()


TWINS = [
    ModelTwin(name + "-bn" * bn, partial(ours, name, bn), partial(theirs, name, bn), (3, 3, 64, 67))
    for name in PAPER
    for bn in (False, True)
]
