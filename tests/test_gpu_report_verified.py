"""`benchmarks.gpu_report`: a broken kernel is told and not listed, and steps choose by the list that the report names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_runs import InProcess, emulated, planted, run_with

from benchmarks import gpu_report
from benchmarks.gpu import laws, optimisers, verified
from benchmarks.gpu.judge import HOST
from benchmarks.gpu.record import NO_TIME, Record, Row, Run
from benchmarks.worker import RivalFailed
from minidl import cuda, no_grad, optim
from minidl.cuda.tables import address
from minidl.laws import LAWS
from minidl.op import OPS, Kernel
from minidl.ops.lrn import cuda as lrn_cuda
from minidl.verdicts import Broken, Undecided

# ---- a broken kernel, and what is verified ---------------------------------------------------------------------------------


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
    moved: dict[int, np.ndarray] = {}  # to a device, in the test's imagination; by where they lie

    def from_numpy(x: np.ndarray) -> np.ndarray:
        copy = x.copy()
        return moved.setdefault(address(copy), copy)

    class Planted(optim.SGD):
        source, launches, error, unscaled = lrn_cuda.SOURCE, True, 0.0, 1.0

        def step(self, *, scale: float = 1.0) -> None:
            there = [w for group in self.param_groups for w in group["params"] if address(w.data) in moved]
            super().step(scale=scale * (self.unscaled if there and scale != 1 else 1))
            for w in there if self.launches else []:
                self.source.launch("lrn_forward", 0, w.data)
                with no_grad(), w.editing() as data:
                    data += self.error

    library = HOST._replace(from_numpy=from_numpy)
    monkeypatch.setattr(optim, "Planted", Planted, raising=False)
    monkeypatch.setattr(optimisers, "SIZES", (50, 7))
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
