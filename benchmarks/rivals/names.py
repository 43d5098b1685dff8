"""The names of PyTorch's rivals: torch, and words after it, in this order.

torch-tuned            malloc keeps memory, so that no page is faulted in twice (GLIBC_TUNABLES), and SGD is fused; on a GPU
                       cuDNN tries its ways to convolve first (torch.backends.cudnn.benchmark)
torch-channels-last    images and filters lie in memory channels last
torch-tuned-channels-last
"""

from __future__ import annotations

import argparse
from typing import Any

NO_PAGE_FAULTS = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736:glibc.malloc.top_pad=67108864"
TORCH = ("torch", "torch-channels-last", "torch-tuned", "torch-tuned-channels-last")


def options(name: str) -> dict[str, Any]:
    """What `Worker` needs beside the class: the environment, and the options of the rival."""
    tuned = "-tuned" in name
    return {
        "environment": {"GLIBC_TUNABLES": NO_PAGE_FAULTS} if tuned else {},
        "layout": "channels-last" if name.endswith("-channels-last") else "contiguous",
        "tuned": tuned,
    }


def listed(text: str) -> list[str]:
    """`--rivals A,B` as a list."""
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in TORCH:
            raise argparse.ArgumentTypeError(f"no rival {name!r}: choose from {', '.join(TORCH)}")
    return names


def best(medians: dict[str, float]) -> dict[str, str | None]:
    """Of rival -> seconds, the fastest of PyTorch as it comes ('stock') and of the tuned ('tuned'); None where none ran."""
    groups = {"stock": [n for n in medians if "-tuned" not in n], "tuned": [n for n in medians if "-tuned" in n]}
    return {kind: min(names, key=medians.__getitem__, default=None) for kind, names in groups.items()}
