"""`benchmarks.gpu_report`: the laws on arrays that are moved, and on problems that take large tiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gpu_runs import InProcess, emulated, run_with

import minidl
from benchmarks.gpu import judge, large, laws
from benchmarks.gpu.judge import HOST, Judge
from benchmarks.gpu.moved import Moved, laid_out_as
from benchmarks.gpu.record import Row
from minidl import cuda
from minidl.cuda.packs import pack_size
from minidl.laws import arguments_are_left_alone, backward_is_linear_and_repeatable
from minidl.modes import PRECISIONS
from minidl.op import OPS, Kernel
from minidl.ops.conv2d import cuda_implicit_gemm
from minidl.verdicts import Broken

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
    (job,) = (job for job in laws.jobs(run) if job.part == "large" and job.what == "conv2d[cuda_implicit_gemm]")
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
@pytest.mark.parametrize("name", ["linear", "matmul"])
def test_products_are_judged_in_every_precision_by_both_tiles(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And their large problems: copies of 16 bytes and of 4, and sums that are cut, whose parts are added up."""
    seen, launch = [], cuda.Source.launch

    def watched(source: cuda.Source, kernel: str, *args: Any, **how: Any) -> None:
        seen.append((kernel, *(how.get(key) for key in ("PRODUCTS", "MT", "TOGETHER"))))
        launch(source, kernel, *args, **how)

    monkeypatch.setattr(cuda.Source, "launch", watched)
    about = Judge.judge(InProcess().judge, name, "cuda", ["forward_is_the_definition"], cases=1, seed=0, seconds=60)
    assert about["forward_is_the_definition"]["verdict"] == "obeys"
    assert {(products, rows) for kernel, products, rows, _ in seen if kernel == "product"} == {(0, 4), (1, 1), (2, 1)}
    launch = lambda *args, **how: None  # noqa: E731  (what they compute is test_gemm_cuda.py's matter)
    seen.clear()
    way, forward = large.WAYS[f"{name}[cuda]"], OPS[name].kernels["cuda"].forward
    for problem in way.problems(np.random.default_rng(0)):
        for precision in PRECISIONS:
            with way.taken(), minidl.precision(precision):
                forward(*(x.astype(np.float32) for x in problem.inputs))
    taken = {tuple(how) for kernel, *how in seen if kernel == "product"}
    assert taken == {(*tile, together) for tile in ((0, 8), (1, 4), (2, 4)) for together in (1, 4)}
    assert "joined" in {kernel for kernel, *_ in seen}


@emulated
@pytest.mark.parametrize(
    ("old", "new", "problem", "lesson"),
    [
        ("m % Q * xm + xa;", "m % Q * xm + xa + (MT == 4 && TOGETHER == 2);", (6, 1), "y in tf32 at"),
        ("tap % J * xs + xa;", "tap % J * xs + xa + (MT == 4 && TOGETHER == 1);", (6, 2), "gradient 1 in tf32 at"),
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
        for rows, columns, tile in ((4096, 128, (128, 128)), (4095, 191, (32, 16)), (8191, 127, (32, 16))):
            assert cuda_implicit_gemm.tile_of(cuda_implicit_gemm.tiles(rows, columns, x)) == tile


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
