"""`capture`: what cannot be recorded, what a step may take and return, and that nothing has happened where it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import strict_recording
from captures import Net, batch, step_of
from crossings import device, normal
from fake_cupy import CUDARuntimeError, full

import minidl
from minidl import Tensor, nn, optim
from minidl.backend import to_numpy
from minidl.modes import listening
from minidl.ops.groups import joined

pytestmark = pytest.mark.usefixtures("graphs")
NO, CALLS = "capture: the step cannot be recorded: ", [1]


def reads(model: Net, x: Tensor, labels: Any) -> Tensor:
    loss = minidl.softmax_cross_entropy(model(x), labels)
    if loss.item() > 0:
        loss.backward()
    return loss


def draws_on_the_host(model: Net, x: Tensor, labels: Any) -> Tensor:
    return model(x * float(minidl.random.stream().generator().random())).sum()


def updates(model: Net, x: Tensor, labels: Any) -> Tensor:
    loss = minidl.softmax_cross_entropy(model(x), labels)
    loss.backward()
    optim.SGD(model.parameters(), lr=0.1).step()
    return loss


def draws_more_and_more(model: Net, x: Tensor, labels: Any) -> Any:
    CALLS.append(1)
    return [minidl.dropout(x, p=0.5) for _ in CALLS]


def draws_less(model: Net, x: Tensor, labels: Any) -> Any:
    CALLS.append(1)
    return [minidl.dropout(x, p=0.5)] if len(CALLS) == 1 else None


def multiplies_by_cublas(model: Net, x: Tensor, labels: Any) -> Any:
    return x.data.reshape(len(x), -1) @ x.data.reshape(len(x), -1).T


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (reads, NO + "operation not permitted when stream is capturing (item: to the host)"),
        (draws_on_the_host, NO + "it draws on the host (stream().generator())"),
        (updates, NO + "SGD.step: a recorded update would keep lr and count of this one"),
        (draws_more_and_more, NO + "it drew 4 keys at first, and now more"),
        (draws_less, NO + "it drew 4 keys at first, and then 0"),
        (multiplies_by_cublas, NO + "calling cuBLAS API during stream capture is currently unsupported"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_nothing_is_computed(step: Callable, message: str) -> None:
    CALLS.clear()
    model = Net().to("strict")
    fast, given = minidl.capture(lambda *args: step(model, *args), model), batch(4, "strict")
    fast(*given)
    state, position = model.state_dict(), minidl.random.stream().position
    with pytest.raises(RuntimeError) as caught:
        fast(*given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(array, state[name]) for name, array in model.state_dict().items())
    assert minidl.random.stream().position == position
    assert all(p.grad is None for p in model.parameters())
    assert not minidl.modes.is_recording()


def test_errors_of_the_users_own_pass_as_they_are() -> None:
    model, calls = Net().to("strict"), []

    def step(x: Tensor) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("mine")

    fast = minidl.capture(step, model)
    assert fast(batch(4, "strict")[0]) is None
    with pytest.raises(KeyError, match="mine"):
        fast(batch(4, "strict")[0])


def test_detect_anomaly_reads_everything() -> None:
    model = Net().to("strict")
    fast, given = minidl.capture(step_of(model), model), batch(4, "strict")
    for _ in range(4):
        with (
            minidl.detect_anomaly(),
            pytest.raises(RuntimeError, match="detect_anomaly reads every array, which a recorded step cannot"),
        ):
            fast(*given)
        fast(*given)


def test_a_mode_is_looked_at() -> None:
    model, heard = Net().to("strict"), []
    step = step_of(model)
    fast, given = minidl.capture(step, model), batch(4, "strict")
    for _ in range(3):
        fast(*given)
    with listening(lambda *call: heard.append(call)):
        fast(*given)
    assert step.passed == 3  # type: ignore[attr-defined]
    assert heard


@pytest.mark.parametrize("where", ["cpu", "strict"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "capture: argument 1 must be a Tensor or an array that needs no gradient, got int"),
        ([1, 2], "got list"),
        (Tensor([1.0], requires_grad=True), "got a Tensor that requires a gradient"),
    ],
)
def test_wrong_arguments_are_refused_on_every_device(wrong: Any, message: str, where: str) -> None:
    model = Net().to(where)
    with pytest.raises(TypeError) as caught:
        minidl.capture(step_of(model), model)(batch(4, where)[0], wrong)
    assert message in str(caught.value)


@pytest.mark.parametrize("there", [np.ones(4), np.float32(1), Tensor([1.0])])
def test_arguments_lie_where_the_model_does(there: Any) -> None:
    model = Net().to("strict")
    with pytest.raises(ValueError, match="capture: argument 1 is on cpu and the model on strict; move it with"):
        minidl.capture(step_of(model), model)(batch(4, "strict")[0], there)


def test_a_step_may_take_nothing() -> None:
    model, calls = nn.Linear(3, 2).to("strict"), []
    x = normal(4, 3)
    fast = minidl.capture(lambda: calls.append(1) or model(x).sum().backward(), model)
    assert [fast() for _ in range(4)] == [None] * 4
    assert len(calls) == 2


@pytest.mark.parametrize("result", [{"loss": 1}, "loss", 3.0])
def test_what_a_step_may_return(result: Any) -> None:
    model = Net()
    with pytest.raises(TypeError, match=r"capture: a step returns a Tensor, an array, None, or a tuple or list of them, got"):
        minidl.capture(lambda x: result, model)(batch(4, "cpu")[0])


def test_a_full_memory_is_no_step_that_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = Net().to("strict"), batch(4, "strict")
    for error in (full(1000), CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")):
        fast = minidl.capture(step_of(model), model)
        fast(*given)

        def fails(graphs: Any, function: Callable, error: BaseException = error) -> Any:
            function()
            raise error

        monkeypatch.setattr(strict_recording.Graphs, "record", fails)
        with pytest.raises(type(error)) as caught, minidl.no_grad(), minidl.enable_grad():
            fast(*given)
        assert caught.value is error
        assert all(p.grad is None for p in model.parameters())


def test_many_arrays_are_joined_without_a_list_of_their_places() -> None:
    """CuPy makes one on the host where there are more than eight."""
    model = nn.Conv2d(10, 20, 3, groups=10).to("strict")
    x = normal(2, 10, 6, 6)
    fast = minidl.capture(lambda x: minidl.concat([model(x)] * 9, axis=1).sum().backward(), model)
    with minidl.conv2d.using("im2col"):
        for _ in range(3):
            assert fast(x) is None


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_many_arrays_joined_are_those_of_concatenate(axis: int) -> None:
    rng = np.random.default_rng(0)
    shapes = [tuple(n if at == axis % 3 else 2 for at in range(3)) for n in (1, 3, 0, 2, 1, 1, 4, 2, 1)]
    arrays = [rng.standard_normal(shape).astype(dtype) for shape, dtype in zip(shapes, ["f4", "f8", "f4"] * 3, strict=True)]
    for some in (arrays, arrays[:3], arrays[1:2]):
        found = joined([device(a) for a in some], axis)
        expected = np.concatenate(some, axis=axis)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(to_numpy(found), expected)
