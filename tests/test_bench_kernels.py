"""`python -m benchmarks.kernels` times what is right, and refuses what is wrong; what it prints, writes and draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import kernels, precision, tables
from benchmarks.rivals.minidl_ops import MinidlOps
from benchmarks.workloads import phases_of, problem_of, small_problems, work_of
from minidl.op import OPS

QUICK = ["lrn", "--workload", "alexnet.norm2", "--batch", "2", "--rounds", "2", "--threads", "1"]

PLANTED = """
import os
from minidl.op import OPS

window = OPS["lrn"].kernels["window"]

def forward(x, **attrs):
    y, saved = window.forward(x, **attrs)
    {in_forward}
    return y, saved

def backward(dy, saved, needs, **attrs):
    (dx,) = window.backward(dy, saved, needs, **attrs)
    {in_backward}
    return (dx,)

OPS["lrn"].kernel("planted", forward, backward)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the workers find the fakes
    monkeypatch.setattr(kernels.clock, "TURN", 0.0)


def plant(folder: Path, in_forward: str = "pass", in_backward: str = "pass") -> list[str]:
    """The options that bring in a kernel with these lines in it."""
    path = folder / "mine.py"
    path.write_text(PLANTED.format(in_forward=in_forward, in_backward=in_backward), encoding="utf-8")
    return ["--with", str(path)]


def rows_of(out: str) -> list[list[str]]:
    """The table's cells."""
    return [[cell.strip() for cell in line.split("|")[1:]] for line in out.splitlines() if line.startswith("| lrn")]


# ---- what comes out --------------------------------------------------------------------------------------------------


def test_table_file_and_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "kernels.json"
    assert kernels.main([*QUICK, *plant(tmp_path), "--json", str(result)]) == 0
    record = json.loads(result.read_text(encoding="utf-8"))
    names = [*(k.name for k in OPS["lrn"].kernels.values() if not k.source), "planted"]
    assert [(row["kernel"], row["phase"]) for row in record["rows"]] == [
        *((name, phase) for phase in ("forward", "backward") for name in names),
        ("auto", "forward+backward"),
    ]
    *timed, auto = record["rows"]
    assert auto["chosen"] == "run"
    assert auto["over"]["low"] <= auto["over"]["value"] <= auto["over"]["high"]
    for row in timed:
        assert row["tried"] == "sibling"
        assert row["shapes"] == [[2, 256, 27, 27]]
        assert len(row["seconds"]) == 2
        assert 0 < row["low"] <= row["median"] <= row["high"]
        assert row["saved"] >= 2 * 256 * 27 * 27 * 4
        assert 0 < row["roofline"] < 2
    planted = next(row for row in timed if row["kernel"] == "planted")
    assert planted["difference"] < 1e-6
    assert planted["compared_with"] == "run"  # the default
    assert record["layout"] == "channels-last"
    assert record["machine"]["minidl_threads"] == record["threads"] == 1
    assert record["ceilings"].keys() == {"gflops", "gbs"}
    out = capsys.readouterr().out
    assert [row[2] for row in rows_of(out)] == [*names, *names, "auto"]
    assert "every rival on 1 threads" in out
    assert "GFLOP/s in a matrix product" in out


@pytest.mark.nightly
def test_only_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert kernels.main([*QUICK, "--kernel", "window"]) == 0
    assert [row[2] for row in rows_of(capsys.readouterr().out)] == ["window", "window"]


def test_calibration_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "calibration.json"
    words = ["--calibrate", "--trials", "1", "--rounds", "2", "--threads", "1", "--json", str(result)]
    assert kernels.main(words) == 0
    rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
    assert [(row["op"], row["trials"], row["told_from_itself"]) for row in rows] == [("conv2d", 1, 0), ("lrn", 1, 0)]
    page = tables.renewed("<!-- table: calibration -->\n<!-- end -->", tmp_path)
    assert f"| conv2d lenet.C3 | 1 | 0 | 0 | 1.10 | {rows[0]['measured']:.3f} |" in page
    assert "a slowdown to 1.10 found in 0" in capsys.readouterr().out  # two rounds are sure of nothing


# ---- what is refused -------------------------------------------------------------------------------------------------

ON_LARGE = "if y.size > 100_000: "


