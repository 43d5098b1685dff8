"""PyTorch's nets in training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from benchmarks import nets
from benchmarks.rivals.torch_models import NETS
from benchmarks.rivals.torch_precision import Precise
from benchmarks.rivals.training import Training


class TorchNets(Training):
    """PyTorch's training step.

    layout  'channels-last': images and filters lie so in memory, as PyTorch's guide to performance advises
    tuned   SGD fused into one pass; the process was started with malloc's tunables set (benchmarks/rivals/names.py); on a GPU
            cuDNN tries its ways to convolve and keeps the fastest
    """

    def __init__(self, threads: int, device: str = "cpu", layout: str = "contiguous", tuned: bool = False):
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = tuned
        self.device, self.tuned, self.precise = torch.device(device), tuned, Precise(device)
        self.queued = self.device.type == "cuda"
        self.format = torch.channels_last if layout == "channels-last" else torch.contiguous_format

    def about(self) -> dict[str, Any]:
        """The version, and the threads it has in truth."""
        return {"torch": torch.__version__, "torch_threads": torch.get_num_threads()} | self.precise.told()

    def use(self, precision: str) -> None:
        """See Training."""
        self.precise.use(precision)

    def build(self, net: str, weights: str) -> None:
        """See Training."""
        self.model = NETS[net]().train()
        with np.load(weights) as state:
            self.model.load_state_dict({name: torch.from_numpy(state[name]) for name in state.files}, strict=True)
        self.model.to(self.device, memory_format=self.format)
        self.dropouts = [module for module in self.model.modules() if isinstance(module, nn.Dropout)]
        fused = {"fused": True} if self.tuned else {}
        rule = {"lr": nets.LR, "momentum": nets.MOMENTUM, "weight_decay": nets.WEIGHT_DECAY}
        self.optimiser = torch.optim.SGD(self.model.parameters(), **rule, **fused)

    def take(self, images: np.ndarray, labels: np.ndarray) -> None:
        """See Training."""
        self.images = torch.from_numpy(images).to(self.device).contiguous(memory_format=self.format)
        self.labels = torch.from_numpy(labels).to(self.device)

    def forward(self) -> Any:
        """See Training."""
        with self.precise.forward():
            out = self.model(self.images)
            scores, *heads = out if isinstance(out, tuple) else (out,)
            loss = F.cross_entropy(scores, self.labels)
            for head in heads:
                loss = loss + 0.3 * F.cross_entropy(head, self.labels)
        return loss

    def backward(self, loss: Any) -> None:
        """See Training."""
        loss.backward()

    def update(self) -> None:
        """See Training."""
        self.optimiser.step()
        self.optimiser.zero_grad()

    def gradients(self) -> Iterable[tuple[str, np.ndarray]]:
        """See Training."""
        return ((name, p.grad.cpu().contiguous().numpy()) for name, p in self.model.named_parameters())

    def wait(self) -> None:
        """See Training."""
        if self.queued:
            torch.cuda.synchronize(self.device)

    def give_back(self) -> None:
        """See Training."""
        if self.queued:
            torch.cuda.empty_cache()

    def pooled(self) -> int | None:
        """See Training."""
        return torch.cuda.memory_reserved(self.device) if self.queued else None
