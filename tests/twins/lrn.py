"""Local response normalisation in PyTorch: alpha multiplies the mean over the window."""

from typing import Any


def lrn(x: Any, *, n: int, alpha: float, beta: float, k: float, convention: str) -> Any:
    from torch.nn import functional

    return functional.local_response_norm(x, n, alpha * n if convention == "paper" else alpha, beta, k)


TWINS = {"lrn": lrn}
