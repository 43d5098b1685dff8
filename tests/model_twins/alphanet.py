"""Alpha-Net in PyTorch, narrow and on small images. Its stochastic pools draw what ours drew."""

from __future__ import annotations

from typing import Any

import minidl
from minidl.random import Stream, random_uniforms, stream
from model_twins import ModelTwin
from models import alphanet

CLASSES = 5
WIDTHS = {"AlphaNet32": (4, 6, 8), "AlphaNet": (4, 6, 8, 10)}
STAGES = {8: (1, 1, 1), 20: (3, 3, 3), 26: (4, 4, 4), 32: (3, 4, 5, 3)}  # by depth


def twin(name: str, depth: int, structure: str, kernels: tuple[int, int] = (3, 5), heads: bool = False) -> Any:
    """A net of PyTorch's layers."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    def convolution(c: int, k: int, size: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(c, k, size, stride, size // 2, bias=False)

    class AlphaNorm(nn.BatchNorm2d):
        def forward(self, x: Any) -> Any:
            if self.training:
                self.num_batches_tracked += 1
            z = F.batch_norm(x, self.running_mean, self.running_var, None, None, self.training, 0.1, 1e-5)
            y = z.sign() * ((z.abs() + 0.01).sqrt() - 0.1)
            return self.weight[:, None, None] * y + self.bias[:, None, None]

    norm = AlphaNorm if structure == "alpha" else nn.BatchNorm2d

    class StochasticPool(nn.Module):
        keys: Any = None

        def forward(self, x: Any) -> Any:
            windows = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)  # [N, C, P, Q, 3, 3]
            total = windows.sum((4, 5))
            if not self.training:
                return (windows * windows).sum((4, 5)) / torch.where(total > 0, total, 1)
            N, C, P, Q = x.shape
            u = torch.from_numpy(random_uniforms(self.keys, P * Q * C)).reshape(N, P, Q, C).permute(0, 3, 1, 2)
            above = torch.zeros_like(u)
            bounds = []
            for row in windows.detach().float().unbind(4):  # the sum of each row by itself, as ours
                along = torch.zeros_like(u)
                for value in row.unbind(4):
                    along = along + value
                    bounds.append(above + along)
                above = above + along
            code = (torch.stack(bounds) <= u * above).sum(0)
            drawn = windows.flatten(4).gather(4, code.clamp(max=8)[..., None])[..., 0]
            return torch.where(total > 0, drawn, 0)

    class Averaged(nn.Module):
        def __init__(self, k: int) -> None:
            super().__init__()
            self.small, self.large = (nn.Parameter(torch.zeros(k, k, size, size)) for size in kernels)

        def forward(self, x: Any) -> Any:
            small, large = (F.pad(x, [(size - 1) // 2, size // 2] * 2) for size in kernels)
            return (F.conv2d(small, self.small) + F.conv2d(large, self.large)) / 2

    class Block(nn.Module):
        def __init__(self, c: int, k: int, halve: bool, linked: bool) -> None:
            super().__init__()
            self.conv1, self.bn1 = convolution(c, k, 3, 1 + halve), norm(k)
            self.pool = StochasticPool() if structure == "alpha" else nn.Identity()
            self.conv2, self.bn2 = Averaged(k) if structure == "alpha" else convolution(k, k, 3), norm(k)
            self.downsample = None
            if structure != "plain" and c != k:
                self.downsample = nn.Sequential(convolution(c, k, 1, 1 + halve), norm(k))
            if linked:
                self.link = nn.Parameter(torch.tensor(0.0))
                self.register_buffer("source", torch.tensor(0))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.pool(F.relu(self.bn1(self.conv1(x))))))
            if structure == "plain":
                return F.relu(y)
            return F.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths, self.large = WIDTHS[name], name == "AlphaNet"
            self.conv1, self.bn1 = convolution(3, widths[0], 7 if self.large else 3, 1 + self.large), norm(widths[0])
            c = widths[0]
            for i, (k, count) in enumerate(zip(widths, STAGES[depth], strict=True), start=1):
                linked = [structure == "alpha" and j > 1 for j in range(count)]
                blocks = [Block(k if j else c, k, i > 1 and not j, linked[j]) for j in range(count)]
                setattr(self, f"layer{i}", nn.Sequential(*blocks))
                if heads and i < len(widths):
                    setattr(self, f"aux{i}", nn.Linear(k, CLASSES))
                c = k
            self.fc = nn.Linear(c, CLASSES)

        def forward(self, x: Any) -> Any:
            if self.training:
                self.take_keys(len(x))
            x = F.relu(self.bn1(self.conv1(x)))
            x = F.max_pool2d(x, 3, 2, 1) if self.large else x
            more = []
            for i in range(1, len(WIDTHS[name]) + 1):
                outputs: list = []
                for block in getattr(self, f"layer{i}"):
                    x = x + block.link * outputs[int(block.source)] if hasattr(block, "link") else x
                    x = block(x)
                    outputs.append(x)
                if hasattr(self, f"aux{i}"):
                    more.append(getattr(self, f"aux{i}")(x.mean((2, 3))))
            x = self.fc(x.mean((2, 3)))
            return (x, *more) if more and self.training else x

        def take_keys(self, n: int) -> None:
            """Those that our net, whose pass was the last to draw, has just used: n of each pool."""
            pools = [module for module in self.modules() if isinstance(module, StochasticPool)]
            used = stream().position - n * len(pools)
            for i, pool in enumerate(pools):
                pool.keys = Stream(stream().seed, used + n * i).keys(n)

    return Twin()


def ours(name: str, depth: int, structure: str, **options: Any) -> Any:
    """The model, made narrow; with links that one cannot overlook."""
    model = type(name, (getattr(alphanet, name),), {"widths": WIDTHS[name]})(
        CLASSES, depth=depth, structure=structure, **options
    )
    with minidl.no_grad():
        for name_of, parameter in model.named_parameters():
            if name_of.endswith("link"):
                parameter.copy_(0.6)
    return model


def pair(name: str, depth: int, structure: str, size: int, **options: Any) -> ModelTwin:
    """The model and its twin; batches of three."""
    told = "".join(f" {key}={value}" for key, value in options.items())
    heads, kernels = options.get("auxiliary", False), options.get("kernels", (3, 5))
    seed = {"seed": 1} if structure == "alpha" else {}
    return ModelTwin(
        f"{name} depth={depth} structure={structure}{told}",
        lambda: ours(name, depth, structure, size=size, **seed, **options),
        lambda: twin(name, depth, structure, kernels, heads),
        (3, 3, size, size),
    )


TWINS = [
    pair("AlphaNet32", 20, "plain", 16),
    pair("AlphaNet32", 20, "residual", 15),
    pair("AlphaNet32", 26, "alpha", 16),
    pair("AlphaNet32", 20, "alpha", 15, recompute="block"),
    pair("AlphaNet32", 26, "alpha", 21, kernels=(5, 10)),
    pair("AlphaNet32", 8, "alpha", 12, auxiliary=True),
    pair("AlphaNet", 32, "residual", 40),
    pair("AlphaNet", 32, "alpha", 65),
]
