"""Trading time for memory: a segment of the net that keeps only its inputs.

    y = recompute(block, x)          # forward once, without a tape; backward runs `block` again, with one

The nodes of the second run are younger than all that wait in backward's heap, so they are taken next and in the order of a
plain tape: loss, gradients and buffers are equal bit for bit. Source: Chen, Xu, Zhang, Guestrin 2016, arXiv 1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from minidl.backend import Array
from minidl.modes import enable_grad, grad_enabled, no_grad, replaying
from minidl.random import Stream, stream, using_stream
from minidl.tape import Node, deliver
from minidl.tensor import Tensor


def recompute(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """function(*inputs), keeping only the inputs: backward runs it again (Chen, Xu, Zhang, Guestrin 2016).

    Trades one more forward pass of the segment for all the memory inside it. Loss, gradients and buffers are equal to
    the plain pass bit for bit: random keys and modes are replayed, and running statistics updated once. What the
    function reads beside its inputs (parameters, train() or eval()) must be the same when backward runs it again.

    Raises TypeError unless the function returns one Tensor that it computed.

    >>> def cube(x):
    ...     print("forward")
    ...     return x * x * x
    >>> x = Tensor([2.0], requires_grad=True)
    >>> y = minidl.recompute(cube, x)
    forward
    >>> y.backward()
    forward
    >>> x.grad.item()  # 3 x^2
    12.0
    """
    if not grad_enabled():
        return function(*inputs)
    start = stream().fork()
    with no_grad():
        out = function(*inputs)
    if not isinstance(out, Tensor) or out.requires_grad or any(out is i for i in inputs):
        came = "one that it was given" if isinstance(out, Tensor) else type(out).__name__
        raise TypeError(f"recompute: the function must return one Tensor that it computed, got {came}")
    out.requires_grad = True
    out.node = _Recomputed(function, inputs, start, out)
    return out


class _Recomputed(Node):
    """A segment whose inside was thrown away; backward runs it forward again and lets the gradient flow through that."""

    __slots__ = ("context", "function", "inputs", "stream")
    name = "recompute"

    def __init__(self, function: Callable, inputs: tuple, start: Stream, out: Tensor):
        tensors = [i if isinstance(i, Tensor) else None for i in inputs]
        arrays = tuple(None if t is None else t.data for t in tensors)
        super().__init__(None, {}, tensors, arrays)  # type: ignore[arg-type]
        self.function, self.inputs, self.stream, self.context = function, inputs, start, copy_context()
        self.hold(arrays, tensors, (out,))

    def expand(self, dy: Array, heap: list[Node]) -> bool:
        """Run the segment again, with a tape; its nodes are younger than all that wait, so they come next."""
        out = self.context.run(self._again)
        if out.requires_grad:
            deliver(out.node or out, dy, True, heap)
        return True

    def _again(self) -> Tensor:
        with replaying(), enable_grad(), using_stream(self.stream.fork()):
            return self.function(*self.inputs)

    def release(self) -> None:
        """Let go of the inputs too."""
        super().release()
        self.inputs = ()
