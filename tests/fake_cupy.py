"""A CuPy that is made up: it says of driver, libraries and GPUs what a test wants said, and computes nothing.

The words of its errors are those of CuPy 14.2.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minidl import gpu

TOO_OLD = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
NO_DEVICE = "cudaErrorNoDevice: no CUDA-capable device is detected"
NO_NVRTC = 'Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: libnvrtc.so.13 or libnvrtc.so.12\n'
NO_CUBLAS = 'Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file: libcublasLt.so.13 or libcublasLt.so.12\n'
NOT_LOADED = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX or cupy-rocm-X-X), make sure that the package matches with the version of CUDA.

Original error:
  ImportError: libcuda.so.1: cannot open shared object file: No such file or directory
================================================================
"""


class OutOfMemoryError(MemoryError):
    """CuPy's."""

    __module__ = "cupy.cuda.memory"


class CUDARuntimeError(RuntimeError):
    """CuPy's."""

    __module__ = "cupy_backends.cuda.api.runtime"


def full(size: int, so_far: int = 0) -> OutOfMemoryError:
    """What CuPy raises where this many bytes are not there."""
    return OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {so_far:,} bytes).")


class FakeCuda:
    """cupy.cuda"""

    def __init__(self, said: dict[str, Any]):
        self.said = said
        self.runtime = SimpleNamespace(
            driverGetVersion=lambda: said["driver"],
            runtimeGetVersion=lambda: said["runtime"],
            getDeviceCount=self.count,
            getDeviceProperties=lambda i: {"name": said["name"].encode(), "totalGlobalMem": said["bytes"]},
            memGetInfo=lambda: (said["free"], said["bytes"]),
        )
        self.nvrtc = SimpleNamespace(getVersion=self.compiler)

    def count(self) -> int:
        """GPUs, or CuPy's error where there are none."""
        if not self.said["gpus"]:
            raise CUDARuntimeError(TOO_OLD if self.said["driver"] < self.said["runtime"] // 1000 * 1000 else NO_DEVICE)
        return self.said["gpus"]

    def compiler(self) -> tuple[int, int]:
        """NVRTC's version, or the loader's error."""
        if not self.said["nvrtc"]:
            raise RuntimeError(NO_NVRTC)
        return 13, 0

    @property
    def cublas(self) -> object:
        """The library, or CuPy's error."""
        if not self.said["cublas"]:
            raise ImportError(NO_CUBLAS)
        return object()

    def Device(self, index: int) -> Any:  # noqa: N802  (CuPy's name)
        """A GPU, and the context of computing on it."""
        context: Any = nullcontext()
        context.id, context.compute_capability = index, self.said["capability"]
        context.use = lambda: self.said.update(current=index)
        return context


class FakeCuPy(ModuleType):
    """cupy"""

    __version__ = "14.2.0"
    float16, float32 = np.float16, np.float32

    class ndarray:  # noqa: N801
        """No array of anybody."""

    def __init__(self, **said: Any):
        super().__init__("cupy")
        healthy = {"driver": 13000, "runtime": 13020, "gpus": 1, "nvrtc": True, "cublas": True, "capability": "90"}
        healthy |= {"name": "NVIDIA H100", "bytes": 80 << 30, "free": 1 << 30, "sum": None}
        self.said = healthy | said
        self.cuda = FakeCuda(self.said)

    def is_available(self) -> bool:
        """As CuPy answers: it never raises."""
        return self.said["gpus"] > 0

    def asnumpy(self, x: Any) -> Any:
        """Nothing comes over."""
        return x

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        """On the host it stays."""
        return np.asarray(x, dtype)

    def arange(self, n: int, dtype: Any = None) -> Any:
        """The numbers below n, or the error that is wanted."""
        if (error := self.said.get("half") if dtype == np.float16 else self.said["sum"]) and isinstance(error, Exception):
            raise error
        return np.arange(n, dtype=dtype) + (self.said["sum"] or 0)

    def ones(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Ones, or the error that is wanted."""
        if error := self.said.get("product"):
            raise error
        return np.ones(shape, dtype)

    def get_default_memory_pool(self) -> Any:
        """With an eighth of the memory, half of that unused."""
        size = self.said["bytes"] // 8
        return SimpleNamespace(free_bytes=lambda: size // 2, total_bytes=lambda: size)


def install(patch: pytest.MonkeyPatch, *packages: str, **said: Any) -> FakeCuPy:
    """Make it the CuPy that minidl finds, from these packages (cupy-cuda13x if none is named)."""
    fake = FakeCuPy(**said)
    patch.setitem(sys.modules, "cupy", fake)
    patch.setattr(gpu, "packages", lambda: sorted(packages or ("cupy-cuda13x",)))
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake
