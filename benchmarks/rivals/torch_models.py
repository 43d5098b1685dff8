"""The nets of `benchmarks.models` in PyTorch, as its users write them: its own layers, ReLU in place, our parameter names.

Weights come by name, strictly, so a net with another layer does not load; and `benchmarks.models` compares the first loss and
every first gradient before it times anything.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

relu = partial(F.relu, inplace=True)


# ---- one after another -----------------------------------------------------------------------------------------------


class LeNet5(nn.Module):
    """As it is built today."""

    def __init__(self) -> None:
        super().__init__()
        self.C1, self.C3, self.C5 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.Conv2d(16, 120, 5)
        self.F6, self.output = nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        x = F.avg_pool2d(squash(self.C1(x)), 2)
        x = F.avg_pool2d(squash(self.C3(x)), 2)
        x = squash(self.C5(x)).flatten(1)
        return self.output(squash(self.F6(x)))


def squash(x: Any) -> Any:
    """LeCun's tanh."""
    return 1.7159 * torch.tanh(2 / 3 * x)


class AlexNet(nn.Module):
    """Of 2012, two groups, LRN as printed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, 4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6, self.fc7, self.fc8 = nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000)
        self.norm, self.pool = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2), nn.MaxPool2d(3, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        x = self.pool(self.norm(relu(self.conv1(x))))
        x = self.pool(self.norm(relu(self.conv2(x))))
        x = relu(self.conv4(relu(self.conv3(x))))
        x = self.pool(relu(self.conv5(x))).flatten(1)
        x = self.dropout(relu(self.fc6(x)))
        x = self.dropout(relu(self.fc7(x)))
        return self.fc8(x)


class VGG16(nn.Module):
    """13 convolutions of 3x3, three dense layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for maps, count in zip((64, 128, 256, 512, 512), (2, 2, 3, 3, 3), strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(channels, maps, 3, padding=1), nn.ReLU(inplace=True)]
                channels = maps
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        first = [nn.Linear(512 * 49, 4096), nn.ReLU(inplace=True), nn.Dropout()]
        second = [nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout()]
        self.classifier = nn.Sequential(*first, *second, nn.Linear(4096, 1000))

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        return self.classifier(self.features(x).flatten(1))


# ---- side by side: GoogLeNet -----------------------------------------------------------------------------------------


