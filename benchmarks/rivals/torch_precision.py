"""PyTorch in a precision by name (benchmarks/precision.py)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


class Precise:
    """Switches a process of PyTorch. Backward needs no context of its own: it takes the types that forward chose."""

    def __init__(self, device: str):
        self.kind, self.name = torch.device(device).type, "float32"
        self.use("float32")

    def use(self, name: str) -> None:
        """From now on; ValueError where PyTorch has no such thing."""
        if name == "tf32" and self.kind != "cuda":
            raise ValueError("PyTorch has no TF32 on the CPU: take --precision bf16 or float32, or leave out --rivals")
        self.name, kind = name, "tf32" if name == "tf32" else "ieee"
        matmul, convolution = torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "conv", None)
        if hasattr(matmul, "fp32_precision") and hasattr(convolution, "fp32_precision"):
            matmul.fp32_precision = convolution.fp32_precision = kind
        else:  # before 2.9
            matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = kind == "tf32"

    def forward(self) -> AbstractContextManager[Any]:
        """`with precise.forward():` the forward pass, and the loss."""
        return torch.autocast(self.kind, dtype=torch.bfloat16) if self.name == "bf16" else nullcontext()

    def told(self) -> dict[str, Any]:
        """What is switched how."""
        matmul, convolution = torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "conv", None)
        new = hasattr(matmul, "fp32_precision") and hasattr(convolution, "fp32_precision")
        return {
            "torch_matmul": matmul.fp32_precision if new else matmul.allow_tf32,
            "torch_convolution": convolution.fp32_precision if new else torch.backends.cudnn.allow_tf32,
            "torch_autocast": self.name == "bf16",
        }
