"""Weights in files: there and back, what is reported, what is refused; a model is loaded whole or stays as it was."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_table import TABLE, Row, each
from safetensors.numpy import save_file
from test_weights_hostile import made

import minidl
from minidl import nn, optim
from minidl.nn import load_weights, read_weights, save_weights
from minidl.nn.weights import options_of
from minidl.tensor import Tensor


def net() -> nn.Module:
    return nn.Sequential(conv=nn.Conv2d(1, 2, 3), norm=nn.BatchNorm2d(2), flat=nn.Flatten(), fc=nn.Linear(8, 3))


class Strided(nn.Module):
    """Two versions with the same names and shapes, as ResNet-50 has."""

    shapes_cannot_tell = "the stride may sit on conv1 (v1) or on conv2 (v1.5)"

    def __init__(self, classes: int = 3, *, version: str = "v1.5", size: int = 32, pads: tuple = (1, 1)):
        self.version, self.size, self.pads = version, size, pads
        self.fc = nn.Linear(4, classes)


class Other(Strided):
    pass


def same(one: nn.Module, other: nn.Module) -> None:
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name], err_msg=name)


def refused(model: nn.Module, path: Path, kind: type[Exception] = ValueError, **how: Any) -> str:
    """What is said of a file that is not loaded; the model is as it was."""
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    with pytest.raises(kind) as caught:
        load_weights(model, path, **how)
    assert {name: array.tobytes() for name, array in model.state_dict().items()} == before
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"weights: {path} ", "")


# ---- there and back --------------------------------------------------------------------------------------------------------


def test_weights_go_to_a_file_and_back(tmp_path: Path) -> None:
    model, other, path = net(), net(), tmp_path / "net.safetensors"
    model.norm.num_batches_tracked.add_(7)
    save_weights(model, path)
    save_weights(model, path, {"epoch": "3"})  # in place of the old one
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    found = load_weights(other, path)
    same(model, other)
    assert str(found) == "9 arrays loaded into Sequential"
    assert read_weights(path)[1] == {"epoch": "3", "minidl.model": "Sequential", "minidl.options": "{}"}
    for name, array in read_weights(path)[0].items():
        np.testing.assert_array_equal(array, model.state_dict()[name])
        array += 1  # it is the reader's own


def test_an_optimisers_arrays_go_to_a_file_and_back(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    opt = optim.Adam(model.parameters())
    model(Tensor(np.ones((3, 2), np.float32))).sum().backward()
    opt.step()
    state = opt.state_dict()
    save_weights(state["arrays"], tmp_path / "opt.safetensors")
    opt.load_state_dict({**state, "arrays": read_weights(tmp_path / "opt.safetensors")[0]})
    np.testing.assert_array_equal(opt.state[0]["exp_avg"], state["arrays"]["0.exp_avg"])


@pytest.mark.parity
def test_pytorch_reads_what_is_saved(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    model = net()
    save_weights(model, tmp_path / "net.safetensors")
    theirs = torch.nn.Sequential()
    for name, layer in {"conv": torch.nn.Conv2d(1, 2, 3), "norm": torch.nn.BatchNorm2d(2), "fc": torch.nn.Linear(8, 3)}.items():
        theirs.add_module(name, layer)
    theirs.load_state_dict(load_file(tmp_path / "net.safetensors"), strict=True)
    assert theirs.fc.bias.tolist() == model.fc.bias.numpy().tolist()


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(nn.Linear(2, 1), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="weights: cannot save"):
        save_weights({"a": np.array(["text"])}, path)

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        save_weights(nn.Linear(2, 1), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are POSIX")
def test_a_link_leads_to_the_file_that_is_written(tmp_path: Path) -> None:
    model, link = net(), tmp_path / "link.safetensors"
    (tmp_path / "elsewhere").mkdir()
    link.symlink_to("elsewhere/net.safetensors")
    for _ in range(2):  # made first, then replaced
        save_weights(model, link)
        assert link.is_symlink()
        assert os.listdir(tmp_path / "elsewhere") == ["net.safetensors"]
    load_weights(net(), tmp_path / "elsewhere/net.safetensors")


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are POSIX")
@pytest.mark.parametrize("how", ["fifo", "link to a fifo", "device"])
def test_what_is_no_regular_file_is_left_alone(how: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if how == "device":
        path.symlink_to("/dev/null")
    else:
        os.mkfifo(path if how == "fifo" else tmp_path / "fifo")
    if how == "link to a fifo":
        path.symlink_to("fifo")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OSError) as caught:
        save_weights(net(), path)
    told = "exists and is no regular file; name a file such as mine.safetensors"
    assert str(caught.value) == f"save_weights: {path} {told}"
    assert sorted(os.listdir(tmp_path)) == before


def test_what_cannot_be_written_is_told_by_the_users_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, why in {"none/a.safetensors": "No such file or directory", "file/a.safetensors": "Not a directory"}.items():
        with pytest.raises(OSError) as caught:
            save_weights(net(), tmp_path / path)
        assert str(caught.value) == f"save_weights: cannot write {tmp_path / path}: {why}"


# ---- names and shapes ------------------------------------------------------------------------------------------------------


def test_not_strict_loads_what_fits_and_says_what_does_not(tmp_path: Path) -> None:
    model, path = nn.Linear(2, 2), tmp_path / "w.safetensors"
    save_file({"bias": np.ones(2, np.float32), "scale": np.ones(2, np.float32)}, path)
    found = load_weights(model, path, strict=False)
    missing, unexpected = found
    assert (missing, unexpected, found.loaded_keys, found.wrong_shapes) == (["weight"], ["scale"], ["bias"], [])
    assert str(found) == (
        "1 arrays loaded into Linear\nnot in the weights, left as they were: weight\nnot in Linear, left out: scale"
    )
    assert model.bias.numpy().tolist() == [1, 1]


def test_what_does_not_fit_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(net(), path, {"minidl.model": "Module"})
    assert refused(nn.Linear(8, 3), path) == (
        "does not fit Linear, nothing was loaded: missing: weight, bias; unexpected: norm.num_batches_tracked, conv.bias, "
        "conv.weight, fc.bias, fc.weight and 4 more; no name and shape fits: these are the weights of another net"
    )
    wider = net().append(nn.Linear(3, 3))
    assert refused(wider, path) == (
        "does not fit Sequential, nothing was loaded: missing: 4.weight, 4.bias; strict=False loads what fits"
    )
    ten = net()
    ten.fc = nn.Linear(8, 10)
    for strict in (True, False):
        assert refused(ten, path, strict=strict) == (
            "does not fit Sequential, nothing was loaded: wrong shape: fc.weight expects [10,8], got [3,8], fc.bias expects "
            "[10], got [3]; another number of classes? heads=['fc'] lets that part start anew"
        )
    assert refused(ten, path, heads=["head"]).endswith("has no part 'head'; it has conv, norm, flat, fc")


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({f"layer{i}": np.ones(1, np.float32) for i in range(500)}, path)
    assert len(refused(nn.Linear(2, 2), path)) < 300


def test_files_from_before_num_batches_tracked_load(tmp_path: Path) -> None:
    model, path = net(), tmp_path / "old.safetensors"
    save_file({name: array for name, array in model.state_dict().items() if "num_batches" not in name}, path)
    assert load_weights(net(), path).missing_keys == []


def test_the_prefix_of_data_parallel_is_taken_off(tmp_path: Path) -> None:
    model, other, path = net(), net(), tmp_path / "parallel.safetensors"
    save_file({f"module.{name}": array for name, array in model.state_dict().items()}, path)
    assert str(load_weights(other, path)) == "9 arrays loaded into Sequential\n'module.' taken off every name"
    same(model, other)
    save_file({"module.weight": np.ones((2, 2), "f"), "bias": np.ones(2, "f")}, path)
    assert "missing: weight; unexpected: module.weight" in refused(nn.Linear(2, 2), path)  # all names have it, or none
    save_file({f"module.{name}": array for name, array in model.state_dict().items()}, path)
    wrapped = nn.Sequential(module=net())  # a model whose names do begin so
    load_weights(wrapped, path)
    same(model, wrapped.module)


# ---- types and numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floating_types_are_cast_and_said(dtype: str, tmp_path: Path) -> None:
    model, other, path = net(), net(), tmp_path / "w.safetensors"
    save_weights(model.to(dtype=dtype), path)
    assert str(load_weights(other, path)) == f"9 arrays loaded into Sequential\n8 of them cast from {dtype} to float32"
    np.testing.assert_allclose(other.fc.weight.numpy(), model.fc.weight.numpy(), rtol=1e-3)
    assert other.fc.weight.dtype == np.float32


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    """Its bits are the upper half of float32's, with signs, zeros and the smallest and largest numbers."""
    numbers = np.array([[0.0, -0.0, 1.0, -2.5], [1e-40, 3.3895314e38, 2.0**-126, 0.1]], np.float32)
    halves = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    path = tmp_path / "w.safetensors"
    path.write_bytes(made({"weight": ("BF16", [2, 4], halves.tobytes())}))
    model = nn.Linear(4, 2, bias=False)
    assert str(load_weights(model, path)).endswith("1 of them cast from bfloat16 to float32")
    expected = (halves.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(model.weight.numpy(), expected)
    np.testing.assert_array_equal(read_weights(path)[0]["weight"], expected)
    np.testing.assert_allclose(expected, numbers, rtol=2**-7, atol=1e-40)


def test_integers_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"weight": np.ones((2, 3), np.int8), "bias": np.ones(2, np.float32)}, path)
    told = refused(nn.Linear(3, 2), path)
    assert told.endswith("weight is int8 and the model's is float32; nothing was loaded: save them in the model's type first")
    norm = nn.BatchNorm2d(2)
    state = norm.state_dict()
    save_file({**state, "num_batches_tracked": np.array(3, np.int32)}, path)
    assert "cast from int32 to int64" in str(load_weights(norm, path))  # a count is a count
    save_file({**state, "num_batches_tracked": np.array(3.5, np.float32)}, path)
    assert "num_batches_tracked is float32" in refused(norm, path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_nan_and_infinity_are_refused_unless_asked_for(value: float, tmp_path: Path) -> None:
    """1e300 is finite in the file, and infinite in the model."""
    model, path = nn.Linear(2, 1), tmp_path / "w.safetensors"
    save_file({"weight": np.zeros((1, 2)), "bias": np.array([value])}, path)
    assert "infinite in the model's type: bias; nothing was loaded" in refused(model, path)
    load_weights(model, path, allow_nan=True)
    assert not np.isfinite(model.bias.numpy()).any()


def test_the_last_of_many_numbers_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidl.nn.weights.PIECE", 7)
    path, weight = tmp_path / "w.safetensors", np.ones((3, 5), np.float32)
    weight[-1, -1] = np.nan
    save_file({"weight": weight}, path)
    assert "weight" in refused(nn.Linear(5, 3, bias=False), path)


def test_a_variance_below_0_is_refused(tmp_path: Path) -> None:
    model, path = net(), tmp_path / "w.safetensors"
    for value in (0.0, -1e-9):
        save_file({**model.state_dict(), "norm.running_var": np.array([1, value], np.float32)}, path)
        if value < 0:
            told = "holds variances below 0: norm.running_var; nothing was loaded: the file is broken"
            assert refused(model, path) == refused(model, path, allow_nan=True) == told
        else:
            load_weights(model, path)


# ---- what names and shapes cannot tell -------------------------------------------------------------------------------------


def test_the_header_tells_versions_apart(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(Strided(version="v1", size=64), path)
    assert read_weights(path)[1] == {
        "minidl.model": "Strided",
        "minidl.options": '{"version": "v1", "size": 64, "pads": [1, 1]}',
    }
    assert str(load_weights(Strided(version="v1"), path)) == "2 arrays loaded into Strided"  # the size is nobody's harm
    remedy = "build it with version='v1', by --set in the shell"
    told = f"it was saved from Strided(version='v1') and this is {{}}(version='v1.5'); {remedy}"
    for model in (Strided(), Other()):
        words = told.format(type(model).__name__)
        assert refused(model, path).endswith(f"nothing was loaded: {words}; strict=False loads what fits")
        assert str(load_weights(model, path, strict=False)).splitlines()[1:] == [words]


def test_the_header_tells_classes_apart(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(Other(), path)
    words = "it was saved from Other, which may compute otherwise even where names and shapes fit"
    assert words in refused(Strided(), path)
    assert words in str(load_weights(Strided(), path, strict=False))
    save_weights(Strided(), path)
    load_weights(Other(), path)  # a class derived from the one that was saved


@pytest.mark.parametrize("options", ["", "[1]", "null", "[" * 100_000, '{"version": {"a": 1}, "new": 1}', '{"size": 7}'])
def test_whatever_the_options_say_it_is_one_line(options: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(Strided(), path, {"minidl.options": options})
    if "version" in options:
        assert "saved from Strided(version={'a': 1})" in refused(Strided(), path)
    else:
        load_weights(Strided(), path)


def test_a_file_without_our_header_brings_the_models_warning(tmp_path: Path) -> None:
    model, path = Strided(), tmp_path / "w.safetensors"
    save_file(model.state_dict(), path)
    assert (
        str(load_weights(model, path)) == f"2 arrays loaded into Strided\nwhat shapes cannot tell: {Strided.shapes_cannot_tell}"
    )
    save_weights(model, path)
    assert load_weights(model, path).notes == []


def test_options_are_what_json_can_say() -> None:
    class Odd(Strided):
        def __init__(self, activation: Callable, layer: nn.Module, gone: int = 1, **more: int):
            super().__init__()
            self.activation, self.layer, self.more = activation, layer, more

    assert options_of(Odd(minidl.relu, nn.ReLU(), a=1)) == {"activation": "relu", "more": {"a": 1}}
    assert options_of(Odd(len, nn.ReLU()))["activation"] == "len"
    assert options_of(Odd(lambda x: x, nn.ReLU()))["activation"] == "<lambda>"


@each(TABLE)
def test_the_courses_models_keep_their_options(row: Row) -> None:
    """What is not kept as an attribute is not in the header, and a file of another variant would pass."""
    with minidl.shapes_only():
        options = options_of(row.build())
    keywords = set(inspect.signature(row.cls).parameters) - {"classes", "size"}
    if "links" in keywords:  # Alpha-Net: how it starts, and how it is computed; its head tells the loss by its parameters
        keywords -= {"seed", "last_gamma", "recompute", "loss"}
    assert keywords == options.keys() - {"size"}
    asked = json.loads(json.dumps(row.options))  # tuples are lists there
    assert {name: options.get(name) for name in asked} == asked


# ---- PyTorch's pickles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_without_pytorch_the_remedy_is_said(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"PK")
    told = refused(nn.Linear(2, 2), path, ImportError)
    assert "is left to PyTorch to open, and that is not installed: pip install torch, or in PyTorch, safetensors" in told


def test_an_old_pytorch_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        __version__ = "2.5.1+cu124"

    monkeypatch.setitem(sys.modules, "torch", Old)
    (tmp_path / "w.pth").write_bytes(b"PK")
    assert "PyTorch 2.5.1+cu124 can be made to run a pickle's code" in refused(nn.Linear(2, 2), tmp_path / "w.pth", ImportError)


@pytest.mark.parity
@pytest.mark.parametrize("wrapping", [None, "state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_files_load_by_name(wrapping: str | None, zipped: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model, path = nn.Linear(3, 2), tmp_path / "w.pth"
    layer = torch.nn.Linear(3, 2)
    state = {f"module.{name}": tensor for name, tensor in layer.bfloat16().state_dict().items()}
    torch.save(state if wrapping is None else {wrapping: state, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
    taken = [] if wrapping is None else [f"taken from the file's {wrapping!r}"]
    expected = ["2 arrays loaded into Linear", *taken, "'module.' taken off every name"]
    assert str(load_weights(model, path)).splitlines() == [*expected, "2 of them cast from bfloat16 to float32"]
    assert model.weight.numpy().tolist() == layer.weight.float().tolist()


class Evil:
    """Unpickled by the ordinary pickle, it makes a folder."""

    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.made),)


@pytest.mark.parity
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_in_one_line_and_does_nothing(zipped: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path, made = tmp_path / "w.pth", tmp_path / "made by the pickle"
    torch.save({"weight": torch.ones(1, 1), "bias": Evil(made)}, path, _use_new_zipfile_serialization=zipped)
    assert "is refused: it asks for code, posix.mkdir, and weights need none" in refused(nn.Linear(1, 1), path)
    path.write_bytes(pickle.dumps(Evil(made)))
    refused(nn.Linear(1, 1), path)
    assert not made.exists()
    pickle.loads(pickle.dumps(Evil(made)))
    assert made.exists()  # it would have


@pytest.mark.parity
def test_other_pth_files_are_refused_in_one_line(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model, path = nn.Linear(2, 2), tmp_path / "w.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    assert "it asks for code, torch.nn.modules.linear.Linear, and weights need none; in PyTorch, safetensors" in refused(
        model, path
    )
    whole = path.read_bytes()
    for content in (b"", b"text, no weights" * 20):
        path.write_bytes(content)
        told = refused(model, path)
        assert "is refused: PyTorch cannot read it as weights (" in told
        assert "weights_only" not in told
    for content in (whole[:300], whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert refused(model, path) == "is refused: it is a broken archive (File is not a zip file); fetch it again"
    for content, words in {"a list": ([1, 2], "one object (list)"), "numbers": ({"lr": 0.1}, "lr (float)")}.values():
        torch.save(content, path)
        assert refused(model, path) == f"is no state_dict, tensors by name; it holds {words}"
    torch.save({"weight": torch.ones(1).expand(1 << 40), "bias": torch.ones(2)}, path)  # four terabytes, if it were copied
    assert "weight expects [2,2], got [1099511627776]" in refused(model, path)
    torch.save({"weight": torch.eye(2).to_sparse(), "bias": torch.ones(2)}, path)
    assert "weight (float32) cannot be an array" in refused(model, path).replace(f"weights: {path}: ", "")


def test_a_pth_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Torch:
        __version__ = "2.13.0"

    monkeypatch.setitem(sys.modules, "torch", Torch)
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/0", bytes(5_000_000))
    assert "unpacks to 5,000,000 bytes, more than most_bytes=1,000,000" in refused(nn.Linear(2, 2), path, most_bytes=1_000_000)


@pytest.mark.parity
@pytest.mark.parametrize("broken", ["version", "extra field"])
def test_an_archive_that_only_pytorch_would_unpack_is_refused(broken: str, tmp_path: Path) -> None:
    """What Python's reader cannot list it cannot count, and PyTorch's is less strict: a bomb would go off there."""
    torch = pytest.importorskip("torch")
    model, path = nn.Linear(3, 2), tmp_path / "w.pth"
    torch.save({name: torch.from_numpy(a) for name, a in model.state_dict().items()}, path)
    load_weights(model, path)
    raw = bytearray(path.read_bytes())
    at, end = raw.find(b"PK\x01\x02"), raw.rfind(b"PK\x05\x06")  # the first file's entry in the directory, the directory's end
    if broken == "version":
        raw[at + 6] = 99
    else:
        name, extra = (int.from_bytes(raw[at + i : at + i + 2], "little") for i in (28, 30))
        raw[at + 30 : at + 32] = (extra + 4).to_bytes(2, "little")
        raw[end + 12 : end + 16] = (int.from_bytes(raw[end + 12 : end + 16], "little") + 4).to_bytes(4, "little")
        raw[at + 46 + name : at + 46 + name] = b"\x01\x00\xff\x00"  # a field of 255 bytes that are not there
    path.write_bytes(raw)
    assert "is refused: it is a broken archive (" in refused(model, path)


def test_safetensors_are_read_without_pytorch(tmp_path: Path) -> None:
    save_weights(nn.Linear(2, 1), tmp_path / "w.safetensors")
    code = (
        "import sys; from minidl import nn; nn.load_weights(nn.Linear(2, 1), 'w.safetensors'); "
        "print([m for m in ('torch', 'pickle5') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
