"""`minidl doctor`: every state of the machine it can meet, made up, has its words and its remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minidl import doctor
from minidl import extras as minidl_extras
from minidl.cli import main
from minidl.doctor import Finding, examine, report
from minidl.extras import install as command_for


def openblas(core: str, threads: int = 2) -> list[dict]:
    return [{"internal_api": "openblas", "version": "0.3.31", "architecture": core, "num_threads": threads}]


def test_this_machine_has_what_minidl_needs(capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for check in doctor.CHECKS:
        assert f" {check.__name__} " in text
    assert "BAD" not in text


def test_json(capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {check.__name__ for check in doctor.CHECKS}
    assert set(found["blas"]) == {"state", "text", "remedy"}


@pytest.mark.parametrize(
    ("core", "cpu", "pinned", "state", "remedy"),
    [
        ("SkylakeX", 3, None, "ok", ""),
        ("Haswell", 3, "Haswell", "warn", "unset OPENBLAS_CORETYPE (now 'Haswell')"),
        ("Zen", 3, None, "warn", "pip install --upgrade numpy, for a newer OpenBLAS"),
        ("Haswell", 2, "Haswell", "ok", ""),
        ("Nehalem", 2, "Nehalem", "warn", "unset OPENBLAS_CORETYPE (now 'Nehalem')"),
        ("neoversen1", 0, None, "ok", ""),
    ],
)
def test_a_core_type_below_the_cpu(
    core: str, cpu: int, pinned: str | None, state: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_blas_libraries", lambda: openblas(core))
    monkeypatch.setattr(doctor, "_cpu_rank", lambda: cpu)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if pinned:
        monkeypatch.setenv("OPENBLAS_CORETYPE", pinned)
    found = doctor.blas()
    assert (found.state, found.remedy) == (state, remedy)
    assert core in found.text


@pytest.mark.parametrize(
    ("threads", "variable", "state", "remedy"),
    [
        (4, None, "ok", ""),
        (1, "1", "warn", "unset OMP_NUM_THREADS"),
        (2, None, "warn", "export OPENBLAS_NUM_THREADS=4"),
        (8, None, "warn", "export OPENBLAS_NUM_THREADS=4"),
    ],
)
def test_threads_and_cores(
    threads: int, variable: str | None, state: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_blas_libraries", lambda: openblas("SkylakeX", threads))
    monkeypatch.setattr(doctor, "available_cores", lambda: 4)
    for name in doctor.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    found = doctor.threads()
    assert (found.state, found.remedy) == (state, remedy)


def test_a_container_with_a_quota_has_fewer_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_read", lambda path: "150000 100000" if path.endswith("cpu.max") else "")
    assert doctor.available_cores() in (1, 2)


@pytest.mark.parametrize(
    ("limit", "used", "total", "free"), [("max", "0", 8192, 4096), ("2097152", "1048576", 2048, 1024)]
)  # kB, or bytes
def test_memory_of_a_machine_and_of_a_container(
    limit: str, used: str, total: int, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"meminfo": "MemTotal: 8192 kB\nMemAvailable: 4096 kB\n", "memory.max": limit, "memory.current": used}
    monkeypatch.setattr(doctor, "_read", lambda path: files[path.rpartition("/")[2]])
    assert doctor._memory() == (total * 1024, free * 1024)
    assert doctor.memory().state == "warn"


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    extras, install = doctor.extras(), doctor.install()
    assert extras == Finding(
        "warn",
        "matplotlib MISSING, Pillow MISSING, tqdm MISSING",
        f"{command_for('train')}  (plots, images, progress bar)",
    )
    assert install.state == "BAD"


def test_the_command_that_installs_is_right_for_a_clone_and_for_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minidl_extras, "__file__", str(tmp_path / "site-packages/minidl/extras.py"))
    assert (command_for("train"), command_for()) == ("pip install 'minidl[train]'", "pip install 'minidl'")
    monkeypatch.setattr(minidl_extras, "__file__", str(tmp_path / "minidl/extras.py"))
    (tmp_path / "pyproject.toml").write_text("")
    assert command_for("cuda13") == f"pip install -e '{tmp_path}[cuda13]'"


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def data() -> Finding:
        raise OSError("the disk is gone")

    monkeypatch.setattr(doctor, "CHECKS", (data,))
    assert examine() == {"data": Finding("BAD", "OSError: the disk is gone")}
    assert main(["doctor"]) == 1
    assert "minidl cannot work until what is BAD is mended." in capsys.readouterr().out


def test_the_report_puts_the_remedy_under_its_line() -> None:
    text = report({"gpu": Finding("note", "none"), "blas": Finding("warn", "slow", "unset it")})
    assert text.splitlines() == [
        "note  gpu      none",
        "warn  blas     slow",
        "               -> unset it",
        "",
        "minidl works; what has a -> can be improved.",
    ]
