"""`benchmarks.gpu_report`: single layers beside PyTorch, each precision apart; who is wrong is refused, who fails is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_runs import CONV, Beside, Here, by_kernel, emulated, failed, in_this_process

from benchmarks import gpu_report
from benchmarks.gpu import convolutions, layers, race
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.race import Job
from benchmarks.gpu.record import NO_TIME, OWED, Row, Run
from benchmarks.rivals.minidl_layers import MinidlLayers
from minidl.op import OPS, Kernel
from minidl.ops.conv2d import im2col

CUDA = ("cuda_implicit_gemm", "cuda_im2col")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return in_this_process(tmp_path, monkeypatch)


# ---- what comes out --------------------------------------------------------------------------------------------------


@emulated
def test_every_precision_has_rows_of_its_own(run: Run) -> None:
    rows = list(convolutions.rows(run))
    assert set(by_kernel(rows, "float32")) == {"im2col", "cuda_winograd", "cuda_im2col", "torch-channels-last"}
    assert set(by_kernel(rows, "bf16")) == {"im2col", *CUDA, "torch-channels-last"}
    assert set(by_kernel(rows, "tf32")) == {"im2col", *CUDA}  # PyTorch has none on the CPU
    assert [row["what"] for row in rows if row.get("not_run") == OWED] == [f"{CONV}, tf32, torch-channels-last"]
    for row in rows[:-3]:
        for name, phase in row.get("phases", {}).items():
            assert name in ("forward", "backward-data", "backward-weights")
            assert len(phase["seconds"]) == 2
            assert 0 < phase["low"] <= phase["median"] <= phase["high"]
    ours = by_kernel(rows, "float32")["cuda_winograd"]
    assert ours["compared_with"] == "torch-channels-last"
    assert 0 < ours["difference"] < 1e-5
    assert by_kernel(rows, "tf32")["cuda_im2col"]["difference"] > 1e-5  # the factors were rounded
    assert ours["median"] == pytest.approx(sum(phase["median"] for phase in ours["phases"].values()))
    assert Here.started == [race.OURS, race.THEIRS]


def test_the_first_maps_weigh_no_gradient_of_the_picture(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "REHEARSED", ("alexnet.conv1",))
    monkeypatch.setattr(race.stats, "take_turns", lambda turns, rounds, seed: {who: [turn()] for who, turn in turns.items()})
    monkeypatch.setattr(
        MinidlLayers, "turn", lambda self, kernel: {"forward": 1.0, "backward-data": 8.0, "backward-weights": 2.0}
    )
    monkeypatch.setattr(MinidlLayers, "kernels_of", lambda self, op: ["im2col"])
    rows = by_kernel(list(convolutions.rows(run)), "float32")
    macs = OPS["conv2d"].cost(*(x.shape for x in layers.layer(OPS["conv2d"], "alexnet.conv1", True).inputs), stride=(4, 4),
                              padding=(0, 0, 0, 0), dilation=(1, 1), groups=1).macs  # fmt: skip
    assert (rows["im2col"]["median"], rows["im2col"]["weighed"]) == (3.0, ["forward", "backward-weights"])
    assert rows["im2col"]["tflops"] == pytest.approx(2 * 2e-12 * macs / 3)
    assert rows["im2col"]["phases"]["backward-data"]["tflops"] == pytest.approx(2e-12 * macs / 8)


def test_a_share_is_of_a_product_in_the_same_precision(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MinidlLayers, "kernels_of", lambda self, op: ["im2col"])
    machine = [{"of": "machine", "what": f"product, {name}", "value": value} for name, value in (("tf32", 4.0), ("bf16", 8.0))]
    rows = list(convolutions.STEP.rows(run._replace(rows=machine)))
    for precision, value in (("tf32", 4.0), ("bf16", 8.0)):
        row = by_kernel(rows, precision)["im2col"]
        assert row["share"] == row["tflops"] / value
        assert row["phases"]["forward"]["share"] == row["phases"]["forward"]["tflops"] / value
    assert by_kernel(rows, "float32")["im2col"]["share"] is None
    page = convolutions.STEP.page(rows)
    starts = [page.index(f"### {precision}") for precision in convolutions.WORDS]
    for precision, start, end in zip(convolutions.WORDS, starts, [*starts[1:], len(page)], strict=True):
        table = [line for line in page[start:end] if line.startswith(f"| {CONV}")]
        assert table
        assert all(f"{CONV}, {precision}" in line for line in table)
        assert convolutions.WORDS[precision] in page[start:end]


# ---- who is wrong, and who fails ---------------------------------------------------------------------------------------


def altered(monkeypatch: pytest.MonkeyPatch, name: str, forward: Callable = im2col.forward, **more: Any) -> None:
    """Another formula of conv2d, which takes part."""
    kernel = Kernel(OPS["conv2d"], name, forward, more.pop("backward", im2col.backward), **more)
    monkeypatch.setitem(OPS["conv2d"].kernels, name, kernel)
    monkeypatch.setattr(MinidlLayers, "kernels_of", lambda self, op: ["im2col", name])


def wrong_in_image(number: int, times: float) -> Callable:
    """A forward pass that is wrong there."""

    def forward(x: np.ndarray, *inputs: Any, **attrs: Any) -> tuple:
        y, saved = im2col.forward(x, *inputs, **attrs)
        y[number] *= times
        return y, saved

    return forward


@pytest.mark.parametrize(("number", "times"), [(0, -1), (1, 1.1), (3, -1)])
def test_a_wrong_result_is_refused(number: int, times: float, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever image: some are compared whole, of the others the norm."""
    monkeypatch.setattr(layers, "IMAGES", 2)  # of 4
    altered(monkeypatch, "planted", wrong_in_image(number, times))
    rows = list(convolutions.rows(run))
    refused = [row for row in rows if "refused" in row]
    assert [row["what"] for row in refused] == [f"{CONV}, {name}, planted" for name in ("tf32", "float32", "bf16")]
    part = "y" if number != 1 else "the images' norms in y"
    assert f"{part} differs from float32's of torch-channels-last by" in refused[0]["refused"]
    assert gpu_report.wrong(refused[0])
    assert convolutions.STEP.line(refused[0]).count("REFUSED") == 1
    assert "im2col" in by_kernel(rows, "float32")


