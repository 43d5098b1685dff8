"""Modules: their parts and names, their modes, their state, and what they refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidl import nn, optim
from minidl.gradcheck import gradcheck
from minidl.modes import no_grad
from minidl.nn.module import Module
from minidl.tensor import Tensor


class Block(nn.Module):
    def __init__(self, width: int = 2) -> None:
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x))


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.scale = nn.Parameter(np.ones(2, np.float32))
        self.head = nn.Sequential(flat=nn.Flatten(), fc=nn.Linear(32, classes))
        self.register_buffer("seen", np.zeros((), np.int64))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def image(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Tensor:
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


# ---- parts -------------------------------------------------------------------------------------------------------------

NAMES = ["scale", "seen"]
for _block in ("blocks.0", "blocks.1"):
    NAMES += [f"{_block}.{n}" for n in ("conv.weight", "norm.weight", "norm.bias")]
    NAMES += [f"{_block}.norm.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")]
NAMES += ["head.fc.weight", "head.fc.bias"]


def test_names_and_order_are_pytorchs() -> None:
    model = Net()
    assert list(model.state_dict()) == NAMES
    buffers = [n for n in NAMES if n == "seen" or "running" in n or "num_batches" in n]
    assert [name for name, _ in model.named_buffers()] == buffers
    assert [name for name, _ in model.named_parameters()] == [n for n in NAMES if n not in buffers]
    assert [name for name, _ in model.named_children()] == ["blocks", "head"]
    assert [name for name, _ in model.named_modules()][:4] == ["", "blocks", "blocks.0", "blocks.0.conv"]
    assert next(model.named_modules("net")) == ("net", model)
    model.blocks.append(model.blocks[0])
    assert sum(1 for _ in model.modules()) == 11  # a shared module once


def test_a_shared_parameter_is_trained_once_and_saved_under_both_names() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    assert [name for name, _ in model.named_parameters()] == ["0.weight"]
    assert list(model.state_dict()) == ["0.weight", "1.weight"]
    optim.SGD(model.parameters(), lr=0.1)


def test_a_buffer_stays_one_when_it_is_assigned() -> None:
    model = Net()
    model.seen = Tensor(np.ones(2))
    assert isinstance(model.seen, nn.Buffer)
    assert model.state_dict()["seen"].shape == (2,)


def test_a_module_may_lack_a_bias_or_hold_anything_else() -> None:
    layer = nn.Linear(2, 3, bias=False)
    layer.note, layer.sizes = "mine", [1, 2]
    assert list(layer.state_dict()) == ["weight"]
    layer.weight = None
    assert list(layer.state_dict()) == []


def test_repr_is_a_tree() -> None:
    expected = """Sequential(
  (conv): Conv2d(1, 6, kernel_size=(5, 5), padding='same')
  (rest): Sequential(
    (0): ReLU()
    (1): Dropout(p=0.5)
    (2): Linear(in_features=6, out_features=2, bias=False)
  )
)"""
    rest = nn.Sequential(nn.ReLU(), nn.Dropout(), nn.Linear(6, 2, bias=False))
    assert repr(nn.Sequential(conv=nn.Conv2d(1, 6, 5, padding="same"), rest=rest)) == expected


def test_apply_visits_children_first() -> None:
    seen: list[str] = []
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU()))
    assert model.apply(lambda module: seen.append(type(module).__name__)) is model
    assert seen == ["Flatten", "ReLU", "Sequential", "Sequential"]


def test_a_copy_shares_nothing() -> None:
    model = Net()
    model.loss = model.head.forward  # a bound method follows its copy
    twin = copy.deepcopy(model)
    with no_grad():
        twin.scale.zero_()
    assert model.scale.numpy().all()
    assert isinstance(twin.scale, nn.Parameter)
    assert twin.loss.__self__ is twin.head


def test_sequential_is_indexed_and_sliced() -> None:
    model = nn.Sequential({"a": nn.ReLU(), "b": nn.Tanh()}, c=nn.Sigmoid()).append(nn.Flatten())
    assert [name for name, _ in model.named_children()] == ["a", "b", "c", "3"]
    assert model[1] is model.b
    assert model[-1] is list(model)[3]
    assert [name for name, _ in model[1:3].named_children()] == ["b", "c"]
    assert len(model) == 4
    assert model[1:](Tensor([[0.0]])).item() == 0.5
    assert len(nn.ModuleList([nn.ReLU()]).extend([nn.Tanh(), nn.Tanh()])[1:]) == 2


# ---- modes -------------------------------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_module() -> None:
    model = Net()
    assert not any(module.training for module in model.eval().modules())
    assert all(module.training for module in model.train().modules())


def test_frozen_parameters_get_no_gradient() -> None:
    model = Net()
    model.blocks.requires_grad_(False)
    model(image(2, 2, 4, 4)).sum().backward()
    assert all(p.grad is None for p in model.blocks.parameters())
    assert model.head.fc.weight.grad is not None
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


# ---- state -------------------------------------------------------------------------------------------------------------


def test_state_is_a_copy_and_loads_back() -> None:
    model, other = Net(), Net()
    state = model.state_dict()
    with no_grad():
        model.scale.mul_(3)
    assert state["scale"][0] == 1
    missing, unexpected = other.load_state_dict(model.state_dict())
    assert (missing, unexpected) == ([], [])
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[name])
    assert other.scale.requires_grad
    assert other.scale.version == 1


def test_tensors_load_too_and_take_the_models_type() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.load_state_dict({"weight": Tensor(np.array([[1.0, 2.0]]))})
    assert layer.weight.dtype == np.float32
    layer.load_state_dict({"weight": [[3, 4]]})
    assert layer.weight.numpy().tolist() == [[3.0, 4.0]]


def test_a_state_that_does_not_fit_is_reported_whole_and_loads_nothing() -> None:
    model = Net()
    state = {**model.state_dict(), "extra": np.zeros(1), "head.fc.bias": np.zeros(100), "scale": np.zeros(2)}
    del state["blocks.0.conv.weight"]
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    assert str(caught.value) == (
        "load_state_dict: this is not the state of Net, nothing was loaded; missing: blocks.0.conv.weight; "
        "unexpected: extra; wrong shape: head.fc.bias expects [3], got [100]"
    )
    with pytest.raises(ValueError, match=r"missing: scale, blocks.0.conv.weight, .* and 8 more$"):
        model.load_state_dict({"seen": np.zeros(())})
    with pytest.raises(ValueError, match="wrong shape"):
        model.load_state_dict(state, strict=False)
    assert model.scale.numpy().all()


@pytest.mark.parametrize("strange", [np.array(["a", "b"]), np.array([1j, 2]), np.array([None, 1])])
def test_what_is_no_number_loads_nothing(strange: np.ndarray) -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.numpy().copy()
    with pytest.raises(TypeError, match=r"^load_state_dict: bias expects numbers, got .*; nothing was loaded$"):
        layer.load_state_dict({"weight": np.ones((2, 2)), "bias": strange})
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_not_strict_returns_what_did_not_match() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    found = model.load_state_dict({"0.bias": np.ones(2), "1.bias": np.ones(2)}, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (["0.weight"], ["1.bias"])
    np.testing.assert_array_equal(model[0].bias.numpy(), [1, 1])


def test_files_from_before_num_batches_tracked_load() -> None:
    norm = nn.BatchNorm2d(2)
    state = norm.state_dict()
    del state["num_batches_tracked"]
    norm.load_state_dict(state)


@pytest.mark.parametrize("hide", [lambda m: m, lambda m: (nn.ReLU, m), lambda m: {"a": [m]}])
@pytest.mark.parametrize(
    "look", [lambda m: list(m.parameters()), Module.state_dict, Module.train, Module.eval, lambda m: m.load_state_dict({})]
)
def test_what_was_put_into_a_plain_list_is_found_out(look: Callable, hide: Callable) -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            self.layers: list = []
            self.layers.append(hide(nn.Linear(2, 2)))

    with pytest.raises(TypeError, match=r"^Hidden.layers: a plain list hides what is inside from parameters\(\) and"):
        look(nn.Sequential(Hidden()))


def test_a_list_that_holds_itself_is_no_trap() -> None:
    layer, ring = nn.Linear(2, 2), []
    ring.append(ring)
    layer.ring = ring
    assert len(list(layer.parameters())) == 2


def test_a_model_in_float64_passes_the_gradient_check() -> None:
    layer, x = nn.Linear(3, 2), Tensor(image(4, 3).numpy().astype(np.float64), True)
    with pytest.raises(TypeError, match="nothing is cast silently"):
        gradcheck(layer, x)
    assert layer.to(dtype="float64") is layer
    assert gradcheck(layer, x)

    def by_parameters(weight: Tensor, bias: Tensor) -> Tensor:
        vars(layer).update(weight=weight, bias=bias)
        return layer(x)

    assert gradcheck(by_parameters, layer.weight, layer.bias)


def test_to_moves_and_casts_in_place() -> None:
    model = Net()
    opt = optim.SGD(model.parameters(), lr=0.1)
    assert model.to(dtype=np.float64) is model
    assert {str(t.dtype) for t in model.parameters()} == {"float64"}
    assert model.seen.dtype == np.int64
    model(image(2, 2, 4, 4, dtype=np.float64)).sum().backward()
    model.to("strict")
    assert {t.device for t in [*model.parameters(), *model.buffers()]} == {"strict"}
    opt.step()  # the optimiser holds the same Tensors, and their gradients moved with them
    assert {a.dtype for a in model.state_dict().values()} == {np.dtype(np.float64), np.dtype(np.int64)}


# ---- what is refused: call -> message ----------------------------------------------------------------------------------


def assign(module: Module, name: str, value: Any) -> None:
    setattr(module, name, value)


REFUSED: dict[str, Callable[[], Any]] = {
    "Linear.weight is a Parameter and would be lost to the optimiser; change its values by "
    "`with minidl.no_grad(): module.weight.copy_(...)`, or assign a Parameter": lambda: assign(
        nn.Linear(1, 1), "weight", Tensor([[1.0]])
    ),
    "Net.parts: a plain list hides what is inside from parameters() and state_dict(); "
    "use nn.ModuleList or nn.Sequential, or one attribute for each": lambda: assign(Net(), "parts", [nn.ReLU()]),
    "Net.parts: a plain dict hides what is inside from parameters() and state_dict(); "
    "use nn.ModuleList or nn.Sequential, or one attribute for each": lambda: assign(Net(), "parts", {"a": nn.ReLU()}),
    "Net.parts: a plain set hides what is inside from parameters() and state_dict(); "
    "use nn.ModuleList or nn.Sequential, or one attribute for each": lambda: assign(Net(), "parts", {nn.ReLU()}),
    "Net.to: expected a device such as 'cpu', got <class 'numpy.float64'>; a type is a keyword, .to(dtype=...)": lambda: (
        Net().to(np.float64)
    ),
    "Module defines no forward(self, x)": lambda: nn.Module()(1),
    "Sequential: 1 is the class ReLU, expected a Module such as nn.ReLU(); make an object of it with ()": lambda: nn.Sequential(
        nn.Flatten(), nn.ReLU
    ),
    "Sequential: 0 is a function, expected a Module such as nn.ReLU()": lambda: nn.Sequential(lambda x: x),
    "Sequential: a child cannot be called 'train': the name is taken, empty or has a dot": lambda: nn.Sequential(
        train=nn.ReLU()
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_in_one_line(message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        REFUSED[message]()
    assert str(caught.value) == message
