"""`capture`: a recorded step computes what the plain one does, bit for bit, and is recorded anew where it must be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from captures import DEVICES, Net, Recomputed, batch, step_of
from crossings import normal, watching

import minidl
from minidl import Tensor, nn, optim
from minidl.backend import to_device
from minidl.capture import MOST
from models.alphanet import AlphaNet32
from models.resnet import ResNet20

pytestmark = pytest.mark.usefixtures("graphs")

State = dict[str, np.ndarray]

MODELS: dict[str, Callable[[], nn.Module]] = {
    "Net": Net,
    "recomputed": Recomputed,
    "ResNet20": lambda: ResNet20(classes=5),
    "AlphaNet32": lambda: AlphaNet32(classes=5, depth=14, size=16, recompute="block"),
}


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