@pytest.mark.parametrize("i", [0, 1, 2])
def test_a_wrong_gradient_is_refused(i: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def backward(dy: np.ndarray, saved: tuple, needs: tuple, **attrs: Any) -> tuple:
        grads = list(im2col.backward(dy, saved, needs, **attrs))
        grads[i] = None if grads[i] is None else 1.1 * grads[i]
        return tuple(grads)

    altered(monkeypatch, "planted", backward=backward)
    refused = [row["refused"] for row in convolutions.rows(run) if "refused" in row]
    names = ("dx0", "dw1", "db2")
    assert len(refused) == 3
    assert all(names[i] in why for why in refused)


def test_who_fails_is_named_and_the_others_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*args: Any, **attrs: Any) -> tuple:
        raise MemoryError("no more of it")

    altered(monkeypatch, "planted", forward)
    rows = list(convolutions.rows(run))
    first, second, third = failed(rows)
    assert first == (f"{CONV}, tf32", "failed: planted: MemoryError: no more of it")
    assert second == (f"{CONV}, float32", "failed: planted: MemoryError: no more of it")
    assert third == (f"{CONV}, bf16, planted", "left out: it failed 2 times")
    assert gpu_report.wrong({"not_run": first[1]})
    assert all("im2col" in by_kernel(rows, precision) for precision in convolutions.PRECISIONS)
    assert Here.started == [race.OURS, race.THEIRS] * 3  # fresh processes after each failure


