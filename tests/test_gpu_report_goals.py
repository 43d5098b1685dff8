"""`benchmarks.gpu_report`: what must be reached is reached, missed or owed; the figures behind it."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpu_runs import run_with

from benchmarks import gpu_report
from benchmarks.gpu import bandwidth, ceilings, convolutions, curves, laws, steps, stopwatch, tests, verdicts
from benchmarks.gpu.record import NO_TIME, Record, Row
from benchmarks.rivals import torch_build

# ---- what must be reached ----------------------------------------------------------------------------------------------------


def ratio(value: float, net: str = "alexnet", precision: str = "tf32") -> Row:
    told = {"value": value, "low": value, "high": value, "level": 0.97}
    best = {"best": {"stock": "torch", "tuned": None}, "ratios": {"torch": told}}
    batch = steps.NETS_ON_GPU[net]
    return {"of": "steps", "what": net, "net": net, "batch": batch, "precision": precision, "rival": "minidl", **best}


def memory(share: float | None = None, **more: Any) -> Row:
    return {"of": "bandwidth", "what": "lrn[cuda] w", "phase": "forward", "cuda": True, "share": share, **more}


def curve(same: bool, **more: Any) -> Row:
    return {"of": "curves", "what": "LeNet-5", "difference": 1e-7, "rounding": 1e-7, "same": same, **more}


@pytest.mark.parametrize(
    ("rows", "verdict", "figure"),
    [
        ([], "owed", "not measured"),
        ([ratio(1.2)], "reached", "minidl 1.20 (1.20-1.20) x torch"),
        ([ratio(1.19)], "missed", "minidl 1.19 (1.19-1.19) x torch"),
        ([ratio(1.1), ratio(1.3) | {"rival": "minidl-captured"}], "reached", "minidl-captured 1.30 (1.30-1.30) x torch"),
        ([ratio(1.3), ratio(1.1) | {"rival": "minidl-captured"}], "reached", "minidl 1.30 (1.30-1.30) x torch"),
        ([ratio(3.0, precision="float32"), ratio(3.0, precision="bf16")], "owed", "not measured"),
        ([ratio(3.0) | {"batch": 64}], "owed", "not measured"),
        ([ratio(3.0) | {"best": {}}], "owed", "not measured"),
        ([{**ratio(3.0), "refused": "the first loss is 1"}], "missed", "refused: the first loss is 1"),
        ([{"of": "steps", "what": "AlexNet", "not_run": NO_TIME}], "owed", "not measured"),
    ],
)
def test_a_ratio_is_reached_missed_or_owed(rows: list[Row], verdict: str, figure: str, tmp_path: Path) -> None:
    found = verdicts.against_torch(run_with(rows, tmp_path), "alexnet", "tf32", 1.2)
    assert (found["verdict"], found["figure"]) == (verdict, figure)
    rehearsed = verdicts.against_torch(run_with(rows, tmp_path, device="cpu"), "alexnet", "tf32", 1.2)
    assert (rehearsed["verdict"], rehearsed["figure"]) == ("owed", "needs a GPU")


@pytest.mark.parametrize(
    ("rows", "verdict", "figure"),
    [
        ([], "owed", "not measured"),
        ([memory(0.8), memory(0.95)], "reached", "2 of 2 timings reach it; the lowest, lrn[cuda] w forward, 80%"),
        ([memory(0.79), memory(0.95)], "missed", "1 of 2 timings reach it; the lowest, lrn[cuda] w forward, 79%"),
        ([memory(0.3, cuda=False)], "owed", "not measured"),
        ([memory(0.9), memory(0.2, cuda=False)], "reached", None),
        ([memory(0.9), memory(not_run=NO_TIME)], "owed", None),
        ([memory(0.9), memory(not_run=NO_TIME, cuda=False)], "reached", None),
    ],
)
def test_bandwidth_is_reached_missed_or_owed(rows: list[Row], verdict: str, figure: str | None, tmp_path: Path) -> None:
    found = verdicts.memory_bound(run_with(rows, tmp_path))
    assert found["verdict"] == verdict
    assert figure is None or found["figure"] == figure


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([], "owed"),
        ([curve(True)], "owed"),
        ([curve(True), curve(True)], "reached"),
        ([curve(True), curve(False)], "missed"),
        ([curve(True), {"of": "curves", "what": "ResNet-20", "failed": "cudaErrorIllegalAddress"}], "missed"),
    ],
)
def test_curves_are_reached_missed_or_owed(rows: list[Row], verdict: str, tmp_path: Path) -> None:
    assert verdicts.same_curve(run_with(rows, tmp_path))["verdict"] == verdict


def test_law_7_is_reached_only_if_all_obey(tmp_path: Path) -> None:
    run = run_with([], tmp_path)
    every = [{"of": "laws", "what": job.what, "part": job.part, "cuda": job.cuda, "verdict": "obeys"} for job in laws.jobs(run)]

    def verdict(rows: list[Row]) -> tuple[str, str]:
        found = verdicts.seventh_law(run._replace(rows=rows))
        return found["verdict"], found["figure"]

    assert verdict(every)[0] == "reached"
    assert verdict(every[1:])[0] == "owed"
    assert verdict([every[0] | {"verdict": "undecided"}, *every[1:]])[0] == "owed"
    broken = [every[0] | {"verdict": "breaks"}, *every[1:]]
    assert verdict(broken)[0] == "missed"
    assert f"broken: {every[0]['what']}" in verdict(broken)[1]


def test_a_curve_is_the_same_to_rounding() -> None:
    cpu, exact = [2.0, 1.0, 0.5], [2.0, 1.0 + 1e-6, 0.5]
    assert curves.judged(cpu, exact, [2.0, 1.0 + 9e-6, 0.5])["same"]
    assert not curves.judged(cpu, exact, [2.0, 1.0, 0.5 + 1e-5])["same"]
    lost = curves.judged(cpu, exact, [2.0, float("nan"), 0.5])
    assert (lost["same"], lost["difference"]) == (False, float("inf"))
    assert not curves.judged(cpu, [1.0, 1.0, 0.5], [2.04, 1.0, 0.5])["same"]  # however much the host itself rounds


# ---- the parts ---------------------------------------------------------------------------------------------------------------


def test_the_share_of_convolution() -> None:
    parts = {"conv2d[im2col]": (1.0, 2.0), "conv_transpose2d[im2col]": (0.5, 0.5), "lrn[run]": (2.0, 2.0), "SGD": (0.0, 2.0)}
    profile = [{"op": name, "forward": a, "backward": b} for name, (a, b) in parts.items()]
    row = steps.kept({"profile": profile * 4})
    assert row["convolution"] == pytest.approx(4 / 10)
    assert len(row["profile"]) == steps.LONGEST


def test_a_share_is_of_the_copy() -> None:
    row = bandwidth.figures([2e-3, 1e-3, 3e-3], 4_000_000_000, copy=2500.0)
    assert (row["gbs"], row["share"], row["view"]) == (2000.0, 0.8, False)
    assert bandwidth.figures([1e-6], 10**9, copy=2500.0)["share"] is None  # nothing moved
    assert bandwidth.figures([1e-3], 10**9, copy=None)["share"] is None


def test_on_the_host_the_stopwatch_counts_every_round() -> None:
    calls = []
    times = stopwatch.device_times(lambda: (calls.append(1), time.sleep(0.002)), 3, "cpu")
    assert len(times) == 3
    assert all(0.002 <= t < 0.1 for t in times)


class Counted:
    """A device in whose queue calls take a second each, and holding it as long as it is held."""

    def __init__(self) -> None:
        self.now, self.said = 0.0, list[str]()

    def work(self) -> None:
        self.now += 1.0
        self.said.append("call")

    def clock(self) -> stopwatch.Clock:
        def hold(seconds: float) -> None:
            self.now += seconds
            self.said.append("hold")

        def mark() -> float:
            self.said.append("mark")
            return self.now

        return stopwatch.Clock(hold, mark, lambda before, after: after - before, lambda: self.said.append("wait"))


def test_on_a_device_nothing_but_the_calls_is_counted() -> None:
    device = Counted()
    plan = stopwatch.Plan(calls=3, held=50.0)
    assert stopwatch.one_round(device.work, plan, device.clock()) == 1.0
    assert device.said == ["hold", "call", "mark", "call", "call", "call", "mark"]


def test_a_round_is_planned_by_what_a_call_takes() -> None:
    device = Counted()
    slow = stopwatch.planned(lambda: time.sleep(0.01), device.clock(), most=5, least=1e-3)
    assert slow.calls == stopwatch.FEWEST == 3
    assert slow.held >= 2 * 4 * 0.01  # it takes as long to launch: held until all are in the queue
    assert stopwatch.planned(lambda: time.sleep(0.01), device.clock(), fewest=1).calls == 1
    assert stopwatch.planned(lambda: None, device.clock(), most=5, least=1e-3).calls == 5


@pytest.mark.parametrize(
    ("text", "told", "why"),
    [
        ("__version__ = '2.9.0+cu128'\ncuda = '12.8'\n", "2.9.0+cu128, built for CUDA 12.8", None),
        (
            "__version__ = '2.9.0+cpu'\ncuda = None\n",
            "2.9.0+cpu, a build without CUDA",
            "PyTorch 2.9.0+cpu, a build without CUDA: ",
        ),
        (None, "of unknown version, built for CUDA ?", None),
    ],
)
def test_the_build_of_pytorch_is_told(
    text: str | None, told: str, why: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text:
        (tmp_path / "version.py").write_text(text, encoding="utf-8")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(torch_build, "find_spec", lambda name: spec)
    monkeypatch.setattr(torch_build, "build", torch_build.build.__wrapped__)
    assert str(torch_build.build()) == told
    assert (torch_build.missing() or "").startswith(why or "")
    assert (torch_build.missing() is None) == (why is None)
    args = gpu_report.parser().parse_args([])
    run = gpu_report.run_of(args, Record(None, []), tmp_path)
    assert run.rivals == ([] if why else gpu_report.RIVALS)
    rival, owed = convolutions.rival_of(run)
    assert rival == (None if why else "torch-channels-last")
    assert owed.startswith(f"owed: {why}" if why else "")
    asked = gpu_report.parser().parse_args(["--rivals", "torch-tuned"])
    assert gpu_report.run_of(asked, Record(None, []), tmp_path).rivals == ["torch-tuned"]


def test_without_pytorch_every_precision_is_owed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_build, "missing", lambda: "PyTorch is not installed: install it")
    monkeypatch.setattr(convolutions, "enough", lambda run: False)
    rows = [row for row in convolutions.rows(run_with([], tmp_path, rivals=[])) if row["what"].startswith("PyTorch")]
    assert [row["what"] for row in rows] == [f"PyTorch, {name}" for name in ("tf32", "float32", "bf16")]
    assert {row["not_run"] for row in rows} == {"owed: PyTorch is not installed: install it"}
    assert not any(gpu_report.wrong(row) for row in rows)


def test_a_missing_pytest_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests, "NEEDED", ("pytest", "no_such_package"))
    (row,) = tests.rows(run_with([], tmp_path))
    assert "no_such_package not installed" in row["not_run"]


def test_the_ceilings_are_those_of_the_precision() -> None:
    """A product of tf32 is not one of float32: on the host its factors are rounded, which takes longer."""
    host = ceilings.Ceilings(1, "cpu")
    assert all(value > 0 for kind in ceilings.PRODUCTS for value in host.product(kind, 2))
    assert len(host.copy(3)) == 3
