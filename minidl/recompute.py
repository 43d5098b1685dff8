"""Trading time for memory: a segment of the net that keeps only its inputs.

    y = recompute(block, x)          # forward once, without a tape; backward runs `block` again, with one

The nodes of the second run are younger than all that wait in backward's heap, so they are taken next and in the order of a
plain tape: loss, gradients and buffers are equal bit for bit. Source: Chen, Xu, Zhang, Guestrin 2016, arXiv 1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.modes import enable_grad, grad_enabled, no_grad, replaying
from minidl.random import Stream, stream, using_stream
from minidl.tensor import FREED, Node, Tensor, deliver


def recompute(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """function(*inputs), keeping only the inputs: backward runs it again (Chen, Xu, Zhang, Guestrin 2016).

    Trades one more forward pass of the segment for all the memory inside it. Loss, gradients and buffers are equal to
    the plain pass bit for bit: random keys are replayed and running statistics updated once. `function` returns one Tensor.

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
    current = stream()
    start = Stream(current.seed, current.position)
    with no_grad():
        out = function(*inputs)
    if any(out is i for i in inputs):
        return out
    out.requires_grad = True
    out.node = _Recomputed(function, inputs, start, out)
    return out


class _Recomputed(Node):
    """A segment whose inside was thrown away; backward runs it forward again and lets the gradient flow through that."""

    __slots__ = ("function", "inputs", "stream")
    name = "recompute"

    def __init__(self, function: Callable, inputs: tuple, drawn: Stream, out: Tensor):
        tensors = [i if isinstance(i, Tensor) else None for i in inputs]
        super().__init__(None, {}, tensors, tuple(t.data for t in tensors if t is not None))  # type: ignore[arg-type]
        self.function, self.inputs, self.stream = function, inputs, drawn
        self.hold(tensors, out)

    def flow(self, heap: list[Node], retain_graph: bool) -> None:
        dy, self.grad = self.grad, None
        if self.saved is FREED:
            raise RuntimeError("backward: this recomputed segment was freed by an earlier backward(); run forward again")
        self._refuse_edits()
        replayed = Stream(self.stream.seed, self.stream.position)
        with replaying(), enable_grad(), using_stream(replayed):
            out = self.function(*self.inputs)
        if out.requires_grad:  # its nodes are later than all that wait, so they come next, in the order of a plain tape
            deliver(out.node or out, dy, True, heap)
        if not retain_graph:
            self.release()
            self.inputs = ()
