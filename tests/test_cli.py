"""The command line: what it leaves behind, what it prints, and that it never overwrites."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

from minidl import data
from minidl.cli import main
from minidl.runs import Run

FILES = {
    "checkpoint.safetensors",
    "config.json",
    "confusion.png",
    "curves.png",
    "last.safetensors",
    "metrics.jsonl",
    "model",
    "result.json",
}
TIMES = ("seconds", "images_per_second")


def minidl(*words: str, folder: Path) -> subprocess.CompletedProcess:
    """`minidl ...` in a process of its own."""
    return subprocess.run([sys.executable, "-m", "minidl", *words], cwd=folder, capture_output=True, text=True, check=False)


def metrics_of(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.py and one finished run, runs/net-1."""
    folder = tmp_path_factory.mktemp("home")
    tiny.write(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "net.py", *tiny.QUICK, "--quiet"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of home, and the working folder."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["a" * 300, "b/" + "a" * 300 + ".py", "/".join(["c" * 200] * 25) + "/net.py"], ids=len)
@pytest.mark.parametrize(
    "words",
    [
        "train {}",
        "train net.py --data {}",
        "train net.py --data hybrid:real={}",
        "train net.py --weights {}",
        "train net.py --out {}",
        "train --resume {}",
        "evaluate {}",
        "evaluate runs/net-1 --data {}",
        "predict {} net.py",
        "predict runs/net-1 {}",
        "summary {}",
        "check conv2d {}",
    ],
)
def test_a_name_too_long_for_a_file_is_told_in_one_line(
    words: str, name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.format(name).split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "internal error" not in err
    assert "Errno" not in err


# ---- train ---------------------------------------------------------------------------------------------------------------


def test_a_run_folder_holds_everything(home: Path) -> None:
    run = home / "runs" / "net-1"
    assert {path.name for path in run.iterdir()} == FILES
    assert (run / "model" / "net.py").read_text() == tiny.NET
    metrics, result, config = metrics_of(run), read(run / "result.json"), read(run / "config.json")
    assert [list(row) for row in metrics] == [["epoch", "train_loss", "train_accuracy", "lr", "val_loss", "val_accuracy"]] * 2
    assert result["status"] == "done"
    assert result["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert result["val_accuracy"] == max(row["val_accuracy"] for row in metrics) > 0.4
    assert 0.4 < result["test_accuracy"] < 1
    assert config["data"]["limit"] == 200
    assert config["data"]["images"] == {"train": 200, "validation": 357, "test": 355}
    assert config["recipe"]["epochs"] == 2
    assert config["model"]["classes"] == list("0123456789")


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_the_same_seed_gives_the_same_run_in_another_process(home: Path, tmp_path: Path) -> None:
    done = minidl("train", "net.py", *tiny.QUICK, "--out", str(tmp_path / "again"), folder=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert metrics_of(tmp_path / "again") == metrics_of(home / "runs" / "net-1")
    weights = "checkpoint.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (home / "runs" / "net-1" / weights).read_bytes()
    assert "quick trial on 200 of the training images" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.lstrip().startswith(("1/2", "2/2"))]
    assert len(rows) == 2  # no terminal: plain lines


def test_runs_are_numbered_and_never_overwritten(place: Path) -> None:
    before = (place / "runs/net-1/result.json").read_bytes()
    assert main(["train", "net.py:Tiny", *tiny.QUICK, "--seed", "1", "--quiet"]) == 0
    assert {path.name for path in (place / "runs").iterdir()} == {"net-1", "net-2"}
    assert (place / "runs/net-1/result.json").read_bytes() == before
    (place / "mine").mkdir()
    assert main(["train", "net.py", *tiny.QUICK, "--out", "mine", "--quiet"]) == 0  # new or empty is welcome
    assert {path.name for path in (place / "mine").iterdir()} == FILES
    assert main(["train", "net.py", *tiny.QUICK, "--out", "mine", "--quiet"]) == 2


def test_steps_of_several_batches_are_told_and_noted(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "net.py", *tiny.QUICK, "--batch-size", "16", "--accumulate", "3", "--out", "several"]) == 0
    assert "cosine, steps of 3 batches of 16, seed 0" in capsys.readouterr().out
    assert json.loads((place / "several/config.json").read_text())["recipe"]["accumulate"] == 3


def test_quiet_prints_the_result_alone(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "net.py", *tiny.QUICK, "--quiet"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["best", "test", "time", "run"]


def test_the_test_images_are_read_once_and_last(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from minidl.commands import train

    seen = []
    evaluate = train.training.evaluate
    monkeypatch.setattr(train.training, "evaluate", lambda m, part, **k: seen.append(len(part)) or evaluate(m, part, **k))
    assert main(["train", "net.py", *tiny.QUICK, "--quiet"]) == 0
    assert seen == [357, 357, 355]


def test_other_writers_are_harder(place: Path) -> None:
    assert main(["train", "net.py", *tiny.QUICK, "--data", "digits:writers", "--quiet"]) == 0
    config = read(place / "runs/net-2/config.json")
    assert config["data"]["name"] == "digits:writers"
    assert config["data"]["images"]["test"] == 360


def test_files_beside_the_model_travel_with_it(place: Path) -> None:
    tiny.write(
        place, tiny.NET.replace("import minidl\n", "import minidl\nfrom parts import WIDTH\n").replace("16", "WIDTH"), "big.py"
    )
    tiny.write(place, "WIDTH = 12\n", "parts.py")
    assert main(["train", "big.py", *tiny.QUICK, "--quiet"]) == 0
    assert "parts" not in sys.modules
    (place / "big.py").unlink()
    (place / "parts.py").unlink()
    assert {path.name for path in (place / "runs/big-1/model").iterdir()} == {"big.py", "parts.py"}
    assert main(["evaluate", "runs/big-1"]) == 0


def test_small_networks_use_one_blas_thread(place: Path) -> None:
    assert read(place / "runs/net-1/config.json")["threads"] == 1
    assert main(["train", "net.py", *tiny.QUICK, "--threads", "2", "--quiet"]) == 0
    assert read(place / "runs/net-2/config.json")["threads"] == 2


def test_more_classes_than_the_data_has(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "net.py", *tiny.QUICK, "--classes", "12", "--quiet"]) == 0
    assert main(["evaluate", "runs/net-2", "--json"]) == 0
    assert "class 11" in json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))["per_class"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
def test_ctrl_c_keeps_what_was_learnt(place: Path) -> None:
    command = [sys.executable, "-m", "minidl", "train", "net.py", "--epochs", "100000", "--out", "long"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for((place / "long/metrics.jsonl").is_file, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().startswith("minidl: stopped after ")
    assert "long keeps the best, epoch " in err
    assert read(place / "long/result.json")["status"] == "stopped"
    assert "test_accuracy" not in read(place / "long/result.json")
    assert (place / "long/curves.png").is_file()
    assert main(["evaluate", "long"]) == 0


def wait_for(condition, process: subprocess.Popen) -> None:
    for _ in range(600):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    raise AssertionError("nothing came within 30 seconds")


def test_a_run_that_diverges_says_so_and_keeps_its_folder(place: Path, capsys: pytest.CaptureFixture) -> None:
    tiny.write(place, tiny.NET.replace("minidl.tanh(", "(1e4 * "))
    assert main(["train", "net.py", *tiny.QUICK, "--optimizer", "sgd", "--lr", "9e3", "--quiet"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("minidl: epoch 1, step ")
    assert "try a smaller lr" in err
    assert "runs/net-2 keeps the 0 epochs before that" in err
    assert read(place / "runs/net-2/result.json") == {"status": "diverged", "epochs": 0}


def test_pictures_are_left_out_where_matplotlib_is_missing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["train", "net.py", *tiny.QUICK, "--quiet"]) == 0
    assert "no pictures" in capsys.readouterr().out
    assert {path.name for path in (place / "runs/net-2").iterdir()} == FILES - {"curves.png", "confusion.png"}


def test_a_run_that_is_not_there_names_those_that_are(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", "runs/net-7"]) == 2
    assert capsys.readouterr().err == "minidl: runs/net-7: no such run folder; runs/ has net-1\n"


# ---- evaluate, predict, summary --------------------------------------------------------------------------------------------


def test_evaluate_repeats_the_result(place: Path, capsys: pytest.CaptureFixture) -> None:
    (place / "net.py").unlink()  # the run folder needs nothing outside itself
    assert main(["evaluate", "runs/net-1", "--json"]) == 0
    found, result = json.loads(capsys.readouterr().out), read(place / "runs/net-1/result.json")
    assert found["accuracy"] == result["test_accuracy"]
    assert found["loss"] == pytest.approx(result["test_loss"], rel=1e-5)
    assert np.trace(found["confusion"]) == round(found["accuracy"] * found["images"])


def test_evaluate_prints_a_line_per_class(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", "runs/net-1", "--split", "validation"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Tiny of runs/net-1 on digits, 357 validation images"
    assert [line.split()[0] for line in lines[4:]] == list("0123456789")


def test_the_runs_own_normalisation_is_used_on_other_data(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", "runs/net-1", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)["loss"]
    change_config(place / "runs/net-1", "data", std=[9.0])
    assert main(["evaluate", "runs/net-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] > whole


def change_config(run: Path, part: str, **changes: object) -> None:
    config = read(run / "config.json")
    (run / "config.json").write_text(json.dumps({**config, part: {**config[part], **changes}}))


@pytest.mark.parametrize(("own", "other"), [("digits", "digits:writers"), ("digits:writers", "digits")])
def test_digits_parted_otherwise_are_no_test(own: str, other: str, place: Path, capsys: pytest.CaptureFixture) -> None:
    change_config(place / "runs/net-1", "data", name=own)
    assert main(["evaluate", "runs/net-1", "--data", other]) == 2
    assert capsys.readouterr().err == (
        f"minidl: {other} parts the digits otherwise than {own}, on which runs/net-1 was trained: some of its test images "
        f"were training images; evaluate on {own}, or train on {other}\n"
    )


def test_labels_are_numbered_as_the_runs_classes_are() -> None:
    from minidl.commands.datasets import class_numbers

    numbers = class_numbers(Run(Path("runs/1")), [*reversed("0123456789"), "class 10"], "digits")
    assert numbers.tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    with pytest.raises(
        ValueError, match=r"^digits has a class '9' that runs/1 did not learn; it knows 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.$"
    ):
        class_numbers(Run(Path("runs/1")), list("012345678"), "digits")


def test_predict_knows_a_digit_from_the_test_images(place: Path, capsys: pytest.CaptureFixture) -> None:
    from PIL import Image

    image, label = data.digits(size=8).test[0]
    Image.fromarray((255 * image[0]).astype(np.uint8)).save(place / "white on black.png")
    Image.fromarray((255 - 255 * image[0]).astype(np.uint8)).save(place / "ink.png")
    assert main(["predict", "runs/net-1", "white on black.png", "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"white on black.png  {label} ")
    assert lines[0].count("%") == 2
    assert main(["predict", "runs/net-1", "ink.png", "--invert", "--json", "--top", "99"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["classes"][0]["class"] == str(label)
    assert sum(c["score"] for c in found["classes"]) == pytest.approx(1)


def test_predict_tells_paper_from_the_digits_black(place: Path, capsys: pytest.CaptureFixture) -> None:
    from PIL import Image

    image, _ = data.digits(size=8).test[0]
    Image.fromarray((255 * image[0]).astype(np.uint8)).save(place / "black.png")
    Image.fromarray((255 - 255 * image[0]).astype(np.uint8)).save(place / "paper.png")
    hint = "minidl: {} is mostly white{}, but runs/net-1 learnt from images that are mostly black; {}\n"
    for words, answer in {
        "black.png": "",
        "paper.png black.png": hint.format("paper.png", "", "try --invert"),
        "paper.png --invert": "",
        "black.png --invert": hint.format("black.png", " once inverted", "leave out --invert"),
    }.items():
        assert main(["predict", "runs/net-1", *words.split()]) == 0
        assert capsys.readouterr().err == answer
    change_config(place / "runs/net-1", "data", mean=[0.5])  # photographs
    assert main(["predict", "runs/net-1", "paper.png"]) == 0
    assert capsys.readouterr().err == ""


def test_predict_of_a_model_with_its_own_answer(place: Path, capsys: pytest.CaptureFixture) -> None:
    from PIL import Image

    tiny.write(place, tiny.NET + "\n    def predict(self, out):\n        return out.numpy().argmax(axis=1)\n", "own.py")
    assert main(["train", "own.py", *tiny.QUICK, "--quiet"]) == 0
    Image.new("L", (8, 8)).save(place / "black.png")
    capsys.readouterr()
    assert main(["predict", "runs/own-1", "black.png"]) == 0
    name, answer = capsys.readouterr().out.split()
    assert (name, answer in set("0123456789")) == ("black.png", True)


def test_summary(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["summary", "net.py:Tiny"]) == 0
    (total,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("total"))
    assert "1,210" in total
    assert main(["summary", "net.py", "--json", "--classes", "6"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["parameters"], found["macs"], found["input"]) == (
        64 * 16 + 16 + 16 * 6 + 6,
        64 * 16 + 16 * 6,
        [1, 8, 8],
    )


# ---- the command itself ----------------------------------------------------------------------------------------------------


def test_version_and_help(tmp_path: Path) -> None:
    assert minidl("--version", folder=tmp_path).stdout.startswith("minidl 0.")
    for words in ([], ["--help"]):
        done = minidl(*words, folder=tmp_path)
        assert done.returncode == 0
        assert "train a model" in done.stdout
    assert "--batch-size" in minidl("train", "--help", folder=tmp_path).stdout


def test_one_command_imports_only_its_own(tmp_path: Path) -> None:
    code = "import sys; from minidl.cli import main; main(['--help']); print(sorted(m for m in sys.modules if 'commands' in m))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_error(home: Path) -> None:
    command = f"{sys.executable} -m minidl summary net.py | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 141)  # 141 is what a shell gives to all whom SIGPIPE ends
    assert done.stderr == ""


def test_debug_shows_the_traceback(place: Path) -> None:
    done = minidl("train", "nowhere.py", "--debug", folder=place)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "nowhere.py: no such model file" in done.stderr
