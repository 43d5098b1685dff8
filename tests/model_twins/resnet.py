"""The residual and the plain nets in PyTorch, narrow and on small images."""

from __future__ import annotations

from typing import Any

from model_twins import ModelTwin
from models import resnet

IMAGENET, CIFAR = (4, 6, 8, 10), (4, 6, 8)  # widths


def twin(
    depths: tuple[int, ...], widths: tuple[int, ...], *, strides: tuple[int, int] | None = None, shortcut: str = "B"
) -> Any:
    """A net of PyTorch's layers: bottlenecks with these (first, second) strides where halving, basic blocks if None."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    def convolution(c: int, k: int, size: int, stride: int) -> nn.Conv2d:
        return nn.Conv2d(c, k, size, stride, size // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, c: int, k: int, halve: bool) -> None:
            super().__init__()
            if strides is None:
                chain = [(c, k, 3, 1 + halve), (k, k, 3, 1)]
            else:
                first, second = strides if halve else (1, 1)
                chain = [(c, k, 1, first), (k, k, 3, second), (k, 4 * k, 1, 1)]
            self.out, self.halve, self.length = chain[-1][1], halve, len(chain)
            for i, (c_in, c_out, size, stride) in enumerate(chain, start=1):
                setattr(self, f"conv{i}", convolution(c_in, c_out, size, stride))
                setattr(self, f"bn{i}", nn.BatchNorm2d(c_out))
            self.downsample = None
            if shortcut == "B" and (halve or c != self.out):
                self.downsample = nn.Sequential(convolution(c, self.out, 1, 1 + halve), nn.BatchNorm2d(self.out))

        def forward(self, x: Any) -> Any:
            y = x
            for i in range(1, self.length + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = F.relu(y) if i < self.length else y
            if shortcut == "none":
                return F.relu(y)
            if self.downsample is not None:
                x = self.downsample(x)
            elif self.halve:
                x = F.max_pool2d(x, 1, 2)  # every second pixel
                x = torch.cat([x, x.new_zeros(len(x), self.out - x.shape[1], *x.shape[2:])], dim=1)
            return F.relu(x + y)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.imagenet = len(widths) == 4
            size, stride = (7, 2) if self.imagenet else (3, 1)
            self.conv1, self.bn1 = convolution(3, widths[0], size, stride), nn.BatchNorm2d(widths[0])
            c = widths[0]
            for i, (k, depth) in enumerate(zip(widths, depths, strict=True), start=1):
                blocks = [Block(c, k, halve=i > 1)]
                blocks += [Block(blocks[0].out, k, halve=False) for _ in range(depth - 1)]
                setattr(self, f"layer{i}", nn.Sequential(*blocks))
                c = blocks[0].out
            self.fc = nn.Linear(c, 5)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.bn1(self.conv1(x)))
            x = F.max_pool2d(x, 3, 2, 1) if self.imagenet else x
            for i in range(1, len(widths) + 1):
                x = getattr(self, f"layer{i}")(x)
            return self.fc(x.mean(dim=(2, 3)))

    return Twin()


def pair(name: str, depths: tuple[int, ...], size: int, *, theirs: dict[str, Any] | None = None, **options: Any) -> ModelTwin:
    """The model of this name, made narrow, and its twin."""
    widths = IMAGENET if len(depths) == 4 else CIFAR
    narrow = type(name, (getattr(resnet, name),), {"widths": widths})
    told = "".join(f" {key}={value}" for key, value in options.items())
    return ModelTwin(
        name + told, lambda: narrow(classes=5, **options), lambda: twin(depths, widths, **(theirs or {})), (3, 3, size, size)
    )


BOTTLENECK, PADDED, PLAIN = {"strides": (1, 2)}, {"shortcut": "A"}, {"shortcut": "none"}

TWINS = [
    pair("ResNet18", (2, 2, 2, 2), 64),
    pair("ResNet18", (2, 2, 2, 2), 64, version="v1"),
    pair("ResNet34", (3, 4, 6, 3), 45),
    pair("ResNet50", (3, 4, 6, 3), 64, theirs=BOTTLENECK),
    pair("ResNet50", (3, 4, 6, 3), 64, theirs={"strides": (2, 1)}, version="v1"),
    pair("ResNet101", (3, 4, 23, 3), 64, theirs=BOTTLENECK),
    pair("ResNet152", (3, 8, 36, 3), 64, theirs=BOTTLENECK),
    pair("PlainNet18", (2, 2, 2, 2), 64, theirs=PLAIN),
    pair("PlainNet34", (3, 4, 6, 3), 45, theirs=PLAIN),
    *[pair(f"ResNet{6 * n + 2}", (n, n, n), 15, theirs=PADDED) for n in (3, 5, 7, 9, 18)],
    *[pair(f"ResNet{6 * n + 2}", (n, n, n), 16, shortcut="B") for n in (3, 5, 7, 9, 18)],
    pair("PlainNet", (3, 3, 3), 16, theirs=PLAIN),
    pair("PlainNet", (9, 9, 9), 16, theirs=PLAIN, depth=56),
]
