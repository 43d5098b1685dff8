"""`python -m benchmarks.depth`: a cost that grows with the depth passes, one that grows faster is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import depth

DEPTHS = (128, 256, 512, 1024)


def test_what_is_proportional_fits() -> None:
    found = depth.fit(DEPTHS, [0.002 * d for d in DEPTHS])
    assert found.worst < 1e-12
    assert found.slope == pytest.approx(found.proportional) == pytest.approx(0.002)
    assert found.offset == pytest.approx(0, abs=1e-12)


def test_an_offset_or_a_square_does_not() -> None:
    assert depth.fit(DEPTHS, [1 + 0.01 * d for d in DEPTHS]).worst > depth.WITHIN
    square = depth.fit(DEPTHS, [0.01 * d + 1e-5 * d**2 for d in DEPTHS])
    assert square.worst > depth.WITHIN
    assert square.off == sorted(square.off)


def test_nets_of_two_depths_are_measured_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--depths", "8,14", "--batch", "1", "--rounds", "1", "--threads", "1", "--out", str(tmp_path)]
    code = depth.main(words)
    out = capsys.readouterr().out
    record = json.loads((tmp_path / "depth.json").read_text(encoding="utf-8"))
    assert [row["depth"] for row in record["rows"]] == [8, 14]
    assert all(row["seconds"] > 0 for row in record["rows"])
    shallow, deep = (row["bytes"] for row in record["rows"])
    assert 1e5 < shallow < deep  # each block keeps maps
    assert code == any(max(map(abs, part["off"])) > depth.WITHIN for part in record["fit"].values())
    assert out.count("proportional, within") == 2
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")
