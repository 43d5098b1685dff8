"""The nets called AlexNet in PyTorch: of 2012 by every convention, for a laptop, and the listings. All narrow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from minidl import nn
from model_twins import ModelTwin
from models import alexnet, alexnet_listings

MAPS, UNITS, CLASSES = (8, 12, 16, 12, 8), 20, 7


class AlexNet(alexnet.AlexNet):
    maps, units = MAPS, UNITS


class KerasAlexNet(alexnet_listings.KerasAlexNet):
    maps, units = MAPS, UNITS


class SlidesAlexNet(alexnet_listings.SlidesAlexNet):
    maps, units = MAPS, UNITS


class TorchvisionAlexNet(alexnet_listings.TorchvisionAlexNet):
    maps, units = MAPS, UNITS


class SixClassAlexNet(alexnet_listings.SixClassAlexNet):
    maps, units = MAPS, UNITS


def loud(build: Callable, *args: Any, **options: Any) -> nn.Module:
    """A net whose signals are large enough for LRN to matter; at N(0, 0.01^2) and this width they vanish in the biases."""
    model = build(*args, **options)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
    return model


def of_2012(groups: int, convention: str) -> Any:
    """For images from 96 to 127 pixels: the last maps are of 2x2."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    m1, m2, m3, m4, m5 = MAPS

    def lrn(x: Any) -> Any:
        if convention == "paper":
            return F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2)
        if convention == "original":
            return torch.cat([F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=2) for x in x.chunk(groups, dim=1)], dim=1)
        return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1)

    def pool(x: Any) -> Any:
        return F.max_pool2d(x, 3, 2)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, m1, 11, 4)
            self.conv2 = nn.Conv2d(m1, m2, 5, padding=2, groups=groups)
            self.conv3 = nn.Conv2d(m2, m3, 3, padding=1)
            self.conv4 = nn.Conv2d(m3, m4, 3, padding=1, groups=groups)
            self.conv5 = nn.Conv2d(m4, m5, 3, padding=1, groups=groups)
            self.fc6, self.fc7, self.fc8 = nn.Linear(m5 * 4, UNITS), nn.Linear(UNITS, UNITS), nn.Linear(UNITS, CLASSES)

        def forward(self, x: Any) -> Any:
            beyond = [(11 - size) % 4 for size in x.shape[2:]]
            x = self.conv1(F.pad(x, (0, beyond[1], 0, beyond[0])))
            if convention == "original":
                x = F.relu(self.conv2(F.relu(pool(lrn(x)))))
                x = lrn(x)
                x = pool(x / (1 + 1e-3 / 25 * F.avg_pool2d(x.square(), 5, 1, 2, divisor_override=1)) ** 0.75)
            elif convention == "caffenet":
                x = lrn(pool(F.relu(self.conv2(lrn(pool(F.relu(x)))))))
            else:
                x = pool(lrn(F.relu(self.conv2(pool(lrn(F.relu(x)))))))
            x = F.relu(self.conv4(F.relu(self.conv3(x))))
            x = pool(F.relu(self.conv5(x))).flatten(1)
            return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))

    return Twin()


def stages(maps: tuple[int, ...], *, padding: int = 0, lrn: bool = True) -> Any:
    """conv1 to pool5 of the listings in one row."""
    from torch import nn

    m1, m2, m3, m4, m5 = maps
    norm = [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2)] if lrn else []
    return nn.Sequential(
        *[nn.Conv2d(3, m1, 11, 4, padding), nn.ReLU(), *norm, nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(m1, m2, 5, padding=2), nn.ReLU(), *norm, nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(m2, m3, 3, padding=1), nn.ReLU()],
        *[nn.Conv2d(m3, m4, 3, padding=1), nn.ReLU()],
        *[nn.Conv2d(m4, m5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)],
    )


