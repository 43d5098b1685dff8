"""`minidl doctor`: what this machine has, what is wrong, and what to do about it.

Each check is a function that returns one Finding. `ok` and `note` need nothing done; `warn` costs speed or comfort; `BAD`
means that something minidl needs is broken, and only that makes the exit code 1.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

from minidl import gpu_doctor
from minidl.extras import install as command_for
from minidl.finding import Finding
from minidl.jit import missing

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
AVX512_CORES = {"skylakex", "cooperlake", "sapphirerapids"}
AVX2_CORES = {"haswell", "zen", "excavator"}
GB = 1e9


def examine() -> dict[str, Finding]:
    """Every check's finding, by the check's name. A check that itself fails is a finding too."""
    findings = {}
    for check in CHECKS:
        try:
            findings[check.__name__] = check()
        except Exception as error:
            findings[check.__name__] = Finding("BAD", f"{type(error).__name__}: {error}")
    return findings


def report(findings: dict[str, Finding]) -> str:
    """The findings as text, remedies under their lines, and a verdict."""
    lines = []
    for name, (state, text, remedy) in findings.items():
        lines.append(f"{state:<5} {name:<8} {text}")
        lines += [f"{'':14} -> {remedy}"] * bool(remedy)
    states = [finding.state for finding in findings.values()]
    verdict = "Everything that minidl needs is here."
    if "BAD" in states:
        verdict = "minidl cannot work until what is BAD is mended."
    elif "warn" in states:
        verdict = "minidl works; what has a -> can be improved."
    return "\n".join([*lines, "", verdict])


# ---- the checks ----------------------------------------------------------------------------------------------------------


def python() -> Finding:
    """Python's version and the machine."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    return Finding("ok", text) if sys.version_info >= (3, 11) else Finding("BAD", text, "minidl needs Python 3.11 or later")


def minidl() -> Finding:
    """minidl's version and where it was imported from."""
    return Finding("ok", f"{metadata.version('minidl')}, {Path(__file__).parent}")


def install() -> Finding:
    """The packages of the default install."""
    return _packages(("numpy", "threadpoolctl", "safetensors"), "BAD", command_for())


def extras() -> Finding:
    """What `minidl train` draws, reads and shows with."""
    return _packages(("matplotlib", "Pillow", "tqdm"), "warn", f"{command_for('train')}  (plots, images, progress bar)")


def jit() -> Finding:
    """Numba, for the compiled kernels."""
    version, why = _version("numba"), missing()
    text = f"numba {version}; `minidl train --compiled`; in Python: with minidl.compiled(): ..."
    return Finding("note", text if not why else f"not installed; {command_for('jit')}" if not version else why)


def torch() -> Finding:
    """PyTorch, which minidl never needs."""
    version = _version("torch")
    return Finding("note", f"{version or 'not installed'}; only the parity tests use it")


def blas() -> Finding:
    """The library behind matrix products, and the instruction set it was told to use."""
    libraries = _blas_libraries()
    if not libraries:
        name = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        return Finding("note", f"{name}; threadpoolctl cannot see its threads or core type")
    info = libraries[0]
    core = info.get("architecture") or "unknown"
    text = f"{info['internal_api']} {info['version']}, core type {core}"
    best = {3: "AVX-512", 2: "AVX2"}.get(_cpu_rank(), "")
    if info["internal_api"] != "openblas" or core == "unknown" or _core_rank(core) >= _cpu_rank():
        return Finding("ok", text)
    pinned = os.environ.get("OPENBLAS_CORETYPE")
    remedy = f"unset OPENBLAS_CORETYPE (now {pinned!r})" if pinned else "pip install --upgrade numpy, for a newer OpenBLAS"
    return Finding("warn", f"{text}, but this CPU has {best}: matrix products run at about half speed", remedy)


def threads() -> Finding:
    """Threads that BLAS uses against the cores it may use."""
    cores, libraries = available_cores(), _blas_libraries()
    if not libraries:
        return Finding("note", f"{cores} cores")
    used = libraries[0]["num_threads"]
    names = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    text = f"{used} BLAS threads on {cores} cores" + (f" ({', '.join(names)})" if names else "")
    if used == cores:
        return Finding("ok", text)
    if used > cores:
        return Finding("warn", f"{text}: they wait for each other", f"export OPENBLAS_NUM_THREADS={cores}")
    remedy = f"unset {' '.join(name.partition('=')[0] for name in names)}" if names else f"export OPENBLAS_NUM_THREADS={cores}"
    return Finding("warn", f"{text}: {cores - used} idle", remedy)


