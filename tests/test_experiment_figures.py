"""The experiments' statistics and tables, on made-up numbers with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from experiment_fakes import TINY, made_up, record_of

from benchmarks.experiments import claims, differences, plan, tell
from benchmarks.experiments.differences import Difference

# ---- statistics --------------------------------------------------------------------------------------------------------


def test_means_and_differences_by_hand() -> None:
    assert differences.mean([1.0, 2.0, 6.0]) == (3.0, pytest.approx(math.sqrt(7 / 3)), 3)
    assert math.isnan(differences.mean([4.0]).error)
    assert differences.paired({0: 5.0, 1: 7.0, 3: 1.0}, {1: 3.0, 0: 4.0, 2: 9.0}) == [1.0, 4.0]
    half = 4.303 * math.sqrt(7 / 3)
    assert differences.difference([[1.0, 2.0, 6.0]]) == (3.0, pytest.approx(3 - half), pytest.approx(3 + half), 3)
    # rows of 3 and 2: means 3 and 10, squares 14 and 8, so variances 7 / 3 and 4: freedom 40.1 / (2.7 + 16), and that is 2
    half = 4.303 * math.sqrt(7 / 3 + 4) / 2
    assert differences.difference([[1.0, 2.0, 6.0], [], [8.0, 12.0]]) == (
        6.5,
        pytest.approx(6.5 - half),
        pytest.approx(6.5 + half),
        5,
    )


def test_few_seeds_say_little() -> None:
    assert differences.difference([[], []]) is None
    assert differences.difference([[2.0], [4.0]]) == (3.0, -math.inf, math.inf, 2)
    agreed = differences.difference([[2.0, 2.0, 2.0]], least=0.3)
    assert agreed is not None
    assert agreed.high - 2.0 == pytest.approx(4.303 * 0.3 / math.sqrt(3))
    wide = differences.difference([[1.0, 2.0, 6.0]], least=0.3)
    assert wide == differences.difference([[1.0, 2.0, 6.0]])
    with pytest.raises(ValueError, match="one value or more"):
        differences.mean([])


def test_the_interval_holds_the_truth_in_95_of_100_draws() -> None:
    """Rows that lie apart, by far more than the seeds do, and spread unequally; with the freedom rounded down it is wider."""
    rng, trials = np.random.default_rng(0), 4000
    for spreads in ((1, 1, 1, 1), (0.3, 0.3, 0.3, 4), (0.3, 2.1, 3.8, 4.4)):
        held = 0
        for _ in range(trials):
            rows = [list(middle + s * rng.standard_normal(3)) for middle, s in zip((-40, 50, 0, 10), spreads, strict=True)]
            found = differences.difference(rows)
            assert found is not None
            held += found.low <= 5 <= found.high
        assert 0.94 <= held / trials <= 0.985, spreads


def test_students_t_goes_on_where_the_table_ends() -> None:
    assert differences.student(2) == 4.303
    assert [differences.student(n) for n in (31, 60, 120)] == pytest.approx([2.0395, 2.0003, 1.9799], abs=2e-4)
    with pytest.raises(ValueError, match="one degree of freedom"):
        differences.student(0)


@pytest.mark.parametrize(
    ("claimed", "low", "high", "words"),
    [
        (+2.0, +1.0, +3.0, "supported: sign and size"),
        (-2.0, -3.0, -1.0, "supported: sign and size"),
        (+9.0, +1.0, +3.0, "sign supported, size not: the claim is too large"),
        (+0.5, +1.0, +3.0, "sign supported, size not: the claim is too small"),
        (-9.0, -3.0, -1.0, "sign supported, size not: the claim is too large"),
        (+2.0, -3.0, -1.0, "contradicted: the sign is the other one"),
        (-0.2, +0.1, +3.0, "contradicted: the sign is the other one"),
        (+2.0, -1.0, +3.0, "undecided"),
        (+4.0, -1.0, +3.0, "not seen: 0 is within the interval, the claim is not"),
    ],
)
def test_verdicts(claimed: float, low: float, high: float, words: str) -> None:
    found = Difference((low + high) / 2, low, high, 12)
    assert differences.verdict(claimed, found) == words
    sure, unsure, against = Difference(1.0, 0.1, 1.9, 3), Difference(-1.0, -2.1, 0.1, 3), Difference(-1.0, -1.9, -0.1, 3)
    assert differences.verdict(claimed, found, [sure, unsure, sure]) == words
    assert differences.verdict(claimed, found, [against, unsure]) == words
    assert differences.verdict(claimed, found, [sure, unsure, against]) == "mixed: better in some rows, worse in others"


def test_what_the_paper_claims() -> None:
    assert claims.claimed("loss", "v3", "AM + linear") == 77.2
    assert claims.claimed("loss", "depth=8", "AM") is None
    assert claims.claimed("earlier", "v1", "earlier") is None
    assert claims.claimed_difference("structure", "alpha", "plain", ["v1"]) == pytest.approx(3.9)
    assert claims.claimed_difference("structure", "alpha", "plain", ["v2", "v4"]) == pytest.approx(4.2)
    assert claims.claimed_difference("structure", "alpha", "plain", ["depth=8"]) == pytest.approx(15.5 / 4)
    assert claims.claimed_difference("earlier", "equal MACs", "earlier", []) == 3.0
    assert claims.claimed_difference("earlier", "equal MACs", "equal parameters", []) is None
    said = claims.disagreement()
    assert "its abstract gives 78.2 / 79.1 / 79.5 / 78.3" in said
    assert "its table of loss at best 76.2 / 77.1 / 77.2 / 75.1" in said


# ---- the tables --------------------------------------------------------------------------------------------------------


def test_a_cell_says_what_is_missing_of_it() -> None:
    jobs = list(plan.jobs(plan.cells("loss", TINY), TINY))[:6]
    rows = [made_up(job) for job in jobs[:5]]
    del rows[1]["test_accuracy"]
    rows[1]["diverged"] = "epoch 1"
    record = record_of("loss", rows)
    softmax, am, linear = tell.measured(record)[2].strip("| ").split(" | ")[1:]
    assert softmax == "58.05 ± 0.05"
    assert am == "60.10, 1 diverged"
    assert linear == "58.00, 1 of 2 seeds"
    assert any("depth=8 AM seed 0" in note for note in tell.notes(record))


def test_columns_are_compared_seed_by_seed() -> None:
    """AM is two points better whatever the seed: the spread over seeds cancels, and one image of 1000 is what remains."""
    rows = [made_up(job) for job in plan.jobs(plan.cells("loss", TINY), TINY) if job.cell.row == "depth=8"]
    line = tell.compared(record_of("loss", rows))[2]
    half = 12.706 * 0.1 / math.sqrt(2)
    claim = sum(am - soft for am, soft in zip((74.3, 74.3, 74.3, 73.1), (72.1, 71.3, 72.1, 71.2), strict=True)) / 4
    assert line.startswith(f"| AM - softmax | +2.0 ({2 - half:+.1f} to {2 + half:+.1f}) |")
    assert line.endswith(f"| {claim:+.1f} | supported: sign and size |")
