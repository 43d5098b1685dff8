"""The executor: a batch in slices, on threads, is the batch computed whole."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress

import numpy as np
import pytest

import minidl
from minidl import Tensor, executor, nn
from minidl.commands.speed import at_speed
from minidl.draw import Random
from minidl.executor import Slices
from minidl.laws import LAWS, Undecided
from minidl.lockstep import in_step
from minidl.modes import modes
from minidl.op import OPS, Kernel, Op, Problem, separate_registry
from minidl.ops import gemm
from minidl.slices import LEAST, cut_for
from minidl.workers import blas_libraries

KERNELS = [kernel for op in OPS.values() for kernel in op.kernels.values()]
SLICED = [kernel for kernel in KERNELS if kernel.sliced and (kernel.op.batched or kernel.in_step)]


def problems(kernel: Kernel, most: int, seeds: int = 60) -> list[Problem]:
    """Problems of an op's own family that the executor would cut, one image a slice."""
    found = []
    for seed in range(seeds):
        problem = kernel.op.ask(Random(seed))
        shapes = tuple(None if x is None else x.shape for x in problem.inputs)
        if not kernel.why_not(shapes, problem.attrs):
            with minidl.threads(2, images=1):
                if cut_for(kernel, problem.inputs, problem.attrs):
                    found.append(problem)
        if len(found) == most:
            break
    return found


def both_ways(kernel: Kernel, problem: Problem, dy: np.ndarray | None = None) -> tuple:
    """y with its aux, saved and the gradients, with an upstream gradient drawn where none is given."""
    y, saved, aux = executor.forward(kernel, *problem)
    dy = np.random.default_rng(7).standard_normal(y.shape).astype(y.dtype) if dy is None else dy
    needs = tuple(x is not None and x.dtype.kind == "f" for x in problem.inputs)
    return (y, *aux), saved, executor.backward(kernel, dy, saved, needs, problem.attrs) if y.dtype.kind == "f" else ()


@pytest.mark.parametrize("kernel", SLICED, ids=str)
@pytest.mark.parametrize(("threads", "images"), [(1, 1), (2, 1), (3, 2)])
def test_slices_give_what_the_whole_batch_gives(kernel: Kernel, threads: int, images: int) -> None:
    found = problems(kernel, 6)
    assert found, "no problem of this op would be cut"
    for problem in found:
        outs, _, grads = both_ways(kernel, problem)
        with minidl.threads(threads, images=images):
            outs_too, _, grads_too = both_ways(kernel, problem)
        for y, y_too in zip(outs, outs_too, strict=True):
            np.testing.assert_allclose(y_too, y, rtol=1e-12, atol=1e-12)
        for dx, dx_too in zip(grads, grads_too, strict=True):
            assert (dx is None) == (dx_too is None)
            if dx is not None:
                np.testing.assert_allclose(dx_too, dx, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kernel", SLICED, ids=str)
def test_laws_hold_in_slices(kernel: Kernel) -> None:
    with minidl.threads(2, images=1):
        for problem in problems(kernel, 3):
            for law in LAWS:
                with suppress(Undecided):
                    law(kernel, problem, np.random.default_rng(3))


def alexnet_like(seed: int) -> tuple[list[np.ndarray], float]:
    """Two steps of a small net with the ops that matter; the parameters and the last loss."""
    minidl.manual_seed(seed)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.LocalResponseNorm(5, alpha=0.5), nn.MaxPool2d(2)),
        *(
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 6, 3, padding=1, groups=2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(384, 10),
        ),
    )
    sgd = minidl.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    rng = np.random.default_rng(seed)
    images, labels = Tensor(rng.standard_normal((11, 3, 16, 16), dtype=np.float32)), rng.integers(10, size=11)
    for _ in range(2):
        sgd.zero_grad()
        loss = minidl.softmax_cross_entropy(net(images), labels)
        loss.backward()
        sgd.step()
    return [p.numpy().copy() for p in net.parameters()], float(loss.item())


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_one_number_of_threads_gives_the_same_bits(threads: int) -> None:
    with minidl.threads(threads, images=1):
        first, second = alexnet_like(0), alexnet_like(0)
    assert first[1] == second[1]
    for a, b in zip(first[0], second[0], strict=True):
        assert np.array_equal(a, b)


