"""`python -m benchmarks.gpu_report`: rehearsed on the CPU, ends in time, and says what is broken, missed and owed."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import emulation
import numpy as np
import pytest

import minidl
from benchmarks import gpu_report, report
from benchmarks.gpu import (
    bandwidth,
    ceilings,
    curves,
    judge,
    large,
    laws,
    optimisers,
    steps,
    stopwatch,
    tests,
    verdicts,
    verified,
)
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.judge import HOST, Judge
from benchmarks.gpu.moved import Moved, laid_out_as
from benchmarks.gpu.record import NO_TIME, OWED, Record, Row, Run, Step
from benchmarks.worker import RivalFailed, Worker
from minidl import cuda, no_grad, optim
from minidl.cuda.packs import pack_size
from minidl.laws import LAWS, arguments_are_left_alone, backward_is_linear_and_repeatable
from minidl.op import OPS, Kernel
from minidl.ops.conv2d import cuda_implicit_gemm
from minidl.ops.lrn import cuda as lrn_cuda
from minidl.verdicts import Broken, Undecided

NAMES = [step.name for step in gpu_report.STEPS]
emulated = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")


def run_with(rows: list[Row], folder: Path, **changes: Any) -> Run:
    """A run on a GPU, as the steps see it; its clock stands still."""
    budget = Budget(9.0, {step.name: step.seconds for step in gpu_report.STEPS}, now=lambda: 0.0)
    run = Run("cuda", 1, 6, 0, ["torch"], budget, rows, folder / "here.txt")
    return run._replace(**changes)


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
    assert [row["precision"] for row in rows["steps"]] == list(steps.PRECISIONS)
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

TABLE = report.Table({"what ": 10, "told ": 10})


def planted(name: str, rows: Callable[[Run], Iterator[Row]], seconds: float = 60) -> Step:
    return Step(name, f"Step {name}", seconds, rows, TABLE, lambda row: [row["told"]])


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
    judged = list(laws.judged(run, laws.jobs(run)))
    assert {(row["what"], row["part"]) for row in judged} == {(job.what, job.part) for job in laws.jobs(run)}
    timed, trained = list(bandwidth.rows(run)), list(steps.rows(run))
    assert {row["not_run"] for row in (*judged, *timed, *trained)} == {NO_TIME}
    assert [row["what"] for row in trained][:3] == [f"AlexNet 2012, 128, {name}" for name in ("tf32", "float32", "bf16")]
    assert len(trained) == 9
    assert {"lrn alexnet.norm1", "lrn alexnet.norm2", "softmax imagenet"} <= {row["what"] for row in timed}
    assert verdicts.memory_bound(run._replace(rows=[{"of": "bandwidth", **row} for row in timed]))["verdict"] == "owed"


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


# ---- the laws on moved arrays --------------------------------------------------------------------------------------------

WINDOW = OPS["lrn"].kernels["window"]


def altered(forward: Callable[..., Any] | None = None, backward: Callable[..., Any] | None = None) -> Kernel:
    """lrn[window] with something else done in it."""
    return Kernel(OPS["lrn"], "altered", forward or WINDOW.forward, backward or WINDOW.backward)


def judged_by(law: Any, kernel: Kernel) -> None:
    for seed in range(5):
        law(Moved(kernel, HOST).kernel, kernel.op.ask(judge.Random(seed)), np.random.default_rng(seed))


def test_an_argument_changed_there_is_seen_here() -> None:
    def forward(x: np.ndarray, **attrs: Any) -> tuple:
        result = WINDOW.forward(x, **attrs)
        x[0, 0, 0, 0] += 1
        return result

    def backward(dy: np.ndarray, saved: tuple, needs: tuple, **attrs: Any) -> tuple:
        grads = WINDOW.backward(dy, saved, needs, **attrs)
        saved[1][0] = 0
        return grads

    judged_by(arguments_are_left_alone, altered())
    with pytest.raises(Broken, match="forward changed x in place"):
        judged_by(arguments_are_left_alone, altered(forward))
    with pytest.raises(Broken, match=r"backward changed (saved|y)"):
        judged_by(arguments_are_left_alone, altered(backward=backward))


def test_a_result_that_is_written_over_there_is_seen_here() -> None:
    room: dict[tuple, np.ndarray] = {}

    def forward(x: np.ndarray, **attrs: Any) -> tuple:
        y, saved = WINDOW.forward(x, **attrs)
        kept = room.setdefault(y.shape, y)
        kept[...] = y
        return kept, saved

    judged_by(backward_is_linear_and_repeatable, altered())
    with pytest.raises(Broken, match="changed the y of an earlier one"):
        judged_by(backward_is_linear_and_repeatable, altered(forward))


def test_arrays_lie_there_as_they_lie_here() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for odd in (x, x[::-1], x.transpose(2, 0, 1)[:, ::-1], x[..., ::2], np.broadcast_to(x[:1], x.shape), x[:0], x[0, 0, 0]):
        there = laid_out_as(np.asarray(odd), HOST)
        np.testing.assert_array_equal(there, odd)
        assert not odd.size or there.strides == np.asarray(odd).strides
        assert not np.shares_memory(there, x)


def test_no_array_lies_outside_its_room() -> None:
    rooms: list[np.ndarray] = []

    def zeros(count: int, dtype: np.dtype) -> np.ndarray:
        rooms.append(np.zeros(count, dtype))
        return rooms[-1]

    library = HOST._replace(xp=SimpleNamespace(zeros=zeros, lib=np.lib))
    x = np.arange(24.0).reshape(2, 3, 4)
    for odd in (x[::-1], x[:, ::-2, ::-1], x.transpose(2, 0, 1)[::-1]):
        (low, high), (start, end) = map(np.lib.array_utils.byte_bounds, (laid_out_as(odd, library), rooms[-1]))
        assert (start, end) == (low, high)


def test_what_backward_gets_is_what_forward_left() -> None:
    """The very arrays, in their own layout."""
    seen = []

    def forward(x: np.ndarray, **attrs: Any) -> tuple:
        y, saved = WINDOW.forward(x, **attrs)
        seen.append(np.asfortranarray(y))
        return y, (*saved, seen[-1])

    def backward(dy: np.ndarray, saved: tuple, needs: tuple, **attrs: Any) -> tuple:
        assert any(saved[-1] is array for array in seen)
        return WINDOW.backward(dy, saved[:-1], needs, **attrs)

    judged_by(backward_is_linear_and_repeatable, altered(forward, backward))
    assert seen


@pytest.mark.parametrize("kernel", [k for k in laws.kernels() if not k.source], ids=str)
def test_a_kernel_obeys_moved_as_it_does_here(kernel: Kernel) -> None:
    found = Judge.judge(InProcess().judge, kernel.op.name, kernel.name, laws.OTHERS, cases=1, seed=0, seconds=60)
    assert {name: about for name, about in found.items() if about["verdict"] not in ("obeys", "undecided")} == {}
    assert {about["verdict"] for about in found.values()} >= {"obeys"}


@emulated
def test_a_kernel_of_tensor_cores_is_judged_in_its_precisions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> dict[str, Any]:
        asked = ["forward_is_the_definition"]
        return Judge.judge(InProcess().judge, "conv2d", "cuda_implicit_gemm", asked, cases=3, seed=0, seconds=60)[asked[0]]

    assert found()["verdict"] == "obeys"
    monkeypatch.setitem(cuda_implicit_gemm.PRODUCTS, "tf32", 2)  # bf16, where tf32 was promised
    about = found()
    assert about["verdict"] == "breaks"
    assert " in tf32 at " in about["lesson"]


def judged_at_large(folder: Path) -> Row:
    """The row of conv2d[cuda_implicit_gemm] on large problems."""
    run = run_with([], folder)
    (job,) = (job for job in laws.jobs(run) if job.part == "large")
    (row,) = laws.judged(run, [job])
    return row


@emulated
def test_large_tiles_are_judged_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "start", lambda run: InProcess())
    monkeypatch.setattr(large, "CONVOLUTIONS", ((16, 2),))
    row = judged_at_large(tmp_path)
    assert (row["what"], row["verdict"]) == ("conv2d[cuda_implicit_gemm]", "obeys")
    assert row["laws"] == {"large problems": {"verdict": "obeys", "tried": 1}}


@emulated
@pytest.mark.parametrize(
    ("old", "new", "problem", "lesson"),
    [
        ("m % Q * xm + xa;", "m % Q * xm + xa + (MT == 4 && VEC == 2);", (6, 1), "y in tf32 at"),
        ("tap % J * xs + xa;", "tap % J * xs + xa + (MT == 4 && VEC == 1);", (6, 2), "gradient 1 in tf32 at"),
        ("(biased ? (A)", "(MT == 4 && biased ? (A)0 : biased ? (A)", (16, 1), "y in tf32 at"),
    ],
)
def test_a_source_whose_large_tiles_are_wrong_is_not_verified(
    old: str, new: str, problem: tuple, lesson: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors that the laws, whose tiles are small, do not see: the 'other laws' obey, and yet it is not listed."""
    source = cuda_implicit_gemm.SOURCE
    assert source.text.count(old) == 1
    monkeypatch.setitem(vars(source), "text", source.text.replace(old, new))
    monkeypatch.setattr(laws, "start", lambda run: InProcess())
    assert problem in large.CONVOLUTIONS
    monkeypatch.setattr(large, "CONVOLUTIONS", (problem,))
    small = Judge.judge(InProcess().judge, "conv2d", "cuda_implicit_gemm", ["forward_is_the_definition"], 2, 0, 60)
    assert {about["verdict"] for about in small.values()} == {"obeys"}
    row = judged_at_large(tmp_path)
    assert row["verdict"] == "breaks"
    assert row["lesson"].startswith(f"large problems: {lesson}")
    assert f"float64[2, {problem[0]}, 9, 8]" in row["lesson"]
    run = run_with([], tmp_path)
    obey = [{"what": job.what, "part": job.part, "verdict": "obeys"} for job in laws.jobs(run) if job.part != "large"]
    found = {about["what"]: about for about in laws.listing(run, laws.jobs(run), [*obey, row])}
    assert found["conv2d/implicit_gemm.cu"]["verdict"] == "unverified"
    assert found["conv2d/im2col.cu"]["verdict"] == "verified"


