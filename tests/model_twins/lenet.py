"""LeNet-5 in PyTorch, as it is built today and as it was in 1998."""

from __future__ import annotations

from typing import Any

from model_twins import ModelTwin
from models.lenet import LeNet5, LeNet1998

# The paper's Table I in its own words: six maps see three in a row, six see four, three see four with a gap, one sees all.
SEEN = [[(k + i) % 6 for i in range(3)] for k in range(6)] + [[(k + i) % 6 for i in range(4)] for k in range(6)]
SEEN += [[0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]


def lenet5() -> Any:
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.C1, self.C3, self.C5 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.Conv2d(16, 120, 5)
            self.F6, self.output = nn.Linear(120, 84), nn.Linear(84, 10)

        def forward(self, x: Any) -> Any:
            squash = lambda a: 1.7159 * torch.tanh(2 / 3 * a)  # noqa: E731
            x = F.avg_pool2d(squash(self.C1(x)), 2)
            x = F.avg_pool2d(squash(self.C3(x)), 2)
            return self.output(squash(self.F6(squash(self.C5(x)).flatten(1))))

    return Twin()


def lenet1998() -> Any:
    import torch
    from torch import nn

    squash = lambda a: 1.7159 * torch.tanh(2 / 3 * a)  # noqa: E731

    class Subsampling(nn.Module):
        def __init__(self, maps: int) -> None:
            super().__init__()
            self.coefficient, self.bias = nn.Parameter(torch.zeros(maps)), nn.Parameter(torch.zeros(maps))

        def forward(self, x: Any) -> Any:
            four = x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]
            return squash(self.coefficient[:, None, None] * four + self.bias[:, None, None])

    class C3(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.zeros(60, 5, 5)), nn.Parameter(torch.zeros(16))

        def forward(self, x: Any) -> Any:
            filters = iter(self.weight)
            maps = []
            for bias, seen in zip(self.bias, SEEN, strict=True):
                weight = torch.stack([next(filters) for _ in seen])[None]
                maps.append(nn.functional.conv2d(x[:, sorted(seen)], weight, bias[None]))
            return torch.cat(maps, dim=1)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.C1, self.S2, self.C3, self.S4 = nn.Conv2d(1, 6, 5), Subsampling(6), C3(), Subsampling(16)
            self.C5, self.F6 = nn.Conv2d(16, 120, 5), nn.Linear(120, 84)
            self.register_buffer("drawings", torch.zeros(10, 84))

        def forward(self, x: Any) -> Any:
            x = self.S4(squash(self.C3(self.S2(squash(self.C1(x))))))
            x = squash(self.F6(squash(self.C5(x)).flatten(1)))
            return torch.stack([(x - drawing).square().sum(1) for drawing in self.drawings], dim=1)

    return Twin()


TWINS = [ModelTwin("LeNet5", LeNet5, lenet5, (3, 1, 32, 32)), ModelTwin("LeNet1998", LeNet1998, lenet1998, (3, 1, 32, 32))]
