"""`minidl doctor` on the GPU: every mismatch of driver, CuPy and libraries, made up, has its words and its command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fake_cupy
import pytest
from fake_cupy import CUDARuntimeError

from minidl import backend, gpu, gpu_doctor
from minidl.extras import install
from minidl.finding import Finding
from minidl.gpu_doctor import Driver, ask_driver, examined

H100, OLD = Driver("NVIDIA H100", "580.65", 13000), Driver("NVIDIA A100", "550.54", 12040)
OUT12, OUT13 = "pip uninstall -y cupy-cuda12x && ", "pip uninstall -y cupy-cuda13x && "
MIG = H100._replace(mig=True)


@pytest.fixture(autouse=True)
def _libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a made up CuPy registers is forgotten."""
    monkeypatch.setattr(backend, "_LIBRARIES", dict(backend._LIBRARIES))


def found(patch: pytest.MonkeyPatch, smi: Driver | Finding | None, *packages: str, **said: Any) -> Finding:
    """The finding where `nvidia-smi` and CuPy say this."""
    fake_cupy.install(patch, *packages, **said)
    patch.setattr(gpu_doctor, "ask_driver", lambda: smi)
    return examined()


# name -> (the driver, CuPy's packages, what CuPy says, the finding's text, its remedy)
CASES: dict[str, tuple[Driver | None, list[str], dict[str, Any], str, str]] = {
    "two CuPys": (
        H100,
        ["cupy-cuda12x", "cupy-cuda13x"],
        {},
        "two CuPy packages, cupy-cuda12x and cupy-cuda13x, overwrite each other's files",
        f"pip uninstall -y cupy-cuda12x cupy-cuda13x && {install('cuda13')}",
    ),
    "a driver of the last generation": (
        Driver("Tesla K80", "470.10", 11040),
        ["cupy-cuda12x"],
        {"gpus": 0, "driver": 11040, "runtime": 12090},
        "Tesla K80, driver 470.10 (CUDA 11.4): no CuPy of today runs on it",
        f"install NVIDIA's driver 525 or later, then {OUT12}{install('cuda12')}",
    ),
    "CuPy for CUDA 13, driver for 12": (
        OLD,
        ["cupy-cuda13x"],
        {"gpus": 0, "driver": 12040},
        "the driver is for CUDA 12.4 and CuPy for CUDA 13.2",
        f"{OUT13}{install('cuda12')}; or install a newer driver",
    ),
    "CuPy for CUDA 12, libraries of 13 alone": (
        H100,
        ["cupy-cuda12x"],
        {"runtime": 12090, "nvrtc": False},
        "CuPy is installed but NVIDIA's NVRTC is missing (libnvrtc.so.13 or libnvrtc.so.12)",
        install("cuda12"),
    ),
    "no cuBLAS": (
        H100,
        ["cupy-cuda13x"],
        {"cublas": False},
        "CuPy is installed but NVIDIA's cuBLAS is missing (libcublasLt.so.13 or libcublasLt.so.12)",
        install("cuda13"),
    ),
    "MIG without an instance": (
        MIG,
        ["cupy-cuda13x"],
        {"gpus": 0},
        "NVIDIA H100, driver 580.65 (CUDA 13.0): MIG is on, and this process has no instance of it",
        "`nvidia-smi -L` lists them, export CUDA_VISIBLE_DEVICES=MIG-... chooses one",
    ),
    "no device": (
        H100,
        ["cupy-cuda13x"],
        {"gpus": 0},
        f"CuPy finds no GPU, though the driver is there ({fake_cupy.NO_DEVICE})",
        "`nvidia-smi -L` lists what the driver sees; where that is nothing, reboot",
    ),
    "a container that was given no driver to compute with": (
        OLD,
        ["cupy-cuda13x"],
        {"gpus": 0, "driver": 0},
        "NVIDIA A100, driver 550.54 (CUDA 12.4), but CuPy finds no libcuda.so.1 of it",
        f"in a container, start it with --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility; else {gpu_doctor.REBOOT}",
    ),
    "an old GPU": (
        H100,
        ["cupy-cuda13x"],
        {"capability": "61", "name": "GTX 1080"},
        "cuda:0 has compute capability 6.1, and CUDA 13.2 needs 7.5 or more",
        f"{OUT13}{install('cuda12')}",
    ),
    "a GPU too old for all": (
        H100,
        ["cupy-cuda12x"],
        {"capability": "35", "runtime": 12090},
        "cuda:0 has compute capability 3.5, and CUDA 12.9 needs 5.0 or more",
        "use another GPU",
    ),
    "no nvidia-smi, and a driver that is too old": (
        None,
        ["cupy-cuda13x"],
        {"gpus": 0, "driver": 12040},
        "the driver is for CUDA 12.4 and CuPy for CUDA 13.2",
        f"{OUT13}{install('cuda12')}; or install a newer driver",
    ),
    "a wrong sum": (
        H100,
        ["cupy-cuda13x"],
        {"sum": 1},
        "NVIDIA H100, 86 GB, CuPy 14.2.0, driver CUDA 13.0: a sum came out wrong on it",
        "use --device cpu, and have the GPU looked at",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_and_what_to_type(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, packages, said, text, remedy = CASES[case]
    assert found(monkeypatch, driver, *packages, **said) == Finding("warn", text, remedy)


SUM = "NVIDIA H100, 86 GB, CuPy 14.2.0, driver CUDA 13.0: a sum failed, "


@pytest.mark.parametrize(
    ("said", "words", "remedy"),
    [
        ("CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image", "this CuPy was not compiled for", f"{install('cuda13')} --upgrade"),
        (
            "CUDA_ERROR_UNSUPPORTED_PTX_VERSION: x",
            "the driver is older",
            f"install a newer driver, or {OUT13}{install('cuda12')}",
        ),
        ('cannot open source file "cuda_fp16.h"', "CUDA's headers are missing", install("cuda13")),
        ("libcudart.so.13: cannot open shared object file", "a library of CUDA's is missing", install("cuda13")),
        ("cudaErrorMemoryAllocation: out of memory", "its memory is full", "`nvidia-smi` lists who holds it; end that, or use"),
        ("CUDA_ERROR_ECC_UNCORRECTABLE: x", "the GPU reports a fault", "reboot; if it comes again, the GPU is broken"),
        ("something new", "something new", f"{OUT13}{install('cuda13')}"),
    ],
)
def test_a_sum_that_fails_is_put_into_words(said: str, words: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state, text, to_type = found(monkeypatch, H100, sum=CUDARuntimeError(f"{said}\nand more"))
    assert state == "warn"
    assert text.startswith(SUM + words)
    assert said in text
    assert "and more" not in text
    assert to_type.startswith(remedy)


@pytest.mark.parametrize(("what", "told"), [("half", "halves"), ("product", "a matrix product")])
def test_halves_and_products_are_tried_too(what: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = found(monkeypatch, H100, **{what: CUDARuntimeError("libx.so.1: cannot open")})
    words = f"{told} failed, a library of CUDA's is missing (libx.so.1: cannot open)"
    assert finding == Finding("warn", SUM.replace("a sum failed, ", words), install("cuda13"))


def test_all_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = "NVIDIA H100, 86 GB, CuPy 14.2.0, driver CUDA 13.0"
    assert found(monkeypatch, H100) == Finding("ok", healthy)
    assert found(monkeypatch, None) == Finding("ok", healthy)  # a container without nvidia-smi
    assert found(monkeypatch, H100, gpus=4) == Finding("ok", f"{healthy}, 4 GPUs")
    assert found(monkeypatch, MIG) == Finding("ok", f"{healthy}, an instance of it by MIG")
    assert found(monkeypatch, H100) == Finding("ok", healthy)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert examined() == Finding("ok", f"{healthy}, of what there is CUDA_VISIBLE_DEVICES='2' shows 1")


@pytest.mark.parametrize("hidden", ["", "-1", "9", "GPU-none"])
def test_a_gpu_that_is_hidden(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch, gpus=0)
    monkeypatch.setattr(gpu_doctor, "ask_driver", lambda: MIG)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    text = f"CuPy finds no GPU, CUDA_VISIBLE_DEVICES={hidden!r} hides it"
    assert examined() == Finding("warn", text, "unset CUDA_VISIBLE_DEVICES")


def test_without_a_driver_there_is_nothing_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "cupy-cuda13x without an NVIDIA driver; minidl computes on the CPU"
    assert found(monkeypatch, None, driver=0, gpus=0) == Finding("note", text)
    monkeypatch.setattr(gpu, "packages", list)
    assert examined() == Finding("note", "no NVIDIA driver, no CuPy; minidl computes on the CPU")


@pytest.mark.parametrize(("driver", "extra"), [(H100, "cuda13"), (OLD, "cuda12"), (OLD._replace(cuda=0), "cuda12")])
def test_a_gpu_without_cupy(driver: Driver, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "packages", list)
    monkeypatch.setattr(gpu_doctor, "ask_driver", lambda: driver)
    assert examined() == Finding("warn", f"{driver}, but CuPy is not installed", install(extra))


def test_a_cupy_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text(f"raise ImportError({fake_cupy.NOT_LOADED!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(gpu, "packages", lambda: ["cupy-cuda12x"])
    monkeypatch.setattr(gpu_doctor, "ask_driver", lambda: H100)
    said = "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory"
    assert examined() == Finding("warn", f"CuPy is installed but cannot be loaded ({said})", f"{OUT12}{install('cuda12')}")


# ---- what nvidia-smi says --------------------------------------------------------------------------------------------------

BANNER = "| NVIDIA-SMI 580.65       Driver Version: 580.65       CUDA Version: {}     |"


def smi(patch: pytest.MonkeyPatch, answer: str | None, banner: str | None) -> Any:
    patch.setattr(gpu_doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    patch.setattr(gpu_doctor, "_smi", lambda *options: answer if options else banner)
    return ask_driver()


def test_what_nvidia_smi_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    two = "NVIDIA H100, 580.65, Disabled\nNVIDIA H100, 580.65, Disabled"
    assert smi(monkeypatch, two, BANNER.format("13.0")) == H100
    assert smi(monkeypatch, "NVIDIA H100, 580.65, Enabled", BANNER.format("13.0")) == MIG
    assert smi(monkeypatch, "NVIDIA A100, 550.54, [N/A]", BANNER.format("12.4")) == OLD
    assert smi(monkeypatch, "NVIDIA A100, 550.54", BANNER.format("N/A")) == OLD._replace(cuda=0)
    assert str(OLD) == "NVIDIA A100, driver 550.54 (CUDA 12.4)"
    monkeypatch.setattr(gpu_doctor.shutil, "which", lambda name: None)
    assert ask_driver() is None


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch\nNVML library", "reboot: the driver was updated while"),
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
            "reboot; if that does not help, inst",
        ),
        ("No devices were found", "check that the GPU is plugged in, or given to this container"),
        (None, "reboot; if that does not help"),
    ],
)
def test_a_driver_that_does_not_answer(said: str | None, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = smi(monkeypatch, said, said)
    assert finding.state == "warn"
    assert finding.text == f"nvidia-smi: {(said or 'nvidia-smi gives no answer').splitlines()[0]}"
    assert finding.remedy.startswith(remedy)
    assert examined() == finding


def test_nvidia_smi_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real program of this name, which answers by its options and fails as it likes."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" ]; then echo "NVIDIA H100, 580.65, Disabled"; else echo "{BANNER.format("13.0")}"; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert ask_driver() == H100
    program.write_text("#!/bin/sh\necho 'No devices were found' >&2\nexit 6\n")
    assert ask_driver() == Finding(
        "warn", "nvidia-smi: No devices were found", "check that the GPU is plugged in, or given to this container"
    )
