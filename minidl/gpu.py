"""Why a GPU cannot be used, in words: what CuPy, the driver and NVIDIA's libraries say of themselves.

Nothing here imports CuPy: `backend` and `minidl doctor` hand it in, and so do the tests, with one that is made up.
"""

from __future__ import annotations

import os
import re
from functools import cache
from importlib import metadata
from typing import Any, NamedTuple

from minidl.extras import install

OLDEST = {"cuda12": 50, "cuda13": 75}  # compute capability, times ten, below which that CUDA compiles for no GPU
FULL = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")
FAILURES = (ImportError, RuntimeError, OSError)  # what CuPy raises where a library of NVIDIA's is not there


class Trouble(NamedTuple):
    """What stands in the way, and what to type."""

    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text}: {self.remedy}, or use --device cpu"


def other_float32() -> Trouble | None:
    """An environment in which CuPy's float32 products are not float32."""
    if os.environ.get("CUPY_TF32", "0") in ("", "0"):
        return None
    return Trouble(
        "CUPY_TF32 is set, so CuPy would compute in TF32 what is called float32", "unset it; --precision tf32 asks for it"
    )


def packages() -> list[str]:
    """The CuPy packages that are installed: cupy-cuda13x; of two, none works surely."""
    return sorted({d.name for d in metadata.distributions() if re.fullmatch(r"cupy(-cuda\w+)?", d.name or "")})


def cuda_version(number: int) -> str:
    """As NVIDIA writes it: 12040 is '12.4'."""
    return f"{number // 1000}.{number % 1000 // 10}"


def extra_for(driver: int) -> str:
    """The extra of minidl whose CuPy this driver can run; 12040 is a driver for CUDA 12.4."""
    return "cuda13" if driver >= 13000 else "cuda12"


def instead(extra: str) -> str:
    """The command that puts the CuPy of an extra, with NVIDIA's libraries, in the place of what is installed."""
    return "".join(f"pip uninstall -y {' '.join(there)} && " for there in [packages()] if there) + install(extra)


def own_extra() -> str:
    """The extra of minidl that gives the CuPy that is installed; the newest where that cannot be said."""
    return next((extra for extra in OLDEST if any(name == f"cupy-{extra}x" for name in packages())), "cuda13")


def not_loaded(error: ImportError) -> Trouble:
    """CuPy is there, and its import fails."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" =")]
    said = lines[-1] if lines else type(error).__name__  # CuPy puts the original error last
    return Trouble(f"CuPy is installed but cannot be loaded ({said})", instead(own_extra()))


def no_gpu(cupy: Any) -> Trouble:
    """CuPy is loaded, and finds no GPU."""
    driver, runtime = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    if not driver:
        return Trouble("CuPy is installed but finds no NVIDIA driver", "install the driver, run `minidl doctor`")
    if driver // 1000 < runtime // 1000:
        text = f"the driver is for CUDA {cuda_version(driver)} and CuPy for CUDA {cuda_version(runtime)}"
        return Trouble(text, f"{instead(extra_for(driver))}; or install a newer driver")
    if (shown := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return Trouble(f"CuPy finds no GPU, CUDA_VISIBLE_DEVICES={shown!r} hides it", "unset CUDA_VISIBLE_DEVICES")
    text = f"CuPy finds no GPU, though the driver is there{_said(cupy)}"
    return Trouble(text, "`nvidia-smi -L` lists what the driver sees; where that is nothing, reboot")


@cache
def no_library(cupy: Any) -> Trouble | None:
    """A library of NVIDIA's without which nothing computes: the compiler, NVRTC, or matrix products, cuBLAS."""
    for name, load in (("NVRTC", cupy.cuda.nvrtc.getVersion), ("cuBLAS", lambda: cupy.cuda.cublas)):
        try:
            load()
        except FAILURES as error:
            files = list(dict.fromkeys(re.findall(r"lib\w+\.so[.\d]*|\w+\.dll", str(error))))
            what = f"{name} is missing ({' or '.join(files) or first_line(error)})"
            return Trouble(f"CuPy is installed but NVIDIA's {what}", install(own_extra()))
    return None


@cache
def too_old(cupy: Any, index: int) -> Trouble | None:
    """A GPU for which CuPy's CUDA compiles nothing."""
    found, runtime = cupy.cuda.Device(index).compute_capability, cupy.cuda.runtime.runtimeGetVersion()
    extra = extra_for(runtime)
    if int(found) >= OLDEST[extra]:
        return None
    needed, here = (f"{int(number) // 10}.{int(number) % 10}" for number in (OLDEST[extra], found))
    text = f"cuda:{index} has compute capability {here}, and CUDA {cuda_version(runtime)} needs {needed} or more"
    older = int(found) >= OLDEST["cuda12"]
    return Trouble(text, instead("cuda12") if older else "use another GPU")


def no_such_number(device: str, count: int) -> str:
    """There are GPUs, but none of this number."""
    there = "1 GPU, cuda:0" if count == 1 else f"{count} GPUs, cuda:0 to cuda:{count - 1}"
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = f"; CUDA_VISIBLE_DEVICES={shown!r} may hide others" if shown is not None else ""
    return f"device {device!r} does not exist: this machine has {there}{hidden}; use one of them, or --device cpu"


def is_full(error: BaseException) -> bool:
    """Did CuPy, or a library of NVIDIA's below it, ask for memory of a GPU that was not there?"""
    if type(error).__module__.partition(".")[0] not in ("cupy", "cupy_backends"):
        return False
    return isinstance(error, MemoryError) or any(word in str(error) for word in FULL)


def asked_bytes(error: BaseException) -> int | None:
    """How many bytes were asked for, where the error says it."""
    found = re.search(r"allocating ([\d,]+) bytes", str(error))
    return int(found[1].replace(",", "")) if found else None


def first_line(error: BaseException) -> str:
    """The first line of what it says, or its kind."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _said(cupy: Any) -> str:
    try:
        return f" ({cupy.cuda.runtime.getDeviceCount()} devices)"
    except RuntimeError as error:
        return f" ({first_line(error)})"