def test_large_tiles_are_taken_within_and_not_without() -> None:
    x = np.zeros(1, np.float32)
    with minidl.precision("tf32"):
        with cuda_implicit_gemm.large_tiles():
            assert cuda_implicit_gemm.tile_of(cuda_implicit_gemm.tiles(144, 6, x)) == (128, 128)
            assert cuda_implicit_gemm.tile_of(cuda_implicit_gemm.tiles(144, 6, x.astype(float))) == (32, 16)
        assert cuda_implicit_gemm.tile_of(cuda_implicit_gemm.tiles(144, 6, x)) == (32, 16)
        assert cuda_implicit_gemm.tile_of(cuda_implicit_gemm.tiles(128 * 32, 136, x)) == (128, 128)


def test_what_is_meant_for_tensor_cores_is_judged_on_large_problems(tmp_path: Path) -> None:
    meant = {str(kernel) for kernel in laws.kernels() if kernel.source and "float32" not in kernel.precisions}
    assert meant
    assert meant <= set(large.WAYS)
    assert {job.what for job in laws.jobs(run_with([], tmp_path)) if job.part == "large"} == set(large.WAYS)
    together = []
    for channels, groups in large.CONVOLUTIONS:
        each = channels // groups
        images, filters = np.zeros((2, channels), np.float32), np.zeros((2, each), np.float32)
        together.append((groups, pack_size(4, images, filters, counts=(each * (groups - 1),))))
    assert together == [(1, 4), (1, 2), (1, 1), (2, 4), (2, 2), (2, 1)]


