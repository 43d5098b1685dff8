"""`python -m benchmarks.models` compares like with like, or refuses; what it prints, writes and draws."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from benchmarks import models, nets, tables
from benchmarks.nets import NETS, batch_of, batches_up_to
from benchmarks.rivals.minidl_nets import MinidlNets
from benchmarks.rivals.names import best
from benchmarks.rivals.training import fingerprint
from minidl.evaluation import loss_of

QUICK = ["lenet", "--batch", "4", "--rounds", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the workers find the fakes
    monkeypatch.setattr(models, "TURN", 0.0)


def beside(fake: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The command, with a fake in PyTorch's place."""
    monkeypatch.setattr(models, "THEIRS", f"bench_fakes:{fake}")
    return models.main([*QUICK, *words] if words else [*QUICK, "--rivals", "torch"])


# ---- what comes out --------------------------------------------------------------------------------------------------


def test_a_slower_rival_is_slower_in_table_file_and_charts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, plot, crossover = (tmp_path / name for name in ("models.json", "models.png", "crossover.png"))
    files = ["--json", str(result), "--plot", str(plot), "--crossover", str(crossover)]
    assert beside("Slower", monkeypatch, "--rivals", "torch,torch-tuned", "--profile", *files) == 0
    record = json.loads(result.read_text(encoding="utf-8"))
    ours, stock, tuned = record["rows"]
    assert [row["rival"] for row in record["rows"]] == ["minidl", "torch", "torch-tuned"]
    assert ours["best"] == {"stock": "torch", "tuned": "torch-tuned"}
    assert ours["ratios"]["torch"]["value"] > ours["ratios"]["torch-tuned"]["value"] > 2
    assert ours["phase_ratios"]["torch"]["forward"]["value"] > 2
    assert ours["first_loss"] == stock["first_loss"] == tuned["first_loss"]
    for row in record["rows"]:
        assert all(len(row["seconds"][phase]) == 2 for phase in models.PHASES)
        assert row["low"] <= row["step"] <= row["high"]
        assert row["images_per_second"] == pytest.approx(4 / row["step"])
        assert sum(row["seconds"][phase][0] for phase in models.PHASES[:3]) == pytest.approx(row["seconds"]["step"][0])
    assert record["machine"]["minidl_threads"] == record["threads"] == 1
    out = capsys.readouterr().out
    printed = next(line for line in out.splitlines() if line.startswith("| lenet"))
    assert str(models.stats.Ratio(**ours["ratios"]["torch"])) in printed
    assert "every rival on 1 threads" in out
    assert "conv2d[" in out
    assert "softmax_cross_entropy" in out
    assert {part["op"] for part in ours["profile"]} >= {"SGD", "the rest"}
    assert [part["calls"] for part in ours["profile"] if part["op"].startswith("conv2d")] == [1, 1, 1]  # of a step, not more
    assert min(part["forward"] for part in ours["profile"]) >= 0
    page = tables.renewed("before <!-- table: models -->\nold\n<!-- end --> after", tmp_path)
    assert page.startswith("before <!-- table: models -->\n\n`")
    assert page.endswith("(results/models.png)\n\n<!-- end --> after")
    assert f"| LeNet-5 | 4 | {ours['images_per_second']:.3g} | {models.stats.Ratio(**ours['ratios']['torch'])} |" in page
    assert "old" not in page
    assert "Where the time of LeNet-5 goes, 4 images" in page
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (plot, crossover))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")
def test_the_peak_is_that_of_training(tmp_path: Path) -> None:
    """ResNet-20's maps of 32 images are ten times its weights: the peak grows with the batch, and holds the maps."""
    result = tmp_path / "models.json"
    words = ["resnet20", "--batch", "2,32", "--rounds", "1", "--threads", "1", "--json", str(result)]
    assert models.main(words) == 0
    few, many = (row["peak"] for row in json.loads(result.read_text(encoding="utf-8"))["rows"])
    maps = 32 * 7 * 2 * 4 * 16 * 32 * 32  # what the ReLUs and norms of layer1 keep at least, in bytes
    assert few + maps / 2 < many < 1e9


