"""What the tape costs per op, over calling the kernel itself. Goal: at most 10 microseconds.

    python -m benchmarks.tape          prints the table, writes results/tape.json

Small arrays, so that arithmetic is nearly nothing. Forward: `op(x)` on Tensors that require gradients, against
`kernel.forward(array)`. Backward: `y.backward(dy)`, with the sums into `.grad`, against `kernel.backward`. The two are
timed in turns; the figure is the median over rounds of (tape - kernel) / ops. 'alone' is the forward figure with a kernel that
returns a stored result: what is left without the cold caches that the real kernel leaves behind.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

import minidl
from benchmarks import report
from minidl import Tensor

CHAIN, ROUNDS = 200, 60


def main() -> None:
    """Print the cost per op of forward and backward, for ops with few and with many attributes."""
    rng = np.random.default_rng(0)
    x, w, v = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 4, 4), (3, 3, 3, 3), (5, 4)))
    cases: dict[str, tuple[minidl.Op, tuple, dict]] = {
        "tanh": (minidl.tanh, (x,), {}),
        "add": (minidl.add, (x, x), {}),
        "multiply": (minidl.multiply, (x, x), {}),
        "sum": (minidl.sum, (x,), {"axis": 1}),
        "linear": (minidl.linear, (x, v, None), {}),
        "conv2d": (minidl.conv2d, (x, w, None), {"padding": 1}),
        "lrn": (minidl.lrn, (x,), {}),
    }
    rows = []
    print(f"{'op':10} {'forward':>22} {'alone':>8} {'backward':>20}   microseconds per op: tape - kernel (kernel alone)")
    for name, (op, inputs, attrs) in cases.items():
        forward, backward = _forward(op, op.chosen(), inputs, attrs), _backward(op, inputs, attrs)
        alone = _forward(op, _stored(op, inputs, attrs), inputs, attrs)
        print(f"{name:10} {forward[0]:13.1f} ({forward[1]:6.1f}) {alone[0]:8.1f} {backward[0]:11.1f} ({backward[1]:6.1f})")
        figures = {"forward_us": forward[0], "alone_us": alone[0], "backward_us": backward[0], "kernel_forward_us": forward[1]}
        rows.append({"op": name, **figures})
    print(report.write("tape", rows))


def _per_op(tape: Callable[[], float], kernel: Callable[[], float]) -> tuple[float, float]:
    rounds = [(tape(), kernel()) for _ in range(ROUNDS)]
    extra = statistics.median(t - k for t, k in rounds)
    return 1e6 * extra / CHAIN, 1e6 * statistics.median(k for _, k in rounds) / CHAIN


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _forward(op: minidl.Op, kernel: minidl.Kernel, arrays: tuple, attrs: dict) -> tuple[float, float]:
    tensors = [None if a is None else Tensor(a, requires_grad=True) for a in arrays]
    full = _settled(op, arrays, attrs)
    with op.using(kernel.name):
        return _per_op(
            lambda: _timed(lambda: [op(*tensors, **attrs) for _ in range(CHAIN)] and None),
            lambda: _timed(lambda: [kernel.forward(*arrays, **full) for _ in range(CHAIN)] and None),
        )


def _stored(op: minidl.Op, arrays: tuple, attrs: dict) -> minidl.Kernel:
    """A kernel that computes nothing: it returns what the real one returned."""
    kernel = op.chosen()
    result = kernel.forward(*arrays, **_settled(op, arrays, attrs))
    return op.kernel("stored", lambda *arrays, **attrs: result, kernel.backward)


def _backward(op: minidl.Op, arrays: tuple, attrs: dict) -> tuple[float, float]:
    kernel, full = op.chosen(), _settled(op, arrays, attrs)
    y, saved, *_ = kernel.forward(*arrays, **full)
    dy, needs = np.ones_like(y), tuple(a is not None for a in arrays)

    def tape() -> float:
        tensors = [None if a is None else Tensor(a, requires_grad=True) for a in arrays]
        out = [op(*tensors, **attrs) for _ in range(CHAIN)]
        return _timed(lambda: [o.backward(dy) for o in out] and None)

    return _per_op(tape, lambda: _timed(lambda: [kernel.backward(dy, saved, needs, **full) for _ in range(CHAIN)] and None))


def _settled(op: minidl.Op, arrays: tuple, attrs: dict) -> dict:
    return op.settle(tuple(None if a is None else a.shape for a in arrays), {**op.attrs, **attrs})[0]


if __name__ == "__main__":
    main()
