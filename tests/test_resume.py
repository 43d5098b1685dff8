"""`minidl train --resume`: a run that was stopped anyhow ends as if it had not been, and what cannot go on is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
from tiny import said

from minidl import nn, runs
from minidl.cli import main
from minidl.commands import outcome
from minidl.state import KEY, read_state, save_state
from minidl.step import Step
from minidl.train import Training

TIMES = ("seconds", "images_per_second")
LENET = Path(__file__).parent.parent / "models" / "lenet.py"
# Dropout draws from the stream, and batch norm has buffers: all kinds of state.
NET = tiny.NET.replace("nn.Linear(64, 16)", "nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.2))")
QUICK = ["--limit", "100", "--epochs", "5", "--lr", "0.02", "--optimizer", "sgd", "--quiet"]


def metrics_of(run: str | Path) -> list[dict]:
    rows = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def arrays_of(path: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in nn.read_weights(path)[0].items()}


def assert_equal_runs(one: str | Path, other: str | Path) -> None:
    """Metrics, best weights, state and result, to the last bit; only times may differ."""
    one, other = Path(one), Path(other)
    assert metrics_of(one) == metrics_of(other)
    for name in ("checkpoint.safetensors", "last.safetensors"):
        assert arrays_of(one / name) == arrays_of(other / name), name
    assert read_state(one / "last.safetensors")[:5] == read_state(other / "last.safetensors")[:5]
    results = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    assert {**results[0], "seconds": 0} == {**results[1], "seconds": 0}
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def no_pictures() -> Iterator[None]:
    """They take longer than the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "_draw", lambda *_: "")
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.py, the finished run `whole`, and `cut`, the same run killed after three of its five epochs."""
    place = tmp_path_factory.mktemp("resume")
    tiny.write(place, NET)
    before = Path.cwd()
    os.chdir(place)
    try:
        assert main(["train", "net.py", *QUICK, "--out", "whole"]) == 0
        killed_in(["train", "net.py", *QUICK, "--out", "cut"], epochs=3)
    finally:
        os.chdir(before)
    return place


def killed_after(keep_epoch: Callable, run: runs.Run, record: dict, *rest: object, epochs: int) -> None:
    keep_epoch(run, record, *rest)
    if record["epoch"] == epochs:
        raise MemoryError("as good as a kill")


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of home, and the working folder."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def killed_in(words: list[str], epochs: int) -> None:
    """The command, killed after so many epochs."""
    keep_epoch = runs.Run.keep_epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Run, "keep_epoch", lambda self, *a: killed_after(keep_epoch, self, *a, epochs=epochs))
        assert main(words) == 2


def refused(words: str, capsys: pytest.CaptureFixture) -> str:
    """The one line on stderr; no file is touched."""
    before = contents(Path())
    line = said(words, capsys)
    assert contents(Path()) == before
    return line


# ---- the same bits -------------------------------------------------------------------------------------------------------


def test_also_where_a_last_image_alone_joins_the_batch_before(place: Path) -> None:
    words = ["train", "net.py", *QUICK, "--batch-size", "33"]  # of 100: 33, 33, 34
    assert main([*words, "--out", "one"]) == 0
    killed_in([*words, "--out", "other"], epochs=2)
    assert main(["train", "--resume", "other"]) == 0
    assert_equal_runs("one", "other")


def test_a_resumed_run_is_the_run_it_would_have_been(place: Path, capsys: pytest.CaptureFixture) -> None:
    (place / "net.py").unlink()  # the run folder has its own
    assert main(["train", "--resume", "cut"]) == 0
    assert_equal_runs("cut", "whole")
    out = capsys.readouterr().out
    assert "resume  after epoch 3 of 5\n" in out
    assert [line.split()[0] for line in out.splitlines() if "/5 " in line] == ["4/5", "5/5"]
    (again,) = json.loads(Path("cut/config.json").read_text())["resumed"]
    assert again["after_epoch"] == 3


def test_also_where_steps_are_of_several_batches(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after an epoch with a batch left over, and stopped by Ctrl-C between two batches of one step."""
    words = ["train", "net.py", *QUICK, "--batch-size", "16", "--accumulate", "3"]  # of 100: 48, 48, 4
    assert main([*words, "--out", "one"]) == 0
    killed_in([*words, "--out", "other"], epochs=2)
    assert main(["train", "--resume", "other"]) == 0
    assert_equal_runs("one", "other")
    step, parts = Step.__call__, []

    def interrupted(*arguments: object) -> object:
        parts.append(arguments[1])
        if len(parts) == 9:  # epoch 2
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", interrupted)
        assert main([*words, "--out", "stopped"]) == 130
    assert parts[-1][:3] == (1, 2, 3)
    assert main(["train", "--resume", "stopped", "--accumulate", "3", "--quiet"]) == 0
    assert_equal_runs("one", "stopped")


