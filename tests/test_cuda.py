"""CUDA sources: launched with the right types, chosen when verified, compiled to machine code without spills."""

from __future__ import annotations

import dataclasses
import io
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import emulation
import numpy as np
import pytest

import minidl
from minidl import choice, cuda
from minidl.modes import PRECISIONS
from minidl.op import OPS
from minidl.ops.conv2d import cuda_implicit_gemm
from minidl.ops.gemm import rounded
from minidl.ops.lrn.cuda import SOURCE

SOURCES = {source.path.name: source for source in emulation.sources()}
ARCHITECTURES = ("sm_80", "sm_90")
FUNCTION = re.compile(
    r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers",
    re.S,
)
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
    with pytest.raises(ValueError, match="at most 2,113,929,216 numbers, got 2,147,483,648"):
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
@pytest.mark.parametrize(("dtype", "rtol"), [("float16", 2e-3), ("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((3, 96, 5, 7), {"alpha": 0.5}),  # several tiles, which begin and end within a pixel
        ((1, 2500, 1, 2), {"n": 9, "beta": 0.6}),  # a pixel of several tiles, and a power
        ((2, 3, 40, 30), {"n": 129, "beta": 0.5, "convention": "pytorch"}),  # the widest window, wider than a pixel
        ((1, 1, 1, 1025), {"n": 1}),
    ],
    ids=str,
)
def test_a_tile_of_lrn_ends_anywhere(shape: tuple, how: dict, dtype: str, rtol: float) -> None:
    x, dy, attrs = images(*shape, dtype=dtype), images(*shape, dtype=dtype)[:, ::-1], {**ATTRS, **how}
    results = []
    for kernel in (OPS["lrn"].kernels[name] for name in ("cuda", "window")):
        y, saved = kernel.forward(x, **attrs)
        results.append((y, *kernel.backward(dy, saved, (True,), **attrs)))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol)
        assert got.dtype == dtype


def test_lrn_on_the_gpu_refuses_very_wide_windows() -> None:
    kernel = OPS["lrn"].kernels["cuda"]
    assert kernel.why_not(((1, 4, 2, 2),), {**ATTRS, "n": 129}) is None
    assert kernel.why_not(((1, 4, 2, 2),), {**ATTRS, "n": 131}) == "needs a window of at most 129 channels, got n=131"


@emulated
@pytest.mark.parametrize(("most", "block"), [(1, 1), (1, 4), (3, 2), (1 << 16, 32)])
def test_any_grid_is_right(most: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More places than threads: each thread takes several."""
    x = images(2, 70, 5, 7)
    expected, saved = OPS["lrn"].kernels["cuda"].forward(x, **ATTRS)
    (gradient,) = OPS["lrn"].kernels["cuda"].backward(x, saved, (True,), **ATTRS)
    monkeypatch.setattr(cuda, "MOST_BLOCKS", most)
    monkeypatch.setattr(cuda.Source.launch, "__kwdefaults__", {"block": block, "shared": 0})
    y, saved = OPS["lrn"].kernels["cuda"].forward(x, **ATTRS)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(OPS["lrn"].kernels["cuda"].backward(x, saved, (True,), **ATTRS)[0], gradient)


@emulated
@pytest.mark.parametrize("number", ["float32", "float64"])
def test_the_compiler_is_told_numbers_and_matrices(tmp_path: Path, number: str) -> None:
    text = 'extern "C" __global__ void by(const T* x, T* y) { y[threadIdx.x] = SCALE * M[threadIdx.x / 3][threadIdx.x % 3]; }'
    rows = [[1, 0.1, -2], [1 / 3, 0, 1e-3]]
    y = launched(tmp_path, text, "by", images(6, dtype=number), block=6, SCALE=3, M=cuda.matrix(rows))
    np.testing.assert_array_equal(y, np.array(rows, number).ravel() * np.array(3, number))
    assert cuda.matrix(rows).startswith("[2][3] = {{1.0, 0.1, -2.0}, {")


class FakeKernel:
    """As CuPy's RawKernel: launched with a grid, a block and arguments, and shared memory by name."""

    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self) -> None:
        self.launches: list[tuple] = []

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
        self.launches.append((grid, block, args, shared_mem, self.max_dynamic_shared_size_bytes))


