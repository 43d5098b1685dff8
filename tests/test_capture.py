"""`capture`: a recorded step computes what the plain one does, bit for bit, and what cannot be recorded is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_recording
import strict_xp
from crossings import normal, places, undeclared, watching
from fake_cupy import CUDARuntimeError, full
from strict_xp import StrictArray

import minidl
from minidl import Tensor, data, nn, optim
from minidl.backend import to_device
from minidl.capture import MOST, Captured
from minidl.cli import main
from minidl.commands import train
from minidl.modes import listening
from minidl.ops import gemm, rows
from minidl.recipe import Recipe
from minidl.train import Training
from models.alphanet import AlphaNet32
from models.resnet import ResNet20

DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]
State = dict[str, np.ndarray]


class Net(nn.Module):
    """All that a recorded step has to keep apart: weights, running statistics, keys."""

    def __init__(self) -> None:
        self.conv, self.norm, self.dropout = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Dropout(0.3)
        self.dense = nn.Linear(4 * 14 * 14, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(minidl.relu(self.norm(self.conv(self.dropout(x)))).reshape(len(x), -1))


class Recomputed(Net):
    """Keys are dealt again in backward."""

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(minidl.recompute(lambda x: minidl.relu(self.norm(self.conv(self.dropout(x)))), x).reshape(len(x), -1))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "Net": Net,
    "recomputed": Recomputed,
    "ResNet20": lambda: ResNet20(classes=5),
    "AlphaNet32": lambda: AlphaNet32(classes=5, depth=14, size=16, recompute="block"),
}


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in records."""
    strict_recording.register(monkeypatch)


def by_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, added up in float32 at least."""
    wide = np.result_type(a, np.float32)
    return (a.astype(wide) @ b.astype(wide)).astype(a.dtype)


def sums_by_numpy(X: np.ndarray, *Y: np.ndarray) -> np.ndarray:
    """Of the columns of X, or of X times Y."""
    return np.prod([X, *Y], axis=0, dtype=np.result_type(X, np.float32)).sum(axis=0).astype(X.dtype)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the stand-in minidl's own products and sums are NumPy's: whole nets would take their emulation minutes."""
    matmul, column_sums = gemm.matmul, rows.column_sums

    def quick_matmul(a: Any, b: Any, *precision: str) -> Any:
        return strict_xp._compute(by_numpy, a, b) if type(a) is StrictArray else matmul(a, b, *precision)

    def quick_sums(X: Any, *Y: Any) -> Any:
        return strict_xp._compute(sums_by_numpy, X, *Y) if type(X) is StrictArray else column_sums(X, *Y)

    monkeypatch.setattr(gemm, "matmul", quick_matmul)
    monkeypatch.setattr(rows, "column_sums", quick_sums)


def step_of(model: Any) -> Callable[[Tensor, Any], Tensor]:
    """Forward and backward; how often Python passed through it is in `passed`."""

    def step(images: Tensor, labels: Any) -> Tensor:
        step.passed += 1  # type: ignore[attr-defined]
        loss = minidl.softmax_cross_entropy(model(images), labels)
        loss.backward()
        return loss

    step.passed = 0  # type: ignore[attr-defined]
    return step


def batch(n: int, where: str, seed: int = 0) -> tuple[Tensor, Any]:
    rng = np.random.default_rng(seed)
    images, labels = rng.standard_normal((n, 3, 16, 16)).astype(np.float32), rng.integers(0, 5, n)
    return Tensor(images, device=where), to_device(labels, where)


def trained(captured: bool, sizes: list[int], where: str, make: Callable[[], nn.Module]) -> tuple[list[float], State]:
    """Losses, and in the end gradients and the whole state."""
    minidl.manual_seed(3)
    model, losses = make().to(where), []
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = minidl.capture(step_of(model), model) if captured else step_of(model)
    with minidl.own_products():
        for seed, n in enumerate(sizes):
            optimizer.zero_grad()
            losses.append(step(*batch(n, where, seed)).item())
            optimizer.step()
    grads = {f"{name}.grad": minidl.backend.to_numpy(p.grad) for name, p in model.named_parameters()}
    return losses, {**model.state_dict(), **grads, "position": np.array(minidl.random.stream().position)}


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_it_computes_the_same_bits(name: str, where: str, request: pytest.FixtureRequest) -> None:
    if name not in ("Net", "recomputed"):
        request.getfixturevalue("quick")
    sizes = [4, 4, 4, 3, 4, 3, 3, 4] if name in ("Net", "recomputed") else [2, 2, 2]  # the last of an epoch may be smaller
    (plain, state), (recorded, also) = (trained(captured, sizes, where, MODELS[name]) for captured in (False, True))
    assert plain == recorded
    assert len(set(plain)) == len(plain)
    assert state.keys() == also.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(array, also[name], err_msg=name)


