"""recompute trades time for memory and changes no bit."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn


def net(seed: int = 0) -> nn.Module:
    minidl.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Conv2d(4, 3, 3),
        nn.Flatten(),
        nn.Linear(48, 5),
    )


def run(recomputed: bool) -> tuple:
    model = net()
    x = Tensor(np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype("float32"), requires_grad=True)
    h = model[0](x)

    def middle(h: Tensor) -> Tensor:
        for layer in list(model)[1:5]:
            h = layer(h)
        return h

    h2 = minidl.recompute(middle, h) if recomputed else middle(h)
    out = model[6](model[5](h2 + (h * h)[:, :3, 1:5, 1:5]))  # h is also used outside the segment
    loss = minidl.softmax_cross_entropy(out, np.array([0, 3, 4]))
    loss.backward()
    drawn_after = minidl.random.stream().position
    return loss.item(), x.grad, [p.grad for p in model.parameters()], model.state_dict(), drawn_after


def test_loss_gradients_buffers_and_stream_are_equal_bit_for_bit() -> None:
    plain, again = run(False), run(True)
    assert plain[0] == again[0]
    np.testing.assert_array_equal(plain[1], again[1])
    for a, b in zip(plain[2], again[2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert plain[3].keys() == again[3].keys()
    for name in plain[3]:
        np.testing.assert_array_equal(np.asarray(plain[3][name]), np.asarray(again[3][name]), err_msg=name)
    assert plain[4] == again[4]


def test_a_segment_keeps_only_its_inputs() -> None:
    x = Tensor(np.ones((4, 4)), requires_grad=True)
    y = minidl.recompute(lambda t: minidl.exp(minidl.tanh(t * 2) * 3), x)
    assert len(y.node.saved) == 1
    assert y.node.saved[0] is x.data


def test_nested_segments() -> None:
    def f(x: Tensor) -> Tensor:
        return minidl.tanh(x * x)

    x, z = (Tensor(np.linspace(0.1, 1, 5), requires_grad=True) for _ in range(2))
    minidl.recompute(lambda t: minidl.recompute(f, t) * t, x).sum().backward()
    (f(z) * z).sum().backward()
    np.testing.assert_array_equal(x.grad, z.grad)


def test_an_input_changed_afterwards_is_an_error() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    y = minidl.recompute(lambda t: t * t, x).sum()
    with minidl.no_grad():
        x.add_(1.0)
    with pytest.raises(RuntimeError, match=r"recompute saved its input 0 \[3\] for backward, and it was changed in place"):
        y.backward()


def test_under_no_grad_it_is_the_function() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    with minidl.no_grad():
        assert minidl.recompute(lambda t: t * t, x).node is None


def test_modes_and_chosen_kernels_of_the_first_pass_are_replayed() -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("float32") for shape in ((2, 3, 6, 6), (4, 3, 3, 3)))

    def grads(wrap: object) -> list:
        leaves = [Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)]
        with minidl.conv2d.using("direct"):
            y = wrap(lambda a: minidl.tanh(minidl.conv2d(a, leaves[1])), leaves[0])
        y.sum().backward()
        return [leaf.grad for leaf in leaves]

    for plain, again in zip(grads(lambda f, a: f(a)), grads(minidl.recompute), strict=True):
        np.testing.assert_array_equal(plain, again)


def test_its_result_retains_a_gradient() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    y = minidl.recompute(lambda t: t * t, x).retain_grad()
    (y * 3.0).sum().backward()
    np.testing.assert_array_equal(y.grad, [3.0, 3.0])


@pytest.mark.parametrize("wrong", [lambda t: t, lambda t: (t * 2, t), lambda t: 3.0], ids=["its input", "a tuple", "a number"])
def test_what_it_cannot_recompute_is_an_error(wrong: object) -> None:
    with pytest.raises(TypeError, match="must return one Tensor that it computed"):
        minidl.recompute(wrong, Tensor(np.ones(2), requires_grad=True))
