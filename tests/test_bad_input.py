"""Bad input is answered as tests/bad_input.txt says: calls by their errors, commands by one line and exit code 2."""

from __future__ import annotations

import builtins
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny

import minidl
from minidl import Tensor, data, nn, optim
from minidl.backend import cuda_problem
from minidl.cli import main
from minidl.extras import install
from minidl.modelfile import load
from minidl.recipe import Recipe
from minidl.train import evaluate
from models.alexnet import AlexNet, AlexNet32
from models.alphanet import AlphaNet, AlphaNet32
from models.inception import GoogLeNet, InceptionV3
from models.lenet import LeNet5, LeNet1998
from models.resnet import PlainNet, ResNet20, ResNet50
from models.vgg import VGG11, VGG16


def x(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.ones(shape, dtype)


def labels(*values: int) -> np.ndarray:
    return np.array(values)


def leaf(*shape: int) -> Tensor:
    return Tensor(x(*shape), requires_grad=True)


def watched(call: Callable) -> None:
    with minidl.detect_anomaly(), np.errstate(all="ignore"):
        call()


def twice() -> None:
    loss = minidl.tanh(leaf(2)).sum()
    loss.backward()
    loss.backward()


def blank() -> nn.Module:
    """A layer made of shapes alone, used outside."""
    with minidl.shapes_only():
        return nn.Linear(2, 3)


def blank_backward() -> None:
    with minidl.shapes_only():
        leaf(2, 2).sum().backward()


def edited() -> None:
    y = minidl.tanh(leaf(2) * 2.0)
    loss = (y * y).sum()
    with minidl.no_grad():
        y.add_(1)
    loss.backward()


HELPERS = (x, labels, leaf, watched, twice, blank, blank_backward, edited, Recipe, evaluate)
HELPERS += (
    AlexNet,
    AlexNet32,
    AlphaNet,
    AlphaNet32,
    LeNet5,
    LeNet1998,
    VGG11,
    VGG16,
    GoogLeNet,
    InceptionV3,
    PlainNet,
    ResNet20,
    ResNet50,
)
NAMES = {**vars(minidl), "nn": nn, "optim": optim, "data": data, **{helper.__name__: helper for helper in HELPERS}}


def table() -> dict[str, str]:
    """Call or command -> what is said, from the text file."""
    lines = (Path(__file__).parent / "bad_input.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert not any(line.startswith(" ") for line in lines[::2])
    assert len(set(lines[::2])) == len(lines) / 2
    return {question: answer.strip() for question, answer in zip(lines[::2], lines[1::2], strict=True)}


TABLE = table()
CALLS = [question for question in TABLE if not question.startswith("$")]
COMMANDS = [question.removeprefix("$ minidl ") for question in TABLE if question.startswith("$")]


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None


@pytest.mark.parametrize("call", CALLS)
def test_a_call_says_what_is_wrong(call: str) -> None:
    kind, _, message = TABLE[call].partition(": ")
    with pytest.raises(getattr(builtins, kind)) as raised:
        eval(call, NAMES)
    assert matches(message, str(raised.value)), str(raised.value)


@pytest.mark.skipif(cuda_problem() is None, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ValueError) as raised:
        Tensor(x(2)).to("cuda")
    assert str(raised.value) == f"device 'cuda': {cuda_problem()}"
    assert install("cuda13") in str(raised.value) or "minidl doctor" in str(raised.value)


# ---- the command line ------------------------------------------------------------------------------------------------------

CLASS = "from minidl import nn\nclass A(nn.Module):\n    input_shape = (1, 8, 8)\n"
MODELS = {
    "net.py": tiny.NET,
    "syntax.py": "x = 1\ndef f(:\n",
    "nul.py": "x = 1\0",
    "imports.py": "import numpy\nimport nonesuch\n",
    "leaves.py": "import sys\nsys.exit('enough')\n",
    "plain.py": "x = 1\n",
    "two.py": CLASS + CLASS.replace("class A", "class B"),
    "shapeless.py": "from minidl import nn\nclass A(nn.Module):\n    pass\n",
    "flat.py": CLASS.replace("(1, 8, 8)", "64"),
    "headless.py": CLASS + "    def __init__(self): pass\n",
    "wrong.py": tiny.NET.replace("nn.Linear(16, classes)", "nn.Linear(17, classes)"),
    "nine.py": tiny.NET.replace("nn.Linear(16, classes)", "nn.Linear(16, 9)"),
    "fails.py": tiny.NET.replace("nn.Linear(16, classes)", "nn.Linear(16, klasses)"),
    "sized.py": tiny.NET.replace("classes=10)", "classes=10, *, size=8)"),
    "moved.py": tiny.NET.replace("classes=10):", "classes=10):\n        self.input_shape = (8, 8)"),
    "mute.py": tiny.NET.replace("return ", ""),
    "idle.py": CLASS + "    def __init__(self, classes=10): pass\n    def forward(self, x): return x.flatten(1)[:, :10]\n",
    "several.py": tiny.NET.replace("    input_shape = (1, 8, 8)\n", "").replace("(self, x)", "(self, x, profile)"),
    "norm.py": tiny.NET.replace("nn.Linear(64, 16)", "nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16))"),
    "nan.py": tiny.NET.replace("minidl.tanh(", "minidl.log(minidl.abs(x.flatten(1)[:, :16]) * 0.0) + (0.0 * "),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of broken things: model files, run folders, images."""
    folder = tmp_path_factory.mktemp("bad")
    for name, text in MODELS.items():
        tiny.write(folder, text, name)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "net.py", *tiny.QUICK, "--out", "run", "--quiet"]) == 0
        for name in ("json", "old", "keys", "mean", "channels", "outside", "weights", "cut", "other", "gone"):
            shutil.copytree("run", f"run-{name}")
    finally:
        os.chdir(before)
    config = json.loads((folder / "run/config.json").read_text())
    (folder / "run-json/config.json").write_text('{"format": 1, "model": ')
    change(folder / "run-old/config.json", format=99)
    change(folder / "run-keys/config.json", data={"name": "digits"})
    change(folder / "run-mean/config.json", data={"name": "digits", "mean": [0.1], "std": [0.0]})
    change(folder / "run-channels/config.json", data={"name": "digits", "mean": [0.1, 0.1], "std": [1, 1]})
    change(folder / "run-outside/config.json", model={**config["model"], "file": "../net.py"})
    for name in ("checkpoint.safetensors", "last.safetensors"):
        (folder / "run-weights" / name).unlink()
        weights = folder / "run-cut" / name
        weights.write_bytes(weights.read_bytes()[:-100])
    tiny.write(folder / "run-other/model", tiny.NET.replace("16", "17"))
    (folder / "run-gone/model/net.py").unlink()
    state = nn.read_weights(folder / "run/checkpoint.safetensors")[0]
    nn.save_weights({**state, "hidden.bias": state["hidden.bias"] * np.nan}, folder / "nan.safetensors")
    nn.save_weights({name: array for name, array in state.items() if name != "hidden.bias"}, folder / "part.safetensors")
    (folder / "empty").mkdir()
    (folder / "note.png").write_text("no image")
    for name in ("classes/a", "classes/b", "one-class/a"):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            (folder / name / f"{i}.png").write_text("no image")
    return folder


def change(path: Path, **parts: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_it_in_one_line(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(home)
    before = contents(home)
    code = main(command.split())
    out, err = capsys.readouterr()
    assert code == 2
    assert matches(TABLE[f"$ minidl {command}"], err.rstrip("\n")), err
    after = contents(home)
    new = {path for path in after if path not in before}
    assert all(after[path] == was for path, was in before.items())
    assert not new or "nan.py" in command, new  # what fails only while it trains keeps its run folder
    assert not out or "nan.py" in command
    shutil.rmtree(home / "runs", ignore_errors=True)


@pytest.mark.skipif(cuda_problem() is None, reason="this machine has a GPU")
@pytest.mark.parametrize("command", ["train net.py", "evaluate run", "predict run note.png"])
def test_a_device_that_is_not_there(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(home)
    assert main([*command.split(), "--device", "cuda"]) == 2
    assert capsys.readouterr().err == f"minidl: device 'cuda': {cuda_problem()}\n"
    assert not (home / "runs").exists()


def test_whatever_stands_in_a_config_the_answer_is_one_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "run", "run")
    config = json.loads(Path("run/config.json").read_text())
    keys = [(part, key) for part in ("model", "data") for key in config[part]] + [(key, None) for key in config]
    for part, key in keys:
        for value in (None, True, -1, "", "x\0:y", [], [[]], {}, "../../run"):
            broken = {**config, part: value if key is None else {**config[part], key: value}}
            Path("run/config.json").write_text(json.dumps(broken))
            code = main(["evaluate", "run"])
            _, err = capsys.readouterr()
            assert (code, err) == (0, "") or (code == 2 and err.count("\n") == 1 and "internal" not in err), (
                part,
                key,
                value,
                err,
            )


def test_what_nobody_foresaw_asks_for_debug(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setattr("minidl.commands.summary.summarise", lambda *_: {}["layers"])
    assert main(["summary", "net.py"]) == 2
    assert capsys.readouterr().err == "minidl: internal error, KeyError: 'layers'; run again with --debug for the traceback\n"
    with pytest.raises(KeyError):
        main(["summary", "net.py", "--debug"])


@pytest.mark.parametrize(
    ("command", "advice"),
    {
        "summary net.py": "network, or one for smaller images",
        "evaluate run": "network, or one for smaller images",
        "train net.py": "--batch-size",
    }.items(),
)
def test_out_of_memory_advises_what_the_command_has(
    command: str, advice: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.chdir(home)
    monkeypatch.setattr("minidl.modelfile.load", exhausted)
    assert main(command.split()) == 2
    assert capsys.readouterr().err == f"minidl: out of memory: Unable to allocate 9 GiB; try a smaller {advice}\n"


def test_a_model_file_that_changed_is_read_afresh(tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    assert load(str(path)).cls.input_shape == (1, 8, 8)
    tiny.write(tmp_path, tiny.NET.replace("(1, 8, 8)", "(1, 9, 9)"))  # same size, same second
    assert load(str(path)).cls.input_shape == (1, 9, 9)
    assert not (tmp_path / "__pycache__").exists()
