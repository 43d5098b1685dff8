"""The experiments: what is trained and what is not, keeping and resuming, a tiny table from end to end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment_fakes import TINY, made_up, record_of
from matplotlib.figure import Figure

import minidl
from benchmarks.experiments import __main__ as command
from benchmarks.experiments import claims, earlier, picture, plan, runs
from benchmarks.experiments.plan import Cell, Job
from minidl import data, nn
from minidl.recipe import Recipe
from minidl.summary import Layer, Summary
from minidl.train import Diverged

# ---- the plan ----------------------------------------------------------------------------------------------------------


def test_quick_rows_are_labelled_as_what_they_are() -> None:
    for table in claims.CLAIMED:
        cells = plan.cells(table, plan.quick())
        assert list(dict.fromkeys(c.row for c in cells)) == ["depth=8", "depth=14", "depth=20", "depth=26"]
        assert [c.column for c in cells[:3]] == list(claims.CLAIMED[table])
        rows = {c.row: c.options["version"] for c in plan.cells(table, plan.full(None, 3, None, None))}
        assert rows == {"v1": 1, "v2": 2, "v3": 3, "v4": 4}


def test_tables_share_the_runs_they_have_in_common() -> None:
    form = plan.quick()
    names = {table: {c.column: Job(c, form, 0).name for c in plan.cells(table, form)[:3]} for table in claims.CLAIMED}
    assert names["structure"]["alpha"] == names["loss"]["softmax"] == names["normalisation"]["z-score"]
    assert len({name for table in names.values() for name in table.values()}) == 7


def test_a_run_is_known_by_all_its_settings() -> None:
    job = Job(Cell("depth=8", "alpha", options={"depth": 8}), TINY, 0)
    others = [
        replace(job, seed=1),
        replace(job, cell=replace(job.cell, options={"depth": 10})),
        replace(job, cell=replace(job.cell, encode="log")),
        replace(job, cell=replace(job.cell, net="models.resnet:ResNet20")),
        replace(job, form=replace(TINY, size=12)),
        replace(job, form=replace(TINY, limit=41)),
        replace(job, form=replace(TINY, data="digits:writers")),
        replace(job, form=replace(TINY, recipe=replace(TINY.recipe, epochs=2))),
    ]
    assert len({job.name, *(other.name for other in others)}) == 9
    assert replace(job, cell=replace(job.cell, row="another", column="table")).name == job.name


def test_runs_from_before_a_step_could_be_of_several_batches_keep_their_names() -> None:
    job = Job(plan.cells("structure", plan.quick())[0], plan.quick(), 0)
    assert job.name.endswith("-size10-structureplain-zscore-seed0-c1932aa8fea9")
    several = replace(job, form=replace(job.form, recipe=replace(job.form.recipe, accumulate=2)))
    assert several.name != job.name


def test_jobs_go_row_by_row_and_seed_by_seed() -> None:
    order = [(job.cell.row, job.seed, job.cell.column) for job in plan.jobs(plan.cells("loss", TINY), TINY)]
    assert order[:4] == [("depth=8", 0, name) for name in ("softmax", "AM", "AM + linear")] + [("depth=8", 1, "softmax")]
    assert order[6][0] == "depth=14"
    assert len(order) == 24


def test_depths_that_come_nearest() -> None:
    assert earlier.nearest(134, lambda depth: 10 * depth) == 14
    assert earlier.nearest(126, lambda depth: 10 * depth) == 12
    assert earlier.nearest(1, lambda depth: 10 * depth) == 8
    assert earlier.nearest(8.97, float) == 10  # by the ratio; by the distance it would be 8
    figures: dict[str, dict[str, dict[str, float]]] = {row: {} for row in earlier.QUICK}
    for row, column, net, options in earlier.cells(True, 16):
        figures[row][column] = earlier.facts(net, options)
    for of in figures.values():
        assert of["equal parameters"]["parameters"] / of["earlier"]["parameters"] == pytest.approx(1, abs=0.25)
        assert of["equal MACs"]["macs"] / of["earlier"]["macs"] == pytest.approx(1, abs=0.25)
    for quick, size in ((True, 10), (False, 16), (False, 32)):
        cells = earlier.cells(quick, size)
        for column in earlier.COLUMNS[1:]:
            depths = [options["depth"] for _, there, _, options in cells if there == column]
            assert len(set(depths)) == len(depths)  # no run in two rows of a column: they would not be independent
    assert earlier.facts("models.resnet:ResNet20", {}) | {"data_per_layer": 0} == {
        "parameters": 269_722,
        "macs": 40_551_040,
        "data_per_layer": 0,
    }


def test_data_per_layer_is_a_mean_over_weighted_layers() -> None:
    outputs = {"conv2d": [1, 4, 5, 5], "relu": [1, 999], "linear": [1, 10]}
    layers = [Layer("", op, output, 0, 0, None) for op, output in outputs.items()]
    assert earlier.data_per_layer(Summary("Net", [3, 5, 5], layers, 0)) == (100 + 10) / 2


# ---- keeping and resuming ------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the jobs that were trained, by `made_up`."""
    names: list[str] = []

    def train(job: Job) -> dict[str, Any]:
        names.append(job.name)
        return made_up(job)

    monkeypatch.setattr(runs, "train", train)
    return names


