"""Weights in files: there and back, and one clear error for every broken file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl import nn, optim
from minidl.nn import load_weights, read_weights, save_weights
from minidl.tensor import Tensor


def net() -> nn.Module:
    return nn.Sequential(conv=nn.Conv2d(1, 2, 3), norm=nn.BatchNorm2d(2), flat=nn.Flatten(), fc=nn.Linear(8, 3))


def test_weights_go_to_a_file_and_back(tmp_path: Path) -> None:
    model, other, path = net(), net(), tmp_path / "net.safetensors"
    save_weights(model, path)
    save_weights(model, path, {"epoch": "3"})  # in place of the old one
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    load_weights(other, path)
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[name])
    assert read_weights(path)[1] == {"epoch": "3"}
    with pytest.raises(ValueError, match="missing: weight, bias"):
        load_weights(nn.Linear(8, 3), path)
    assert load_weights(nn.Linear(8, 3), path, strict=False).missing_keys == ["weight", "bias"]


def test_an_optimisers_arrays_go_to_a_file_and_back(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    opt = optim.Adam(model.parameters())
    model(Tensor(np.ones((3, 2), np.float32))).sum().backward()
    opt.step()
    state = opt.state_dict()
    save_weights(state["arrays"], tmp_path / "opt.safetensors")
    opt.load_state_dict({**state, "arrays": read_weights(tmp_path / "opt.safetensors")[0]})
    np.testing.assert_array_equal(opt.state[0]["exp_avg"], state["arrays"]["0.exp_avg"])


BROKEN = {
    "empty": b"",
    "text": b"these are no weights at all, only words" * 10,
    "huge header": (1 << 60).to_bytes(8, "little") + b"{}",
    "pickle": b"\x80\x02}q\x00.",
    "zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_clear_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="is not a readable safetensors file: ") as caught:
        load_weights(model, path)
    assert ("looks like a pickle" in str(caught.value)) == (name in ("pickle", "zip"))
    assert "\n" not in str(caught.value)


def test_a_truncated_a_missing_and_a_large_file(tmp_path: Path) -> None:
    model, path = nn.Linear(2, 1), tmp_path / "w.safetensors"
    with pytest.raises(FileNotFoundError, match="weights: there is no file"):
        load_weights(model, path)
    save_weights(model, path)
    with pytest.raises(ValueError, match="more than most_bytes=10"):
        load_weights(model, path, most_bytes=10)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        load_weights(model, path)


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
