"""Do the tests notice when something is wrong? In a copy one place is broken at a time: the tables are in tests/bites/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bites import ROOMS, Bug, bugs_of

ROOT = Path(__file__).parent.parent
HIDDEN = shutil.ignore_patterns(".*")  # what Python has compiled comes along: by its date it is used for all that is whole
BUGS = [bug for room in ROOMS for bug in bugs_of(room)]
BY_DAY = [bugs_of(room)[0] for room in ROOMS]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its tests, to be broken."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("minidl", "models", "benchmarks", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=HIDDEN)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def outcome(room: str, copy: Path) -> tuple[int, str]:
    """What pytest answers to the room's tests: 0, with a failure 1, more where it could not even begin; and what it says."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *ROOMS[room].TESTS]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr)[-2000:]


def param(bug: Bug) -> object:
    return pytest.param(bug, id=str(bug), marks=[] if bug in BY_DAY else pytest.mark.nightly)


@pytest.mark.parametrize("bug", [param(bug) for bug in BUGS])
def test_a_planted_bug_is_noticed(bug: Bug, copy: Path) -> None:
    path, text = copy / bug.file, (ROOT / bug.file).read_text(encoding="utf-8")
    path.write_text(bug.planted(text), encoding="utf-8")
    try:
        answer, said = outcome(bug.room, copy)
    finally:
        path.write_text(text, encoding="utf-8")
    assert answer == 1, said


@pytest.mark.nightly
@pytest.mark.parametrize("room", ROOMS)
def test_without_a_bug_there_is_nothing_to_notice(room: str, copy: Path) -> None:
    answer, said = outcome(room, copy)
    assert answer == 0, said


def test_every_planted_bug_has_its_place() -> None:
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in {bug.file for bug in BUGS}}
    for bug in BUGS:
        assert bug.planted(texts[bug.file]) != texts[bug.file]
