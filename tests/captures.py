"""What the tests of `capture` share: a net, a step, batches; and fixtures by which the stand-in records, slowly or quickly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import strict_recording
import strict_xp
from strict_xp import StrictArray

import minidl
from minidl import Tensor, nn
from minidl.backend import to_device
from minidl.ops import gemm, rows

DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]


class Net(nn.Module):
    """All that a recorded step has to keep apart: weights, running statistics, keys."""

    def __init__(self) -> None:
        self.conv, self.norm, self.dropout = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Dropout(0.3)
        self.dense = nn.Linear(4 * 14 * 14, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(minidl.relu(self.norm(self.conv(self.dropout(x)))).reshape(len(x), -1))


class Recomputed(Net):
    """Keys are dealt again in backward."""

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(minidl.recompute(lambda x: minidl.relu(self.norm(self.conv(self.dropout(x)))), x).reshape(len(x), -1))


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in records."""
    strict_recording.register(monkeypatch)


def by_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, added up in float32 at least."""
    wide = np.result_type(a, np.float32)
    return (a.astype(wide) @ b.astype(wide)).astype(a.dtype)


def sums_by_numpy(X: np.ndarray, *Y: np.ndarray) -> np.ndarray:
    """Of the columns of X, or of X times Y."""
    return np.prod([X, *Y], axis=0, dtype=np.result_type(X, np.float32)).sum(axis=0).astype(X.dtype)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the stand-in minidl's own products and sums are NumPy's: whole nets would take their emulation minutes."""
    matmul, column_sums = gemm.matmul, rows.column_sums

    def quick_matmul(a: Any, b: Any, *precision: str) -> Any:
        return strict_xp._compute(by_numpy, a, b) if type(a) is StrictArray else matmul(a, b, *precision)

    def quick_sums(X: Any, *Y: Any) -> Any:
        return strict_xp._compute(sums_by_numpy, X, *Y) if type(X) is StrictArray else column_sums(X, *Y)

    monkeypatch.setattr(gemm, "matmul", quick_matmul)
    monkeypatch.setattr(rows, "column_sums", quick_sums)


def step_of(model: Any) -> Callable[[Tensor, Any], Tensor]:
    """Forward and backward; how often Python passed through it is in `passed`."""

    def step(images: Tensor, labels: Any) -> Tensor:
        step.passed += 1  # type: ignore[attr-defined]
        loss = minidl.softmax_cross_entropy(model(images), labels)
        loss.backward()
        return loss

    step.passed = 0  # type: ignore[attr-defined]
    return step


def batch(n: int, where: str, seed: int = 0) -> tuple[Tensor, Any]:
    rng = np.random.default_rng(seed)
    images, labels = rng.standard_normal((n, 3, 16, 16)).astype(np.float32), rng.integers(0, 5, n)
    return Tensor(images, device=where), to_device(labels, where)
