"""CUDA sources: launched with the right types, chosen when verified, compiled to machine code without spills."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import emulation
import numpy as np
import pytest

import minidl
from minidl import choice, cuda
from minidl.op import OPS
from minidl.ops.lrn.cuda import SOURCE

SOURCES = {k.source.path.name: k.source for op in OPS.values() for k in op.kernels.values() if k.source}
ARCHITECTURES = ("sm_80", "sm_90")
emulated = pytest.mark.skipif(emulation.problem() is not None, reason=f"emulation: {emulation.problem()}")

ATTRS = {"n": 5, "alpha": 0.5, "beta": 0.75, "k": 2.0, "convention": "paper"}


def images(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


# ---- launching -----------------------------------------------------------------------------------------------------------


def test_without_a_gpu_nothing_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_RUNNERS", {})
    with pytest.raises(TypeError, match=r"lrn/lrn.cu is computed by a GPU: expected CuPy arrays, got numpy's; x.to\('cuda'\)"):
        SOURCE.launch("lrn_forward", 3, images(3))
    x = images(1, 2, 3, 3)
    with minidl.lrn.using("cuda"), pytest.raises(ValueError, match=r"lrn\[cuda\] refuses this problem: it computes on a GPU"):
        minidl.lrn(x)


def test_only_arrays_as_c_has_them_are_launched_on() -> None:
    with pytest.raises(ValueError, match=r"lrn_forward of lrn/lrn.cu: expected C-contiguous arrays .* got \[3, 2\] in strides"):
        SOURCE.launch("lrn_forward", 6, images(2, 3).T)
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), (2**31,), (1,))
    with pytest.raises(ValueError, match="at most 2,147,483,647 numbers, got 2,147,483,648"):
        SOURCE.launch("lrn_forward", 1, huge)


@emulated
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_go_as_the_kernel_has_them(dtype: str) -> None:
    """An int as int, a float as the type of sums: taken for one another they would be garbage."""
    x = images(2, 7, 3, 5, dtype=dtype)
    y, _ = OPS["lrn"].kernels["cuda"].forward(x, **ATTRS)
    expected, _ = OPS["lrn"].kernels["window"].forward(x, **ATTRS)
    np.testing.assert_allclose(y, expected, rtol=1e-5 if dtype == "float32" else 1e-12)
    assert y.dtype == x.dtype


@emulated
@pytest.mark.parametrize(("most", "block"), [(1, 1), (1, 4), (3, 2), (1 << 16, 32)])
def test_any_grid_is_right(most: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More places than threads: each thread takes several."""
    x = images(2, 7, 3, 5)
    expected, saved = OPS["lrn"].kernels["cuda"].forward(x, **ATTRS)
    (gradient,) = OPS["lrn"].kernels["cuda"].backward(x, saved, (True,), **ATTRS)
    monkeypatch.setattr(cuda, "MOST_BLOCKS", most)
    monkeypatch.setattr(cuda.Source.launch, "__kwdefaults__", {"block": block})
    y, saved = OPS["lrn"].kernels["cuda"].forward(x, **ATTRS)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(OPS["lrn"].kernels["cuda"].backward(x, saved, (True,), **ATTRS)[0], gradient)


@emulated
def test_threads_of_a_block_wait_for_each_other(tmp_path: Path) -> None:
    """Each thread reads what another one wrote: without the wait it would read what lies there from before."""
    (tmp_path / "turned.cu").write_text(
        'extern "C" __global__ void turned(const T* x, T* y) {\n'
        "    __shared__ T shared[B];\n"
        "    int first = blockIdx.x * B, t = threadIdx.x;\n"
        "    shared[t] = x[first + t];\n"
        "    __syncthreads();\n"
        "    y[first + t] = shared[B - 1 - t];\n"
        "}\n"
    )
    x = images(6, 8)
    y = np.zeros_like(x)
    cuda.Source(str(tmp_path / "turned.py"), "turned.cu").launch("turned", x.size, x, y, block=8, B=8)
    np.testing.assert_array_equal(y, x[:, ::-1])


# ---- verified ------------------------------------------------------------------------------------------------------------


def test_only_what_a_gpu_has_run_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lrn, shapes, attrs = OPS["lrn"], ((2, 7, 3, 5),), ATTRS
    monkeypatch.setattr(cuda, "VERIFIED", tmp_path / "list.txt")
    monkeypatch.delitem(vars(SOURCE), "verified", raising=False)
    assert choice.on_gpu(lrn, shapes, attrs, np.dtype("float32")).name == lrn.default
    monkeypatch.delitem(vars(SOURCE), "verified")
    (tmp_path / "list.txt").write_text(f"{hashlib.sha256(SOURCE.text.encode()).hexdigest()}  lrn.cu\n")
    assert choice.on_gpu(lrn, shapes, attrs, np.dtype("float32")).name == "cuda"
    assert choice.on_gpu(lrn, shapes, attrs, np.dtype("float16")).name == lrn.default
    assert choice.fastest(lrn, shapes, attrs).name == lrn.default  # on the host never
    monkeypatch.delitem(vars(SOURCE), "verified")
    monkeypatch.setitem(vars(SOURCE), "text", SOURCE.text + " ")  # edited since
    assert choice.on_gpu(lrn, shapes, attrs, np.dtype("float32")).name == lrn.default
    monkeypatch.delitem(vars(SOURCE), "verified")


# ---- compiled ------------------------------------------------------------------------------------------------------------


@pytest.mark.nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("number", cuda.NAMES)
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_compiles_without_spills(name: str, number: str, architecture: str) -> None:
    core = pytest.importorskip("cuda.core")
    log, source = io.StringIO(), SOURCES[name]
    options = core.ProgramOptions(arch=architecture, std="c++17", ptxas_options=["-v"])
    core.Program(source.complete(number, **source.constants), "c++", options).compile("cubin", logs=log)
    said = log.getvalue()
    kernels = re.findall(r"entry function '(\w+)'", said)
    assert sorted(kernels) == sorted(found[0] for found in emulation.KERNEL.findall(source.text))
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)  # of the functions that they call, too
    assert len(spills) >= len(kernels)
    assert set(spills) == {("0", "0")}