# ---- a broken kernel, and what is verified ---------------------------------------------------------------------------------


class InProcess:
    """A judge in this process, where the emulation is, in the place of a worker."""

    def __init__(self) -> None:
        self.judge = Judge.__new__(Judge)
        self.judge.device, self.judge.library = "cpu", HOST

    def call(self, method: str, **arguments: Any) -> Any:
        return getattr(self.judge, method)(**arguments)

    def close(self) -> None:
        pass


@pytest.fixture
def cuda_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """What the laws find of lrn[cuda], and of lrn[planted], the same source with an error. Law 7 is taken for granted."""
    text = lrn_cuda.SOURCE.path.read_text(encoding="utf-8")
    wrong = text.replace("d < 0 ? c + d >= 0", "d < 0 ? c + d > 0", 1)
    assert wrong != text
    (tmp_path / "planted.cu").write_text(wrong, encoding="utf-8")
    source = cuda.Source(str(tmp_path / "planted.py"), "planted.cu")
    monkeypatch.setattr(lrn_cuda, "SOURCE", source)
    monkeypatch.setattr(laws, "start", lambda run: InProcess())
    monkeypatch.setattr(laws, "CASES", {"law 7": 1, "CUDA": 3, "formula": 1})
    original = OPS["lrn"].kernels["cuda"]
    planted = Kernel(OPS["lrn"], "planted", original.forward, original.backward, source=source, half=False)
    monkeypatch.setitem(OPS["lrn"].kernels, "planted", planted)
    run = run_with([], tmp_path)
    todo = [job for job in laws.jobs(run) if job.what in ("lrn[cuda]", "lrn[planted]") and job.part == "other laws"]
    found = [*laws.judged(run, [job for job in todo if job.what == "lrn[planted]"])]
    monkeypatch.setattr(lrn_cuda, "SOURCE", original.source)
    found += laws.judged(run, [job for job in todo if job.what == "lrn[cuda]"])
    every = [{"what": job.what, "part": "law 7", "cuda": True, "verdict": "obeys"} for job in todo]
    return [*found, *every]