@pytest.mark.parametrize("precision", ["tf32", "float32"])
def test_a_precision_is_recorded_with_the_step(precision: str) -> None:
    with minidl.precision(precision):
        (plain, _), (recorded, _) = (trained(captured, [4] * 4, "strict", Net) for captured in (False, True))
    assert plain == recorded


def test_python_passes_twice_and_nothing_crosses() -> None:
    model = Net().to("strict")
    step = step_of(model)
    fast = minidl.capture(step, model)
    passed: list[int] = []
    earlier: list[tuple[Tensor, np.ndarray]] = []
    for seed in range(5):
        given = batch(4, "strict", seed)
        before = given[0].numpy().copy()
        with watching() as seen:
            fast(*given)
        passed.append(step.passed)  # type: ignore[attr-defined]
        assert seed < 2 or seen == []  # the keys, too, are made on the device
        earlier.append((given[0], before))
    assert passed == [1, 2, 2, 2, 2]
    assert all(np.array_equal(images.numpy(), before) for images, before in earlier)  # nobody's arguments are written to


def test_on_the_cpu_the_step_is_called_as_it_is() -> None:
    (plain, state), (captured, also) = (trained(captured, [4, 4, 3, 4], "cpu", Net) for captured in (False, True))
    assert plain == captured
    assert all(np.array_equal(state[name], also[name]) for name in state)
    model = Net()
    step = step_of(model)
    fast = minidl.capture(step, model)
    results = [fast(*batch(4, "cpu")) for _ in range(3)]
    assert step.passed == 3  # type: ignore[attr-defined]
    assert all(loss.node is None and not loss.requires_grad for loss in results)


def test_results_and_gradients_are_overwritten() -> None:
    model = Net().to("strict")
    fast = minidl.capture(step_of(model), model)
    fast(*batch(4, "strict"))
    first, grad = fast(*batch(4, "strict", 1)), model.dense.weight.grad
    value = first.item()
    model.zero_grad()
    second = fast(*batch(4, "strict", 2))
    assert second is first
    assert first.item() != value
    assert model.dense.weight.grad is grad
    assert first.node is None


def test_gradients_do_not_add_up() -> None:
    model = Net().to("strict").eval()
    fast, given = minidl.capture(step_of(model), model), batch(4, "strict")
    grads = []
    for _ in range(4):
        fast(*given)
        grads.append(minidl.backend.to_numpy(model.dense.bias.grad))
    assert all(np.array_equal(grads[0], grad) for grad in grads)


def test_maps_lie_in_memory_as_those_that_were_given() -> None:
    """A kernel may add up in the order in which they lie."""
    model, seen = Net().to("strict"), []
    fast = minidl.capture(lambda x: seen.append(x.data.strides), model)
    last = normal(4, 16, 16, 3).data.transpose(0, 3, 1, 2)
    for images in (last, batch(4, "strict")[0].data, last, batch(4, "strict")[0].data, last):
        fast(Tensor(images))
        assert images.shape == (4, 3, 16, 16)
    assert seen == [last.strides, batch(4, "strict")[0].data.strides] * 2


def several(model: nn.Module, x: Tensor) -> tuple:
    y = model(x)
    y.sum().backward()
    return y, [y.data * 2, None]


def test_results_may_be_several() -> None:
    model, found = nn.Linear(3, 2).to("strict"), []
    fast = minidl.capture(lambda x: several(model, x), model)
    for seed in range(4):
        x = Tensor(np.random.default_rng(seed).standard_normal((5, 3)).astype(np.float32), device="strict")
        y, (twice, nothing) = fast(x)
        with minidl.own_products():
            wanted = model(x).numpy()
        found.append((y.numpy().copy(), minidl.backend.to_numpy(twice), wanted, nothing))
    for y, twice, wanted, nothing in found:
        np.testing.assert_array_equal(y, wanted)
        np.testing.assert_array_equal(twice, 2 * wanted)
        assert nothing is None


def evaluates(model: Net, images: Tensor) -> None:
    model.eval()


def evaluates_a_part(model: Net, images: Tensor) -> None:
    model.norm.eval()


def freezes(model: Net, images: Tensor) -> None:
    model.conv.weight.requires_grad = False


def moves_a_weight(model: Net, images: Tensor) -> None:
    model.dense.weight.data = model.dense.weight.data.copy()


def moves_a_buffer(model: Net, images: Tensor) -> None:
    model.norm.running_mean.data = model.norm.running_mean.data.copy()


def edits_a_weight(model: Net, images: Tensor) -> None:
    model.dense.weight.mul_(2)


