"""The most memory that this process held, by Linux's own count: resident bytes, libraries' buffers and lost pieces included.

    base = resident()               before there is a model
    start_peak()                    what is free goes back to the system, and the peak starts anew
    ... steps ...
    peak() - base

The same for every rival, whatever allocates its arrays: NumPy's, PyTorch's and OpenBLAS's own buffers all count.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MACHINE = Path("/proc/meminfo")


def resident() -> int | None:
    """Bytes in memory now; None where the system does not tell."""
    return _field(STATUS, "VmRSS")


def peak() -> int | None:
    """The most since `start_peak`, or since the process began."""
    return _field(STATUS, "VmHWM")


def free() -> int | None:
    """Bytes that the machine can give without swapping; a container may be granted less."""
    return _field(MACHINE, "MemAvailable")


def total() -> int | None:
    """Bytes that the machine has."""
    return _field(MACHINE, "MemTotal")


def start_peak() -> bool:
    """Forget the peak so far; False where that cannot be done."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what malloc keeps for later is not in use
        CLEAR.write_text("5", encoding="ascii")  # proc(5): resets VmHWM
    except (OSError, AttributeError, TypeError):
        return False
    return True


def _field(file: Path, name: str) -> int | None:
    if not file.exists():
        return None
    lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    found = next((line for line in lines if line.startswith(f"{name}:")), None)
    return None if found is None else 1024 * int(found.split()[1])