@emulated
def test_a_broken_kernel_is_told_and_not_verified(
    cuda_rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, right = (row for row in cuda_rows if row["part"] == "other laws")
    assert (right["what"], right["verdict"]) == ("lrn[cuda]", "obeys")
    assert {about["verdict"] for about in right["laws"].values()} == {"obeys"}
    assert set(right["laws"]) == set(laws.OTHERS)
    assert (wrong["what"], wrong["verdict"]) == ("lrn[planted]", "breaks")
    assert "forward is the definition: y at [0,1,0,0] is" in wrong["lesson"]
    assert "float64[1, 2, 1, 1], n=3" in wrong["lesson"]  # the smallest problem that shows it
    before = tmp_path / "verified.txt"
    before.write_text(f"{'1' * 64}  zeta/zeta.cu\n{'2' * 64}  {tmp_path.name}/planted.cu\n", encoding="utf-8")
    monkeypatch.setattr(cuda, "VERIFIED", before)
    run = run_with([], tmp_path, write_verified=True)
    users = {"lrn[cuda]", "lrn[planted]"}
    todo = [job for job in laws.jobs(run) if job.what in users]
    monkeypatch.setattr(laws, "kernels", lambda: [k for k in OPS["lrn"].kernels.values() if k.source])
    found = {row["what"]: row for row in laws.listing(run, todo, cuda_rows)}
    assert found["lrn/lrn.cu"]["verdict"] == "verified"
    assert found[f"{tmp_path.name}/planted.cu"]["verdict"] == "unverified"
    assert "lrn[planted] breaks (other laws)" in found[f"{tmp_path.name}/planted.cu"]["lesson"]
    assert found["verified.txt"]["changes"] == ["+ lrn/lrn.cu", f"- {tmp_path.name}/planted.cu"]
    lines = before.read_text(encoding="utf-8").splitlines()
    assert lines == [f"{verified.digest_of(lrn_cuda.SOURCE)}  lrn/lrn.cu", f"{'1' * 64}  zeta/zeta.cu"]
    monkeypatch.delitem(vars(lrn_cuda.SOURCE), "verified", raising=False)
    assert lrn_cuda.SOURCE.verified
    monkeypatch.delitem(vars(lrn_cuda.SOURCE), "verified")


def test_the_list_is_not_touched_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "VERIFIED", tmp_path / "verified.txt")
    run = run_with([], tmp_path)
    todo = [job for job in laws.jobs(run) if job.cuda]
    obey = [{"what": job.what, "part": job.part, "cuda": True, "verdict": "obeys"} for job in todo]
    *each, last = laws.listing(run, todo, obey)
    assert {row["verdict"] for row in each} == {"verified"}
    assert "--write-verified would write: + " in last["lesson"]
    assert not (tmp_path / "verified.txt").exists()
    assert set(verified.listed(run.verified)) == set(laws.sources())  # the later steps of this run have it
    late = [obey[0] | {"not_run": NO_TIME}, *obey[1:]]
    del late[0]["verdict"]
    assert "unverified" in {row["verdict"] for row in laws.listing(run, todo, late)}


