"""AM-Softmax, which PyTorch does not have, in PyTorch's operations: normalise, one product, cross-entropy."""

import math
from typing import Any


def cosine_logits(x: Any, w: Any) -> Any:
    from torch.nn import functional

    return functional.linear(functional.normalize(x), functional.normalize(w))


def am_softmax(x: Any, w: Any, labels: Any, *, s: float, m: float) -> Any:
    from torch.nn import functional

    margin = m * functional.one_hot(labels, len(w)).to(x)
    return functional.cross_entropy(s * (cosine_logits(x, w) - margin), labels)


def am_softmax_linear(
    x: Any, w: Any, labels: Any, *, s: float, m: float, a: float, c: float, continuous: bool, literal: bool
) -> Any:
    import torch

    cos, own = cosine_logits(x, w), labels[:, None]
    right = cos.gather(1, own)

    def angular(of_right: Any) -> Any:
        p = (s * cos.scatter(1, own, of_right - m)).softmax(1).gather(1, own)
        return -p if literal else -p.log()

    edge = torch.full_like(right, math.cos(m))
    height = angular(edge) - a * (1 - edge) if continuous else c
    return torch.where(right.acos() > m, angular(right), a * (1 - right) + height).mean()


TWINS = {"cosine_logits": cosine_logits, "am_softmax": am_softmax, "am_softmax_linear": am_softmax_linear}
