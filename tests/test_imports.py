"""Arrows go one way: who may import whom, read from the source with ast."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "minidl"

# room -> the rooms it may import; a name stands for minidl/<name>.py or the package minidl/<name>/
ARROWS = {
    "backend": {"extras", "gpu"},
    "gpu": {"extras"},
    "signature": set(),
    "modes": {"jit", "random"},
    "jit": {"extras"},
    "draw": set(),
    "derivative": set(),
    "methods": {"tensor"},  # for type checkers only
    "locks": {"backend"},
    "random": {"backend"},
    "workers": {"modes"},
    "lockstep": set(),
    "slices": {"backend", "lockstep", "modes", "signature", "workers", "op"},  # op: for type checkers only
    "executor": {"backend", "lockstep", "modes", "signature", "slices", "op"},  # op: for type checkers only
    "tape": {"backend", "locks", "modes", "signature", "op", "tensor"},  # op, tensor: for type checkers only
    "tensor": {"backend", "executor", "locks", "methods", "modes", "signature", "tape", "op"},  # op: for type checkers only
    "recompute": {"backend", "modes", "random", "tape", "tensor"},
    "window": {"backend", "signature"},
    "arguments": {"backend", "random", "signature", "tensor", "op"},  # op: for type checkers only
    "receptive_field": {"signature"},
    "cuda": {"backend", "cuda"},
    "choice": {"cuda", "modes", "signature", "op"},  # op: for type checkers only
    "kernel": {"backend", "cuda", "jit", "modes", "signature", "op"},  # op: for type checkers only
    "op": {"arguments", "backend", "choice", "cuda", "draw", "executor", "kernel", "modes"}
    | {"random", "receptive_field", "signature", "tensor"},
    "ops": {
        "backend",
        "cuda",
        "draw",
        "jit",
        "lockstep",
        "modes",
        "workers",
        "op",
        "random",
        "receptive_field",
        "signature",
        "tensor",
        "window",
        "ops",
    },
    "gradcheck": {"backend", "derivative", "modes", "random", "signature", "tensor"},
    "verdicts": {"backend", "signature"},
    "laws": {"backend", "derivative", "executor", "op", "signature", "verdicts"},
    "nn": {"backend", "modes", "nn", "op", "ops", "random", "signature", "tensor", "window"},
    "optim": {"backend", "cuda", "modes", "optim", "signature", "tensor", "workers"},
    "extras": set(),
    "allocator": set(),
    "data": {"backend", "data", "extras", "random", "tensor"},
    "plots": {"extras"},
    "recipe": {"data", "modes", "optim", "tensor"},
    "modelfile": {"modes", "nn"},
    "evaluation": {"backend", "data", "modelfile", "modes", "nn", "ops", "random", "tensor"},
    "state": {"nn", "optim", "signature"},
    "capture": {"backend", "cuda", "gpu", "modes", "random", "tensor"},
    "step": {"backend", "capture", "evaluation", "nn", "optim", "recipe", "tensor"},
    "train": {"backend", "data", "evaluation", "modes", "nn", "optim", "random", "recipe", "state", "step", "tensor"},
    "runs": {"data", "modelfile", "nn", "state"},
    "progress": {"train"},
    "naming": {"nn"},
    "memory": {"backend", "evaluation", "modelfile", "modes", "naming", "op"}
    | {"optim", "random", "recipe", "signature", "tape", "tensor"},
    "summary": {"evaluation", "memory", "modelfile", "modes", "naming", "nn", "op", "receptive_field", "tensor"},
    "full": {"backend", "gpu", "memory", "modelfile", "modes", "op", "recipe"},
    "finding": set(),
    "gpu_doctor": {"backend", "extras", "finding", "gpu"},
    "doctor": {"data", "extras", "finding", "gpu_doctor", "jit"},
    "cli": {"modelfile"},
    "grader": {"backend", "derivative", "draw", "executor", "grader", "laws", "op", "signature", "verdicts"},
    "check": {"grader", "laws", "op"},
}


def imported_rooms(path: Path) -> set[str]:
    """Rooms of minidl that a file imports, also inside functions."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("minidl.")}
    return rooms


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = sorted((PACKAGE / room).rglob("*.py")) if (PACKAGE / room).is_dir() else [PACKAGE / f"{room}.py"]
    for path in files:
        foreign = imported_rooms(path) - ARROWS[room]
        assert not foreign, f"{path.relative_to(ROOT)} may not import minidl.{', minidl.'.join(sorted(foreign))}"


def test_the_package_imports_no_course_material() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            outside = {name.split(".")[0] for name in names} & {"models", "tests", "benchmarks", "hypothesis", "pytest"}
            assert not outside, f"{path.relative_to(ROOT)} imports {outside}"


def test_only_the_backend_imports_cupy() -> None:
    importing = {p.name for p in PACKAGE.rglob("*.py") if "import cupy" in p.read_text(encoding="utf-8")}
    assert importing == {"backend.py"}


def test_models_use_only_public_names() -> None:
    for path in (ROOT / "models").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module in {"__future__", "minidl", "minidl.nn", "collections.abc", "typing"}, (
                    f"{path.name}: {node.module}"
                )


def test_import_needs_no_optional_package() -> None:
    heavy = "matplotlib PIL tqdm cupy torch autograd hypothesis pytest safetensors threadpoolctl".split()
    code = f"import sys, minidl; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