def test_another_number_differs_by_rounding_only() -> None:
    whole, loss = alexnet_like(0)
    for threads in (1, 2, 3):
        with minidl.threads(threads, images=2):
            sliced, loss_too = alexnet_like(0)
        assert loss_too == pytest.approx(loss, rel=1e-5)
        for a, b in zip(whole, sliced, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)


def test_by_itself_a_batch_is_whole() -> None:
    x = np.ones((64, LEAST), np.float32)
    assert cut_for(minidl.relu.chosen(), (x,), {}) is None
    with minidl.threads(2):
        cut = cut_for(minidl.relu.chosen(), (x,), {})
        assert len(cut.parts) % 2 == 0
        assert [part.start for part in cut.parts[1:]] == [part.stop for part in cut.parts[:-1]]
        assert (cut.parts[0].start, cut.parts[-1].stop) == (0, 64)
        with minidl.threads(None):
            assert cut_for(minidl.relu.chosen(), (x,), {}) is None


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        (np.ones((64, 8), np.float32), "small"),
        (np.ones((64, LEAST), np.float16), "half types round each slice's sum"),
        (np.ones((), np.float32), "no batch"),
    ],
)
def test_what_stays_whole(inputs: np.ndarray, why: str) -> None:
    with minidl.threads(2):
        assert cut_for(minidl.relu.chosen(), (inputs,), {}) is None, why


def test_what_looks_across_the_batch_stays_whole() -> None:
    x, w = np.ones((8, 4, 64, 64), np.float32), np.ones(4, np.float32)
    with minidl.threads(2, images=1):
        assert cut_for(minidl.batch_norm.kernels["two_pass"], (x, w, w), minidl.batch_norm.attrs) is None
        assert cut_for(minidl.linear.chosen(), (x.reshape(8, -1), x.reshape(2, -1), None), {}) is None


def test_y_has_the_layout_that_the_kernel_gives() -> None:
    x = np.asarray(np.random.default_rng(0).standard_normal((6, 8, 8, 4)).transpose(0, 3, 1, 2))
    with minidl.threads(2, images=2):
        y, saved, _ = executor.forward(minidl.relu.chosen(), (x,), {})
    assert isinstance(saved, Slices)
    assert len(saved) == 3
    assert y.strides == x.strides


def test_nothing_is_held_twice() -> None:
    """A kernel that saves its y: what is saved are views of the whole y."""
    x = np.random.default_rng(0).standard_normal((6, 40))
    with minidl.threads(2, images=2):
        y, saved, _ = executor.forward(minidl.sigmoid.chosen(), (x,), {})
    arrays = [a for part in saved for a in part]
    assert arrays
    assert all(np.shares_memory(a, y) or np.shares_memory(a, x) for a in arrays)


def test_a_dy_that_is_passed_on_is_not_copied_and_not_changed() -> None:
    a, b = np.ones((6, 4)), np.ones((6, 4))
    dy = np.random.default_rng(1).standard_normal((6, 4))
    before = dy.copy()
    with minidl.threads(2, images=2):
        _, _, (da, db) = both_ways(minidl.add.chosen(), Problem((a, b), {}), dy)
    assert np.shares_memory(da, dy)
    assert np.array_equal(da, before)
    assert np.array_equal(db, before)
    assert np.array_equal(dy, before)


def test_a_shared_inputs_gradient_never_writes_into_dy() -> None:
    a, b = np.ones((6, 4)), np.ones(4)  # b's gradient is a sum; a kernel may give a slice of dy for it
    dy = np.random.default_rng(1).standard_normal((6, 4))
    before = dy.copy()
    with minidl.threads(2, images=1):
        _, _, (_, db) = both_ways(minidl.add.chosen(), Problem((a, b), {}), dy)
    assert np.array_equal(dy, before)
    np.testing.assert_allclose(db, before.sum(0))


