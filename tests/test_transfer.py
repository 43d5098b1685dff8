"""Transfer learning: heads that start anew, parts that stay as they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from model_table import TABLE, Row, each
from safetensors.numpy import save_file

import minidl
from minidl import modelfile, nn, optim
from minidl.cli import main
from minidl.nn import freeze, heads, load_weights, read_weights, save_weights, unfreeze
from minidl.random import stream
from minidl.tensor import Tensor


class Net(nn.Module):
    """A body with batch norm and dropout, a head, and an auxiliary head that is a convolution."""

    input_shape = (1, 6, 6)

    def __init__(self, classes: int = 10, *, width: int = 4):
        self.features = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.5))
        self.features2 = nn.Conv2d(width, width, 1)
        self.aux = nn.Sequential(nn.Conv2d(width, classes, 1), nn.Flatten())
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(width * 16, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features2(self.features(x)))


def image(n: int = 5) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal((n, 1, 6, 6)).astype(np.float32))


def state(model: nn.Module) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def changed(before: dict[str, bytes], model: nn.Module) -> set[str]:
    return {name for name, raw in state(model).items() if raw != before[name]}


# ---- heads -----------------------------------------------------------------------------------------------------------------


def test_heads_are_found_without_numbers_and_without_chance() -> None:
    position = stream().position
    assert heads(Net) == ["aux.0", "classifier.3"]
    assert heads(lambda n: Net(n, width=100_000), 6) == ["aux.0", "classifier.3"]  # gigabytes, if they were there
    assert stream().position == position
    assert heads(lambda n: nn.AMSoftmax(4, n)) == ["weight"]  # the model is one head
    assert heads(lambda n: Net()) == []


@each(TABLE)
def test_every_model_of_the_course_has_a_head(row: Row) -> None:
    """The last layer of the net as it predicts, and heads that only training uses."""
    found = heads(lambda n: row.build(classes=n))
    assert len(found) == 1 + len({name for name in found if "aux" in name.lower()})


def test_a_head_of_other_classes_starts_anew(tmp_path: Path) -> None:
    path, model = tmp_path / "w.safetensors", Net(6)
    minidl.manual_seed(1)
    source = Net(10)
    save_weights(source, path)
    before = state(model)
    found = load_weights(model, path, heads=heads(Net))
    assert str(found) == (
        "11 arrays loaded into Net\n"
        "aux.0 starts anew: 10 classes in the file, 6 here\n"
        "classifier.3 starts anew: 10 classes in the file, 6 here"
    )
    assert found.anew == dict.fromkeys(["aux.0", "classifier.3"], "10 classes in the file, 6 here")
    assert found.wrong_shapes[0] == ("aux.0.weight", (6, 4, 1, 1), (10, 4, 1, 1))
    assert all(model.state_dict()[n].tobytes() == before[n] for n in before if n.startswith(("aux", "classifier.3")))
    assert all(state(model)[n] == state(source)[n] for n in found.loaded_keys)


def test_a_head_that_fits_is_loaded_and_one_that_is_missing_starts_anew(tmp_path: Path) -> None:
    path, model = tmp_path / "w.safetensors", Net()
    arrays = Net().state_dict()
    save_weights({name: a for name, a in arrays.items() if not name.startswith("aux")}, path)
    assert str(load_weights(model, path, heads=heads(Net))) == (
        "13 arrays loaded into Net\naux.0 starts anew: the file lacks aux.0.weight, aux.0.bias"
    )
    assert state(model)["classifier.3.weight"] == arrays["classifier.3.weight"].tobytes()


def test_all_but_the_heads_must_fit(tmp_path: Path) -> None:
    path, model = tmp_path / "w.safetensors", Net(6)
    arrays, before = Net(10).state_dict(), state(model)
    wrong: dict[str, tuple[dict, str]] = {
        "a wider head": ({"classifier.3.weight": np.ones((10, 9), "f")}, r"classifier.3.weight expects \[6,8\], got \[10,9\]"),
        "a flat head": ({"classifier.3.weight": np.ones(80, "f")}, r"classifier.3.weight expects \[6,8\], got \[80\]"),
        "one number": ({"classifier.3.bias": np.ones((), "f")}, r"classifier.3.bias expects \[6\], got \[\]"),
        "no class": ({"classifier.3.weight": np.ones((6, 9), "f"), "classifier.3.bias": np.ones(6, "f")}, r"got \[6,9\]$"),
        "another layer": ({"classifier.1.bias": np.ones(9, "f")}, r"wrong shape: classifier.1.bias expects \[8\], got \[9\]"),
        "a name too many": ({"classifier.30.bias": np.ones(9, "f")}, "unexpected: classifier.30.bias"),
    }
    for change, words in wrong.values():
        save_weights({**arrays, **change}, path)
        with pytest.raises(ValueError, match=words):
            load_weights(model, path, heads=heads(Net))
        assert state(model) == before


def test_a_head_starts_anew_as_a_whole(tmp_path: Path) -> None:
    path, model = tmp_path / "w.safetensors", Net(6)
    arrays, before = Net(10).state_dict(), state(model)
    save_weights({**arrays, "classifier.3.bias": np.ones(6, "f")}, path)
    assert "classifier.3.bias" not in load_weights(model, path, heads=heads(Net)).loaded_keys
    assert state(model)["classifier.3.bias"] == before["classifier.3.bias"]


def test_a_head_may_be_named_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(nn.Sequential(fc=nn.Linear(2, 3)), path)
    assert load_weights(nn.Sequential(fc=nn.Linear(2, 5)), path, heads="fc").anew == {"fc": "3 classes in the file, 5 here"}


# ---- freezing --------------------------------------------------------------------------------------------------------------


def train(model: Net, steps: int = 2) -> None:
    minidl.manual_seed(0)
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        loss = minidl.softmax_cross_entropy(model(image()), np.arange(5))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_frozen_parts_stay_as_they_are_statistics_included() -> None:
    model = Net()
    freeze(model, "features", "aux")
    before = state(model)
    out = model.features(image()).numpy().copy()
    train(model)
    assert changed(before, model) == {
        "features2.weight", "features2.bias", "classifier.1.weight", "classifier.1.bias", "classifier.3.weight",
        "classifier.3.bias",
    }  # fmt: skip
    np.testing.assert_array_equal(model.features(image()).numpy(), out)  # no dropout, no statistics of a batch
    assert model.training
    assert not any(part.training for part in model.features.modules())
    assert all(p.grad is None for p in model.features.parameters())


def test_what_lies_below_a_frozen_part_still_learns() -> None:
    model = Net()
    freeze(model, "classifier", "features2", "features.1", "features.0.bias")
    before = state(model)
    train(model)
    assert changed(before, model) == {"features.0.weight"}


def test_what_two_parts_share_is_frozen_with_either() -> None:
    class Tied(nn.Module):
        def __init__(self):
            self.encoder, self.decoder, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)
            self.decoder.weight, self.again = self.encoder.weight, self.norm

    trained = {
        "decoder": ["encoder.bias", "norm.weight", "norm.bias"],
        "again": ["encoder.weight", "encoder.bias", "decoder.bias"],
    }
    for part, names in trained.items():
        model = Tied()
        freeze(model, part)
        assert [name for name, p in model.named_parameters() if p.requires_grad] == names
        assert model.train().norm.training == (part != "again")
        unfreeze(model, part)
        assert all(p.requires_grad for p in model.parameters())


def test_a_list_of_names_is_names() -> None:
    one, other = Net(), Net()
    freeze(one, ["features", "aux"], "features2")
    freeze(other, "features", "aux", "features2")
    wanted = [[p.requires_grad for p in model.parameters()] for model in (one, other)]
    assert wanted[0] == wanted[1]
    unfreeze(one, ["aux"])
    assert [name for name, p in one.named_parameters() if p.requires_grad and "aux" in name] == ["aux.0.weight", "aux.0.bias"]


@pytest.mark.parametrize("names", [(), ([],)])
def test_freezing_asks_for_a_name(names: tuple[Any, ...]) -> None:
    model = Net()
    with pytest.raises(ValueError) as caught:
        freeze(model, *names)
    assert str(caught.value) == "freeze: name the parts to keep as they are; Net has features, features2, aux, classifier"
    assert all(p.requires_grad for p in model.parameters())


def test_a_second_phase_trains_them_again() -> None:
    model = Net()
    freeze(model, [name for name, _ in model.named_children()])
    assert not any(p.requires_grad for p in model.parameters())
    assert model.train().training  # nothing is left in it that could tell
    assert not any(part.training for part in model.children())
    unfreeze(model, "classifier.3")
    before = state(model)
    train(model)
    assert changed(before, model) == {"classifier.3.weight", "classifier.3.bias"}
    unfreeze(model)
    train(model)
    assert changed(before, model) == set(before) - {"aux.0.weight", "aux.0.bias"}
    freeze(model.eval(), "features")
    unfreeze(model, "features")
    assert not model.features.training  # like the model around it
    freeze(model.train(), "features")
    unfreeze(model, "features.1")
    assert [part.training for part in model.features] == [False, True, False, False]
    assert model.features.train(True)[1].training


@pytest.mark.parametrize(
    ("parts", "words"),
    {
        ("feature",): "freeze: Net has no part 'feature'; it has features, features2, aux, classifier",
        (
            "features",
            "features.9",
        ): "freeze: Net has no part 'features.9'; it has features.0, features.1, features.2, features.3",
        ("aux.0.weights",): "freeze: Net has no part 'aux.0.weights'; it has aux.0.weight, aux.0.bias",
        ("",): "freeze: Net has no part ''; it has features, features2, aux, classifier",
        (0,): "freeze: Net has no part 0; it has features, features2, aux, classifier",
    }.items(),
)
def test_parts_that_are_not_there(parts: tuple[Any, ...], words: str) -> None:
    model = Net()
    with pytest.raises(ValueError) as caught:
        freeze(model, *parts)
    assert str(caught.value) == words
    assert all(p.requires_grad for p in model.parameters())


# ---- minidl train --weights --freeze ---------------------------------------------------------------------------------------

TWO_PARTS = """
import minidl
from minidl import nn


