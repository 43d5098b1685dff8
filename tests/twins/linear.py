"""Matrix products in PyTorch."""

from typing import Any


def linear(x: Any, w: Any, b: Any) -> Any:
    from torch.nn import functional

    return functional.linear(x, w, b)


def matmul(a: Any, b: Any) -> Any:
    return a @ b


TWINS = {"linear": linear, "matmul": matmul}
