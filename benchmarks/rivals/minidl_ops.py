"""minidl's kernels, one workload at a time: law-checked, then timed phase by phase."""

from __future__ import annotations

import runpy
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

import minidl
from benchmarks import clock, report
from benchmarks.gpu import stopwatch
from benchmarks.workloads import FORWARD, Work, phases_of, problem_of, refusal, small_problems, work_of
from minidl import executor
from minidl.backend import Array, full_like, is_array, synchronise, to_device, to_numpy
from minidl.commands.speed import at_speed
from minidl.laws import LAWS, Broken, Undecided, array_library_does_not_matter
from minidl.op import OPS, Kernel, Op, Problem
from minidl.ops.gemm import product
from minidl.signature import Shape


class Case:
    """A kernel on a problem: forward was run once, so that backward has what it needs. dy lies in memory as y does, as it would
    come from the next layer: normal numbers, or what dy(shape) has on the device."""

    def __init__(self, kernel: Kernel, problem: Problem, dy: Callable[[Shape], Array] | None = None):
        self.kernel, self.problem = kernel, problem
        self.forward()
        self.dy = full_like(self.y, self.y.shape)
        self.dy[...] = self._normal() if dy is None else dy(self.y.shape)

    def forward(self) -> None:
        """Keeps y and saved, as the tape would."""
        self.y, self.saved, _ = executor.forward(self.kernel, *self.problem)

    def backward(self, needs: tuple[bool, ...]) -> tuple:
        """The gradients asked for."""
        return executor.backward(self.kernel, self.dy, self.saved, needs, self.problem.attrs)

    def run(self, needs: tuple[bool, ...]) -> object:
        """One call of a phase."""
        return self.backward(needs) if needs else self.forward()

    def _normal(self) -> Array:
        drawn = np.random.default_rng(1).standard_normal(self.y.shape).astype(self.y.dtype)
        return to_device(np.asarray(drawn), problem_device(self.problem))