def test_without_rivals_there_is_nothing_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert models.main(QUICK) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| lenet"))
    assert row.split("|")[-4:-1] == [" " * 18, " " * 18, " " * 8]


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fake", "why"),
    [
        ("OtherLoss", "the first loss is"),
        ("OtherGradient", "the first gradient of C3.weight is"),
        ("Diverges", "the loss became nan while it was timed"),
        ("Dies", "failed: bench_fakes:Dies ended: exit code 3"),
    ],
)
def test_what_is_not_the_same_is_not_timed(
    fake: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert beside(fake, monkeypatch) == 1
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| lenet")]
    assert len(rows) == 1
    assert "REFUSED" in rows[0]
    assert why in rows[0]


@pytest.mark.nightly  # test_a_precision_is_named_and_kept in test_bench_kernels.py is its smoke form
def test_a_precision_is_named_and_compared_by_its_own_rule(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """OtherLoss is a thousandth off: of another net in float32 and tf32, and within what bf16 rounds; but the nets are compared
    in float32 first, whatever is timed."""
    result = tmp_path / "models.json"
    assert models.main([*QUICK, "--precision", "bf16", "--json", str(result)]) == 0
    record, out = json.loads(result.read_text(encoding="utf-8")), capsys.readouterr().out
    assert record["precision"] == "bf16"
    assert {row["precision"] for row in record["rows"]} == {"bf16"}
    assert "precision bf16: minidl.precision('bf16')" in out
    assert beside("OtherLoss", monkeypatch, "--rivals", "torch", "--precision", "bf16") == 1
    assert "not the same net" in capsys.readouterr().out
    assert beside("Imprecise", monkeypatch, "--rivals", "torch", "--precision", "bf16") == 0
    assert beside("Imprecise", monkeypatch, "--rivals", "torch", "--precision", "tf32") == 1


def test_our_nets_compute_in_the_precision(tmp_path: Path) -> None:
    ours, weights = MinidlNets(1), str(tmp_path / "weights.npz")
    ours.draw("lenet", weights)
    ours.load("lenet", 4, weights)

    def first(precision: str) -> float:
        ours.use(precision)
        return ours.first(gradients=False)["loss"]

    exact, tf32, bf16, again = (first(name) for name in ("float32", "tf32", "bf16", "float32"))
    ours.precision.close()
    ours.modes.close()
    assert again == exact
    assert 0 < abs(tf32 - exact) < 1e-3
    assert 0 < abs(bf16 - exact) < 1e-2
    assert tf32 != bf16


def test_a_queue_is_not_waited_for_within_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three parts that wait for the device, then steps in a row that do not; a profile looks at the parts alone."""
    ours, weights, waits = MinidlNets(1), str(tmp_path / "weights.npz"), []
    ours.draw("lenet", weights)
    ours.load("lenet", 2, weights)
    ours.queued = True
    ours.give_back = lambda: None  # it has no pool
    monkeypatch.setattr(ours, "wait", lambda: waits.append(1))
    monkeypatch.setattr(ours, "_in_a_row", lambda count: 7.0 * count)
    lap = ours.time(3)
    assert (lap["step"], len(waits)) == (7.0, 4 * 4)
    monkeypatch.undo()
    calls = [part["calls"] for part in ours.profile(steps=2) if part["op"].startswith("conv2d")]
    assert calls == [1, 1, 1]
    waits.clear()
    monkeypatch.setattr(ours, "wait", lambda: waits.append(1))
    assert 0 < ours._in_a_row(3) < 10
    assert len(waits) == 2
    ours.modes.close()


def test_unequal_threads_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert beside("OtherThreads", monkeypatch) == 2
    assert "unequal threads: torch_threads is 7, not 1" in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["lenet5"], "no net 'lenet5': choose from alexnet, vgg16"),
        (["--rivals", "jax"], "no rival 'jax': choose from torch,"),
        (["--batch", "0"], "expected a whole number of 1 or more, got '0'"),
        (["--batch", "8,x"], "got 'x'"),
        (["--rounds", "-1"], "got '-1'"),
        (["--threads", "5000"], "expected at most 1024"),
        (["--device", "tpu"], "expected cpu, cuda or cuda:1"),
        (["--json", "nowhere/models.json"], "cannot write 'nowhere/models.json'"),
        (["--crossover", "."], "cannot write '.'"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_bad_options_get_one_line(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        models.main(words)
    assert end.value.code == 2
    assert why in one_line(capsys)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


# ---- the parts -------------------------------------------------------------------------------------------------------


def test_a_fingerprint_shows_what_a_norm_hides() -> None:
    g = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    norm, *sums = fingerprint(g)
    assert norm == pytest.approx(float(np.linalg.norm(g)), rel=1e-6)
    assert fingerprint(-g) == (norm, *(-s for s in sums))
    assert fingerprint(g[::-1])[0] == pytest.approx(norm)


@pytest.mark.parametrize("far", [0.0, 0.15, 0.4, 0.9])
def test_fingerprints_are_as_far_apart_as_the_gradients(far: float) -> None:
    """Gradients of equal norm, turned away from each other: a norm and one product would let four of ten pass at 0.46."""
    rng, refused = np.random.default_rng(0), 0
    for _ in range(100):
        g, other = rng.standard_normal((2, 5000)).astype(np.float32)
        other -= g * (g @ other) / (g @ g)
        other *= np.linalg.norm(g) / np.linalg.norm(other)
        angle = 2 * np.arcsin(far / 2)
        turned = np.cos(angle) * g + np.sin(angle) * other
        row = {"loss": 1.0, "gradients": {"w": list(fingerprint(g))}}
        refused += models.difference(0.25, {"loss": 1.0, "gradients": {"w": list(fingerprint(turned))}}, row) is not None
    assert refused <= 3 if far < 0.2 else refused >= 97


def test_batches_and_the_best() -> None:
    assert batches_up_to(32) == [1, 4, 8, 16, 32]
    assert batches_up_to(1) == [1]
    images, labels = batch_of("lenet", 3)
    assert (images.shape, images.dtype, labels.shape) == ((3, 1, 32, 32), np.float32, (3,))
    assert np.array_equal(images, batch_of("lenet", 3)[0])
    assert best({"torch": 2.0, "torch-channels-last": 1.0, "torch-tuned": 3.0}) == {
        "stock": "torch-channels-last",
        "tuned": "torch-tuned",
    }
    assert best({}) == {"stock": None, "tuned": None}


# ---- beside PyTorch --------------------------------------------------------------------------------------------------


@pytest.mark.parity
def test_lenet_beside_pytorch(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert models.main([*QUICK, "--rivals", "torch-tuned-channels-last"]) == 0
    out = capsys.readouterr().out
    assert "REFUSED" not in out
    assert sum(line.startswith("| lenet") for line in out.splitlines()) == 2


LARGE = [pytest.param(name, marks=[] if name in ("lenet", "resnet20", "alphanet") else pytest.mark.nightly) for name in NETS]


@pytest.mark.parity
@pytest.mark.parametrize("name", LARGE)
def test_pytorchs_nets_are_ours(name: str) -> None:
    """In float64, where rounding hides nothing: the loss to 1e-10, every gradient to 1e-6 of its norm."""
    torch = pytest.importorskip("torch")
    from benchmarks.rivals.torch_nets import NETS as THEIRS
    from benchmarks.rivals.torch_nets import TorchNets
    from benchmarks.rivals.torch_precision import Precise

    images, labels = batch_of(name, 2)
    minidl.manual_seed(0)
    mine = MinidlNets._made(MinidlNets.__new__(MinidlNets), name).to(dtype="float64").train()
    theirs = TorchNets.__new__(TorchNets)
    theirs.precise = Precise("cpu")
    theirs.model = THEIRS[name]().double().train()
    theirs.model.load_state_dict({key: torch.from_numpy(array) for key, array in mine.state_dict().items()}, strict=True)
    for module in [*mine.modules(), *theirs.model.modules()]:
        if "Dropout" in type(module).__name__:
            module.p = 0.0
        if "StochasticPool" in type(module).__name__:
            module.training = False
    theirs.images, theirs.labels = torch.from_numpy(images.astype(np.float64)), torch.from_numpy(labels)
    loss, other = loss_of(mine, mine(images.astype(np.float64)), labels), theirs.forward()
    assert loss.item() == pytest.approx(other.item(), rel=1e-10)
    loss.backward()
    other.backward()
    ours = dict(mine.named_parameters())
    for key, parameter in theirs.model.named_parameters():
        gradient = parameter.grad.numpy()
        assert np.linalg.norm(ours[key].grad - gradient) <= 1e-6 * np.linalg.norm(gradient), key


def test_the_nets_are_those_of_models() -> None:
    for about in nets.NETS.values():
        module, _, cls = about.ours.partition(":")
        net = getattr(__import__(module, fromlist=[cls]), cls)
        assert net.input_shape == about.images


def test_captured_steps_are_for_a_gpu(capsys: pytest.CaptureFixture) -> None:
    assert models.main(["lenet", "--captured"]) == 2
    assert "--captured is for a GPU; leave it out, or use --device cuda" in capsys.readouterr().err


def test_what_is_timed_as_captured_is_compared_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Its first loss and gradients are those of a launch: here, of a capture that forgets to launch."""
    rival = MinidlNets(threads=1, captured=True)
    request.addfinalizer(rival.modes.close)
    request.addfinalizer(rival.precision.close)  # the last first
    rival.draw("lenet", str(tmp_path / "lenet.npz"))
    rival.use("float32")
    rival.load("lenet", 2, str(tmp_path / "lenet.npz"))
    right = rival.first()
    assert models.difference(1e-3, right, right) is None
    calls: list[int] = []

    def capture(step: Any, model: Any) -> Any:
        def stuck(*args: Any) -> Any:
            calls.append(1)
            return step(*args) * (1 + (len(calls) % 3 == 0))

        return stuck

    monkeypatch.setattr(minidl, "capture", capture)
    wrong = rival.first()
    assert len(calls) == 3
    assert "the first loss is" in (models.difference(1e-3, wrong, right) or "")