def test_a_list_is_merged_by_name() -> None:
    before = {"a.cu": "1", "b.cu": "2", "c.cu": "3"}
    after, changes = verified.merged(before, {"b.cu": "5", "d.cu": "4", "a.cu": "1"}, {"c.cu", "e.cu"})
    assert after == {"a.cu": "1", "b.cu": "5", "d.cu": "4"}
    assert changes == ["+ d.cu", "~ b.cu, edited since", "- c.cu"]


def test_every_cuda_source_is_judged_by_all_laws(tmp_path: Path) -> None:
    todo = laws.jobs(run_with([], tmp_path))
    for op in OPS.values():
        for kernel in op.kernels.values():
            asked = [law for job in todo if job.what == str(kernel) for law in job.call.get("laws", [])]
            assert sorted(asked) == ([] if kernel.compiles else sorted(law.__name__ for law in LAWS))
    first = [job.part for job in todo].index("other laws")
    assert {job.part for job in todo[:first]} <= {"law 7", "all laws", "large"}


def test_a_judge_that_dies_is_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dies(InProcess):
        def call(self, method: str, **arguments: Any) -> Any:
            raise RivalFailed("exit code -11")

    monkeypatch.setattr(laws, "start", lambda run: Dies())
    run = run_with([], tmp_path)
    (row,) = laws.judged(run, laws.jobs(run)[:1])
    assert row["verdict"] == "breaks"
    assert "the process ended: exit code -11" in row["lesson"]


def test_an_optimiser_is_held_to_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[np.ndarray] = []  # to a device, in the test's imagination

    def from_numpy(x: np.ndarray) -> np.ndarray:
        moved.append(x.copy())
        return moved[-1]

    class Planted(optim.SGD):
        source, launches, error, unscaled = lrn_cuda.SOURCE, True, 0.0, 1.0

        def step(self, *, scale: float = 1.0) -> None:
            there = any(np.shares_memory(w.data, x) for x in moved for w in self.param_groups[0]["params"])
            super().step(scale=scale * (self.unscaled if there and scale != 1 else 1))
            for group in self.param_groups:
                for w in group["params"]:
                    if self.launches and any(np.shares_memory(w.data, x) for x in moved):
                        self.source.launch("lrn_forward", 0, w.data)
                        with no_grad(), w.editing() as data:
                            data += self.error

    library = HOST._replace(from_numpy=from_numpy)
    monkeypatch.setattr(optim, "Planted", Planted, raising=False)
    monkeypatch.setattr(optim, "__all__", ["Planted"])
    assert list(optimisers.with_sources()) == ["Planted"]
    assert laws.sources()["lrn/lrn.cu"][1] == ["lrn[cuda]", "Planted[cuda]"]
    optimisers.agrees("Planted", library)
    Planted.error = 1e-4
    with pytest.raises(Broken, match=r"the weights after 5 steps in float64 .*, scale 1 at"):
        optimisers.agrees("Planted", library)
    Planted.error, Planted.unscaled = 0.0, 2.0  # wrong where the loss was scaled, and only there
    with pytest.raises(Broken, match=r"the weights after 5 steps in float64 .*, scale 1024 at"):
        optimisers.agrees("Planted", library)
    Planted.unscaled, Planted.launches = 1.0, False
    with pytest.raises(Undecided, match="nothing was launched"):
        optimisers.agrees("Planted", library)


# ---- which list rules --------------------------------------------------------------------------------------------------------