def test_also_in_float16_with_its_loss_scale(place: Path) -> None:
    words = ["train", "net.py", *QUICK, "--precision", "fp16", "--clip", "1"]
    assert main([*words, "--epochs", "3", "--out", "one"]) == 0
    killed_in([*words, "--epochs", "3", "--out", "other"], epochs=2)
    state = read_state(Path("other/last.safetensors"))
    assert state.loss_scale == [2.0**15, 8]  # 4 steps an epoch
    spoil_state(Path("other/last.safetensors"), loss_scale=[2.0**13, 1999])
    assert main(["train", "--resume", "other", "--precision", "fp16"]) == 0
    assert read_state(Path("other/last.safetensors")).loss_scale == [2.0**14, 3]  # it was taken up, and has grown since
    assert_equal_runs("one", "other")  # a power of 2 changes no bit of what it multiplies
    assert {a.dtype.name for a in read_state(Path("one/last.safetensors")).weights.values() if a.dtype.kind == "f"} == {
        "float16"
    }


def test_a_run_from_before_there_were_such_steps_goes_on(place: Path, capsys: pytest.CaptureFixture) -> None:
    config = json.loads(Path("cut/config.json").read_text())
    assert config["recipe"].pop("accumulate") == 1
    Path("cut/config.json").write_text(json.dumps(config))
    assert refused("train --resume cut --accumulate 2", capsys) == "--accumulate 2: cut was started with 1; leave it out"
    assert main(["train", "--resume", "cut", "--quiet"]) == 0
    assert_equal_runs("cut", "whole")


def best_so_far(metrics: list[dict]) -> list[int]:
    """The epochs that were the best when they ended."""
    merits = [(row["val_accuracy"], -row["val_loss"]) for row in metrics]
    return [epoch for epoch, merit in enumerate(merits, start=1) if all(merit > before for before in merits[: epoch - 1])]