@pytest.mark.parametrize("method", ["layer", "use", "plan", "turn"])
def test_where_pytorch_fails_ours_go_on(method: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, *_: Any, **__: Any) -> None:
        raise RuntimeError("no CUDA driver")

    monkeypatch.setattr(convolutions, "REHEARSED", (CONV, "resnet50.fc", "alexnet.conv4"))
    monkeypatch.setattr(MinidlLayers, "kernels_of", lambda self, op: [OPS[op].default])
    monkeypatch.setattr(Beside, method, fails)
    rows = list(convolutions.rows(run))
    told = failed(rows)
    assert len(told) == race.MOST_FAILURES
    assert all("no CUDA driver" in why and why.startswith("failed: ") for _, why in told)
    timed = [row["what"] for row in rows if row.get("kernel") in ("im2col", "gemm")]
    assert timed == [str(job) for job in convolutions.jobs(run)]
    assert not any(row.get("kernel") == "torch-channels-last" for row in rows)


def test_what_breaks_a_law_is_not_timed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    altered(monkeypatch, "planted")
    rows = list(convolutions.rows(run._replace(rows=[{"of": "laws", "what": "conv2d[planted]", "verdict": "breaks"}])))
    assert failed(rows) == [(f"{CONV}, {name}, planted", "it breaks a law") for name in ("tf32", "float32", "bf16")]


def test_what_is_not_reached_is_named_and_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(MinidlLayers, "kernels_of", lambda self, op: ["im2col"])

    def one(race: Any, todo: list[Job]) -> Iterator[Row]:
        now[0] = 1e9
        return original(race, todo)

    original = convolutions.one
    monkeypatch.setattr(convolutions, "one", one)
    late = Budget(9.0, run.budget.ends, now=lambda: now[0])
    rows = list(convolutions.rows(run._replace(budget=late)))
    assert "im2col" in by_kernel(rows, "tf32")
    assert failed(rows) == [(f"{CONV}, {name}", NO_TIME) for name in ("float32", "bf16")]
    notes = {row["precision"]: row["note"] for row in rows if "near" in row}
    assert notes["tf32"] == "within 15% of the fastest of ours in 1 of 1 layers"
    assert notes["bf16"] == "not measured; 1 layers not reached"


# ---- the choice --------------------------------------------------------------------------------------------------------


def chose(workload: str, value: float) -> Row:
    over = {"value": value, "low": value, "high": value, "level": 0.97}
    return {"workload": workload, "precision": "tf32", "kernel": "a", "chosen": "a", "fastest": "b", "over": over}


def test_the_choice_is_near_the_fastest_or_not() -> None:
    found = [chose("one", 1.15), chose("two", 1.16), chose("three", 1.0), {**chose("four", 9.0), "precision": "bf16"}]
    row = convolutions.choices("tf32", found, 3)
    assert (row["near"], row["measured"], row["not_reached"], row["worst"]) == (2, 3, 3, "two")
    farthest = "farthest in two: 1.16 (1.16-1.16) x b, chosen a"
    assert row["note"] == f"within 15% of the fastest of ours in 2 of 3 layers; {farthest}; 3 layers not reached"


@emulated
def test_the_choice_is_that_of_a_gpu_in_the_precision(run: Run) -> None:
    sources = {kernel.source for name in CUDA if (kernel := OPS["conv2d"].kernels[name])}
    every = {one for source in sources if source for one in (source, *source.also)}
    run.verified.write_text("".join(f"{source.digest}  {source!r}\n" for source in every), encoding="utf-8")
    rows = list(convolutions.rows(run))
    chosen = {row["precision"]: row["chosen"] for row in rows if "chosen" in row}
    assert chosen == {"tf32": "cuda_implicit_gemm", "float32": "cuda_im2col", "bf16": "cuda_implicit_gemm"}
    row = by_kernel(rows, "tf32")["cuda_implicit_gemm"]
    assert row["over"]["value"] > 1
    assert row["fastest"] == "im2col"
    assert f"chosen, {row['over']['value']:.2f} (" in convolutions.STEP.line(row | {"share": None})