@pytest.mark.parametrize(
    ("planted", "why"),
    [
        pytest.param({"in_forward": "y = 1.001 * y"}, "breaks the law", marks=pytest.mark.nightly),
        ({"in_backward": "dx = dx + 0.01 * dy"}, "breaks the law backward_is_the_derivative"),
        ({"in_forward": ON_LARGE + "y = y + 0.1"}, "y differs from run's by"),
        pytest.param(
            {"in_backward": "if dy.size > 100_000: dx = -dx"},
            "dx0 differs from run's by 2.0e+00 of the largest",
            marks=pytest.mark.nightly,
        ),
        ({"in_backward": "if dy.size > 100_000: dx = float('nan') * dx"}, "dx0 differs from run's by nan"),
    ],
)
def test_a_wrong_kernel_is_refused(
    planted: dict[str, str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*QUICK, "--kernel", "window,planted", "--rounds", "1", *plant(tmp_path, **planted)]
    assert kernels.main(words) == 1
    out = capsys.readouterr().out
    refused = [line for line in out.splitlines() if "REFUSED" in line]
    assert len(refused) == 1
    assert "| planted" in refused[0]
    assert why in refused[0]
    assert [row[2] for row in rows_of(out)].count("planted") == 1  # said once, timed never
    assert [row[2] for row in rows_of(out)].count("window") == 2


def test_a_process_that_ends_is_reported_and_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """AlexNet's first LRN kills it, the second is measured."""
    words = ["lrn", "--workload", "alexnet", "--batch", "1", "--rounds", "1", "--threads", "1"]
    planted = plant(tmp_path, in_forward="if y.size == 96 * 55 * 55: os._exit(3)")
    assert kernels.main([*words, "--kernel", "planted", *planted]) == 1
    first, *rest = rows_of(capsys.readouterr().out)
    assert first[-1] == "failed: benchmarks.rivals.minidl_ops:MinidlOps ended: exit code 3"
    assert [row[1:4] for row in rest] == [["alexnet.norm2", "planted", phase] for phase in ("forward", "backward")]


def test_unequal_threads_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(kernels, "THEIRS", "bench_fakes:OtherThreads")
    assert kernels.main([*QUICK, "--rivals", "torch"]) == 2
    assert "unequal threads: torch_threads is 7, not 1" in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["lnr"], "no op 'lnr' with workloads: choose from "),
        (["--rivals", "jax"], "no rival 'jax': choose from torch,"),
        (["--batch", "none"], "expected a whole number of 1 or more, got 'none'"),
        (["--limit", "0"], "expected seconds above 0, got '0'"),
        (["--rounds", "0"], "got '0'"),
    ],
)
def test_bad_options_get_one_line(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        kernels.main(words)
    assert end.value.code == 2
    assert why in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--kernel", "windows"], "no kernel 'windows': choose from"),
        (["--workload", "alexnet.norm3"], "no workload has 'alexnet.norm3' in its name: "),
        (["--with", "nowhere.py"], "FileNotFoundError"),
    ],
)
def test_what_is_not_there_gets_one_line(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kernels.main(["lrn", "--threads", "1", *words]) == 2
    assert why in one_line(capsys)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


# ---- precision -------------------------------------------------------------------------------------------------------


SMALL = ["conv2d", "--workload", "lenet.C1", "--batch", "2", "--rounds", "1", "--threads", "1"]


def test_a_precision_is_named_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "kernels.json"
    words = [*SMALL, "--kernel", "im2col", "--precision", "bf16", "--json", str(result)]
    assert kernels.main(words) == 0
    record, out = json.loads(result.read_text(encoding="utf-8")), capsys.readouterr().out
    assert record["precision"] == "bf16"
    assert {row["precision"] for row in record["rows"]} == {"bf16"}
    assert "precision bf16: minidl.precision('bf16'); PyTorch with torch.autocast(bfloat16)" in out
    assert "rehearsal" in out


def test_our_kernels_compute_in_the_precision(tmp_path: Path) -> None:
    def y(precision: str) -> np.ndarray:
        ours = MinidlOps(1, precision=precision)
        ours.load("conv2d", "lenet.C1", 2)
        ours.prepare("im2col", 10.0)
        ours.save("im2col", str(tmp_path / "y.npz"))
        ours.modes.close()
        return np.load(tmp_path / "y.npz")["y"]

    exact, largest = y("float32"), np.abs(y("float32")).max()
    errors = [np.abs(y(name) - exact).max() / largest for name in ("tf32", "bf16")]
    assert 1e-5 < errors[0] < 2**-10
    assert 1e-4 < errors[1] < 2**-7


@pytest.mark.nightly
def test_a_kernel_is_timed_in_its_own_precisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(ONLY_TF32, encoding="utf-8")
    words = [*SMALL, "--kernel", "mine", "--with", str(tmp_path / "mine.py")]
    assert kernels.main(words) == 0
    assert "cannot: it computes in tf32, not in float32" in capsys.readouterr().out
    assert kernels.main([*words, "--precision", "tf32"]) == 0
    assert "cannot" not in capsys.readouterr().out


ONLY_TF32 = """
from minidl.op import OPS

plain = OPS["conv2d"].kernels["im2col"]
OPS["conv2d"].kernel("mine", plain.forward, plain.backward, precisions=("tf32",))
"""


def test_tolerances_follow_the_precision() -> None:
    assert [precision.of_results(name, True) for name in precision.NAMES] == [1e-3, 4 * 2.0**-10, 4 * 2.0**-7]
    assert [precision.of_results(name, False) for name in precision.NAMES] == [1e-3] * 3
    assert [precision.of_losses(name) for name in precision.NAMES] == [1e-4, 2.0**-10, 2.0**-7]


@pytest.mark.parity
def test_pytorchs_convolution_in_bf16_is_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    result = tmp_path / "kernels.json"
    words = [*SMALL, "--kernel", "im2col", "--rivals", "torch", "--precision", "bf16", "--json", str(result)]
    assert kernels.main(words) == 0
    ours = next(row for row in json.loads(result.read_text(encoding="utf-8"))["rows"] if row["kernel"] == "im2col")
    assert ours["compared_with"] == "torch"
    assert 1e-4 < ours["difference"] < 3e-2
    assert "REFUSED" not in capsys.readouterr().out


@pytest.mark.parity
def test_pytorch_is_switched_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.rivals.torch_precision import Precise

    precise = Precise("cuda")
    off = {"torch_matmul": "ieee", "torch_convolution": "ieee", "torch_autocast": False}
    assert precise.told() == off
    precise.use("tf32")
    assert precise.told() == {"torch_matmul": "tf32", "torch_convolution": "tf32", "torch_autocast": False}
    precise.use("bf16")
    assert precise.told() == off | {"torch_autocast": True}
    on_host = Precise("cpu")
    on_host.use("bf16")
    with on_host.forward():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert kernels.main([*SMALL, "--rivals", "torch", "--precision", "tf32"]) == 2
    assert "PyTorch has no TF32 on the CPU: take --precision bf16 or float32" in one_line(capsys)


# ---- the parts -------------------------------------------------------------------------------------------------------


def test_phases_and_their_least_work() -> None:
    """LeNet's C3 on two images: 2 * 10*10*16 * 6*5*5 multiply-adds."""
    op, flops = OPS["conv2d"], 2 * 2 * 10 * 10 * 16 * 6 * 5 * 5
    problem = problem_of(op, "lenet.C3", 2)
    phases = phases_of(op, problem)
    assert list(phases) == ["forward", "backward-data", "backward-weights"]
    x, w, b = (4 * a.size for a in problem.inputs)
    y = 4 * 2 * 16 * 10 * 10
    for needs in phases.values():
        assert work_of(op, problem, needs) == (flops, x + w + b + y)
    assert list(phases_of(OPS["lrn"], problem_of(OPS["lrn"], "alexnet.norm2", 1))) == ["forward", "backward"]


@pytest.mark.parametrize("name", kernels.WITH_WORKLOADS)
def test_every_workload_has_small_problems_for_the_laws(name: str) -> None:
    for workload in OPS[name].workloads:
        for kernel in OPS[name].kernels.values():
            kind, problems = small_problems(kernel, workload)
            assert problems, f"{kernel} on {workload}"
            sizes = [x.size for p in problems for x in p.inputs if x is not None]
            assert max(sizes) < 20_000, f"{kernel} on {workload}: {kind}"


def test_the_largest_difference(tmp_path: Path) -> None:
    def saved(name: str, **arrays: np.ndarray) -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / f"{name}.npz"

    a, b = np.array([1.0, 4.0]), np.array([1.0, 5.0])
    assert kernels.largest_difference(saved("a", y=a, dx=a), saved("b", y=a, dx=b)) == ("dx", 0.2)
    assert kernels.largest_difference(saved("c", y=a), saved("d", dx=a))[1] == float("inf")
    assert kernels.largest_difference(saved("e", y=a), saved("f", y=a[:1])) == ("the shape of y", float("inf"))


@pytest.mark.nightly
@pytest.mark.parity
def test_lrn_beside_pytorch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    result, plot = tmp_path / "kernels.json", tmp_path / "kernels.png"
    assert kernels.main([*QUICK, "--rivals", "torch", "--json", str(result), "--plot", str(plot)]) == 0
    record = json.loads(result.read_text(encoding="utf-8"))["rows"]
    fastest = min((r for r in record if r["phase"] == "forward" and "ratios" in r), key=lambda r: r["median"])
    page = tables.renewed("<!-- table: kernels -->\n<!-- end -->", tmp_path)
    assert f"| lrn | alexnet.norm2 | forward | {fastest['kernel']} | {1e3 * fastest['median']:#.3g} |" in page
    assert "(results/kernels.png)" in page
    rows = rows_of(capsys.readouterr().out)
    assert all(row[11] and not row[12] for row in rows if row[2] in OPS["lrn"].kernels)
    assert plot.read_bytes().startswith(b"\x89PNG")