def slices() -> Finding:
    """How `minidl train` computes, and how a library's user may."""
    text = f"`minidl train` computes batches in slices that fit the cache, on up to {available_cores()} threads"
    return Finding("note", f"{text}; in Python: with minidl.threads({available_cores()}): ...")


def malloc() -> Finding:
    """Whether freed memory can be kept, so that large arrays cost no page faults."""
    library, version = platform.libc_ver()
    if library != "glibc":
        return Finding("note", f"{library or 'not glibc'}: freed memory goes back to the system as its allocator likes")
    text = f"glibc {version}: `minidl train` keeps freed memory, which spares page faults; in Python: minidl.keep_memory()"
    return Finding("note", text)


def speed() -> Finding:
    """The rate of one float32 matrix product, best of five."""
    n = 1024
    a = np.random.default_rng(0).standard_normal((n, n), np.float32)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - started)
    return Finding("ok", f"{2 * n**3 / min(seconds) / 1e9:,.0f} GFLOP/s in a float32 matrix product of {n} x {n}")


def memory() -> Finding:
    """Main memory: all of it, and what is free."""
    total, free = _memory()
    if total is None or free is None:
        return Finding("note", "unknown on this system")
    text = f"{total / GB:.1f} GB, {free / GB:.1f} GB free"
    few = free < 1 * GB
    return Finding("warn", text, "close other programs: AlexNet needs about 2 GB to train") if few else Finding("ok", text)


def data() -> Finding:
    """The data set inside the package."""
    from minidl.data import load

    splits = load("digits", size=(8, 8), channels=1)
    return Finding("ok", "digits: {} train, {} validation, {} test images".format(*map(len, splits)))


def gpu() -> Finding:
    """CuPy, the driver and the GPU, in words."""
    return gpu_doctor.examined()


CHECKS: tuple[Callable[[], Finding], ...] = (
    python, minidl, install, extras, blas, threads, slices, malloc, speed, memory, data, jit, gpu, torch,
)  # fmt: skip


# ---- what the checks read ------------------------------------------------------------------------------------------------


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _packages(names: tuple[str, ...], state: str, remedy: str) -> Finding:
    modules = {"Pillow": "PIL"}
    there = {name: importlib.util.find_spec(modules.get(name, name)) is not None for name in names}
    text = ", ".join(f"{name} {_version(name) or ''}".strip() if there[name] else f"{name} MISSING" for name in names)
    return Finding("ok", text) if all(there.values()) else Finding(state, text, remedy)


def _blas_libraries() -> list[dict]:
    from threadpoolctl import threadpool_info

    return [info for info in threadpool_info() if info["user_api"] == "blas"]


def _cpu_rank() -> int:
    """3 for a CPU with AVX-512, 2 with AVX2, 1 for older ones; 0 where the question makes no sense."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return 0
    simd = np.show_config(mode="dicts").get("SIMD Extensions", {})
    has = {*simd.get("baseline", ()), *simd.get("found", ())}
    if has & {"X86_V4", "AVX512_SKX"}:
        return 3
    return 2 if has & {"X86_V3", "AVX2"} else 1


def _core_rank(core: str) -> int:
    core = core.lower()
    return 3 if core in AVX512_CORES else 2 if core in AVX2_CORES else 1


def available_cores() -> int:
    """Cores this process may use: its affinity, and a container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
    return cores


def _memory() -> tuple[int | None, int | None]:
    """(total, free) bytes of this machine or of the container around this process."""
    found = dict(re.findall(r"(\w+):\s+(\d+) kB", _read("/proc/meminfo")))
    if "MemTotal" not in found:
        return None, None
    total, free = (int(found[key]) * 1024 for key in ("MemTotal", "MemAvailable"))
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit() and int(limit) < total:
        return int(limit), min(free, int(limit) - int(used))
    return total, free


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
