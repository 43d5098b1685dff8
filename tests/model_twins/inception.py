"""GoogLeNet and Inception v3 in PyTorch, narrow: branch by branch, as the papers' figures draw them."""

from __future__ import annotations

from typing import Any

from model_twins import ModelTwin
from models import inception

CLASSES = 5


# ---- GoogLeNet -------------------------------------------------------------------------------------------------------------


class NarrowGoogLeNet(inception.GoogLeNet):
    """An eighth of the maps."""

    stem = (8, 8, 24)
    table = {name: tuple(n // 8 for n in widths) for name, widths in inception.TABLE_1.items()}  # noqa: RUF012
    head_widths = (16, 12)


def googlenet(variant: str, auxiliary: bool, side: int) -> Any:
    """The net of PyTorch's layers; `side`: of the maps in the heads."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    paper = variant == "paper"
    large, last, drop = (5, 3, 0.4) if paper else (3, 2, 0.2)

    class Conv(nn.Module):
        def __init__(self, c: int, k: int, size: int, stride: int = 1) -> None:
            super().__init__()
            self.conv = nn.Conv2d(c, k, size, stride, size // 2, bias=paper)
            if not paper:
                self.bn = nn.BatchNorm2d(k, eps=1e-3)

        def forward(self, x: Any) -> Any:
            return F.relu(self.conv(x) if paper else self.bn(self.conv(x)))

    class Inception(nn.Module):
        def __init__(self, c: int, a: int, b1: int, b3: int, c1: int, c5: int, d: int) -> None:
            super().__init__()
            self.branch1 = Conv(c, a, 1)
            self.branch2 = nn.Sequential(Conv(c, b1, 1), Conv(b1, b3, 3))
            self.branch3 = nn.Sequential(Conv(c, c1, 1), Conv(c1, c5, large))
            self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), Conv(c, d, 1))

        def forward(self, x: Any) -> Any:
            return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)

    class Head(nn.Module):
        def __init__(self, c: int) -> None:
            super().__init__()
            self.conv = Conv(c, 16, 1)
            self.fc1, self.dropout, self.fc2 = nn.Linear(16 * side * side, 12), nn.Dropout(0.7), nn.Linear(12, CLASSES)

        def forward(self, x: Any) -> Any:
            x = F.avg_pool2d(x, 5, 3) if paper else F.adaptive_avg_pool2d(x, 4)
            return self.fc2(self.dropout(F.relu(self.fc1(self.conv(x).flatten(1)))))

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2, self.conv3 = Conv(3, 8, 7, 2), Conv(8, 8, 1), Conv(8, 24, 3)
            self.inception3a = Inception(24, 8, 12, 16, 2, 4, 4)
            self.inception3b = Inception(32, 16, 16, 24, 4, 12, 8)
            self.inception4a = Inception(60, 24, 12, 26, 2, 6, 8)
            self.inception4b = Inception(64, 20, 14, 28, 3, 8, 8)
            self.inception4c = Inception(64, 16, 16, 32, 3, 8, 8)
            self.inception4d = Inception(64, 14, 18, 36, 4, 8, 8)
            self.inception4e = Inception(66, 32, 20, 40, 4, 16, 16)
            self.inception5a = Inception(104, 32, 20, 40, 4, 16, 16)
            self.inception5b = Inception(104, 48, 24, 48, 6, 16, 16)
            self.fc, self.dropout = nn.Linear(128, CLASSES), nn.Dropout(drop)
            if auxiliary:
                self.aux1, self.aux2 = Head(64), Head(66)

        def forward(self, x: Any) -> Any:
            norm = nn.LocalResponseNorm(5) if paper else nn.Identity()
            x = norm(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True))
            x = F.max_pool2d(norm(self.conv3(self.conv2(x))), 3, 2, ceil_mode=True)
            x = F.max_pool2d(self.inception3b(self.inception3a(x)), 3, 2, ceil_mode=True)
            first = self.inception4a(x)
            second = self.inception4d(self.inception4c(self.inception4b(first)))
            x = F.max_pool2d(self.inception4e(second), last, 2, ceil_mode=True)
            x = self.inception5b(self.inception5a(x)).mean(dim=(2, 3))
            x = self.fc(self.dropout(x))
            return (x, self.aux1(first), self.aux2(second)) if self.training and auxiliary else x

    return Twin()


def googlenet_pair(variant: str, auxiliary: bool, size: int, side: int = 4) -> ModelTwin:
    return ModelTwin(
        f"GoogLeNet {variant} auxiliary={auxiliary}",
        lambda: NarrowGoogLeNet(CLASSES, variant=variant, auxiliary=auxiliary, size=size),
        lambda: googlenet(variant, auxiliary, side),
        (3, 3, size, size),
    )


# ---- Inception v3 ----------------------------------------------------------------------------------------------------------

Place = tuple[int, Any]


def share(place: Place | list[Place]) -> Place | list[Place]:
    """A sixteenth of the maps."""
    return [(n // 16, size) for n, size in place] if isinstance(place, list) else (place[0] // 16, place[1])


class NarrowInceptionV3(inception.InceptionV3):
    """A sixteenth of the maps."""

    stem = (2, 2, 4, 5, 12)
    table = {  # noqa: RUF012
        name: {branch: [share(place) for place in chain] for branch, chain in branches.items()}
        for name, branches in inception.BLOCKS.items()
    }
    head_widths = (8, 48)


def inception_v3(auxiliary: bool) -> Any:
    """The net of PyTorch's layers, each block written out."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    class Conv(nn.Module):
        def __init__(self, c: int, k: int, size: int | tuple[int, int] = 1, stride: int = 1, padding: Any = 0) -> None:
            super().__init__()
            self.conv = nn.Conv2d(c, k, size, stride, padding, bias=False)
            self.bn = nn.BatchNorm2d(k, eps=1e-3)

        def forward(self, x: Any) -> Any:
            return F.relu(self.bn(self.conv(x)))

    def average(x: Any) -> Any:
        return F.avg_pool2d(x, 3, 1, 1)

    class A(nn.Module):
        def __init__(self, c: int, pooled: int) -> None:
            super().__init__()
            self.branch1x1, self.branch_pool = Conv(c, 4), Conv(c, pooled)
            self.branch5x5_1, self.branch5x5_2 = Conv(c, 3), Conv(3, 4, 5, padding=2)
            self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(c, 4), Conv(4, 6, 3, padding=1)
            self.branch3x3dbl_3 = Conv(6, 6, 3, padding=1)

        def forward(self, x: Any) -> Any:
            five = self.branch5x5_2(self.branch5x5_1(x))
            double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
            return torch.cat([self.branch1x1(x), five, double, self.branch_pool(average(x))], 1)

    class B(nn.Module):
        def __init__(self, c: int) -> None:
            super().__init__()
            self.branch3x3 = Conv(c, 24, 3, 2)
            self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(c, 4), Conv(4, 6, 3, padding=1)
            self.branch3x3dbl_3 = Conv(6, 6, 3, 2)

        def forward(self, x: Any) -> Any:
            double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
            return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)

    def high(c: int, k: int) -> Conv:
        return Conv(c, k, (7, 1), padding=(3, 0))

    def wide(c: int, k: int) -> Conv:
        return Conv(c, k, (1, 7), padding=(0, 3))

    class C(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.branch1x1, self.branch_pool = Conv(48, 12), Conv(48, 12)
            self.branch7x7_1, self.branch7x7_2, self.branch7x7_3 = Conv(48, n), wide(n, n), high(n, 12)
            self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3 = Conv(48, n), high(n, n), wide(n, n)
            self.branch7x7dbl_4, self.branch7x7dbl_5 = high(n, n), wide(n, 12)

        def forward(self, x: Any) -> Any:
            seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
            double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
            double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
            return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(average(x))], 1)

    class D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch3x3_1, self.branch3x3_2 = Conv(48, 12), Conv(12, 20, 3, 2)
            self.branch7x7x3_1, self.branch7x7x3_2 = Conv(48, 12), wide(12, 12)
            self.branch7x7x3_3, self.branch7x7x3_4 = high(12, 12), Conv(12, 12, 3, 2)

        def forward(self, x: Any) -> Any:
            seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
            return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)], 1)

    class E(nn.Module):
        def __init__(self, c: int) -> None:
            super().__init__()
            self.branch1x1, self.branch_pool = Conv(c, 20), Conv(c, 12)
            self.branch3x3_1, self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(c, 24), Conv(c, 28), Conv(28, 24, 3, padding=1)
            self.branch3x3_2a, self.branch3x3_2b = self.cross()
            self.branch3x3dbl_3a, self.branch3x3dbl_3b = self.cross()

        def cross(self) -> tuple[Conv, Conv]:
            return Conv(24, 24, (1, 3), padding=(0, 1)), Conv(24, 24, (3, 1), padding=(1, 0))

        def forward(self, x: Any) -> Any:
            three, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
            ends = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
            ends += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
            return torch.cat([self.branch1x1(x), *ends, self.branch_pool(average(x))], 1)

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv0, self.conv1, self.fc = Conv(48, 8), Conv(8, 48, 5), nn.Linear(48, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.fc(self.conv1(self.conv0(F.avg_pool2d(x, 5, 3))).mean(dim=(2, 3)))

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Conv(3, 2, 3, 2), Conv(2, 2, 3)
            self.Conv2d_2b_3x3 = Conv(2, 4, 3, padding=1)
            self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Conv(4, 5), Conv(5, 12, 3)
            self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(12, 2), A(16, 4), A(18, 4)
            self.Mixed_6a = B(18)
            self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = C(8), C(10), C(10), C(12)
            self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = D(), E(80), E(128)
            self.fc, self.dropout = nn.Linear(128, CLASSES), nn.Dropout(0.5)
            if auxiliary:
                self.AuxLogits = Head()

        def forward(self, x: Any) -> Any:
            x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
            x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
            x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
            x = at_6e = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
            x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean(dim=(2, 3))
            x = self.fc(self.dropout(x))
            return (x, self.AuxLogits(at_6e)) if self.training and auxiliary else x

    return Twin()


def inception_pair(auxiliary: bool, size: int) -> ModelTwin:
    return ModelTwin(
        f"InceptionV3 auxiliary={auxiliary}",
        lambda: NarrowInceptionV3(CLASSES, auxiliary=auxiliary, size=size),
        lambda: inception_v3(auxiliary),
        (3, 3, size, size),
    )


TWINS = [
    googlenet_pair("paper", auxiliary=True, size=128, side=2),
    googlenet_pair("paper", auxiliary=False, size=64),
    googlenet_pair("torchvision", auxiliary=True, size=112),
    googlenet_pair("torchvision", auxiliary=False, size=64),
    inception_pair(auxiliary=True, size=299),
    inception_pair(auxiliary=False, size=107),
]
