"""What `import minidl` offers: every op, every file, and a reading order that exists."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import minidl
from minidl import ops
from minidl.op import OPS


def test_every_op_is_public_and_documented() -> None:
    for name, op in OPS.items():
        assert getattr(minidl, name) is op, name
        assert op.__doc__, name
        assert len(op.__doc__.split()) > 4, name
        assert op.workloads, f"{name} names no workload"


def test_every_file_of_ops_is_imported_by_the_front_door() -> None:
    code = "import sys, minidl; print([m for m in sys.modules if m.startswith('minidl.ops.')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for module in pkgutil.iter_modules(ops.__path__):
        assert f"minidl.ops.{module.name}" in loaded, module.name


def test_the_reading_order_names_files_that_exist() -> None:
    named = re.findall(r"[\w/]+\.py|\b(?:nn|optim|data)/", minidl.__doc__)
    assert len(named) >= 15
    for path in named:
        assert (Path(minidl.__file__).parent / path).exists(), path


def test_all_is_true_and_complete() -> None:
    assert len(set(minidl.__all__)) == len(minidl.__all__)
    assert set(OPS) <= set(minidl.__all__)
    for name in minidl.__all__:
        assert hasattr(minidl, name), name
