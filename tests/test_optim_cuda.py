"""The update rules' CUDA sources against their formulas, on the CPU: every option, every type, and bugs planted in them."""

from __future__ import annotations

from typing import Any

import emulation
import numpy as np
import pytest

import minidl
from minidl import cuda, optim
from minidl.tensor import Tensor

pytestmark = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")

RULES: dict[str, tuple[type[optim.Optimizer], dict[str, Any]]] = {
    "plain": (optim.SGD, {}),
    "decay": (optim.SGD, {"weight_decay": 0.3}),
    "momentum": (optim.SGD, {"momentum": 0.9}),
    "dampening": (optim.SGD, {"momentum": 0.5, "dampening": 0.25, "weight_decay": 0.3}),
    "nesterov": (optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.3}),
    "alexnet": (optim.SGD, {"momentum": 0.9, "weight_decay": 0.3, "convention": "alexnet"}),
    "alexnet, no momentum": (optim.SGD, {"convention": "alexnet"}),
    "adam": (optim.Adam, {"betas": (0.8, 0.9), "eps": 0.1}),
    "adam, decay": (optim.Adam, {"betas": (0.9, 0.999), "weight_decay": 0.3}),
    "adamw": (optim.AdamW, {"betas": (0.5, 0.99), "weight_decay": 0.3}),
    "adamw, no decay": (optim.AdamW, {"betas": (0.0, 0.0), "weight_decay": 0.0, "eps": 1e-3}),
}
TYPES = {"float16": 1e-6, "float32": 1e-6, "float64": 1e-14}  # how far sums in another order, or in one operation, may be apart


class OnGpu(np.ndarray):
    """An array that sources are launched on, as if it were CuPy's."""


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels that were launched, in a world where a GPU has verified them."""
    names: list[str] = []

    def run(text: str, name: str, *rest: Any) -> None:
        names.append(name)
        emulation.run(text, name, *rest)

    for kind in (OnGpu, np.ndarray):
        monkeypatch.setitem(cuda._RUNNERS, kind, run)
    monkeypatch.setattr(cuda, "MOST_BLOCKS", 1)  # more numbers than threads
    for rule in (optim.SGD, optim.Adam):
        monkeypatch.setitem(vars(rule.source), "verified", True)
    return names


def numbers(*seed: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, 100)).astype(dtype)


def on_gpu(array: np.ndarray) -> Tensor:
    """A parameter that sources are launched on."""
    p = Tensor(array, True)
    p.data = array.view(OnGpu)
    return p


def compare(rule: str, dtype: str) -> None:
    """Four steps of both, lr falling, some weights set by hand on the way; then weights and state are the same."""
    (kind, options), start, exact = RULES[rule], numbers(0, dtype=dtype), TYPES[dtype]
    p, q = on_gpu(start.copy()), Tensor(start.copy(), True)
    by_cuda, by_formula = kind([p], lr=0.1, **options), kind([q], lr=0.1, **options)
    for t in range(4):
        for parameter, opt in ((p, by_cuda), (q, by_formula)):
            opt.param_groups[0]["lr"] = 0.1 / (t + 1)
            parameter.grad = 4 * numbers(1, t, dtype=dtype)
            if t == 2:
                with minidl.no_grad():
                    parameter[1, :3] = 2.5
            opt.step(scale=4.0)
    assert by_cuda.state[0].keys() == by_formula.state[0].keys()
    for name, array in by_formula.state[0].items():
        np.testing.assert_allclose(by_cuda.state[0][name], array, rtol=exact, atol=exact, err_msg=name)
    np.testing.assert_allclose(p.numpy().astype(float), q.numpy().astype(float), rtol=max(exact, np.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rule", RULES)
def test_cuda_updates_as_the_formulas_do(rule: str, dtype: str, launched: list[str]) -> None:
    compare(rule, dtype)
    name = "adam" if "adam" in rule else "sgd_momentum" if "momentum" in RULES[rule][1] else "sgd"
    assert launched == 4 * [name]  # once a step, and never for the formulas


@pytest.mark.parametrize("rule", ["plain", "momentum", "adam", "adamw, no decay"])
def test_no_decay_of_an_infinite_weight(rule: str, launched: list[str]) -> None:
    kind, options = RULES[rule]
    p = on_gpu(np.array([np.inf, 1.0], np.float32))
    p.grad = np.array([1.0, 0.0], np.float32)
    kind([p], lr=0.1, **options).step()
    assert p.numpy().tolist() == [np.inf, 1.0]
    assert len(launched) == 1


def test_what_is_not_launched_is_computed_by_formulas(launched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another layout, another type of gradient, a source that no GPU has verified: the same numbers."""
    for layout, grad_type in ((np.transpose, np.float32), (np.copy, np.float64)):
        p = on_gpu(layout(numbers(0, dtype="float32")))
        p.grad = np.ones(p.shape, grad_type)
        before = p.numpy().copy()
        optim.SGD([p], lr=0.5).step()
        np.testing.assert_array_equal(p.numpy(), before - np.float32(0.5))
    monkeypatch.setitem(vars(optim.Adam.source), "verified", False)
    compare("adam", "float32")
    assert launched == []


