"""Shared by all tests: Hypothesis profiles, the strict stand-in, what is skipped and why, the counts printed at the end."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter

import emulation
import pytest
import strict_recording
import strict_xp
from captures import graphs, quick  # noqa: F401  (fixtures)
from hypothesis import HealthCheck, settings
from patches import Patch, all_patches

import minidl  # noqa: F401  (declares every op)
from minidl.backend import cuda_problem
from minidl.laws import LAWS
from minidl.op import OPS, Kernel

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of children begin in half the time where they find it
strict_xp.register()
emulation.register()

_COMMON = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much]}
settings.register_profile("dev", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=25, derandomize=True, database=None, **_COMMON)
settings.register_profile("nightly", max_examples=1000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture
def launching(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA sources run on the stand-in's arrays, so that what their Python does is seen too."""
    strict_recording.register(monkeypatch)


_skipped: Counter[str] = Counter()
_registers: list[str] = []  # of each CUDA kernel that was compiled


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and nightly tests that nobody asked for; each with its reason."""
    reasons = {}
    if importlib.util.find_spec("torch") is None:
        reasons["parity"] = "torch is not installed: pip install torch==2.13.0 (a CPU build)"
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.core") is None:
        reasons["nvrtc"] = "cuda-core is not installed: pip install -e '.[cuda-compile]'"
    if (problem := cuda_problem()) is not None:
        reasons["gpu"] = problem
    if "nightly" not in config.getoption("-m"):
        reasons["nightly"] = "long: run with pytest -m nightly"
    without_gpp = emulation.problem()
    for item in items:
        if without_gpp and any(map(_is_cuda, getattr(getattr(item, "callspec", None), "params", {}).values())):
            item.add_marker(pytest.mark.skip(reason=f"CUDA on the CPU: {without_gpp}"))
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"{marker}: {reason}"))


def _is_cuda(value: object) -> bool:
    """Is it a CUDA kernel, or a bug planted in one?"""
    if isinstance(value, Patch):
        value = OPS[value.op].kernels[value.kernel.partition("[")[2].rstrip("]")]
    return isinstance(value, Kernel) and value.source is not None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _registers.extend(str(value) for name, value in report.user_properties if name == "registers")
    if report.skipped and report.when == "setup":
        _skipped[str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from twins import all_twins

    say = terminalreporter.write_line
    kernels, twins = sum(len(op.kernels) for op in OPS.values()), all_twins()
    say(f"minidl: {len(OPS)} ops, {kernels} kernels, {len(LAWS)} laws, {len(all_patches())} planted bugs")
    sources = emulation.sources()
    unverified = sum(not source.verified for source in sources)
    say(f"minidl: {len(sources)} CUDA sources, {unverified} of them unverified: no GPU has run them as they stand")
    for line in sorted(_registers):
        say(f"minidl: registers on {line}; no spills")
    say(f"minidl: PyTorch twins for {', '.join(sorted(name for name, twin in twins.items() if callable(twin)))}")
    for name, twin in sorted(twins.items()):
        if not callable(twin):
            say(f"minidl: no PyTorch twin for {name}: {twin}")
    for reason, count in sorted(_skipped.items()):
        say(f"minidl: {count} tests NOT RUN: {reason.removeprefix('Skipped: ')}")