class ConvReLU(nn.Module):
    """Convolution, ReLU."""

    def __init__(self, c: int, k: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, k, size, stride, size // 2)

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        return relu(self.conv(x))


class Inception(nn.Module):
    """Four views of the same maps, joined."""

    def __init__(self, c: int, n1: int, reduce3: int, n3: int, reduce5: int, n5: int, project: int) -> None:
        super().__init__()
        self.branch1 = ConvReLU(c, n1, 1)
        self.branch2 = nn.Sequential(ConvReLU(c, reduce3, 1), ConvReLU(reduce3, n3, 3))
        self.branch3 = nn.Sequential(ConvReLU(c, reduce5, 1), ConvReLU(reduce5, n5, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), ConvReLU(c, project, 1))

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Head(nn.Module):
    """An auxiliary classifier."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv, self.fc1, self.fc2 = ConvReLU(c, 128, 1), nn.Linear(128 * 16, 1024), nn.Linear(1024, 1000)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        x = self.conv(F.avg_pool2d(x, 5, 3)).flatten(1)
        return self.fc2(self.dropout(relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """The paper's, with both heads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = ConvReLU(3, 64, 7, 2), ConvReLU(64, 64, 1), ConvReLU(64, 192, 3)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1, self.aux2 = Head(512), Head(528)
        self.norm, self.pool = nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.dropout, self.fc = nn.Dropout(0.4), nn.Linear(1024, 1000)

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        x = self.norm(self.pool(self.conv1(x)))
        x = self.pool(self.norm(self.conv3(self.conv2(x))))
        x = self.pool(self.inception3b(self.inception3a(x)))
        first = self.inception4a(x)
        second = self.inception4d(self.inception4c(self.inception4b(first)))
        x = self.pool(self.inception4e(second))
        x = self.inception5b(self.inception5a(x)).mean(dim=(2, 3))
        return self.fc(self.dropout(x)), self.aux1(first), self.aux2(second)


# ---- with shortcuts: ResNet ------------------------------------------------------------------------------------------


def conv(c: int, k: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps height and width, or divides them by the stride."""
    return nn.Conv2d(c, k, size, stride, size // 2, bias=False)


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1."""

    widening = 4

    def __init__(self, c: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(c, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        same = stride == 1 and c == 4 * width
        self.downsample = None if same else nn.Sequential(conv(c, 4 * width, 1, stride), nn.BatchNorm2d(4 * width))

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(relu(self.bn2(self.conv2(y)))))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class PaddedBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut is every second pixel, and zeros for new maps (option A)."""

    widening = 1

    def __init__(self, c: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(c, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.stride, self.more = stride, width - c

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        if self.stride > 1 or self.more:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return relu(y + x)


class ResNet(nn.Module):
    """A stem, layers of blocks, the mean of every map, one dense layer."""

    def __init__(self, block: Any, widths: tuple[int, ...], depths: tuple[int, ...], stem: nn.Conv2d, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = stem, nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, 2, 1) if stem.stride == (2, 2) else nn.Identity()
        self.layers, c = [f"layer{i + 1}" for i in range(len(widths))], widths[0]
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            out = width * block.widening
            rest = [block(out, width, 1) for _ in range(depth - 1)]
            setattr(self, self.layers[i], nn.Sequential(block(c, width, 2 if i else 1), *rest))
            c = out
        self.fc = nn.Linear(c, classes)

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        x = self.pool(relu(self.bn1(self.conv1(x))))
        for name in self.layers:
            x = getattr(self, name)(x)
        return self.fc(x.mean(dim=(2, 3)))


# ---- Alpha-Net -------------------------------------------------------------------------------------------------------


class StochasticPool(nn.Module):
    """3x3, stride 1: in training one value of each window, drawn in proportion to what it is; else the expectation."""

    def forward(self, x: Any) -> Any:
        """Maps in, maps out."""
        if self.training:
            return F.pad(x, (1, 1, 1, 1)).flatten(2).gather(2, self.drawn(x)).reshape(x.shape)
        squares, total = (9 * F.avg_pool2d(a, 3, 1, 1) for a in (x * x, x))
        return squares / total.where(total > 0, 1)

    @torch.no_grad()
    def drawn(self, x: Any) -> Any:
        """Where in the padded map each window's value is."""
        N, C, H, W = x.shape
        bounds = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).reshape(N, C, H * W, 9).cumsum(3)
        total = bounds[..., -1:]
        number = (bounds <= torch.rand_like(total) * total).sum(3).clamp_(max=8)  # 9 where all is 0
        rows, columns = (torch.arange(n, device=x.device) for n in (H, W))
        corner = (rows[:, None] * (W + 2) + columns).reshape(-1)
        return corner + number.div(3, rounding_mode="floor") * (W + 2) + number % 3


class AlphaNorm(nn.BatchNorm2d):
    """The signed square root of what batch norm makes, then weight and bias."""

    def forward(self, x: Any) -> Any:
        """Maps in, maps out."""
        if self.training:
            self.num_batches_tracked += 1
        z = F.batch_norm(x, self.running_mean, self.running_var, None, None, self.training, self.momentum, self.eps)
        y = z.sign() * ((z.abs() + 0.01).sqrt() - 0.1)
        return self.weight[:, None, None] * y + self.bias[:, None, None]


class Averaged(nn.Module):
    """The mean of a 3x3 and a 5x5 convolution, as one of 5x5, which is faster here too."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.small, self.large = nn.Parameter(torch.zeros(k, k, 3, 3)), nn.Parameter(torch.zeros(k, k, 5, 5))

    def forward(self, x: Any) -> Any:
        """Maps in, maps out."""
        return F.conv2d(x, (F.pad(self.small, (1, 1, 1, 1)) + self.large) / 2, padding=2)


class AlphaBlock(nn.Module):
    """3x3, stochastic pool, averaged convolutions; perhaps a link."""

    def __init__(self, c: int, k: int, stride: int, linked: bool) -> None:
        super().__init__()
        self.conv1, self.bn1, self.pool = conv(c, k, 3, stride), AlphaNorm(k), StochasticPool()
        self.conv2, self.bn2 = Averaged(k), AlphaNorm(k)
        self.downsample = None if c == k else nn.Sequential(conv(c, k, 1, stride), AlphaNorm(k))
        if linked:
            self.link = nn.Parameter(torch.tensor(0.0))
            self.register_buffer("source", torch.tensor(0))

    def forward(self, x: Any, far: Any = None) -> Any:
        """Maps in, and those over the link; maps out."""
        x = x if far is None else x + self.link * far
        y = self.bn2(self.conv2(self.pool(relu(self.bn1(self.conv1(x))))))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class AlphaNet(nn.Module):
    """Version 1 for images of 32x32: three stages of 21 blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, c = conv(3, 16, 3), AlphaNorm(16), 16
        for i, k in enumerate((16, 32, 64)):
            blocks = [AlphaBlock(k if j else c, k, 2 if i and not j else 1, j > 1) for j in range(21)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            c = k
        self.fc = nn.Linear(c, 10)

    def forward(self, x: Any) -> Any:
        """Images or maps in, maps or scores out."""
        x = relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3):
            outputs: list = []
            for block in stage:
                x = block(x, outputs[block.source] if hasattr(block, "link") else None)
                outputs.append(x)
        return self.fc(x.mean(dim=(2, 3)))


NETS = {
    "alexnet": AlexNet,
    "vgg16": VGG16,
    "googlenet": GoogLeNet,
    "resnet50": lambda: ResNet(Bottleneck, (64, 128, 256, 512), (3, 4, 6, 3), conv(3, 64, 7, 2), 1000),
    "resnet20": lambda: ResNet(PaddedBlock, (16, 32, 64), (3, 3, 3), conv(3, 16, 3), 10),
    "alphanet": AlphaNet,
    "lenet": LeNet5,
}
