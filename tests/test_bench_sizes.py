"""`python -m benchmarks.sizes`: what is asked of which net, what is kept, and what is told of a net that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from benchmarks import memory, sizes, tables
from benchmarks.sizes import Row
from minidl.evaluation import loss_of

TINY = {
    structure: Row(f"tiny {structure}", "AlphaNet32", 2, {"depth": 8, "structure": structure, "size": 16})
    for structure in ("plain", "residual", "alpha")
}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "rows", lambda: list(TINY.values()))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the child finds the fakes


def measure(folder: Path, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The command's exit code, and the rows of its file by their names."""
    code = sizes.main([*words, "--threads", "1", "--out", str(folder)])
    return code, {row["name"]: row for row in json.loads((folder / "sizes.json").read_text(encoding="utf-8"))["rows"]}


# ---- what is asked -----------------------------------------------------------------------------------------------------


def test_every_version_in_every_structure_at_both_sizes() -> None:
    rows = {row.name: row for row in sizes.rows()}
    assert len(rows) == len(sizes.rows()) == 4 * 3 * 2 + 1
    assert rows["32x32 v4 plain"] == Row("32x32 v4 plain", "AlphaNet32", 8, {"version": 4, "structure": "plain"})
    assert rows["224x224 v2 alpha"] == Row("224x224 v2 alpha", "AlphaNet", 1, {"version": 2, "structure": "alpha"})
    again = {row.name for row in rows.values() if row.options.get("recompute") == "block"}
    deep = {f"224x224 v{i} {structure}, recomputed" for i in (3, 4) for structure in sizes.STRUCTURES}
    assert again == {*deep, "32x32 v4 alpha, recomputed"}
    assert [row.name for row in rows.values() if row.forward] == ["224x224 v4 alpha, recomputed"]
    assert set(sizes.GOALS) <= set(rows)


def test_rows_are_chosen_by_their_words() -> None:
    def names(*words: str, small: bool = False) -> list[str]:
        return [row.name for row in sizes.chosen(small, list(words))]

    assert len(names(small=True)) == 13
    assert names("224", "v4") == [f"224x224 v4 {structure}, recomputed" for structure in sizes.STRUCTURES]
    assert names("v4", "alpha", small=True) == ["32x32 v4 alpha", "32x32 v4 alpha, recomputed"] == names("32x32", "v4", "alpha")
    assert names("v5") == []


def test_words_that_no_row_has_get_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sizes, "measured", lambda *_: pytest.fail("a row was begun"))
    with pytest.raises(SystemExit) as ended:
        sizes.main(["--only", "v4", "beta", "--out", str(tmp_path)])
    err = capsys.readouterr().err
    assert (ended.value.code, err.count("\n")) == (2, 1)
    assert "no row has the words 'v4 beta'; the names are 32x32 v1 plain; " in err


# ---- what a step is ----------------------------------------------------------------------------------------------------


def test_a_training_step_changes_the_net_and_a_forward_pass_does_not() -> None:
    row = TINY["plain"]
    step = sizes.training_of(row.net, row.batch, row.options)
    losses = [step() for _ in range(3)]
    assert losses == pytest.approx(by_hand(row, steps=3), rel=1e-4)
    assert len(set(losses)) == 3
    row = TINY["alpha"]
    forward = sizes.forward_of(row.net, row.batch, row.options)
    assert forward() == forward() != 0


def by_hand(row: Row, steps: int) -> list[float]:
    """The losses under v <- 0.9 v + g, w <- w - 0.001 v."""
    model, images, labels = sizes._made(row.net, row.batch, row.options)
    velocity, losses = [np.zeros(p.shape, np.float32) for p in model.parameters()], []
    for _ in range(steps):
        model.zero_grad()
        loss = loss_of(model, model(images), labels)
        loss.backward()
        losses.append(loss.item())
        for p, v in zip(model.parameters(), velocity, strict=True):
            v *= 0.9
            v += p.grad
            with minidl.no_grad():
                p.add_(-0.001 * v)
    return losses


@pytest.mark.usefixtures("tiny")
def test_the_peak_counts_what_is_there_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if memory.peak() is None:
        pytest.skip("the system does not tell the peak")
    monkeypatch.setattr(sizes, "CHILD", "bench_fakes:Spike")
    (row,) = measure(tmp_path, "--only", "plain")[1].values()
    assert 200 * 2**20 < row["peak"] - row["before"] < 250 * 2**20


