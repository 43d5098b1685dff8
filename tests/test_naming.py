"""Who is heard, when, and under which name: forward and backward."""

from __future__ import annotations

import numpy as np

import minidl
from minidl import Tensor, nn
from minidl.modes import listening
from minidl.naming import naming


def test_backward_is_heard_in_the_reverse_order() -> None:
    model, forward, backward = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), [], []
    with (
        naming(model) as calls,
        listening(lambda kernel, attrs, arrays, out, saved: forward.append((calls[-1], out.node)), backward.append),
    ):
        loss = model(np.ones((4, 2), np.float32)).sum()
        assert [name for name, _ in forward] == ["0", "1", "2", ""]
        loss.backward()
    assert backward == [node for _, node in reversed(forward)]
    loss = model(np.ones((4, 2), np.float32)).sum()
    loss.backward()
    assert len(backward) == len(forward) == 4  # nobody hears any more


def test_a_recomputed_segment_is_heard_again() -> None:
    forward: list[str] = []
    backward: list[str] = []
    with listening(lambda kernel, *_: forward.append(kernel.op.name), lambda node: backward.append(node.name)):
        minidl.recompute(lambda x: minidl.tanh(x) * x, Tensor(np.ones(3), requires_grad=True)).sum().backward()
    assert forward == ["tanh", "multiply", "sum", "tanh", "multiply"]
    assert backward == ["sum[array]", "recompute", "multiply[pointwise]", "tanh[pointwise]"]


def test_names_are_dotted_and_the_innermost_counts() -> None:
    inner = nn.Sequential(nn.ReLU())
    heard: list[str] = []
    with naming(model := nn.Sequential(inner, inner)) as calls, listening(lambda *_: heard.append(calls[-1])):
        model(np.ones((1, 2), np.float32))
    assert heard == ["0.0", "0.0"]  # a module that is used twice has its first name
    assert "forward" not in vars(inner)


def test_a_forward_of_the_instances_own_is_put_back() -> None:
    model = nn.Linear(2, 2)
    model.forward = mine = lambda x: "mine"
    with naming(model), naming(model) as calls:
        assert model(None) == "mine"
    assert model.forward is mine
    assert calls == [""]