# ---- wrong kernels -----------------------------------------------------------------------------------------------------


def an_op(forward: object, backward: object, **traits: object) -> Kernel:
    with separate_registry():
        op = Op(
            "mine", "x[N,C] w[C] -> y[N,C]", lambda x, w: x * w, lambda d: Problem((d.array(3, 2), d.array(2)), {}), doc="x w"
        )
        op.kernel("plain", forward, backward, **traits)
    return op.kernels["plain"]


def scale(x: np.ndarray, w: np.ndarray) -> tuple:
    return x * w, (x, w)


def scale_back(dy: np.ndarray, saved: tuple, needs: tuple) -> tuple:
    x, w = saved
    return dy * w, (dy * x).sum(0)


PROBLEM = Problem((np.random.default_rng(0).standard_normal((5, 3)), np.random.default_rng(1).standard_normal(3)), {})


def test_one_array_as_two_gradients_is_added_up_once_for_each() -> None:
    """A student's backward may return the same sum for two shared inputs."""
    with separate_registry():
        op = Op("twice", "x[N,C] b[C] c[C] -> y[N,C]", lambda x, b, c: x + b + c, lambda d: Problem((), {}), doc="x + b + c")

        def backward(dy: np.ndarray, saved: tuple, needs: tuple) -> tuple:
            total = dy.sum(axis=0)
            return dy, total, total

        kernel = op.kernel("plain", lambda x, b, c: (x + b + c, ()), backward)
    dy = np.random.default_rng(0).standard_normal((12, 3))
    problem = Problem((np.zeros((12, 3)), np.zeros(3), np.zeros(3)), {})
    with minidl.threads(2, images=1):
        _, _, (_, db, dc) = both_ways(kernel, problem, dy)
    np.testing.assert_allclose(db, dy.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(dc, dy.sum(axis=0), rtol=1e-12)


def test_an_error_in_a_thread_is_the_callers() -> None:
    def fails(x: np.ndarray, w: np.ndarray) -> tuple:
        if x[0, 0] == PROBLEM.inputs[0][bad, 0]:
            raise FloatingPointError(f"in slice {bad}")
        return scale(x, w)

    for bad in range(5):
        with minidl.threads(2, images=1), pytest.raises(FloatingPointError, match=f"in slice {bad}"):
            executor.forward(an_op(fails, scale_back), *PROBLEM)


def test_a_slice_of_the_wrong_shape_is_named() -> None:
    wrong = an_op(lambda x, w: (x * w if len(x) == 1 else (x * w)[:1], (x, w)), scale_back)
    with minidl.threads(2, images=2), pytest.raises(ValueError, match=r"mine\[plain\].forward: a slice of . images gave"):
        executor.forward(wrong, *PROBLEM)


def test_too_few_gradients_are_named() -> None:
    kernel = an_op(scale, lambda dy, saved, needs: (dy,))
    with minidl.threads(2, images=2):
        y, saved, _ = executor.forward(kernel, *PROBLEM)
        with pytest.raises(ValueError, match="expected a tuple of 2 gradients, one per input"):
            executor.backward(kernel, y, saved, (True, True), {})


@in_step
def centred(x: np.ndarray, w: np.ndarray) -> Generator:
    count, total = yield len(x), x.sum(0)
    return (x - total / count) * w, (w,)


@in_step
def centred_back(dy: np.ndarray, saved: tuple, needs: tuple) -> Generator:
    count, total = yield len(dy), dy.sum(0)
    return (dy - total / count) * saved[0], None


def test_slices_in_step_share_their_sums() -> None:
    kernel, (x, w) = an_op(centred, centred_back), PROBLEM.inputs
    for threads, images in ((1, 1), (2, 2), (3, 1), (2, None)):
        with minidl.threads(threads, images=images):
            (y,), _, (dx, _) = both_ways(kernel, PROBLEM)
        np.testing.assert_allclose(y, (x - x.mean(0)) * w, atol=1e-12)
        np.testing.assert_allclose(dx.sum(0), 0, atol=1e-12)


def test_slices_that_are_out_of_step_are_named() -> None:
    @in_step
    def hurried(x: np.ndarray, w: np.ndarray) -> Generator:
        if x[0, 0] == PROBLEM.inputs[0][0, 0]:
            yield (1,)
        return x * w, (x, w)

    with minidl.threads(2, images=1), pytest.raises(ValueError, match=r"mine\[plain\].forward: some slices of the batch wait"):
        executor.forward(an_op(hurried, scale_back), *PROBLEM)


# ---- what all slices share ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [None, 1, 2])
def test_a_prepared_input_is_transformed_once_and_its_gradient_comes_back(images: int | None) -> None:
    calls = []

    def twice(w: np.ndarray) -> np.ndarray:
        calls.append("transform")
        return 2 * w

    def back(du: np.ndarray, shape: tuple) -> np.ndarray:
        calls.append("adjoint")
        assert shape == (3,)
        return 2 * du

    plain, prepared = an_op(scale, scale_back), an_op(scale, scale_back, prepare={"w": (twice, back)})
    (x, w), dy = PROBLEM.inputs, np.random.default_rng(2).standard_normal((5, 3))
    _, _, (dx, dw) = both_ways(plain, Problem((x, 2 * w), {}), dy)
    with minidl.threads(2 if images else None, images=images):
        (y,), _, (dx_too, dw_too) = both_ways(prepared, PROBLEM, dy)
    assert calls == ["transform", "adjoint"]
    np.testing.assert_allclose(y, 2 * x * w)
    np.testing.assert_allclose(dx_too, dx)
    np.testing.assert_allclose(dw_too, 2 * dw)


def test_only_what_slices_share_can_be_prepared() -> None:
    with pytest.raises(ValueError, match=r"mine\[plain\]: prepare names x; what all slices share is w"):
        an_op(scale, scale_back, prepare={"x": (scale, scale)})


@pytest.mark.parametrize(
    ("count", "images"), [(0, None), (-1, None), (2.0, None), (True, None), (10**6, None), (2, 0), (2, "1")]
)
def test_threads_refuses_what_is_no_number_of_threads(count: object, images: object) -> None:
    with pytest.raises(ValueError, match=r"threads: (count|images) must be a whole number"):
        minidl.threads(count, images=images)


# ---- products and memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("M", "K", "N"), [(300, 64, 900), (900, 64, 300), (2000, 3000, 1), (1, 5000, 1000), (3, 2, 4)])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_a_product_in_pieces_is_the_product(M: int, K: int, N: int, threads: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((M, K)), rng.standard_normal((N, K)).T  # one as it lies, one transposed
    with minidl.threads(threads):
        y = gemm.product(a, b)
        half = gemm.gemm(a.astype(np.float16), b.astype(np.float16))
    np.testing.assert_allclose(y, a @ b, rtol=1e-12, atol=1e-10)
    assert (y.dtype, half.dtype) == (np.float64, np.float16)


def test_large_products_are_shared_and_small_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    monkeypatch.setattr(gemm, "share", lambda work, count: counts.append(count) or [work(i) for i in range(count)])
    large, small = np.ones((512, 512)), np.ones((8, 8))
    with minidl.threads(3):
        gemm.product(large, large)
        gemm.product(small, small)
    gemm.product(large, large)  # BLAS as it likes
    assert counts == [3]


MEMORY = """
import resource
import numpy as np
import minidl

def faults(kept):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2_000_000, np.float32)  # 8 MB: some 2,000 pages, fewer if they are huge
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh = faults(False)
kept = minidl.keep_memory()
faults(True)  # the first one still has to be had
print(kept, fresh > 10 * (faults(True) + 1))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keep_memory is for glibc")
def test_memory_that_is_kept_costs_no_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_commands_compute_on_threads_and_leave_blas_one() -> None:
    libraries = blas_libraries()
    before = [library.get_num_threads() for library in libraries]
    with at_speed(3):
        assert modes().threads == 3
        assert all(library.get_num_threads() == 1 for library in libraries)
    with at_speed(1, small=True):
        assert modes().threads is None
    assert [library.get_num_threads() for library in libraries] == before