def test_the_peak_is_the_steps_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what the forecast says, which is of a batch computed whole; of the forward pass alone far less."""
    if memory.peak() is None:
        pytest.skip("the system does not tell the peak")
    options = {"depth": 14, "structure": "residual"}
    rows = [Row("training", "AlphaNet32", 32, options), Row("forward", "AlphaNet32", 32, options, forward=True)]
    monkeypatch.setattr(sizes, "rows", lambda: rows)
    code, found = measure(tmp_path)
    train, forward = found["training"], found["forward"]
    assert code == 0
    assert train["forecast"] == pytest.approx(forward["forecast"], rel=0.01)
    assert train["forecast"] > 50e6
    assert 0.8 * train["forecast"] < train["peak"] - train["before"] < 1.5 * train["forecast"]
    assert forward["peak"] - forward["before"] < 0.5 * train["forecast"]
    assert train["seconds"] > forward["seconds"] > 0


# ---- what is kept and told ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
def test_rows_that_are_there_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(row: Row, threads: int) -> dict[str, Any]:
        calls.append(row.name)
        return {**row._asdict(), "threads": threads, "forecast": 3 * 2**30, "peak": 2**30 * len(calls), "seconds": 1.0}

    monkeypatch.setattr(sizes, "measured", counted)
    assert list(measure(tmp_path, "--only", "residual")[1]) == ["tiny residual"]
    code, found = measure(tmp_path)
    assert (code, calls) == (0, ["tiny residual", "tiny plain", "tiny alpha"])
    assert list(found) == ["tiny plain", "tiny residual", "tiny alpha"]  # in the order of the plan
    assert found["tiny residual"]["peak"] == 2**30
    measure(tmp_path, "--again", "--only", "alpha")
    assert calls[3:] == ["tiny alpha"]
    assert not list(tmp_path.glob("*.part"))
    record = json.loads((tmp_path / "sizes.json").read_text(encoding="utf-8"))
    lines = tables.sizes_of_nets(record)
    assert "`python -m benchmarks.sizes`: 1 threads, " in lines[1]
    assert "| tiny alpha | 2 | 1.00 | 4.00 | 3.00 | |" in [" ".join(line.split()) for line in lines]


@pytest.mark.usefixtures("tiny")
def test_what_does_not_fit_is_not_begun_and_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(memory, "free", lambda: 100_000)
        full.setattr(sizes, "CHILD", "no_such_module:Child")
        code, found = measure(tmp_path, "--only", "alpha")
    assert code == 1
    assert found["tiny alpha"]["not_run"] == "needs about 0.0 GiB, 0.0 free"
    assert "not run: needs about 0.0 GiB, 0.0 free" in sizes.line(found["tiny alpha"])
    code, found = measure(tmp_path, "--only", "alpha")
    assert code == 0
    assert "not_run" not in found["tiny alpha"]
    assert found["tiny alpha"]["seconds"] > 0


@pytest.mark.usefixtures("tiny")
def test_a_row_that_is_killed_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sizes, "CHILD", "bench_fakes:Unfit")
    code, found = measure(tmp_path)
    assert code == 1
    assert found["tiny plain"]["failed"] == "killed, perhaps for want of memory"
    assert found["tiny residual"]["seconds"] > 0
    assert (found["tiny residual"]["finite"], found["tiny alpha"]["finite"]) == (False, True)
    out = capsys.readouterr().out
    assert out.count("failed: killed, perhaps for want of memory") == 1
    assert out.count("the first update ends in NaN") == 1
    monkeypatch.setattr(sizes, "measured", lambda *_: pytest.fail("a row that failed is kept"))
    assert measure(tmp_path)[0] == 1


@pytest.mark.usefixtures("tiny")
def test_a_forecast_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = TINY["plain"]._replace(options={"depth": 9})
    monkeypatch.setattr(sizes, "rows", lambda: [wrong])
    code, found = measure(tmp_path)
    assert code == 1
    assert found["tiny plain"]["failed"].startswith("forecast: minidl: ")
    assert "depth must be an even number" in found["tiny plain"]["failed"]


def test_the_goal_is_set_beside_what_was_reached() -> None:
    row = {"name": "32x32 v4 alpha, recomputed", "batch": 8, "forward": False, "seconds": 1.0, "peak": 3 * 2**29}
    assert sizes.told([row])[-1] == "32x32 v4 alpha, recomputed: 1.50 GiB; goal: under 12."
    large = {
        "name": "224x224 v4 alpha, recomputed",
        "batch": 1,
        "forward": True,
        "seconds": 9.0,
        "peak": 2**33,
        "forecast": 2**35,
    }
    assert "| 32.00 | forward alone; the forecast is of training" in " ".join(sizes.line(large).split())
