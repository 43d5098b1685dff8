"""The documents are true: their Python runs, their commands exist, their links lead somewhere, their examples hold."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

import minidl
from minidl import cli

ROOT = Path(__file__).parent.parent
PAGES = sorted(page for folder in ("*.md", "docs/**/*.md", "models/*.md", "benchmarks/*.md") for page in ROOT.glob(folder))
MAIN = "minidl.__main__"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def blocks(language: str) -> list:
    return [
        pytest.param(body, id=f"{page.relative_to(ROOT)}-{i}")
        for page in PAGES
        for i, (kind, body) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
        if kind == language
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "a block of the documents", "exec"), {"__name__": "block"})


@pytest.mark.parametrize("commands", blocks(""))
def test_commands_of_the_documents_are_understood(commands: str) -> None:
    """Every `minidl ...` line is parsed by the real command line; options that do not exist fail."""
    for line in commands.splitlines():
        for part in line.split("&&"):
            words = shlex.split(part.replace("$ ", "", 1), comments=True)
            if words and Path(words[0]).name == "minidl":
                cli.build_parser(words[1:]).parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("name", sorted(m.name for m in pkgutil.walk_packages(minidl.__path__, "minidl.") if m.name != MAIN))
def test_docstring_examples_print_what_they_say(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_readme_has_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert "minidl train" in commands[0]
    assert "pytest" in commands[1]