def test_cupy_compiles_a_source_once_and_looks_for_its_kernels_once_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    modules, found, devices = [], [], [0, 0, 1]

    class FakeModule:
        def __init__(self, code: str, options: tuple[str, ...]) -> None:
            modules.append((code, options))

        def get_function(self, name: str) -> FakeKernel:
            found.append((name, FakeKernel()))
            return found[-1][1]

    runtime = SimpleNamespace(getDevice=lambda: devices[0])
    monkeypatch.setattr(cuda, "cupy", lambda: SimpleNamespace(RawModule=FakeModule, cuda=SimpleNamespace(runtime=runtime)))
    text = "// only of this test"
    for shared in (0, 60_000, 100):
        cuda._run_by_cupy(text, "some", 3, 64, shared, [np.float32(1.5), np.int32(2)])
        devices.pop(0)
    assert modules == [(text, ("-std=c++17",))]
    assert [name for name, _ in found] == ["some", "some"]
    first, second = (kernel for _, kernel in found)
    assert first.launches == [((3,), (64,), (1.5, 2), 0, 48 << 10), ((3,), (64,), (1.5, 2), 60_000, 60_000)]
    assert second.launches == [((3,), (64,), (1.5, 2), 100, 48 << 10)]


# ---- the emulation itself --------------------------------------------------------------------------------------------------


TURNED = """
extern "C" __global__ void turned(const T* x, T* y) {
    __shared__ T shared[B];
    int first = blockIdx.x * B, t = threadIdx.x;
    shared[t] = x[first + t];
    __syncthreads();
    y[first + t] = shared[B - 1 - t];
}
"""


def launched(folder: Path, text: str, name: str, x: np.ndarray, **how: Any) -> np.ndarray:
    """y of a kernel name(x, y), a thread for each number of x."""
    (folder / "some.cu").write_text(text)
    y = np.zeros_like(x)
    cuda.Source(str(folder / "some.py"), "some.cu").launch(name, x.size, x, y, **how)
    return y


@emulated
def test_threads_of_a_block_wait_for_each_other(tmp_path: Path) -> None:
    """Each thread reads what another one wrote."""
    x = images(6, 64)
    np.testing.assert_array_equal(launched(tmp_path, TURNED, "turned", x, block=64, B=64), x[:, ::-1])


@emulated
def test_threads_that_race_are_told(tmp_path: Path) -> None:
    racing = TURNED.replace("    __syncthreads();\n", "")
    with pytest.raises(emulation.Wrong, match="turned: argument 1 depends on the order of threads"):
        launched(tmp_path, racing, "turned", images(6, 64), block=64, B=64)


@emulated
def test_threads_that_wait_for_ever_are_told(tmp_path: Path) -> None:
    stuck = TURNED.replace("__syncthreads();", "if (t) __syncthreads();")
    with pytest.raises(emulation.Wrong, match="turned: threads wait for ever"):
        launched(tmp_path, stuck, "turned", images(2, 64), block=64, B=64)


@emulated
@pytest.mark.parametrize("place", [64, 10_000, -1])
def test_what_is_written_beyond_an_array_is_told(tmp_path: Path, place: int) -> None:
    text = 'extern "C" __global__ void beyond(const T* x, T* y) { y[threadIdx.x ? (int)threadIdx.x : PLACE] = x[threadIdx.x]; }'
    with pytest.raises(emulation.Wrong, match="beyond: argument 1 is written to beyond its ends"):
        launched(tmp_path, text, "beyond", images(64), block=64, PLACE=place)


@emulated
@pytest.mark.parametrize(("shared", "enough"), [(256, True), (252, False), (0, False)])
def test_shared_memory_that_nobody_asked_for_is_told(tmp_path: Path, shared: int, enough: bool) -> None:
    text = TURNED.replace("    __shared__ T shared[B];\n", "    T* shared = (T*)pool;\n")
    text, x = "extern __shared__ unsigned char pool[];" + text, images(2, 64)
    with nullcontext() if enough else pytest.raises(emulation.Wrong, match=f"turned: shared .* beyond the {shared} bytes"):
        np.testing.assert_array_equal(launched(tmp_path, text, "turned", x, block=64, B=64, shared=shared), x[:, ::-1])