def test_a_rule_of_ones_own_is_not_launched(launched: list[str]) -> None:
    """Its parent's source computes something else."""

    class Backwards(optim.SGD):
        def update(self, w: Any, g: Any, state: dict[str, Any], t: int, options: dict[str, Any]) -> None:
            w += options["lr"] * g

    class Slow(optim.AdamW):
        def decays(self, options: dict[str, Any]) -> tuple[float, float]:
            return 0.0, 0.5

    for rule, lr, after in ((Backwards, 1.0, 3.0), (Slow, 0.0, 1.0)):
        p = on_gpu(np.float32([2.0]))
        p.grad = np.float32([1.0])
        rule([p], lr=lr).step()
        assert p.item() == after
    assert launched == ["adam"]


def test_a_gradient_in_another_layout_is_launched_on(launched: list[str]) -> None:
    p = on_gpu(numbers(0, dtype="float32"))
    before, p.grad = p.numpy().copy(), numbers(1, dtype="float32").reshape(100, 3).T.view(OnGpu)
    optim.SGD([p], lr=0.5).step()
    np.testing.assert_allclose(p.numpy(), before - 0.5 * np.asarray(p.grad), rtol=1e-6)
    assert launched == ["sgd"]


def test_a_master_left_from_float16_is_not_launched_on(launched: list[str]) -> None:
    """A net that became float32 is updated itself."""
    p = on_gpu(numbers(0, dtype="float16"))
    opt = optim.SGD([p], lr=0.5)
    p.grad = np.ones(p.shape, np.float16)
    opt.step()
    p.data = p.data.astype(np.float32)
    before, p.grad = p.numpy().copy(), np.ones(p.shape, np.float32)
    opt.step()
    np.testing.assert_array_equal(p.numpy(), before - np.float32(0.5))
    assert launched == ["sgd", "sgd"]


# ---- many parameters ---------------------------------------------------------------------------------------------------------

SIZES = {0.1: (1, 70_000, 3), 0.01: (0, 131_073, 4096, 100)}  # of the parameters with this lr, in each type


def walk(rule: str, apart: bool) -> list[list[np.ndarray]]:
    """Three steps, of which the first of all parameters misses one. Each parameter and its state, after.

    apart  by an optimiser for each parameter, and so by a launch for each
    """
    kind, options = RULES[rule]
    nets = {lr: [on_gpu(np.linspace(-1, 2, n).astype(d)) for d in TYPES for n in sizes] for lr, sizes in SIZES.items()}
    groups = [{"params": net, "lr": lr} for lr, net in nets.items()]
    each = [{"params": [p], "lr": lr} for lr, net in nets.items() for p in net]
    optimizers = [kind([group], **options) for group in each] if apart else [kind(groups, **options)]
    parameters = [p for net in nets.values() for p in net]
    for t in range(3):
        for i, p in enumerate(parameters):
            g = np.random.default_rng([t, i]).standard_normal(p.shape)
            p.grad = None if i == t == 0 else (8 * g).astype(p.dtype).view(OnGpu)
        for opt in optimizers:
            opt.step(scale=8.0)
    states = [state for opt in optimizers for state in opt.state]
    return [[p.numpy(), *state.values()] for p, state in zip(parameters, states, strict=True)]