def dense(features: int, classes: int) -> Any:
    """The three dense layers of the listings."""
    from torch import nn

    first = [nn.Dropout(), nn.Linear(features, UNITS), nn.ReLU()]
    return nn.Sequential(*first, nn.Dropout(), nn.Linear(UNITS, UNITS), nn.ReLU(), nn.Linear(UNITS, classes))


def slides() -> Any:
    from torch import nn

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.classifier = stages(MAPS), dense(MAPS[-1] * 36, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.classifier(self.net(x).flatten(1))

    return Twin()


def torchvision(classes: int) -> Any:
    from torch import nn

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.avgpool = stages(MAPS, padding=2, lrn=False), nn.AdaptiveAvgPool2d((6, 6))
            self.classifier = dense(MAPS[-1] * 36, classes)

        def forward(self, x: Any) -> Any:
            return self.classifier(self.avgpool(self.features(x)).flatten(1))

    return Twin()


def keras() -> Any:
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            channels = (3, *MAPS)
            for i, (size, stride) in enumerate([(11, 4), (11, 1), (3, 1), (3, 1), (3, 1)], start=1):
                setattr(self, f"conv{i}", nn.Conv2d(channels[i - 1], channels[i], size, stride))
                setattr(self, f"norm{i}", nn.BatchNorm2d(channels[i], eps=1e-3, momentum=0.01))
            self.fc6, self.norm6 = nn.Linear(MAPS[-1], UNITS), nn.BatchNorm1d(UNITS, eps=1e-3, momentum=0.01)
            self.fc7, self.norm7 = nn.Linear(UNITS, UNITS), nn.BatchNorm1d(UNITS, eps=1e-3, momentum=0.01)
            self.fc8 = nn.Linear(UNITS, CLASSES)

        def forward(self, x: Any) -> Any:
            for i in range(1, 6):
                x = F.relu(getattr(self, f"conv{i}")(x))
                x = getattr(self, f"norm{i}")(F.max_pool2d(x, 2) if i in (1, 2, 5) else x)
            x = x.flatten(1)
            return self.fc8(self.norm7(F.relu(self.fc7(self.norm6(F.relu(self.fc6(x)))))))

    return Twin()


def laptop() -> Any:
    from torch import nn

    def part(c: int, k: int, size: int, *rest: Any) -> list:
        return [nn.Conv2d(c, k, size, padding=size // 2), nn.ReLU(), *rest]

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            norm, pool = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2), nn.MaxPool2d(3, 2)
            features = [*part(3, 24, 5, norm, pool), *part(24, 64, 5, norm, pool), *part(64, 96, 3), *part(96, 96, 3)]
            self.features = nn.Sequential(*features, *part(96, 64, 3, pool))
            layers = [nn.Flatten(), nn.Linear(576, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout()]
            self.classifier = nn.Sequential(*layers, nn.Linear(512, CLASSES))

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features(x))

    return Twin()


def pair(groups: int, convention: str) -> ModelTwin:
    ours = partial(loud, AlexNet, CLASSES, groups=groups, size=100, convention=convention)
    name = f"AlexNet-{groups}-{convention}"
    return ModelTwin(name, ours, partial(of_2012, groups, convention), (2, 3, 98, 101))


TWINS = [
    *[pair(2, convention) for convention in alexnet.CONVENTIONS],
    pair(1, "paper"),
    pair(1, "original"),
    ModelTwin("AlexNet32", partial(alexnet.AlexNet32, CLASSES), laptop, (2, 3, 32, 35)),
    ModelTwin("KerasAlexNet", partial(KerasAlexNet, CLASSES), keras, (3, 3, 224, 216)),
    ModelTwin("SlidesAlexNet", partial(loud, SlidesAlexNet, CLASSES), slides, (2, 3, 227, 230)),
    ModelTwin("TorchvisionAlexNet", partial(TorchvisionAlexNet, CLASSES), partial(torchvision, CLASSES), (2, 3, 224, 63)),
    ModelTwin("SixClassAlexNet", SixClassAlexNet, partial(torchvision, 6), (2, 3, 100, 150)),
]
