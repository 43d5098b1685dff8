"""`minidl doctor` on the GPU: the driver, CuPy and NVIDIA's libraries must fit each other, and all fit the GPU.

    driver    what `nvidia-smi` says of itself: the newest CUDA that it can run
    CuPy      one package; of the same major CUDA as the driver's, or an older one
    libraries NVRTC compiles, cuBLAS multiplies; pip's [ctk] wheels bring both, the extras cuda12 and cuda13 ask for them
    GPU       seen by this process, not too old; on it one sum, one half and one matrix product are computed

The first that does not fit is the finding, with the command that mends it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any, NamedTuple

import numpy as np

from minidl import backend, gpu
from minidl.extras import install
from minidl.finding import Finding
from minidl.gpu import Trouble, first_line

GB = 1e9
OLDEST_DRIVER = 12000  # of the CUDA that CuPy 14 still knows
REBOOT = "reboot; if that does not help, install the driver again"


class Driver(NamedTuple):
    """What `nvidia-smi` says: the first GPU, the driver, its CUDA (12040 for 12.4; 0 if not said), whether MIG is on."""

    name: str
    version: str
    cuda: int = 0
    mig: bool = False

    def __str__(self) -> str:
        return f"{self.name}, driver {self.version}" + (f" (CUDA {gpu.cuda_version(self.cuda)})" if self.cuda else "")


def examined() -> Finding:
    """The GPU, the driver and CuPy, in words."""
    installed, driver = gpu.packages(), ask_driver()
    if len(installed) > 1:
        remedy = f"pip uninstall -y {' '.join(installed)} && {install(_extra(driver))}"
        return Finding("warn", f"two CuPy packages, {' and '.join(installed)}, overwrite each other's files", remedy)
    if isinstance(driver, Finding):
        return driver
    if driver is None and not _sees_driver():
        text = f"{installed[0]} without an NVIDIA driver" if installed else "no NVIDIA driver, no CuPy"
        return Finding("note", f"{text}; minidl computes on the CPU")
    if driver is not None and 0 < driver.cuda < OLDEST_DRIVER:
        remedy = f"install NVIDIA's driver 525 or later, then {gpu.instead('cuda12')}"
        return Finding("warn", f"{driver}: no CuPy of today runs on it", remedy)
    if not installed:
        return Finding("warn", f"{driver}, but CuPy is not installed", install(_extra(driver)))
    trouble = _trouble(driver)
    return Finding("warn", *trouble) if trouble else _tried(driver)


def ask_driver() -> Driver | Finding | None:
    """What `nvidia-smi` says; a Finding where it fails, None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    answer, banner = _smi("--query-gpu=name,driver_version,mig.mode.current", "--format=csv,noheader"), _smi()
    if banner is None or answer is None or not answer.count(", "):
        said = first_line(RuntimeError(answer or banner or "nvidia-smi gives no answer"))
        if "mismatch" in said:
            return Finding("warn", f"nvidia-smi: {said}", "reboot: the driver was updated while it was running")
        if "No devices" in said:
            return Finding("warn", f"nvidia-smi: {said}", "check that the GPU is plugged in, or given to this container")
        return Finding("warn", f"nvidia-smi: {said}", REBOOT)
    name, version, mig = (*answer.splitlines()[0].split(", "), "")[:3]
    cuda = re.search(r"CUDA[\w ]* Version:\s*(\d+)\.(\d+)", banner)
    return Driver(name, version, int(cuda[1]) * 1000 + int(cuda[2]) * 10 if cuda else 0, mig == "Enabled")


def _smi(*options: str) -> str | None:
    """What it prints, also where it fails."""
    try:
        done = subprocess.run(["nvidia-smi", *options], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.strip() or done.stderr.strip()) or None


def _extra(driver: Driver | Finding | None) -> str:
    """Which CuPy fits the driver."""
    return gpu.extra_for(driver.cuda) if isinstance(driver, Driver) else gpu.own_extra()


def _sees_driver() -> bool:
    """Does CuPy see one, though there is no `nvidia-smi` (in some containers)?"""
    try:
        return bool(gpu.packages()) and backend.cupy().cuda.runtime.driverGetVersion() > 0
    except ImportError:
        return False