def ruled(
    words: list[str], lrn: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch, rows: Any
) -> tuple[Any, list[str], str]:
    """What the steps' list has, what minidl's own has, which had this digest of lrn.cu, and what the report says of them."""
    own, seen = folder / "own.txt", []
    monkeypatch.setattr(cuda, "VERIFIED", own)
    if lrn:
        own.write_text(f"{lrn}  lrn/lrn.cu\n", encoding="utf-8")

    def asks(run: Run) -> Iterator[Row]:
        seen.append(verified.listed(run.verified))
        yield {"what": "a net", "told": ""}

    monkeypatch.setattr(gpu_report, "STEPS", (planted("laws", rows), planted("steps", asks)))
    args = gpu_report.parser().parse_args(["--only", ",".join(words)])
    record = Record(folder / "report.json", ["a head"])
    here = folder / "here"
    here.mkdir()
    gpu_report.carry_out(gpu_report.run_of(args, record, here, lambda: 0.0), record, args.only)
    page, told = (folder / "report.md").read_text(encoding="utf-8"), json.loads((folder / "report.json").read_text("utf-8"))
    lines = [line for line in page.splitlines() if line.startswith(laws.RULING)]
    assert lines == [told["ruling"]]
    return seen, own.read_text("utf-8").split()[:1] if own.exists() else [], lines[0].removeprefix(laws.RULING).strip()


def lists_softmax(run: Run) -> Iterator[Row]:
    """Laws that judge no more than softmax.cu, which obeys."""
    todo = [job for job in laws.jobs(run) if job.what in laws.sources()["softmax/softmax.cu"][1]]
    found = [{"what": job.what, "part": job.part, "verdict": "obeys"} for job in todo]
    yield from ({"told": "", **row} for row in laws.listing(run, todo, found))


def fails(run: Run) -> Iterator[Row]:
    yield {"what": "first", "told": ""}
    raise RivalFailed("its process ended")


def test_without_laws_minidls_own_list_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = verified.digest_of(lrn_cuda.SOURCE)
    count = len(laws.sources())
    seen, own, said = ruled(["steps"], digest, tmp_path, monkeypatch, lists_softmax)
    assert seen == [{"lrn/lrn.cu": digest}]
    assert said == f"minidl's own own.txt, not by this run's laws: 1 of {count} CUDA sources."
    assert own == [digest]


def test_without_any_list_no_source_is_chosen_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _, said = ruled(["steps"], None, tmp_path, monkeypatch, lists_softmax)
    assert seen == [{}]
    assert said == "no list, for there is no own.txt: formulas, and no CUDA source."


def test_laws_that_fail_leave_minidls_own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _, said = ruled(["laws", "steps"], "1" * 64, tmp_path, monkeypatch, fails)
    assert seen == [{"lrn/lrn.cu": "1" * 64}]
    assert said.startswith("minidl's own own.txt, not by this run's laws: 0 of ")  # its line is of a source edited since


def test_after_the_laws_this_runs_list_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = verified.digest_of(lrn_cuda.SOURCE)
    seen, own, said = ruled(["laws", "steps"], digest, tmp_path, monkeypatch, lists_softmax)
    assert seen == [{"lrn/lrn.cu": digest, "softmax/softmax.cu": verified.digest_of(laws.sources()["softmax/softmax.cu"][0])}]
    assert said.startswith("this run's list: 2 of ")
    assert own == [digest]


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
        ([ratio(1.2)], "reached", "1.20 (1.20-1.20) x torch"),
        ([ratio(1.19)], "missed", "1.19 (1.19-1.19) x torch"),
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


def test_a_missing_pytest_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests, "NEEDED", ("pytest", "no_such_package"))
    (row,) = tests.rows(run_with([], tmp_path))
    assert "no_such_package not installed" in row["not_run"]


def test_the_ceilings_are_those_of_the_precision() -> None:
    """A product of tf32 is not one of float32: on the host its factors are rounded, which takes longer."""
    host = ceilings.Ceilings(1, "cpu")
    assert all(value > 0 for kind in ceilings.PRODUCTS for value in host.product(kind, 2))
    assert len(host.copy(3)) == 3
