"""`python -m benchmarks.signals`: sizes in a first step, by hand on a short net; what is past float32 is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import signals


def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, 3, 16, 16), dtype=np.float32), rng.integers(10, size=4)


def test_a_branch_that_begins_small_keeps_gradients_small() -> None:
    usual, small = (signals.measured("alpha", 38, start, *images()) for start in signals.STARTS)
    assert len(usual["maps"]) == len(usual["gradients"]) == 18  # blocks
    assert usual["norm"] > 20 * small["norm"]
    assert usual["gradients"][0] / usual["gradients"][-1] > 20 * small["gradients"][0] / small["gradients"][-1]


def test_plain_nets_lose_their_gradients_where_there_are_many_layers() -> None:
    shallow, deep = (signals.measured("plain", depth, "1", *images()) for depth in (8, 62))
    assert deep["gradients"][0] / deep["gradients"][-1] > 1000 * shallow["gradients"][0] / shallow["gradients"][-1]


def test_what_is_no_number_is_said_and_is_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "structure": "plain",
        "depth": 8,
        "start": "1",
        "loss": 2.3,
        "maps": [1.0, 1.0],
        "gradients": [None, 2.0],
        "norm": None,
    }
    monkeypatch.setattr(signals, "rows", lambda: iter([row]))
    assert signals.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("overflow") == 2
    text = (tmp_path / "signals.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["rows"] == [row]
    assert (tmp_path / "signals.png").read_bytes().startswith(b"\x89PNG")
    assert signals.root_mean_square(np.array([1.0, np.inf])) is None
    assert signals.root_mean_square(np.array([3e30, 3e30], np.float32)) == pytest.approx(3e30, rel=1e-6)
