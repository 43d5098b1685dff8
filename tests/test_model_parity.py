"""Parity of whole models with PyTorch: outputs, every gradient and every running statistic, float64, to 1e-8 of the largest.

Weights are copied by name; dropout is off; batch norm is compared in both modes. Each output gets a random upstream gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model_twins import ModelTwin, all_model_twins

import minidl
from minidl import Tensor, nn

TWINS = all_model_twins()
TOLERANCE = 1e-8


@pytest.mark.parity
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_model_equals_its_twin(twin: ModelTwin, training: bool) -> None:
    torch = pytest.importorskip("torch")
    minidl.manual_seed(0)
    rng = np.random.default_rng(0)
    ours = twin.ours().to(dtype="float64").train(training)
    theirs = twin.theirs().double().train(training)
    _without_dropout(ours, theirs)
    _loud(ours, rng)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in ours.state_dict().items()}, strict=True)

    x = rng.standard_normal(twin.input)
    mine = Tensor(x.copy(), requires_grad=True)
    their_x = torch.from_numpy(x.copy()).requires_grad_()
    outs, their_outs = _all(ours(mine)), _all(theirs(their_x))
    assert len(outs) == len(their_outs)
    upstream = [rng.standard_normal(out.shape) for out in outs]
    sum((out * dy).sum() for out, dy in zip(outs, upstream, strict=True)).backward()
    sum((out * torch.from_numpy(dy)).sum() for out, dy in zip(their_outs, upstream, strict=True)).backward()

    for i, (out, their_out) in enumerate(zip(outs, their_outs, strict=True)):
        _near(f"output {i}", out.numpy(), their_out)
    _near("gradient of the images", mine.grad, their_x.grad)
    their_parameters = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.grad is None:  # auxiliary heads, which an evaluating net leaves out
            assert their_parameters[name].grad is None, name
            assert not training, name
        else:
            _near(f"gradient of {name}", parameter.grad, their_parameters[name].grad)
    their_buffers = dict(theirs.named_buffers())
    for name, buffer in ours.named_buffers():
        _near(name, buffer.numpy(), their_buffers[name])


def _without_dropout(ours: nn.Module, theirs: Any) -> None:
    for module in [*ours.modules(), *theirs.modules()]:
        if "Dropout" in type(module).__name__:
            module.p = 0.0


def _loud(model: nn.Module, rng: np.random.Generator) -> None:
    """Numbers that hide nothing: scales and shifts of batch norm, running statistics and biases far from 0 and 1."""
    with minidl.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.ndim == 1:
                positive = name.endswith(("running_var", "weight"))
                tensor.copy_(rng.uniform(0.5, 1.5, tensor.shape) if positive else 0.3 * rng.standard_normal(tensor.shape))


def _all(out: Any) -> tuple:
    return tuple(out) if isinstance(out, tuple | list) else (out,)


def _near(what: str, ours: Any, theirs: Any) -> None:
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = max(float(np.abs(theirs).max(initial=0.0)), 1e-5)  # a bias before batch norm has gradient 0, and rounding
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale, err_msg=what)