POINTS = ["add_metrics", "keep_state", "save"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("point", POINTS)
def test_killed_between_any_two_writes(point: str, after: bool, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last of the epochs that were the best so far, so that an older checkpoint is there."""
    write, calls, bests = getattr(runs.Run, point), [], best_so_far(metrics_of("whole"))
    assert len(bests) > 1
    nth = {"add_metrics": bests[-1], "keep_state": bests[-1] + 1, "save": len(bests)}[point]  # a state is kept at the start

    def dies(self: runs.Run, *arguments: object) -> None:
        calls.append(point)
        if len(calls) == nth and not after:
            raise MemoryError
        write(self, *arguments)
        if len(calls) == nth:
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, point, dies)
        assert main(["train", "net.py", *QUICK, "--out", "killed"]) == 2
    assert main(["train", "--resume", "killed", "--quiet"]) == 0
    assert_equal_runs("killed", "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_lenet_killed_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", str(LENET), "--limit", "96", "--epochs", "8", "--quiet", "--threads", "1"]
    command = [sys.executable, "-m", "minidl", *words, "--out", "cut"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        metrics = tmp_path / "cut/metrics.jsonl"
        for _ in range(600):
            if metrics.exists() and metrics.read_bytes().count(b"\n") >= 2:
                break
            time.sleep(0.02)
        process.kill()
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert 2 <= len(metrics_of(tmp_path / "cut")) < 8
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--resume", "cut", "--quiet"]) == 0
    assert main([*words, "--out", "whole"]) == 0
    assert_equal_runs("cut", "whole")


def test_stopped_by_ctrl_c_in_the_middle_of_an_epoch(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    step, steps = Step.__call__, []

    def interrupted(*arguments: object) -> object:
        steps.append(1)
        if len(steps) == 10:  # the second of the four steps of epoch 3
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", interrupted)
        assert main(["train", "net.py", *QUICK, "--out", "stopped"]) == 130
    assert "stopped after 2 epochs" in (err := capsys.readouterr().err)
    assert err.endswith("; `minidl train --resume stopped` goes on\n")
    assert json.loads(Path("stopped/result.json").read_text())["status"] == "stopped"
    results = []
    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", lambda *a: results.append(Path("stopped/result.json").exists()) or step(*a))
        assert main(["train", "--resume", "stopped", "--quiet"]) == 0
    assert not any(results)  # it is not stopped any more
    assert_equal_runs("stopped", "whole")


def test_stopped_before_the_first_epoch_it_begins(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Training, "epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["train", "net.py", *QUICK, "--out", "early"]) == 130
    assert json.loads(Path("early/result.json").read_text()) == {"status": "stopped", "epochs": 0}
    assert main(["train", "--resume", "early", "--quiet"]) == 0
    assert_equal_runs("early", "whole")


def test_killed_after_the_last_epoch_it_is_tested(place: Path) -> None:
    (place / "whole/result.json").unlink()
    before = arrays_of(place / "whole/checkpoint.safetensors")
    assert main(["train", "--resume", "whole", "--quiet"]) == 0
    assert arrays_of(place / "whole/checkpoint.safetensors") == before
    assert json.loads(Path("whole/result.json").read_text())["test_accuracy"] > 0.2


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_waits_for_what_is_being_written() -> None:
    done = []

    def write() -> None:
        with runs.uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("written")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done
    with pytest.raises(KeyboardInterrupt):  # and the old handler is back
        signal.raise_signal(signal.SIGINT)


def test_a_run_on_another_device_is_trained_and_resumed_there(place: Path) -> None:
    """The stand-in for CuPy computes what NumPy does, so the bits are those of the run on the CPU."""
    words = ["train", "net.py", *QUICK, "--device", "strict", "--schedule", "constant", "--clip", "0.5", "--freeze", "output"]
    assert main([*words, "--out", "device"]) == 0
    assert main([*words, "--device", "cpu", "--out", "host"]) == 0
    assert_equal_runs("device", "host")
    assert main([*words, "--epochs", "2", "--out", "short"]) == 0
    assert main(["train", "--resume", "short", "--epochs", "5", "--quiet"]) == 0
    assert_equal_runs("device", "short")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_who_does_not_listen_to_ctrl_c_goes_on_not_listening(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with runs.uninterrupted():
            if handler is signal.SIG_IGN:
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is handler
    except KeyboardInterrupt:
        pytest.fail("it was interrupted")
    finally:
        signal.signal(signal.SIGINT, before)


# ---- more epochs ------------------------------------------------------------------------------------------------------------


def test_more_epochs_plan_the_schedule_anew_and_say_so(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert "whole is finished, all 5 epochs of it; --epochs with a larger number" in refused("train --resume whole", capsys)
    assert main(["train", "--resume", "whole", "--epochs", "7"]) == 0
    out = capsys.readouterr().out
    assert "resume  after epoch 5 of 7; the schedule, planned for 5, is planned anew: lr 0.00377 in epoch 6 (epoch 5 had" in out
    rates = [row["lr"] for row in metrics_of("whole")]
    cosine = 0.02 * (1 + np.cos(np.pi * np.arange(7) / 7)) / 2
    assert rates[5:] == pytest.approx(cosine[5:])
    assert json.loads(Path("whole/config.json").read_text())["recipe"]["epochs"] == 7
    assert "whole is finished, all 7 epochs" in refused("train --resume whole", capsys)


def test_a_constant_rate_is_the_same_run_whenever_it_is_extended(place: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["train", "net.py", *QUICK, "--schedule", "constant"]
    assert main([*words, "--out", "long"]) == 0
    assert main([*words, "--epochs", "2", "--out", "short"]) == 0
    assert main(["train", "--resume", "short", "--epochs", "5", "--quiet"]) == 0
    assert_equal_runs("short", "long")


# ---- what is refused --------------------------------------------------------------------------------------------------------


CONTRADICTIONS = {
    "--lr 0.1": "--lr 0.1: cut was started with 0.02; leave it out",
    "--seed 3": "--seed 3: cut was started with 0; leave it out",
    "--data digits:writers": "--data digits:writers: cut was started with digits; leave it out",
    "--set size=3": "--set size=3: cut was started with none; leave it out",
    "--no-shifts": "--shifts 0: cut was started with 1; leave it out",
    "--limit 99": "--limit 99: cut was started with 100; leave it out",
    "--epochs 4": "--epochs 4: cut was planned for 5, and can only be extended",
    "--out new": "a resumed run has its own model and folder; leave --out new out",
    "net.py": "a resumed run has its own model and folder; leave net.py out",
}


@pytest.mark.parametrize("option", CONTRADICTIONS)
def test_options_that_contradict_the_run_are_refused(option: str, place: Path, capsys: pytest.CaptureFixture) -> None:
    assert refused(f"train --resume cut {option}", capsys) == CONTRADICTIONS[option]


def test_options_that_repeat_the_run_are_welcome(place: Path) -> None:
    assert main(["train", "--resume", "cut", *QUICK, "--data", "digits", "--seed", "0", "--threads", "1"]) == 0
    assert_equal_runs("cut", "whole")


def test_the_models_options_may_be_repeated_too(place: Path, capsys: pytest.CaptureFixture) -> None:
    """JSON has made a list of the tuple."""
    net = tiny.NET.replace("64, 16", "64, widths[0]").replace("16, classes", "widths[0], classes")
    tiny.write(place, net.replace("classes=10", "classes=10, widths=(16,), bias=True"), "wide.py")
    options = ["--set", "widths=(8,)", "--set", "bias=False"]
    assert main(["train", "wide.py", "--limit", "40", "--epochs", "1", "--quiet", *options, "--out", "wide"]) == 0
    assert "was started with widths=[8] bias=False" in refused("train --resume wide --epochs 2 --set widths=(9,)", capsys)
    assert main(["train", "--resume", "wide", "--epochs", "2", "--quiet", *options[2:], *options[:2]]) == 0


def spoil_state(path: Path, **changes: object) -> None:
    """Rewrite the state with other numbers in its header."""
    arrays, header = nn.read_weights(path)
    nn.save_weights(arrays, path, {KEY: json.dumps({**json.loads(header[KEY]), **changes})})


def foreign(run: Path) -> None:
    state = read_state(run / "last.safetensors")
    other = {name: np.zeros((2, 2), np.float32) for name in state.weights}
    save_state(state._replace(weights=other), run / "last.safetensors")


def swapped_best(run: Path) -> None:
    nn.save_weights({"other": np.zeros(3, np.float32)}, run / "checkpoint.safetensors")
    spoil_lines(run, lambda rows: [{**rows[0], "val_accuracy": 1.0}, *rows[1:]])
    spoil_state(run / "last.safetensors", best_epoch=1)


def spoil_lines(run: Path, change: Callable) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in change(rows)))


def spoil_config(run: Path, part: str, value: object) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, part: value}))


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (
        lambda run: (run / "last.safetensors").unlink(),
        "cut: no last.safetensors, so there is nothing to go on from; train again",
    ),
    "truncated": (
        lambda run: (run / "last.safetensors").write_bytes((run / "last.safetensors").read_bytes()[:-9]),
        "weights: cut/last.safetensors is not a readable safetensors file",
    ),
    "text": (lambda run: (run / "last.safetensors").write_text("x" * 99), "weights: cut/last.safetensors is not a readable"),
    "checkpoint in its place": (
        lambda run: shutil.copy(run / "checkpoint.safetensors", run / "last.safetensors"),
        "cut/last.safetensors: no state of a training; its header lacks minidl.state",
    ),
    "another model's": (foreign, "cut/last.safetensors: the state does not fit the model: hidden."),
    "another checkpoint": (swapped_best, "cut/last.safetensors: load_state_dict: this is not the state of Tiny"),
    "negative epoch": (
        lambda run: spoil_state(run / "last.safetensors", epoch=-1),
        "cut/last.safetensors: epoch should be a whole number from 0 to 2147483647, got -1",
    ),
    "true position": (
        lambda run: spoil_state(run / "last.safetensors", position=True),
        "cut/last.safetensors: position should be a whole number from 0 to",
    ),
    "other steps": (
        lambda run: spoil_state(run / "last.safetensors", steps=[1, 2]),
        "cut/last.safetensors: the state has 2 parameters, the training 6; nothing was changed, train again",
    ),
    "a list of scales": (
        lambda run: spoil_state(run / "last.safetensors", loss_scale=[1.0]),
        "cut/last.safetensors: loss_scale should be two numbers, 0 or more, got [1.0]",
    ),
    "later format": (lambda run: spoil_state(run / "last.safetensors", format=2), "cut/last.safetensors: format should be"),
    "lines lost": (
        lambda run: spoil_lines(run, lambda rows: rows[:2]),
        "cut/metrics.jsonl: 2 lines for 3 finished epochs; restore the file or train again",
    ),
    "a line of words": (
        lambda run: spoil_lines(run, lambda rows: ["words", *rows]),
        "cut/metrics.jsonl:1: expected the record of epoch 1; restore the file or train again",
    ),
    "a loss of NaN": (
        lambda run: spoil_lines(run, lambda rows: [{**rows[0], "val_loss": float("nan")}, *rows[1:]]),
        "cut/metrics.jsonl:1: val_loss should be a finite number, got nan",
    ),
    "a loss of 400 digits": (
        lambda run: spoil_lines(run, lambda rows: [{**rows[0], "val_loss": 10**400}, *rows[1:]]),
        "cut/metrics.jsonl:1: val_loss should be a finite number, got 1000",
    ),
    "brackets in the configuration": (
        lambda run: (run / "config.json").write_text("[" * 100_000),
        "cut/config.json: broken JSON (",
    ),
    "diverged": (
        lambda run: (run / "result.json").write_text('{"status": "diverged"}'),
        "cut diverged, and would again; train anew with a smaller --lr",
    ),
    "recipe of another day": (
        lambda run: spoil_config(run, "recipe", {"epochs": 5, "learning": 1}),
        "cut/config.json: recipe: ",
    ),
    "no seed": (lambda run: spoil_config(run, "seed", None), "cut/config.json: seed cannot be None; train again"),
    "other images": (
        lambda run: spoil_config(run, "data", {"name": "digits", "mean": [0.1], "std": [0.2], "limit": 100}),
        "digits does not hold the images of cut as they were; nothing was changed",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_cannot_go_on_is_said_and_left_alone(name: str, place: Path, capsys: pytest.CaptureFixture) -> None:
    spoil, message = SPOILT[name]
    spoil(place / "cut")
    assert refused("train --resume cut", capsys).startswith(message)


@pytest.mark.skipif(sys.platform == "win32", reason="the lock is POSIX")
def test_one_process_at_a_time(place: Path, capsys: pytest.CaptureFixture) -> None:
    with runs.Run(place / "cut").held():
        message = refused("train --resume cut", capsys)
    assert message == "cut: another process is training here; stop it first, or let it end"
    assert main(["train", "--resume", "cut", "--quiet"]) == 0


def test_a_folder_of_images_may_have_moved_but_not_changed(place: Path, capsys: pytest.CaptureFixture) -> None:
    from test_folder import photos

    photos(place / "photos")
    words = ["train", "net.py", "--data", "photos", "--quiet", "--batch-size", "4"]
    assert main([*words, "--epochs", "1", "--out", "run"]) == 0
    (place / "photos").rename(place / "moved")
    assert "the images that run was trained on are no longer there" in refused("train --resume run --epochs 2", capsys)
    photos(place / "others", size=(7, 5))
    message = refused("train --resume run --epochs 2 --data others", capsys)
    assert message == "others does not hold the images of run as they were; nothing was changed"
    (shutil.copytree(place / "moved", place / "renamed") / "dark/0.png").rename(place / "renamed/dark/00.png")
    assert refused("train --resume run --epochs 2 --data renamed", capsys).startswith("renamed does not hold the images")
    assert main(["train", "--resume", "run", "--epochs", "2", "--data", "moved", "--quiet"]) == 0
    assert json.loads(Path("run/config.json").read_text())["data"]["name"] == str(place / "moved")
