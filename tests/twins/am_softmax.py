"""AM-Softmax, which PyTorch does not have, in PyTorch's operations: normalise, one product, cross-entropy."""

from typing import Any


def cosine_logits(x: Any, w: Any) -> Any:
    from torch.nn import functional

    return functional.linear(functional.normalize(x), functional.normalize(w))


def am_softmax(x: Any, w: Any, labels: Any, *, s: float, m: float) -> Any:
    from torch.nn import functional

    margin = m * functional.one_hot(labels, len(w)).to(x)
    return functional.cross_entropy(s * (cosine_logits(x, w) - margin), labels)


TWINS = {"cosine_logits": cosine_logits, "am_softmax": am_softmax}