@emulated
@pytest.mark.parametrize("more", [(), (1, 2), (1.5,)])
def test_what_a_kernel_does_not_take_is_told(tmp_path: Path, more: tuple) -> None:
    (tmp_path / "some.cu").write_text('extern "C" __global__ void takes(T* __restrict__ x, int places) { x[0] = places; }')
    with pytest.raises(emulation.Wrong, match=r"takes: its 2 parameters are \['array', 'int'\], what it got is \['array'"):
        cuda.Source(str(tmp_path / "some.py"), "some.cu").launch("takes", 1, images(4), *more)


@emulated
@pytest.mark.parametrize("block", [32, 96, 256])
@pytest.mark.parametrize("number", cuda.NAMES)
def test_a_block_adds_up_and_finds_the_largest(tmp_path: Path, block: int, number: str) -> None:
    text = """#include "blocks.cuh"
extern "C" __global__ void reduced(const T* x, T* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    A sum = block_sum((A)x[i]), most = block_max((A)x[i]);
    y[i] = threadIdx.x % 2 ? sum : most;
}
"""
    x = images(3, block, dtype=number)
    y = launched(tmp_path, text, "reduced", x, block=block)
    most, total = x.max(axis=1, keepdims=True), x.astype(np.float64).sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(y[:, ::2], np.repeat(most, block // 2, axis=1))
    np.testing.assert_allclose(
        y[:, 1::2], np.repeat(total, block // 2, axis=1), rtol=1e-2 if number == "float16" else 1e-5, atol=1e-2
    )


@emulated
def test_philox_on_the_gpu_is_philox_of_numpy(tmp_path: Path) -> None:
    text = """#include "philox.cuh"
extern "C" __global__ void bits(const T* x, T* y, const unsigned long long* key, unsigned* out) {
    Eight eight = philox(key, threadIdx.x);
    for (int i = 0; i < 8; i++) out[8 * threadIdx.x + i] = eight.bits[i], y[8 * threadIdx.x + i] = uniform(eight.bits[i]);
}
"""
    (tmp_path / "some.cu").write_text(text)
    key, out, y = minidl.random.Stream(seed=2**63 + 5, position=3).keys(1), np.zeros(40, np.uint32), images(40)
    cuda.Source(str(tmp_path / "some.py"), "some.cu").launch("bits", 5, y, y, key, out, block=5)
    np.testing.assert_array_equal(out, minidl.random.random_bits(key, 40)[0])
    np.testing.assert_array_equal(y, minidl.random.random_uniforms(key, 40)[0])


# ---- tensor cores ----------------------------------------------------------------------------------------------------------


@emulated
@pytest.mark.parametrize("number", ["float32", "float64"])
def test_the_lanes_hold_what_the_tensor_cores_take(tmp_path: Path, number: str) -> None:
    """Shuffles find every number of A and B where mma.cuh says it is: C = A B."""
    text = """#include "mma.cuh"
extern "C" __global__ void product(const T* a, const T* b, T* out) {
    T as[8], bs[4], c[4] = {};
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    for (int i = 0; i < 4; i++) {
        int k = 4 * i + t;
        as[2 * i] = a[g * 16 + k], as[2 * i + 1] = a[(g + 8) * 16 + k], bs[i] = b[k * 8 + g];
    }
    JOIN(c, as, bs);
    for (int i = 0; i < 4; i++) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = c[i];
}
"""
    a, b = images(16, 16, dtype=number), images(16, 8, dtype=number) + 1
    for join in ("by_shuffles", "multiply"):
        (tmp_path / f"{join}.cu").write_text(text.replace("JOIN", join))
        out = np.zeros((16, 8), number)
        cuda.Source(str(tmp_path / "some.py"), f"{join}.cu").launch("product", 32, a, b, out, block=32, PRODUCTS=0)
        np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-5)


@emulated
@pytest.mark.parametrize(("channels", "precision"), [(16, "tf32"), (6, "bf16"), (3, "tf32")])
def test_large_tiles_round_factors_and_nothing_else(channels: int, precision: str) -> None:
    attrs = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    x, w, b = images(2, channels, 9, 8), images(136, channels, 3, 3)[::-1].copy(), images(136)
    dy = images(2, 136, 9, 8)[:, ::-1].copy()
    for a in (x, w, dy):
        a.view(np.uint32)[...] |= 1  # no number halfway: of two as near, tf32 takes the larger and we the even one
    bits = PRECISIONS[precision]
    kernel, formula = (OPS["conv2d"].kernels[name] for name in ("cuda_implicit_gemm", "im2col"))
    with minidl.precision(precision), cuda_implicit_gemm.large_tiles():
        y, saved = kernel.forward(x, w, b, **attrs)
        grads = kernel.backward(dy, saved, (True, True, True), **attrs)
    exact = [rounded(a, bits).astype(np.float64) for a in (x, w, dy)]
    expected, saved = formula.forward(exact[0], exact[1], b.astype(np.float64), **attrs)
    also = formula.backward(exact[2], saved, (True, True, False), **attrs)
    for got, right in zip((y, grads[0], grads[1]), (expected, also[0], also[1]), strict=True):
        np.testing.assert_allclose(got, right, rtol=0, atol=2e-6 * np.abs(right).max())
    np.testing.assert_allclose(grads[2], dy.sum(axis=(0, 2, 3), dtype=np.float64), rtol=0, atol=1e-4)


# ---- verified ------------------------------------------------------------------------------------------------------------


def test_only_what_a_gpu_has_run_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lrn, shapes, attrs = OPS["lrn"], ((2, 7, 3, 5),), ATTRS
    monkeypatch.setattr(cuda, "VERIFIED", tmp_path / "list.txt")
    monkeypatch.delitem(vars(SOURCE), "verified", raising=False)
    assert choice.on_gpu(lrn, shapes, attrs, np.dtype("float32")).name == lrn.default
    monkeypatch.delitem(vars(SOURCE), "verified")
    (tmp_path / "list.txt").write_text(f"{SOURCE.digest}  lrn.cu\n")
    assert choice.on_gpu(lrn, shapes, attrs, np.dtype("float32")).name == "cuda"
    assert choice.on_gpu(lrn, shapes, attrs, np.dtype("float16")).name == "cuda"
    with monkeypatch.context() as narrow:
        narrow.setitem(lrn.kernels, "cuda", dataclasses.replace(lrn.kernels["cuda"], half=False))
        assert choice.on_gpu(lrn, shapes, attrs, np.dtype("float16")).name == lrn.default
    assert choice.fastest(lrn, shapes, attrs).name == lrn.default  # on the host never
    monkeypatch.delitem(vars(SOURCE), "verified")
    monkeypatch.setitem(vars(SOURCE), "text", SOURCE.text + " ")  # edited since
    assert choice.on_gpu(lrn, shapes, attrs, np.dtype("float32")).name == lrn.default
    monkeypatch.delitem(vars(SOURCE), "verified")


def test_a_source_is_verified_with_those_that_it_launches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / f"{name}.cu").write_text(f"// {name}")
    other = cuda.Source(str(tmp_path / "x.py"), "other.cu")
    monkeypatch.setattr(cuda, "VERIFIED", tmp_path / "list.txt")

    def verified() -> bool:
        vars(other).pop("verified", None)
        return cuda.Source(str(tmp_path / "x.py"), "one.cu", also=(other,)).verified

    one = cuda.Source(str(tmp_path / "x.py"), "one.cu")
    (tmp_path / "list.txt").write_text(f"{one.digest}  x/one.cu\n")
    assert one.verified
    assert not verified()
    (tmp_path / "list.txt").write_text(f"{one.digest}  x/one.cu\n{other.digest}  x/other.cu\n")
    assert verified()
    monkeypatch.setattr(cuda, "_shared", lambda name: "another half")
    assert not verified()


def chosen_in(monkeypatch: pytest.MonkeyPatch, shape: tuple, dtype: str, precision: str) -> str:
    """The convolution that a GPU would choose, if all were verified."""
    conv2d = OPS["conv2d"]
    for kernel in conv2d.kernels.values():
        if kernel.source:
            monkeypatch.setitem(vars(kernel.source), "verified", True)
    shapes = (shape, (8, shape[1], 3, 3), None)
    attrs = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    with minidl.precision(precision):
        return choice.on_gpu(conv2d, shapes, attrs, np.dtype(dtype)).name


@pytest.mark.parametrize(
    ("shape", "dtype", "precision", "kernel"),
    [
        ((2, 4, 9, 9), "float32", "float32", "cuda_winograd"),
        ((2, 4, 9, 9), "float32", "tf32", "cuda_implicit_gemm"),
        ((2, 4, 9, 9), "float64", "tf32", "cuda_winograd"),  # no factor of it is rounded
        ((2, 4, 9, 9), "float16", "bf16", "cuda_im2col"),
        ((2, 1024, 1024, 1024), "float32", "tf32", "im2col"),  # more numbers than an int counts
        ((2, 4, 16384, 16384), "float32", "tf32", "im2col"),  # of y
    ],
)
def test_the_kernel_follows_precision_type_and_size(
    shape: tuple, dtype: str, precision: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen_in(monkeypatch, shape, dtype, precision) == kernel


def test_an_older_gpu_takes_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_capability", lambda: 75)
    assert chosen_in(monkeypatch, (2, 4, 9, 9), "float32", "tf32") == "cuda_im2col"
    why = OPS["conv2d"].kernels["cuda_implicit_gemm"].why_not(((2, 4, 9, 9), (8, 4, 3, 3), None), {})
    assert why == "needs a GPU of compute capability 8.0 or more, this one has 7.5"


def test_arrays_on_another_gpu_are_not_launched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel would take their addresses for its own."""
    there = SimpleNamespace(device=SimpleNamespace(id=1))
    runtime = SimpleNamespace(getDevice=lambda: 0)
    monkeypatch.setattr(cuda, "cupy", lambda: SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    with pytest.raises(
        ValueError, match=r"some: its arrays are on cuda:1, and the current GPU is cuda:0; use_device\('cuda:1'\)"
    ):
        cuda._run_by_cupy("// of this test", "some", 1, 1, 0, [there, np.int32(3)])


@emulated
def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    text = """extern "C" __global__ void scaled(const T* x, T* y, int count, A by) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) y[i] = x[i] * by;
}
"""
    (tmp_path / "some.cu").write_text(text)
    x = images(5)
    y = np.zeros_like(x)
    cuda.Source(str(tmp_path / "some.py"), "some.cu").launch("scaled", 5, x, y, np.int64(5), np.float64(2))
    np.testing.assert_array_equal(y, 2 * x)


def test_every_source_is_listed() -> None:
    """What is not would never be compiled here."""
    found = sorted(path.name for path in Path(minidl.__file__).parent.rglob("*.cu"))
    assert found == sorted(SOURCES)


# ---- compiled ------------------------------------------------------------------------------------------------------------


@pytest.mark.nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("name", "number"), [(name, number) for name, source in SOURCES.items() for number in source.ways])
def test_a_source_compiles_without_spills(
    name: str, number: str, architecture: str, record_property: pytest.RecordProperty
) -> None:
    core = pytest.importorskip("cuda.core")
    source = SOURCES[name]
    options = core.ProgramOptions(arch=architecture, std="c++17", ftz=True, ptxas_options=["-v"])  # as CuPy compiles
    for constants in source.ways[number]:
        log = io.StringIO()
        core.Program(source.complete(number, **constants), "c++", options).compile("cubin", logs=log)
        found = FUNCTION.findall(log.getvalue())
        kernels = {kernel: int(registers) for kernel, _, _, _, registers in found}
        assert set(kernels) == {found[0] for found in emulation.KERNEL.findall(source.text)}
        spills = {function: (stack, stored, loaded) for function, stack, stored, loaded, _ in found}
        assert set(spills.values()) == {("0", "0", "0")}, spills
        assert set(re.findall(r"(\d+) bytes spill stores", log.getvalue())) == {"0"}  # of what they call, too
        way = " ".join(f"{key}={value}" for key, value in constants.items())
        used = ", ".join(f"{kernel} {registers}" for kernel, registers in sorted(kernels.items()))
        record_property("registers", f"{architecture} {source!r} {number}{way and f' {way}'}: {used}")