@pytest.mark.parametrize("rule", ["plain", "nesterov", "alexnet", "adam", "adamw"])
def test_a_launch_for_all_updates_as_a_launch_for_each(rule: str, launched: list[str]) -> None:
    """To the last bit: two groups, all types, arrays of several pieces, of one and of none."""
    apart = walk(rule, apart=True)
    assert len(launched) == 3 * 3 * (3 + 3) - 1  # none for an array of no numbers, nor where there is no gradient
    launched.clear()
    together = walk(rule, apart=False)
    assert len(launched) == 3 * 3 * 2 + 2  # of each step, type and group; the first parameter is a step behind its like
    for one, other in zip(together, apart, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("rule", "count", "launches"), [("plain", 125, 1), ("plain", 126, 2), ("adam", 166, 2), ("adam", 167, 3)]
)
def test_a_net_of_many_parameters_takes_few_launches(rule: str, count: int, launches: int, launched: list[str]) -> None:
    parameters = [on_gpu(np.full(1 + i % 5, i, np.float32)) for i in range(count)]
    before = [p.numpy().copy() for p in parameters]
    opt = RULES[rule][0](parameters, lr=0.5)
    for p in parameters:
        p.grad = np.ones(p.shape, np.float32)
    opt.step()
    assert len(launched) == launches
    for p, w in zip(parameters, before, strict=True):
        np.testing.assert_allclose(p.numpy(), w - 0.5, rtol=1e-6)


def test_what_cannot_be_launched_on_is_updated_beside_the_rest(launched: list[str]) -> None:
    parameters = [on_gpu(numbers(i, dtype="float32")) for i in range(4)]
    parameters[1].data = parameters[1].data.T  # of another layout
    parameters[2].data = np.asarray(parameters[2].data)  # on the host
    before = [p.numpy().copy() for p in parameters]
    for p in parameters:
        p.grad = np.ones(p.shape, np.float32)
    opt = optim.SGD(parameters, lr=0.5)
    opt.step()
    assert (launched, opt.steps) == (["sgd"], [1, 1, 1, 1])
    for p, w in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(p.numpy(), w - np.float32(0.5))
        assert p.version == 1


# ---- planted bugs ----------------------------------------------------------------------------------------------------------

BUGS = [
    ("decay", "float32", "g + decay * w", "g - decay * w"),
    ("plain", "float32", "g *= over_scale;", ""),
    ("plain", "float32", "value - lr * slope(", "value - slope("),
    ("momentum", "float32", "speed = momentum * at.v[i]", "speed = at.v[i]"),
    ("momentum", "float32", "at.v[i] = speed;", ""),
    ("momentum", "float32", "? speed - lr * down", "|| true ? speed - lr * down"),
    ("dampening", "float32", "speed + share * down", "speed + down"),
    ("alexnet", "float32", "? speed - lr * down", "? speed - down"),
    ("alexnet", "float32", "? value + speed", "? value - speed"),
    ("nesterov", "float32", "down + momentum * speed", "down + speed"),
    ("momentum", "float32", "(nesterov ? down", "(true ? down"),
    ("plain", "float16", "if (sizeof(T) < sizeof(A)) w[i] = value;", ""),
    ("plain", "float16", "(A)(T)kept == (A)w[i] ? kept : (A)w[i]", "kept"),
    ("plain", "float16", "(A)(T)kept == (A)w[i] ? kept : (A)w[i]", "(A)w[i]"),
    ("adam", "float32", "i += blockDim.x", "i += 2 * blockDim.x"),
    ("adam", "float32", "rest1 * slope,", "slope,"),
    ("adam", "float32", "rest2 * slope * slope", "rest2 * slope"),
    ("adam", "float32", "beta2 * at.v[i]", "beta1 * at.v[i]"),
    ("adam", "float32", "at.m[i] = mean, at.v[i] = square;", "at.m[i] = mean;"),
    ("adam", "float32", "sqrt(square) + eps", "sqrt(square)"),
    ("adam", "float32", "sqrt(square)", "square"),
    ("adam", "float32", "(A)at.g[i] * over_scale", "(A)at.g[i]"),
    ("adam, decay", "float32", "slope += decay * value", "slope -= decay * value"),
    ("adamw", "float32", "shrink * value", "value"),
]


@pytest.mark.parametrize(("rule", "dtype", "old", "new"), BUGS, ids=[f"{old} -> {new}" for _, _, old, new in BUGS])
def test_a_planted_bug_is_noticed(
    rule: str, dtype: str, old: str, new: str, launched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = RULES[rule][0].source
    assert source.text.count(old) == 1
    monkeypatch.setitem(vars(source), "text", source.text.replace(old, new))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(rule, dtype)
