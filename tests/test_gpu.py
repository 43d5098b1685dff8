"""What is wrong with a GPU is said in one line with the remedy: a CuPy that is made up says what CuPy 14 says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import fake_cupy
import numpy as np
import pytest

from minidl import Tensor, backend, gpu
from minidl.draw import Random
from minidl.extras import install
from minidl.op import OPS, Op


@pytest.fixture(autouse=True)
def _libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a made up CuPy registers is forgotten."""
    monkeypatch.setattr(backend, "_LIBRARIES", dict(backend._LIBRARIES))


OUT13 = "pip uninstall -y cupy-cuda13x && "
ELSE = ", or use --device cpu"
MISSING = "CuPy is installed but NVIDIA's {} is missing ({}): " + install("cuda13") + ELSE
OLD = f"the driver is for CUDA 12.4 and CuPy for CUDA 13.2: {OUT13}{install('cuda12')}; or install a newer driver{ELSE}"
LISTED = "`nvidia-smi -L` lists what the driver sees; where that is nothing, reboot"
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no driver": (
        {"driver": 0, "gpus": 0},
        f"CuPy is installed but finds no NVIDIA driver: install the driver, run `minidl doctor`{ELSE}",
    ),
    "an old driver": ({"driver": 12040, "gpus": 0}, OLD),
    "no device": (
        {"gpus": 0},
        f"CuPy finds no GPU, though the driver is there ({fake_cupy.NO_DEVICE}): {LISTED}{ELSE}",
    ),
    "no NVRTC": ({"nvrtc": False}, MISSING.format("NVRTC", "libnvrtc.so.13 or libnvrtc.so.12")),
    "no cuBLAS": ({"cublas": False}, MISSING.format("cuBLAS", "libcublasLt.so.13 or libcublasLt.so.12")),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_and_what_to_type(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said, words = CASES[case]
    fake_cupy.install(monkeypatch, **said)
    assert backend.cuda_problem() == words
    with pytest.raises(ValueError) as raised:
        backend.check_device("cuda")
    assert str(raised.value) == f"device 'cuda': {words}"


def test_a_gpu_that_works_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch, gpus=2)
    assert backend.cuda_problem() is None
    assert [backend.check_device(device) for device in ("cuda", "cuda:0", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]


def test_a_float32_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch)
    monkeypatch.setenv("CUPY_TF32", "1")
    with pytest.raises(
        ValueError, match=r"CUPY_TF32 is set, so CuPy would compute in TF32 .*: unset it; --precision tf32 asks"
    ):
        backend.check_device("cuda")


def test_a_command_computes_on_the_gpu_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_cupy.install(monkeypatch, gpus=2, current=0)
    assert (backend.use_device("cuda:1"), fake.said["current"]) == ("cuda:1", 1)
    assert (backend.use_device("cpu"), fake.said["current"]) == ("cpu", 1)


def test_a_hidden_gpu_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch, gpus=0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    words = "CuPy finds no GPU, CUDA_VISIBLE_DEVICES='' hides it: unset CUDA_VISIBLE_DEVICES, or use --device cpu"
    assert backend.cuda_problem() == words


