"""Model files: which class is meant, its options, the size it reads; and that a run is built as it was trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import minidl
from minidl import runs
from minidl.cli import main
from minidl.commands.options import setting
from minidl.modelfile import load

SIZED = """
from minidl import nn


class Net(nn.Module):
    input_shape = (1, 8, 8)

    def __init__(self, classes=10, *, size=8, widths=(16,), batch_norm=False, note="none"):
        self.input_shape = (1, size, size)
        self.given = size, widths, batch_norm, note
        sizes = [size * size, *widths, classes]
        self.layers = nn.ModuleList([nn.Linear(i, k) for i, k in zip(sizes, sizes[1:])])

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x


class Wide(Net):
    def __init__(self, classes=10, *, factor=2, **options):
        super().__init__(classes, widths=(16 * factor,), **options)


class Any(nn.Module):
    input_shape = (1, 8, 8)

    def __init__(self, **options):
        self.options = options
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(SIZED, encoding="utf-8")
    return path


def test_options_are_keywords_of_the_constructor(file: Path) -> None:
    source = load(f"{file}:Net", {"size": 12, "widths": [4, 5], "batch_norm": True, "note": "x=1"})
    model = source.build(7)
    assert model.given == (12, (4, 5), True, "x=1")  # a list, as JSON has it, comes as a tuple
    assert model.input_shape == source.input_shape() == (1, 12, 12)
    assert model.layers[-1].weight.shape == (7, 5)
    assert load(f"{file}:Net").build().given == (8, (16,), False, "none")


def test_options_of_a_base_class_are_options(file: Path) -> None:
    assert load(f"{file}:Wide", {"factor": 3, "size": 9}).build().given == (9, (48,), False, "none")
    with pytest.raises(ValueError, match=r"no keyword 'sise'; its options are factor, size, widths, batch_norm, note$"):
        load(f"{file}:Wide", {"sise": 9})
    assert load(f"{file}:Any", {"whatever": None}).build(3).options == {"whatever": None, "classes": 3}


def test_the_number_of_classes_is_no_option(file: Path) -> None:
    with pytest.raises(ValueError, match="use --classes"):
        load(f"{file}:Net", {"classes": 3})


def test_a_value_that_json_cannot_hold_is_refused(file: Path) -> None:
    for value in ({1}, {"a": 1}, b"x", 1j, [(1, {2})]):
        with pytest.raises(ValueError, match="option size must be a number, text, True, False, None or a tuple of these"):
            load(f"{file}:Net", {"size": value})


def test_the_class_that_the_file_calls_its_default(file: Path) -> None:
    with pytest.raises(ValueError, match=r"holds 3 models, say which: .*:Net, .*:Wide, .*:Any$"):
        load(str(file))
    file.write_text(SIZED + "\n\ndefault = Wide\n", encoding="utf-8")
    assert load(str(file)).name == "Wide"
    assert load(f"{file}:Net").name == "Net"


def test_a_default_may_come_from_another_file(file: Path) -> None:
    (file.parent / "front.py").write_text("from net import Net, Wide\n\ndefault = Net\n", encoding="utf-8")
    source = load(str(file.parent / "front.py"), {"size": 10})
    assert (source.name, source.input_shape()) == ("Net", (1, 10, 10))


def test_the_size_is_found_without_drawing_or_memory(file: Path) -> None:
    position = minidl.random.stream().position
    assert load(f"{file}:Net", {"size": 300, "widths": (1_000_000,)}).input_shape() == (1, 300, 300)  # 360 GB
    assert minidl.random.stream().position == position


def test_classes_without_a_default(file: Path) -> None:
    file.write_text(SIZED.replace("self, classes=10, *, size=8", "self, classes, *, size=8"), encoding="utf-8")
    assert load(f"{file}:Net").input_shape() == (1, 8, 8)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("a=64", 64), ("a=True", True), ("a=None", None), ("a=0.5", 0.5), ("a=(3, 4)", (3, 4)), ("a=[1]", [1])),
        *(("a=v1", "v1"), ("a=same", "same"), ("a='64'", "64"), ("a=", ""), ("a=b=c", "b=c"), ("a=1x", "1x")),
    ],
)
def test_a_setting_is_a_python_value_or_text(text: str, value: object) -> None:
    assert setting(text) == ("a", value)


def test_a_run_is_built_as_it_was_trained(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(file.parent)
    quick = ["--limit", "50", "--epochs", "1", "--quiet", "--out", "run"]
    assert main(["train", "net.py:Net", "--set", "size=10", "--set", "widths=(4,)", *quick]) == 0
    config = json.loads(Path("run/config.json").read_text())["model"]
    assert config["options"] == {"size": 10, "widths": [4]}
    assert config["input_shape"] == [1, 10, 10]
    model = runs.open_run("run").model()
    assert (model.given[:2], model.input_shape) == ((10, (4,)), (1, 10, 10))
    assert main(["evaluate", "run", "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_a_run_from_before_there_were_options(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert main(["train", "net.py:Net", "--limit", "50", "--epochs", "1", "--quiet", "--out", "run"]) == 0
    config = json.loads(Path("run/config.json").read_text())
    del config["model"]["options"]
    Path("run/config.json").write_text(json.dumps(config))
    assert runs.open_run("run").model().given[0] == 8