def _trouble(driver: Driver | None) -> Trouble | None:
    """What does not fit, if CuPy is installed."""
    try:
        cupy = backend.cupy()
    except ImportError as error:
        return gpu.not_loaded(error.__cause__ if isinstance(error.__cause__, ImportError) else error)
    if not cupy.is_available():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if driver and driver.mig and hidden is None:
            how = "`nvidia-smi -L` lists them, export CUDA_VISIBLE_DEVICES=MIG-... chooses one"
            return Trouble(f"{driver}: MIG is on, and this process has no instance of it", how)
        if not cupy.cuda.runtime.driverGetVersion():  # nvidia-smi has named it: without either we were not here
            how = f"in a container, start it with --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility; else {REBOOT}"
            return Trouble(f"{driver}, but CuPy finds no libcuda.so.1 of it", how)
        return gpu.no_gpu(cupy)
    return gpu.no_library(cupy) or gpu.too_old(cupy, 0)


# ---- a trial ---------------------------------------------------------------------------------------------------------------

# what CuPy's error says -> (in words, what to do; {again} is the install command of the CuPy that is there)
WORDS = {
    r"cuda_fp16\.h|CUDA headers|cannot open source file": ("CUDA's headers are missing", "{again}"),
    r"lib\w+\.so|\.dll|shared object": ("a library of CUDA's is missing", "{again}"),
    r"UNSUPPORTED_PTX|unsupported toolchain": (
        "the driver is older than CuPy's compiler",
        "install a newer driver, or {older}",
    ),
    r"NO_BINARY_FOR_GPU|NoKernelImage": ("this CuPy was not compiled for this GPU", "{newer}"),
    r"(?i)out.of.memory|MemoryAllocation": (
        "its memory is full",
        "`nvidia-smi` lists who holds it; end that, or use --device cpu",
    ),
    r"(?i)ECC|Uncorrectable|fallen off": ("the GPU reports a fault", "reboot; if it comes again, the GPU is broken"),
}


def _tried(driver: Driver | None) -> Finding:
    """Describe the GPU and compute a little on it, which also tries the compiler and cuBLAS."""
    cupy = backend.cupy()
    text = _described(cupy, driver)
    for what, right in (("a sum", _sums), ("halves", _halves), ("a matrix product", _products)):
        try:
            if not right(cupy):
                return Finding("warn", f"{text}: {what} came out wrong on it", "use --device cpu, and have the GPU looked at")
        except Exception as error:
            words, remedy = _in_words(error)
            return Finding("warn", f"{text}: {what} failed, {words}", remedy)
    return Finding("ok", text)


def _described(cupy: Any, driver: Driver | None) -> str:
    properties, runtime = cupy.cuda.runtime.getDeviceProperties(0), cupy.cuda.runtime
    count, shown = runtime.getDeviceCount(), os.environ.get("CUDA_VISIBLE_DEVICES")
    parts = [f"{properties['name'].decode()}, {properties['totalGlobalMem'] / GB:.0f} GB, CuPy {cupy.__version__}"]
    parts.append(f"driver CUDA {gpu.cuda_version(runtime.driverGetVersion())}")
    parts += [f"{count} GPUs"] * (count > 1)
    parts += [f"of what there is CUDA_VISIBLE_DEVICES={shown!r} shows {count}"] * (shown is not None)
    parts += ["an instance of it by MIG"] * bool(driver and driver.mig)
    return ", ".join(parts)


def _sums(cupy: Any) -> bool:
    return float((cupy.arange(4, dtype=np.float32) * 2 + 1).sum()) == 16


def _halves(cupy: Any) -> bool:
    return float((cupy.arange(4, dtype=np.float16) * 2).sum()) == 12


def _products(cupy: Any) -> bool:
    ones = cupy.ones((2, 3), dtype=np.float32)
    return float((ones @ ones.T).sum()) == 12


def _in_words(error: Exception) -> tuple[str, str]:
    """(What CuPy's error means, what to do)"""
    again = install(gpu.own_extra())
    remedies = {"again": again, "older": gpu.instead("cuda12"), "newer": f"{again} --upgrade"}
    for pattern, (words, remedy) in WORDS.items():
        if re.search(pattern, str(error)):
            return f"{words} ({first_line(error)})", remedy.format(**remedies)
    return first_line(error), gpu.instead(gpu.own_extra())