class Tiny(nn.Module):
    input_shape = (1, 8, 8)
    shapes_cannot_tell = "nothing at all"

    def __init__(self, classes=10, *, width=16):
        self.width = width
        self.body = nn.Sequential(nn.Linear(64, width), nn.BatchNorm1d(width))
        self.output = nn.Linear(width, classes)

    def forward(self, x):
        return self.output(minidl.tanh(self.body(x.flatten(1))))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with net.py and twenty.safetensors: its weights for 20 classes, in float16, from elsewhere."""
    tiny.write(tmp_path, TWO_PARTS)
    monkeypatch.chdir(tmp_path)
    minidl.manual_seed(5)
    source = modelfile.load("net.py").build(20).to(dtype="float16")
    with minidl.no_grad():
        source.body[1].running_mean.add_(0.25)
    save_file(source.state_dict(), "twenty.safetensors")
    return tmp_path


def command(*words: str) -> list[str]:
    return ["train", "net.py", *tiny.QUICK, "--out", "run", *words]


def test_a_head_is_trained_on_a_frozen_body(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(command("--weights", "twenty.safetensors", "--freeze", "body", "--classes", "12")) == 0
    assert capsys.readouterr().out.splitlines()[1:6] == [
        "weights twenty.safetensors: 7 arrays loaded into Tiny",
        "        output starts anew: 20 classes in the file, 12 here",
        "        6 of them cast from float16 to float32",
        "        what shapes cannot tell: nothing at all",
        "frozen  body: 1,072 parameters; 204 are trained",
    ]
    theirs, ours = (read_weights(p)[0] for p in ("twenty.safetensors", "run/checkpoint.safetensors"))
    for name in theirs:
        if name.startswith("body"):
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert np.abs(ours["body.1.running_mean"]).max() == 0.25
    config = json.loads(Path("run/config.json").read_text())
    digest = hashlib.sha256(Path("twenty.safetensors").read_bytes()).hexdigest()
    assert (config["weights"], config["freeze"]) == ({"file": "twenty.safetensors", "sha256": digest}, ["body"])
    assert json.loads(Path("run/result.json").read_text())["test_accuracy"] > 0.2


def test_a_resumed_run_stays_frozen_and_needs_the_file_no_more(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(command("--weights", "twenty.safetensors", "--freeze", "body,output.bias", "--quiet")) == 0
    before = read_weights("run/checkpoint.safetensors")[0]
    Path("twenty.safetensors").unlink()
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 0
    assert main(["train", "--resume", "run", "--epochs", "4"]) == 0
    assert "frozen  body, output.bias: 1,082 parameters; 160 are trained" in capsys.readouterr().out
    after = read_weights("run/checkpoint.safetensors")[0]
    assert {name for name in after if (after[name] != before[name]).any()} == {"output.weight"}
    for words, was in ((["--freeze", "output"], "body,output.bias"), (["--weights", "x.pth"], "twenty.safetensors")):
        assert main(["train", "--resume", "run", "--epochs", "5", *words]) == 2
        assert capsys.readouterr().err == f"minidl: {' '.join(words)}: run was started with {was}; leave it out\n"
    for broken in ({"weights": {"file": 3}}, {"weights": [1]}, {"freeze": "body"}, {"freeze": [None]}):
        config = json.loads(Path("run/config.json").read_text())
        Path("run/config.json").write_text(json.dumps({**config, **broken}))
        assert main(["train", "--resume", "run", "--epochs", "5"]) == 2
        assert capsys.readouterr().err == "minidl: run/config.json: weights or freeze is broken; train again\n"
        Path("run/config.json").write_text(json.dumps(config))


STAYS = "and what is frozen stays as random as it starts"


@pytest.mark.parametrize(
    ("words", "told"),
    {
        "--freeze body": f"--freeze body: there is no --weights, {STAYS}",
        "--freeze body.0,body.1": f"--freeze body.0,body.1: there is no --weights, {STAYS}",
        "--weights twenty.safetensors --freeze body,output.bias": f"--freeze output.bias: output starts anew, {STAYS}",
    }.items(),
)
def test_what_is_frozen_before_it_has_learnt_is_warned_of(
    words: str, told: str, place: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(command("--quiet", *words.split())) == 0
    assert capsys.readouterr().err == f"minidl: {told}\n"
    assert main(["train", "--resume", "run", "--epochs", "3", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_without_them_nothing_is_said_of_either(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(command()) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:4]] == ["model", "data", "recipe", "run"]
    config = json.loads(Path("run/config.json").read_text())
    assert (config["weights"], config["freeze"]) == (None, [])


@pytest.mark.parametrize(
    ("words", "told"),
    {
        "--freeze body,output": "freeze: nothing is left to train, all 1,242 parameters are in body,output",
        "--freeze bodies": "freeze: Tiny has no part 'bodies'; it has body, output",
        "--freeze body,": "freeze: Tiny has no part ''; it has body, output",
        "--weights none.pth": "weights: none.pth does not exist",
        "--weights twenty.safetensors --set width=17": "weights: twenty.safetensors does not fit Tiny, nothing was loaded: "
        "wrong shape: body.0.weight expects [17,64], got [16,64], body.0.bias expects [17], got [16], body.1.weight expects "
        "[17], got [16] and 5 more",
    }.items(),
)
def test_what_cannot_be_is_said_before_a_folder_is_made(
    words: str, told: str, place: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(command(*words.split())) == 2
    assert capsys.readouterr().err == f"minidl: {told}\n"
    assert not Path("run").exists()


def test_a_run_of_another_version_is_refused(place: Path, capsys: pytest.CaptureFixture) -> None:
    """The run's own weights name the model they are of."""
    assert main(command("--quiet")) == 0
    tiny.write(
        place,
        TWO_PARTS.replace("width=16", "width=16, old=True")
        .replace("self.width", "self.old, self.width")
        .replace("= width", "= old, width", 1),
        "other.py",
    )
    capsys.readouterr()
    assert main(["train", "other.py", *tiny.QUICK, "--weights", "run/checkpoint.safetensors", "--out", "again", "--quiet"]) == 0
    assert main(["train", "other.py", *tiny.QUICK, "--weights", "again/checkpoint.safetensors", "--set", "old=False"]) == 2
    assert (
        "it was saved from Tiny(old=True) and this is Tiny(old=False); build it with old=True, by --set in the shell"
        in capsys.readouterr().err
    )
