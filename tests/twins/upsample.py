"""Upsampling in PyTorch, which takes align_corners only where it means something."""

from typing import Any


def upsample(x: Any, *, scale: tuple[int, int], mode: str, align_corners: bool) -> Any:
    from torch.nn import functional

    aligned = align_corners if mode == "bilinear" else None
    return functional.interpolate(x, scale_factor=tuple(map(float, scale)), mode=mode, align_corners=aligned)


TWINS = {"upsample": upsample}