class MinidlOps:
    """All kernels of minidl, and those that the file `plugin` registers.

    layout  'channels-last': maps lie in memory as they do within a net, where a kernel's y is the next one's x; or 'contiguous'
    """

    def __init__(
        self,
        threads: int,
        device: str = "cpu",
        plugin: str | None = None,
        layout: str = "channels-last",
        precision: str = "float32",
    ):
        self.modes, self.device, self.layout, self.precision = ExitStack(), device, layout, precision
        self.modes.enter_context(at_speed(threads))
        self.modes.enter_context(minidl.precision(precision))
        if plugin:
            runpy.run_path(plugin)
        self.cases: dict[str, Case] = {}
        self.kernels: dict[str, Kernel] = {}

    def about(self) -> dict[str, Any]:
        """The machine and the versions."""
        return report.machine(self.device)

    def ceilings(self, n: int = 2048, megabytes: int = 128) -> dict[str, float]:
        """The best of seven: GFLOP/s of a float32 matrix product, GB/s of a copy (read and written)."""
        a = self._there(np.random.default_rng(0).standard_normal((n, n), dtype=np.float32))
        b = self._there(np.ones(megabytes * 250_000, np.float32))
        seconds = min(clock.seconds(lambda: product(a, a), 1, self.wait) for _ in range(7))
        copying = self._copy(b)
        copy = min(clock.seconds(copying, 2, self.wait) for _ in range(7))
        return {"gflops": 2e-9 * n**3 / seconds, "gbs": 2e-9 * b.nbytes / copy}

    def kernels_of(self, op: str) -> list[str]:
        """The names of an op's kernels that compute on this device."""
        on_gpu = self.device != "cpu"
        return [name for name, k in OPS[op].kernels.items() if on_gpu or not k.source]

    def check(self, op: str, kernel: str, workload: str) -> dict[str, Any]:
        """The laws, on the CPU: which problems were tried, and the law that is broken or None. A CUDA kernel has no CPU, and is
        held to the op's plain one. In float32 and float64, whatever the precision that is timed."""
        subject = OPS[op].kernels[kernel]
        kind, problems = small_problems(subject, workload)
        found = {"tried": kind if problems else "none", "compiled": bool(subject.compiles)}
        for law in [array_library_does_not_matter] if subject.source else LAWS:
            for i, problem in enumerate(problems):
                try:
                    with minidl.precision("float32"):
                        law(subject, problem, np.random.default_rng(i))
                except Broken as broken:
                    return {**found, "broken": f"breaks the law {law.__name__}: {broken}"}
                except Undecided:
                    pass
        return {**found, "broken": None if problems else "cannot be checked: it refuses every small problem that the laws try"}

    def load(self, op: str, workload: str, batch: int | None) -> dict[str, Any]:
        """Draw the workload's problem, forget the last; tell its phases and their least work."""
        problem = problem_of(OPS[op], workload, batch)
        return self.take(OPS[op], workload, problem, tuple(self._there(x) for x in problem.inputs))

    def take(self, op: Op, workload: str, problem: Problem, there: tuple[Array | None, ...]) -> dict[str, Any]:
        """The same of a problem whose inputs are `there`, on the device."""
        self.cases, self.op, self.workload = {}, op, workload
        self.phases = phases_of(self.op, problem)
        self.problem = Problem(self._laid(there), problem.attrs)
        shapes = [None if x is None else list(x.shape) for x in problem.inputs]
        work = {phase: work_of(self.op, problem, needs) for phase, needs in self.phases.items()}
        return {"shapes": shapes, "phases": {phase: Work(*w)._asdict() for phase, w in work.items()}} | self._choice(shapes)

    def prepare(self, kernel: str, limit: float) -> str | None:
        """Get a kernel ready; one line why not, where it refuses the problem or a call would take longer than `limit`, in s."""
        subject = self.op.kernels[kernel]
        if why := refusal(subject, self.problem):
            return f"cannot: {why}"
        if subject.precisions and self.precision not in subject.precisions:
            return f"cannot: it computes in {', '.join(subject.precisions)}, not in {self.precision}"
        if (forecast := self._forecast(subject, limit)) > limit:
            return f"left out: a forward pass would take about {forecast:.0f} s (--batch for fewer images, or --limit)"
        self.cases[kernel] = self.case(subject)
        return None

    def save(self, kernel: str, path: str) -> None:
        """y and all gradients into an npz file, for comparison."""
        np.savez(path, **{name: to_numpy(array) for name, array in self.results(kernel).items()})

    def results(self, kernel: str) -> dict[str, Array]:
        """y and all gradients by name."""
        if kernel not in self.cases:
            self.cases[kernel] = self.case(self.op.kernels[kernel])
        case = self.cases[kernel]
        found = {"y": case.y}
        for phase, needs in self.phases.items():
            if phase != FORWARD:
                names = [o.name for o in self.op.signature.expand(len(needs))]
                for i, dx in enumerate(case.backward(needs)):
                    if needs[i]:
                        found[f"d{names[i]}{i}"] = dx
        return found

    def case(self, kernel: Kernel) -> Case:
        """The kernel on the problem that is loaded."""
        return Case(kernel, self.problem)

    def time(self, kernel: str, phase: str, repeats: int, slower: float = 0.0) -> float:
        """Seconds of a call."""
        case, needs = self.cases[kernel], self.phases[phase]
        return clock.seconds(lambda: case.run(needs), repeats, self.wait, slower)

    def device_times(self, kernel: str, phase: str, rounds: int) -> list[float]:
        """Seconds of a call on the device alone, round by round: what the host needs to launch it is left out."""
        case, needs = self.cases[kernel], self.phases[phase]
        return stopwatch.device_times(lambda: case.run(needs), rounds, self.device)

    def memory(self, kernel: str, phase: str) -> dict[str, int | None]:
        """Bytes that forward keeps for backward, inputs among them; and those that come and go within a call (on the CPU)."""
        case, needs = self.cases[kernel], self.phases[phase]
        saved = sum({id(a): a.nbytes for a in map(_owner, _arrays(case.saved))}.values())
        if self.device != "cpu":
            return {"saved": saved, "workspace": None}
        tracemalloc.start()
        kept = executor.forward(case.kernel, *self.problem) if not needs else case.backward(needs)
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del kept
        return {"saved": saved, "workspace": peak - now}

    def wait(self) -> None:
        """Until the device has done what it was told."""
        synchronise(self.device)

    def _choice(self, shapes: list) -> dict[str, Any]:
        """The kernel that others are compared with, the one that the op would choose, and the phases that it weighs: conv2d's
        has no gradient of a picture."""
        of, attrs, judge = tuple(shape and tuple(shape) for shape in shapes), self.problem.attrs, {"judge": self.op.default}
        if self.op.forecast is None:
            return {**judge, "choice": self.op.default, "weighed": list(self.phases)}
        kernel = self.op.choice(*of, **attrs).name
        expected = self.op.forecast(kernel, *of, **attrs) or ()
        return {**judge, "choice": kernel, "weighed": [p for p, ms in zip(self.phases, expected, strict=True) if ms]}

    def _laid(self, there: tuple) -> tuple[Array | None, ...]:
        """The inputs; maps of images as the layout says."""
        maps = [
            s and self.layout == "channels-last"
            for s in self.op.signature.sliced(tuple(x if x is None else x.shape for x in there))
        ]
        return tuple(
            channels_last_in_memory(x) if m and x is not None and x.ndim == 4 else x for x, m in zip(there, maps, strict=True)
        )

    def _there(self, x: np.ndarray | None) -> Array | None:
        return None if x is None else to_device(x, self.device)

    def _copy(self, b: Array) -> Any:
        """A copy of b, each thread its part."""
        if self.device != "cpu":
            return b.copy
        from concurrent.futures import ThreadPoolExecutor

        to, threads = np.empty_like(b), report.computing_threads()
        pool = self.modes.enter_context(ThreadPoolExecutor(threads))
        parts = list(zip(np.array_split(to, threads), np.array_split(b, threads), strict=True))
        return lambda: list(pool.map(lambda pair: np.copyto(*pair), parts))

    def _forecast(self, kernel: Kernel, limit: float) -> float:
        """Seconds of a forward pass, from two images and from four; by itself nothing, where there are few."""
        images, seconds = self.op.workloads[self.workload].get("N", 0), []
        if images <= 4:
            return 0.0
        for n in (2, 4):
            problem = problem_of(self.op, self.workload, n)
            few = Problem(tuple(self._there(x) for x in problem.inputs), problem.attrs)
            start = time.perf_counter()
            executor.forward(kernel, *few)
            self.wait()
            seconds.append(time.perf_counter() - start)
            if seconds[0] > limit:
                return seconds[0]
        count = next(len(x) for x in self.problem.inputs if x is not None)
        return seconds[0] + max(0.0, seconds[1] - seconds[0]) / 2 * (count - 2)


def problem_device(problem: Problem) -> str:
    """Where the problem's arrays live."""
    from minidl.backend import device_of

    return device_of(next(x for x in problem.inputs if x is not None))


def channels_last_in_memory(x: Array) -> Array:
    """[N, C, H, W], the same numbers; in memory [N, H, W, C]."""
    return x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)


def _arrays(saved: Any) -> list[Array]:
    if isinstance(saved, tuple | list):
        return [array for item in saved for array in _arrays(item)]
    return [saved] if is_array(saved) else []


def _owner(array: Array) -> Array:
    while isinstance(getattr(array, "base", None), type(array)):
        array = array.base
    return array