def test_a_cupy_that_cannot_be_loaded_is_not_called_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text(f"raise ImportError({fake_cupy.NOT_LOADED!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(gpu, "packages", lambda: ["cupy-cuda12x"])
    words = (
        "CuPy is installed but cannot be loaded (ImportError: libcuda.so.1: cannot open shared object file: No such file or "
        f"directory): pip uninstall -y cupy-cuda12x && {install('cuda12')}, or use --device cpu"
    )
    assert backend.cuda_problem() == words
    with pytest.raises(ImportError) as raised:
        backend.cupy()
    assert str(raised.value) == words


def test_without_cupy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert backend.cuda_problem() == (
        f"CuPy is not installed: {install('cuda13')} (cuda12 for an older driver), or use --device cpu"
    )


@pytest.mark.parametrize(
    ("count", "device", "there"), [(1, "cuda:1", "1 GPU, cuda:0"), (4, "cuda:12", "4 GPUs, cuda:0 to cuda:3")]
)
def test_a_number_that_does_not_exist(count: int, device: str, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch, gpus=count)
    with pytest.raises(ValueError) as raised:
        Tensor([1.0]).to(device)
    said = f"device {device!r} does not exist: this machine has {there}; use one of them, or --device cpu"
    assert str(raised.value) == said
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with pytest.raises(ValueError, match=r"cuda:\d; CUDA_VISIBLE_DEVICES='2' may hide others; use one of them"):
        backend.check_device(device)


@pytest.mark.parametrize("device", ["cuda:-1", "cuda:\u00b2", "cuda: 1", "cuda:1.0", "cuda:0:0"])
def test_what_is_no_number(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch, gpus=4)
    with pytest.raises(ValueError, match="is not known: use 'cpu', 'cuda' or 'cuda:0'"):
        backend.check_device(device)


@pytest.mark.parametrize(
    ("capability", "runtime", "remedy"),
    [
        ("61", 13020, f"{OUT13}{install('cuda12')}"),
        ("35", 13020, "use another GPU"),
        ("35", 12090, "use another GPU"),
    ],
)
def test_a_gpu_that_is_too_old(capability: str, runtime: int, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch, capability=capability, runtime=runtime)
    with pytest.raises(ValueError) as raised:
        backend.check_device("cuda")
    needs = "7.5" if runtime > 13000 else "5.0"
    assert str(raised.value) == (
        f"device 'cuda': cuda:0 has compute capability {capability[0]}.{capability[1]}, and CUDA "
        f"{runtime // 1000}.{runtime % 1000 // 10} needs {needs} or more: {remedy}, or use --device cpu"
    )
    fake_cupy.install(monkeypatch, capability="75" if runtime > 13000 else "50", runtime=runtime)
    assert backend.check_device("cuda") == "cuda:0"


# ---- two devices -----------------------------------------------------------------------------------------------------------

SEVERAL = [op for op in OPS.values() if sum(o.kind != "key" for o in op.signature.expand(2)) > 1]


@pytest.mark.parametrize("op", SEVERAL, ids=lambda op: op.name)
@pytest.mark.parametrize("home", ["cpu", "strict"])
def test_an_op_names_the_operands_and_the_devices(op: Op, home: str) -> None:
    """Each input in its turn is left on another device than all others."""
    away = {"cpu": "strict", "strict": "cpu"}[home]
    inputs, attrs = op.ask(Random(0))
    operands = op.signature.expand(len(inputs))
    given = [i for i, x in enumerate(inputs) if x is not None and operands[i].kind != "key"]
    for lost in given if len(given) > 1 else ():
        tensors = [
            x if x is None or o.kind == "key" else Tensor(x, device=away if i == lost else home)
            for i, (x, o) in enumerate(zip(inputs, operands, strict=True))
        ]
        keys = {o.name: t for o, t in zip(operands, tensors, strict=True) if o.kind == "key"}
        rest = [t for t, o in zip(tensors, operands, strict=True) if o.kind != "key"]
        with pytest.raises(ValueError) as raised:
            op(rest, **attrs) if op.signature.inputs[0].variadic else op(*rest, **keys, **attrs)
        names = ["number 0", "number "] if op.signature.inputs[0].variadic else [str(operands[given[0]]), str(operands[lost])]
        for word in (f"{op.name}: ", "is on cpu", "is on strict", *names, "; move one with .to('strict')"):
            assert word in str(raised.value)


def test_nothing_is_moved_silently_by_edits_and_backward() -> None:
    here, there = Tensor(np.ones((2, 3), np.float32)), Tensor(np.ones((2, 3), np.float32), device="strict")
    wants = Tensor(np.ones((2, 3), np.float32), True, device="strict")
    words = r"this Tensor \[2,3\] is on strict but the value \[2,3\] is on cpu; move it with Tensor\(value, device='strict'\)"
    for edit in (there.add_, there.mul_, there.copy_, lambda value: there.__setitem__(slice(None), value)):
        for value in (here, here.data):
            with pytest.raises(ValueError, match="^in-place edit: " + words):
                edit(value)
    with pytest.raises(ValueError, match=r"is on cpu but the value \[2,3\] is on strict; move it with"):
        here.add_(there)
    with pytest.raises(ValueError, match="^backward: " + words):
        (wants * 2).backward(here)
    there.add_(2.0)
    there[0] = 1
    assert there.numpy().tolist() == [[1.0] * 3, [3.0] * 3]
