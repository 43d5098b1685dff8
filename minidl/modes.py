"""The engine's modes: one context variable, set by `with` blocks, never a hidden global.

A thread sees them if it runs in a copy of the context: `contextvars.copy_context().run(work)`, as minidl/workers.py does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from minidl.jit import missing
from minidl.random import Stream, using_stream


class Modes(NamedTuple):
    """What holds where the code runs now."""

    grad: bool = True  # is the tape recording?
    anomaly: bool = False  # is every result checked for NaN and infinity?
    replay: bool = False  # is `recompute` running a segment the second time?
    shapes: bool = False  # does every op give an array of the right shape and type, and compute nothing?
    listener: Callable | None = None  # who hears of every op: listener(kernel, attrs, arrays, out, saved)
    after_backward: Callable | None = None  # who hears when backward is done with a node: after_backward(node)
    threads: int | None = None  # on how many threads are slices of the batch computed? None: the batch is not sliced
    batch: int | None = None  # for how many images are kernels chosen? None: for those that there are
    compiled: bool = False  # do compiled kernels take the place of the plain ones?
    images: int | None = None  # how many images has a slice? None: as many as the executor thinks best
    precision: str = "float32"  # of the factors of matrix products and convolutions: a name in PRECISIONS
    own_products: bool = False  # are a GPU's matrix products taken by a kernel of ours instead of cuBLAS?
    recording: bool = False  # is `capture` noting down what is launched?


MOST_THREADS = 1024
PRECISIONS = {"float32": 23, "tf32": 10, "bf16": 7}  # name -> bits behind the point that factors keep
_MODES: ContextVar[Modes] = ContextVar("modes", default=Modes())  # noqa: B039  (immutable)
modes = _MODES.get


@contextmanager
def _with(**changes: Any) -> Iterator[None]:
    token = _MODES.set(_MODES.get()._replace(**changes))
    try:
        yield
    finally:
        _MODES.reset(token)


def no_grad() -> AbstractContextManager[None]:
    """`with no_grad():` computes without a tape: evaluation, and edits of parameters.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> with minidl.no_grad():
    ...     y = 2 * w
    >>> y.requires_grad, (2 * w).requires_grad
    (False, True)
    """
    return _with(grad=False)


def enable_grad() -> AbstractContextManager[None]:
    """`with enable_grad():` records again inside a no_grad block; not inside shapes_only, where there is nothing to record."""
    return _with(grad=not modes().shapes)


def grad_enabled() -> bool:
    """Is the tape recording?"""
    return modes().grad


@contextmanager
def shapes_only() -> Iterator[None]:
    """`with shapes_only():` every op checks its inputs and gives the right shape and type, but computes nothing.

    Such an array takes no memory: it is one 0, seen everywhere (`numpy()` shows zeros). Parameters made inside are so too;
    initialisers draw nothing, edits in place change nothing, and the stream stays where it is. So the largest model is built
    and passed in a moment. There is no tape.

    >>> with minidl.shapes_only():
    ...     layer = nn.Linear(100_000, 100_000)  # 40 GB of weights, if they were there
    ...     y = layer(Tensor([[0.0] * 100_000]))
    >>> y.shape, layer.weight.shape
    ((1, 100000), (100000, 100000))
    """
    with _with(shapes=True, grad=False, anomaly=False), using_stream(Stream()):
        yield


def no_numbers() -> bool:
    """Are arrays mere shapes (`shapes_only`)?"""
    return modes().shapes


def detect_anomaly() -> AbstractContextManager[None]:
    """`with detect_anomaly():` names the op that first makes a NaN or an infinity, forward or backward. Slow."""
    return _with(anomaly=True)


def anomaly_mode() -> bool:
    """Are results being checked for NaN?"""
    return modes().anomaly


def listening(listener: Callable, backward: Callable | None = None) -> AbstractContextManager[None]:
    """`with listening(f, g):` calls f(kernel, attrs, arrays, out, saved) after every op, and g(node) after backward has passed
    a node, which is the `out.node` of an op (summaries, profilers)."""
    return _with(listener=listener, after_backward=backward)


def compiled() -> AbstractContextManager[None]:
    """`with compiled():` computes float32 on the CPU by kernels with loops that Numba compiles, where there are any.

    The results differ by rounding. A kernel that was chosen by name (`conv2d.using`) stays. The first step takes some seconds
    longer, while loops are compiled; they are kept on disk for the next time. Without Numba, a ValueError with the remedy.
    """
    if why := missing():
        raise ValueError(f"compiled: {why}")
    return _with(compiled=True)


def precision(name: str) -> AbstractContextManager[None]:
    """`with precision("tf32"):` rounds the factors of float32 matrix products and convolutions, as tensor cores take them.

    float32  not at all: IEEE, the default
    tf32     to 10 bits behind the point, with the range of float32
    bf16     to 7 bits behind the point, with the range of float32

    Products are exact and their sums float32; arrays stay float32, and so do weights: they are their own master weights, and
    the loss needs no scaling. What is no product (norms, softmax, pooling, sums) is float32 as ever. On a GPU the tensor cores
    do it, some six times as fast; on the CPU the factors are rounded first, which shows what it does to a training and gains
    nothing. backward() computes as its forward pass did. float16 is another matter, a type of arrays:
    `minidl train --precision fp16`.

    >>> third = Tensor([[1 / 3]])
    >>> with minidl.precision("bf16"):
    ...     print((third @ Tensor([[3.0]])).item())  # 0.333984375 x 3
    1.001953125
    """
    if name not in PRECISIONS:
        fp16 = "; float16 is a type: model.to(dtype='float16'), or minidl train --precision fp16" if "16" in str(name) else ""
        raise ValueError(f"precision: expected {', '.join(PRECISIONS)}, got {name!r}{fp16}")
    return _with(precision=name)


def own_products() -> AbstractContextManager[None]:
    """`with own_products():` takes matrix products on a GPU by minidl's own CUDA kernel instead of cuBLAS.

    A step that is captured as a CUDA graph needs it: CuPy refuses to call cuBLAS there. Factors are rounded as `precision`
    says, as ever; sums differ by rounding. It is for floats: complex numbers (conv2d's `fft`) and integers go the usual way.
    On the CPU it changes nothing. It must hold around backward(), too.

    >>> with minidl.own_products():
    ...     print((Tensor([[1.0, 2.0]]) @ Tensor([[3.0], [4.0]])).item())
    11.0
    """
    return _with(own_products=True)


def as_for_batch(images: int) -> AbstractContextManager[None]:
    """`with as_for_batch(128):` chooses kernels as for so many images, whatever the batch has (the forecast of memory)."""
    return _with(batch=images)


def recording() -> AbstractContextManager[None]:
    """`with recording():` marks the pass in which `capture` notes down what is launched."""
    return _with(recording=True)


def is_recording() -> bool:
    """Is `capture` noting down what is launched? Numbers of the host stay as they are now, however often it is repeated."""
    return modes().recording


def replaying() -> AbstractContextManager[None]:
    """`with replaying():` marks the second run of a recomputed segment."""
    return _with(replay=True)


def is_replay() -> bool:
    """Is `recompute` running a segment the second time? Running statistics are left alone then."""
    return modes().replay


def threads(count: int | None, *, images: int | None = None) -> AbstractContextManager[None]:
    """`with threads(2):` computes large batches in slices that fit the cache, on so many threads (minidl/executor.py).

    The same count gives the same bits, run after run; another count, or none, differs by rounding. `minidl train` has it on.

    count   1 slices too, which keeps arrays in the cache; None computes whole batches, as without this mode
    images  how many images a slice has, for experiments; default: the executor's rule

    >>> x = Tensor([[1.0, -2.0], [3.0, -4.0]])
    >>> with minidl.threads(2, images=1):  # an image a thread
    ...     print(minidl.relu(x).numpy().tolist())
    [[1.0, 0.0], [3.0, 0.0]]
    """
    for name, value, most in (("count", count, MOST_THREADS), ("images", images, None)):
        if value is not None and (type(value) is not int or value < 1 or (most and value > most)):
            bounds = f"from 1 to {most}" if most else "of at least 1"
            raise ValueError(f"threads: {name} must be a whole number {bounds}, or None, got {value!r}")
    return _with(threads=count, images=images)