def has_other_numbers(model: Net, images: Tensor) -> None:
    images.mul_(2)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        *((f, 2) for f in (evaluates, evaluates_a_part, freezes, moves_a_weight, moves_a_buffer)),
        *((f, 0) for f in (edits_a_weight, has_other_numbers)),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_it_is_recorded_anew_where_python_would_go_another_way(
    change: Callable, expected: int, precision: str, quick: None
) -> None:
    model = Net().to("strict")
    step = step_of(model)
    fast, (images, labels) = minidl.capture(step, model), batch(4, "strict")
    for _ in range(3):
        fast(images, labels)
    before = step.passed  # type: ignore[attr-defined]
    with minidl.no_grad():
        change(model, images)
    with minidl.precision(precision):
        losses = [fast(images, labels).item() for _ in range(3)]
    assert step.passed - before == (2 if precision == "bf16" else expected)  # type: ignore[attr-defined]
    if change is evaluates:
        with minidl.precision(precision), minidl.own_products():
            assert losses == [step(images, labels).item()] * 3


def test_numbers_that_the_host_reads_are_looked_at() -> None:
    """As Alpha-Net reads where its links come from."""

    class Scaled(Net):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.HostBuffer(2.0)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.factor.item()

    model = Scaled().to("strict").eval()
    step = step_of(model)
    fast, given = minidl.capture(step, model), batch(4, "strict")
    before = [fast(*given).item() for _ in range(3)]
    model.factor.copy_(3.0)
    after = [fast(*given).item() for _ in range(3)]
    with minidl.own_products():
        wanted = step(*given).item()
    assert after == [wanted] * 3
    assert wanted not in before


def test_no_more_kinds_are_recorded_than_there_is_memory_for() -> None:
    model = nn.Linear(3, 2).to("strict")
    step = step_of(model)
    fast = minidl.capture(step, model)
    for n in [*range(1, MOST + 3)] * 3:
        fast(Tensor(np.ones((n, 3), np.float32), device="strict"), to_device(np.zeros(n, np.int64), "strict"))
    assert step.passed == 2 * MOST + 3 * 2  # type: ignore[attr-defined]


# ---- what is refused -------------------------------------------------------------------------------------------------------

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


# ---- the trainer -----------------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """For digits as they are."""

    input_shape = (1, 8, 8)

    def __init__(self) -> None:
        self.conv, self.norm, self.dropout = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2)
        self.dense = nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.dropout(self.norm(self.conv(x), relu=True)).reshape(len(x), -1))


def metrics(where: str, **options: Any) -> tuple[Training, list[dict[str, float]]]:
    """Three epochs on 45 images, in batches of 20, 20 and 5."""
    minidl.manual_seed(0)
    splits = data.digits()
    splits = replace(splits, train=splits.train[:45], validation=splits.validation[:30])
    training = Training(Small().to(where), splits, Recipe(epochs=3, batch_size=20, shifts=0, **options), device=where)
    with minidl.own_products():
        while not training.finished:
            training.epoch()
    timed = {"seconds", "images_per_second"}
    return training, [{name: value for name, value in row.items() if name not in timed} for row in training.metrics]


@pytest.mark.parametrize("options", [{}, {"clip": 0.5, "precision": "fp16"}], ids=str)
@pytest.mark.parametrize("where", DEVICES)
def test_a_training_is_the_same_with_and_without(where: str, options: dict[str, Any], quick: None) -> None:
    (_, plain), (training, recorded) = metrics(where, **options), metrics(where, **options, capture=1)
    assert plain == recorded
    assert isinstance(training.step.gradients, Captured)


def test_an_epoch_of_recorded_steps_reads_the_loss_alone(quick: None) -> None:
    training, _ = metrics("strict", capture=1)
    training.metrics.clear()
    with minidl.own_products(), watching() as seen:
        training.epoch()
    assert undeclared(seen) == []
    assert ("to the device", "minidl/arguments.py _convert") not in places(seen)


def test_recorded_steps_are_of_one_batch() -> None:
    with pytest.raises(ValueError, match="capture records a step of one batch, and accumulate is 2; leave one of them out"):
        Recipe(capture=1, accumulate=2)


@pytest.mark.parametrize("where", ["cpu", "strict"])
def test_the_command_line_says_what_is_captured(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET, encoding="utf-8")
    words = ["train", "net.py", "--limit", "60", "--epochs", "2", "--batch-size", "30", "--out", "run", "--device", where]
    assert main([*words, "--capture", "--detect-anomaly"]) == (0 if where == "cpu" else 2)
    shutil.rmtree("run", ignore_errors=True)
    capsys.readouterr()
    assert main([*words, "--capture"]) == 0
    said = capsys.readouterr().out
    on = "on cpu, where there is nothing to capture" if where == "cpu" else "on strict, forward and backward captured"
    assert f", {on}\n" in said
    assert (train.UNVERIFIED in said) == (where != "cpu")
    assert json.loads(Path("run/config.json").read_text(encoding="utf-8"))["recipe"]["capture"] == 1


NET = """
from minidl import nn

class Net(nn.Module):
    input_shape = (1, 8, 8)

    def __init__(self, classes):
        self.dense = nn.Linear(64, classes)

    def forward(self, x):
        return self.dense(x.reshape(len(x), -1))
"""
