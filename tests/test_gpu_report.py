"""`python -m benchmarks.gpu_report`: rehearsed on the CPU, it ends in time and leaves what it measured."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import emulation
import pytest
from gpu_runs import planted, run_with

from benchmarks import gpu_report, report
from benchmarks.gpu import bandwidth, convolutions, laws, optimisers, race, steps, verdicts
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.record import NO_TIME, OWED, Record, Row, Run, Step
from benchmarks.worker import RivalFailed, Worker
from minidl import cuda
from minidl.op import OPS

NAMES = [step.name for step in gpu_report.STEPS]

# ---- the rehearsal -----------------------------------------------------------------------------------------------------


def test_the_rehearsal_runs_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(cuda, "VERIFIED", tmp_path / "verified.txt")
    monkeypatch.setattr(report, "RESULTS", tmp_path / "nowhere")
    path = tmp_path / "rehearsal.json"
    words = ["--rehearse", "--threads", "1", "--write-verified", "--json", str(path)]
    assert gpu_report.main(words) == 0
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = {name: [row for row in record["rows"] if row["of"] == name] for name in NAMES}
    assert record["finished"]
    assert all(rows.values())
    assert {row["what"] for row in rows["machine"]} > {"GPU", "copy", "product, tf32"}
    judged = [row for row in rows["laws"] if "not_run" not in row]
    assert {row["verdict"] for row in judged} == {"obeys"}
    assert {row["what"].partition("[")[0] for row in judged} == set(laws.REHEARSED)
    launching = {f"{name}[cuda]" for name in optimisers.with_sources()}
    owed = {row["what"] for row in rows["laws"] if row.get("not_run") == OWED}
    assert owed == {f"law 7, {len(laws.kernels())} kernels", *(str(k) for k in laws.kernels() if k.source), *launching}
    assert [row["what"] for row in rows["curves"]] == ["LeNet-5", "ResNet-20"]
    assert {row["phase"] for row in rows["bandwidth"]} == {"forward", "backward"}
    ours = [(row["precision"], row["rival"]) for row in rows["steps"]]
    assert ours == [(name, rival) for name in steps.PRECISIONS for rival in ("minidl", "minidl-captured")]
    assert raced(rows["convolutions"]) == expected_races()
    assert all(row["verdict"] == "owed" for row in rows["goals"])
    assert len(rows["goals"]) == 9
    assert not (tmp_path / "verified.txt").exists()
    assert not (tmp_path / "nowhere").exists()
    page, printed = path.with_suffix(".md").read_text(encoding="utf-8"), capsys.readouterr().out
    for step in gpu_report.STEPS:
        assert f"## {step.title}" in page
        assert f"## {step.title}" in printed
    assert "a rehearsal" in page.lower()
    assert OWED in page


def raced(rows: list[Row]) -> set[tuple[str, str]]:
    """Layer and precision, and the kernel that was timed; or what is owed, or told of the choices."""
    return {(row["what"], row.get("kernel", row.get("not_run", "near" in row))) for row in rows}


def expected_races() -> set[tuple[str, str]]:
    """Of a rehearsal: all that a GPU computes, CUDA kernels by the emulation where there is one."""
    found = set()
    for precision in steps.PRECISIONS:
        found |= {(f"PyTorch, {precision}", OWED), (f"the choice, {precision}", True), (f"resnet50.fc, {precision}", "gemm")}
        able = [k.name for k in OPS["conv2d"].kernels.values() if k.source and precision in k.precisions]
        found |= {(f"alexnet.conv5, {precision}", name) for name in ("im2col", *able)}
        found.add((f"resnet50.fc, {precision}", "cuda"))
    plain = {"im2col", "gemm", OWED, True}
    return {(what, kernel) for what, kernel in found if kernel in plain or emulation.problem() is None}


def test_without_a_gpu_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(gpu_report, "cuda_problem", lambda: "CuPy is not installed: pip install it, or use --device cpu")
    assert gpu_report.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("CuPy is not installed: pip install it; --rehearse runs every step on the CPU")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--only", "laws,speed"], "no step 'speed': choose from machine, laws"),
        (["--minutes", "0"], "expected seconds above 0, got '0'"),
        (["--json", "nowhere/report.json"], "cannot write 'nowhere/report.json'"),
        (["--rivals", "jax"], "no rival 'jax'"),
    ],
)
def test_bad_options_get_one_line(words: list[str], why: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        gpu_report.main(words)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line


# ---- time, and what is left of a run -------------------------------------------------------------------------------------


def carried_out(steps: list[Step], path: Path | None, monkeypatch: pytest.MonkeyPatch, now: Callable[[], float]) -> list[Row]:
    """The rows of these steps in 2 minutes, whether or not they are stopped."""
    monkeypatch.setattr(gpu_report, "STEPS", tuple(steps))
    monkeypatch.setattr(gpu_report, "LATE", 1.0)
    args = gpu_report.parser().parse_args(["--rehearse", "--minutes", "2"])
    record = Record(path, ["a head"])
    with tempfile.TemporaryDirectory() as folder:
        try:
            gpu_report.carry_out(gpu_report.run_of(args, record, Path(folder), now), record, args.only)
        except KeyboardInterrupt:
            assert record.rows
    return record.rows


def test_steps_keep_to_their_boxes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    clock = [0.0]

    def takes(name: str, seconds: float, box: list[float]) -> Callable[[Run], Iterator[Row]]:
        def rows(run: Run) -> Iterator[Row]:
            box.append(run.budget.left(name))
            clock[0] += seconds
            yield {"what": name, "told": ""}

        return rows

    boxes: list[float] = []
    every = [planted("a", takes("a", 10, boxes)), planted("b", takes("b", 500, boxes)), planted("c", takes("c", 1, boxes))]
    rows = carried_out(every, None, monkeypatch, lambda: clock[0])
    assert boxes == [40, 70]  # b may have what a left
    assert [(row["of"], row.get("not_run")) for row in rows] == [("a", None), ("b", None), ("c", NO_TIME)]
    assert f"not run: {NO_TIME}" in capsys.readouterr().out


def test_what_there_is_no_time_for_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("there is no time to start anything")

    clock = [0.0]
    run = run_with([], tmp_path)
    run = run._replace(budget=Budget(9.0, run.budget.ends, now=lambda: clock[0]))
    clock[0] = 1e9
    monkeypatch.setattr(laws, "start", never)
    monkeypatch.setattr(bandwidth, "Worker", never)
    monkeypatch.setattr(steps.models.Bench, "workers", never)
    monkeypatch.setattr(race, "Worker", never)
    judged = list(laws.judged(run, laws.jobs(run)))
    assert {(row["what"], row["part"]) for row in judged} == {(job.what, job.part) for job in laws.jobs(run)}
    timed, trained = list(bandwidth.rows(run)), list(steps.rows(run))
    *layers, first, second, third = convolutions.rows(run)
    assert {row["not_run"] for row in (*judged, *timed, *trained, *layers)} == {NO_TIME}
    assert [row["what"] for row in layers][:3] == [f"alexnet.conv2, {name}" for name in ("tf32", "float32", "bf16")]
    assert {row["note"] for row in (first, second, third)} == {"not measured; 33 layers not reached"}
    assert [row["what"] for row in trained][:3] == [f"AlexNet 2012, 128, {name}" for name in ("tf32", "float32", "bf16")]
    assert len(trained) == 9
    assert {"lrn alexnet.norm1", "lrn alexnet.norm2", "softmax imagenet"} <= {row["what"] for row in timed}
    assert verdicts.memory_bound(run._replace(rows=[{"of": "bandwidth", **row} for row in timed]))["verdict"] == "owed"


def test_the_boxes_share_nine_minutes() -> None:
    assert sum(step.seconds for step in gpu_report.STEPS) == 60 * gpu_report.MINUTES


def test_a_stopped_run_leaves_a_readable_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(run: Run) -> Iterator[Row]:
        yield {"what": "first", "told": "1"}
        yield {"what": "second", "told": "2", "note": "with a note"}
        raise KeyboardInterrupt

    path = tmp_path / "report.json"
    carried_out([planted("a", stopped), planted("b", stopped)], path, monkeypatch, lambda: 0.0)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [row["what"] for row in record["rows"]] == ["first", "second"]
    assert not record["finished"]
    assert path.read_text(encoding="utf-8") == json.dumps(record, indent=1) + "\n"  # written row by row, and yet as a whole
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| second     | 2          |\n" in page
    assert "- second: with a note" in page
    assert "**Not finished**" in page
    assert sorted(tmp_path.iterdir()) == [path, path.with_suffix(".md")] or len(list(tmp_path.iterdir())) == 2


def test_ctrl_c_ends_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def stopped(run: Run) -> Iterator[Row]:
        yield {"what": "first", "told": "1"}
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu_report, "STEPS", (planted("a", stopped),))
    path = tmp_path / "report.json"
    assert gpu_report.main(["--rehearse", "--json", str(path)]) == 130
    assert f"stopped; {path} has the 1 rows until here" in capsys.readouterr().err


def test_a_step_that_fails_does_not_take_the_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(run: Run) -> Iterator[Row]:
        yield {"what": "first", "told": "1"}
        raise RivalFailed("its process ended")

    def goes_on(run: Run) -> Iterator[Row]:
        yield {"what": "later", "told": "2"}

    rows = carried_out([planted("a", fails), planted("b", goes_on)], None, monkeypatch, lambda: 0.0)
    assert [row["what"] for row in rows] == ["first", "the step itself", "later"]
    assert "RivalFailed: its process ended" in rows[1]["not_run"]
    assert gpu_report.wrong(rows[1])
    assert not gpu_report.wrong(rows[2])


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with Worker("bench_fakes:Hangs", threads=1, patience=lambda: 5.0) as worker:
        worker.patience = lambda: 0.3
        start = time.monotonic()
        with pytest.raises(RivalFailed, match="gave no answer for 0 s, and was ended"):
            worker.call("hang")
        assert time.monotonic() - start < 4
        assert not worker.alive


def test_a_captured_step_that_fails_does_not_take_the_plain_one_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def race(bench: steps.models.Bench, workers: dict, place: Row) -> Iterator[Row]:
        if bench.args.captured or place["net"] == "vgg16":
            raise RivalFailed("cudaErrorStreamCaptureUnsupported")
        yield place | {"rival": "minidl"}

    monkeypatch.setattr(steps.models.Bench, "workers", lambda *_, **__: {})
    monkeypatch.setattr(steps.models.Bench, "race", race)
    rows = list(steps.rows(run_with([], tmp_path)))
    first, *rest = rows
    assert first["not_run"] == "failed, again without: cudaErrorStreamCaptureUnsupported"
    assert first["what"] == "AlexNet 2012, 128, tf32, captured and others"
    assert [row.get("net", row.get("not_run", "")[:7]) for row in rest] == ["alexnet"] * 3 + ["failed:"] * 3 + ["resnet50"] * 3