def test_a_stopped_table_goes_on_where_it_was(tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(job: Job) -> dict[str, Any]:
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.append(job.name)
        return made_up(job)

    ordinary = runs.train
    monkeypatch.setattr(runs, "train", stops)
    words = ["loss", "--quick", "--jobs", "1", "--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    assert command.main(words) == 130
    assert len(list((tmp_path / "work").glob("*.json"))) == 5
    assert not list(tmp_path.glob("*.json"))
    monkeypatch.setattr(runs, "train", ordinary)
    assert command.main(words) == 0
    assert len(trained) == len(set(trained)) == 36
    record = json.loads((tmp_path / "loss_quick.json").read_text(encoding="utf-8"))
    assert (record["resumed"], len(record["rows"])) == (5, 36)
    assert str(tmp_path) not in json.dumps(record)
    assert command.main(words) == 0
    assert len(trained) == 36


def test_a_broken_file_is_no_run(tmp_path: Path) -> None:
    store, job = runs.Store(tmp_path), Job(Cell("depth=8", "alpha", options={"depth": 8}), TINY, 0)
    assert store.run_of(job) is None
    store.keep(job.name, made_up(job))
    again = replace(job, cell=replace(job.cell, row="ResNet-20", column="equal MACs"))
    found = store.run_of(again)
    assert found is not None
    assert (found["row"], found["column"]) == ("ResNet-20", "equal MACs")
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text(encoding="utf-8")[:50], encoding="utf-8")
    assert store.run_of(job) is None


def test_what_is_not_run_says_how_long_it_would_take(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = {1: 0.5, 2: 1.5, 3: 4.0, 4: 700.0}
    monkeypatch.setattr(runs, "hours_of_a_run", lambda job: hours[job.cell.options["version"]])
    words = ["loss", "--seeds", "2", "--jobs", "1", "--work", str(tmp_path / "work"), "--out", str(tmp_path)]

    def table(*more: str) -> list[str]:
        assert command.main([*words, *more]) == 0
        lines = (tmp_path / "loss_digits.md").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if re.match(r"\| v\d", line)]

    nothing = table("--hours", "0")
    assert not trained
    assert nothing[0] == "| v1 | " + " | ".join(f"not measured: about 1.0 h | {c}" for c in (72.1, 74.3, 76.2)) + " |"
    first, second, *_, last = table()
    assert len(trained) == 6
    assert first == "| v1 | 90.05 ± 0.05 | 72.1 | 92.05 ± 0.05 | 74.3 | 90.05 ± 0.05 | 76.2 |"
    assert second.startswith("| v2 | not measured: about 3.0 h | 71.3 |")
    assert last.startswith("| v4 | not measured: about 1,400 h | 71.2 |")
    assert table("--hours", "2")[1].startswith("| v2 | 90.05 ± 0.05 | 71.3 |")  # 1.5 h each; made up, they take no time
    assert "not measured: about 8.0 h" in table("--hours", "2")[2]


def test_hours_are_an_estimate_from_a_measured_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.cumsum([0, 9, 1, 2, 1, 3]))  # steps of 9, 2 and 3 seconds; the first does not count
    monkeypatch.setattr(runs.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(runs, "counts", lambda form: (40, 30))
    form = replace(TINY, recipe=replace(TINY.recipe, epochs=5))
    job = Job(plan.cells("structure", form)[0], form, 0)
    assert runs.hours_of_a_run(job) == pytest.approx(2 / runs.TIMED_IMAGES * 5 * (40 + 30 / 3) / 3600)


def test_images_of_a_folder_are_counted_by_their_names(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("validation", 2), ("test", 1)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                (tmp_path / part / name / f"{i}.png").touch()
    form = plan.full(str(tmp_path), 1, None, None)
    assert runs.counts(form) == (12, 4)
    assert runs.counts(replace(form, limit=5)) == (5, 4)
    assert runs.counts(TINY) == (40, 357)


# ---- from end to end -------------------------------------------------------------------------------------------------------


def test_a_tiny_table_is_trained_told_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "QUICK_DEPTHS", (8,))
    monkeypatch.setattr(plan, "quick", lambda: TINY)
    words = ["structure", "--quick", "--out", str(tmp_path)]
    assert command.main([*words, "--jobs", "1", "--work", str(tmp_path / "one")]) == 0
    alone = json.loads((tmp_path / "structure_quick.json").read_text(encoding="utf-8"))
    assert command.main([*words, "--jobs", "2", "--work", str(tmp_path / "two")]) == 0
    beside = json.loads((tmp_path / "structure_quick.json").read_text(encoding="utf-8"))
    assert [run["curves"] for run in alone["rows"]] == [run["curves"] for run in beside["rows"]]
    assert [run["test_accuracy"] for run in alone["rows"]] == [run["test_accuracy"] for run in beside["rows"]]
    assert len({run["test_loss"] for run in alone["rows"]}) == 10
    assert [(step["row"], step["seconds"] > 0) for step in alone["steps"]] == [("depth=8", True)] * 5
    assert alone["rows"][0]["images"] == {"train": 40, "validation": 357, "test": 355}
    text = (tmp_path / "structure_quick.md").read_text(encoding="utf-8")
    assert "| depth=8 |" in text
    assert "| v1, claimed | 75.1 | 78.2 | 79.0 |" in text
    assert not re.search(r"\| v\d \|", text)
    assert (tmp_path / "structure_quick.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_loss_that_is_lost_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(model: Any, splits: Any, recipe: Recipe, on_epoch: Callable) -> None:
        on_epoch(dict.fromkeys(runs.CURVES, 1.0) | {"images_per_second": 40.0}, True)
        raise Diverged("epoch 2, step 1: the loss is nan")

    monkeypatch.setattr(runs, "fit", lost)
    found = runs.train(Job(plan.cells("structure", TINY)[0], TINY, 0))
    assert found["diverged"] == "epoch 2, step 1: the loss is nan"
    assert "test_accuracy" not in found
    assert found["curves"]["val_loss"] == [1.0]


def test_statistics_are_those_of_all_training_images_by_the_last_weights() -> None:
    minidl.manual_seed(0)
    norm, rng = nn.BatchNorm2d(2), np.random.default_rng(0)
    norm.running_mean.add_(9)
    x = rng.standard_normal((30, 2, 3, 4), dtype=np.float32) + 5
    runs.renew_statistics(norm, data.Dataset(x, np.zeros(30, int)), 10)
    assert norm.running_mean.numpy() == pytest.approx(x.mean(axis=(0, 2, 3)), rel=1e-5)
    each = [part.var(axis=(0, 2, 3), ddof=1) for part in np.split(x, 3)]
    assert norm.running_var.numpy() == pytest.approx(np.mean(each, axis=0), rel=1e-5)
    assert norm.momentum == 0.1


def test_structures_are_compared_begun_alike_too() -> None:
    """So that what is compared is not how they begin."""
    begins = {}
    for cell in plan.cells("structure", plan.quick())[:5]:
        model = runs.model_of(cell, plan.quick())
        begins[cell.column] = float(model.layer1[0].bn2.weight.numpy()[0])
    assert (begins.pop("plain"), begins.pop("residual")) == (1, 1)
    assert list(begins.values()) == pytest.approx([6**-0.5] * 3)


def test_a_run_that_diverged_cuts_no_curve() -> None:
    rows = [made_up(job) for job in plan.jobs(plan.cells("loss", TINY)[:3], TINY)]
    del rows[0]["test_accuracy"]
    rows[0] |= {"diverged": "epoch 1", "curves": {name: [] for name in runs.CURVES}}
    figure = Figure()
    axis = figure.subplots()
    picture._curves(axis, record_of("loss", rows), "depth=8")
    assert [len(line.get_xdata()) for line in axis.get_lines()] == [2, 2, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: table"),
        (["depth"], "invalid choice: 'depth'"),
        (["loss", "--quick", "--seeds", "5"], "--quick is always the same; leave out --seeds"),
        (["loss", "--seeds", "0"], "expected a whole number of 1 or more, got '0'"),
        (["loss", "--hours", "-1"], "expected hours, 0 or more, got '-1'"),
        (["loss", "--hours", "nan"], "expected hours, 0 or more, got 'nan'"),
        (["loss", "--limit", "9999"], "--limit: expected at most the 1,085 training images there are, got 9,999"),
        (["loss", "--data", "nowhere"], "no data set 'nowhere'"),
        (["loss", "--out", "nowhere"], "--out: no such folder, nowhere"),
    ],
)
def test_bad_options_get_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit) as stopped:
        command.main([*words, *([] if "--out" in words else ["--out", "out"])])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
