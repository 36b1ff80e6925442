"""Rules whose values the labels leave only 0 and 1, and rules about stored intervals: the level is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from harness.gate import decide
from harness.gate.evidence import from_stored_interval
from harness.metrics.columns import TaskTable
from harness.metrics.table import KNOWN
from harness.runs import Run
from harness.stats import Estimate, PairedCounts, noninferior_rates
from tests.gate.gate_runs import BAD, good, make_run, write_tasks
from tests.gate.stored_runs import only, policy
from tests.stats.betting import p_above

ONE_RELEVANT = (1.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("binary") / "tasks.jsonl", 60, labels=ONE_RELEVANT)


def test_59_of_60_say_the_same_by_whatever_name(binary: Path, tmp_path: Path) -> None:
    """The one bad answer doesn't parse, so all three are the same column of 0 and 1."""
    run = make_run(tmp_path, [[good()]] * 59 + [[BAD]], data=binary)
    names = ("parse_validity.strict", "ndcg_at_1.all")
    strict, ranked = decide(run, policy(*(f"{name} >= 0.95" for name in names))).rules
    assert strict.verdict == ranked.verdict == "inconclusive"
    assert (ranked.p_pass, ranked.p_fail) == (strict.p_pass, strict.p_fail)
    assert ranked.estimate == strict.estimate
    for name in (*names, "ndcg_at_1.parsed", "ndcg_at_k.all", "ndcg_at_k.parsed"):
        stored = run.metrics[name]
        assert 0.0 <= stored.low <= stored.estimate <= stored.high <= 1.0, name  # type: ignore[operator]
    assert only(run, "ndcg_at_1.parsed >= 0.95").verdict == "pass"  # 59 of 59
    assert only(run, "ndcg_at_k.all >= 0.95").verdict == "inconclusive"


def test_a_mean_of_zeros_and_ones_has_clopper_and_pearsons_interval(binary: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path, [[good(1 if task % 6 else 2)] for task in range(60)], data=binary)
    stored = run.metrics["ndcg_at_1.parsed"]
    interval = scipy.stats.binomtest(50, 60).proportion_ci(0.95, "exact")
    assert (stored.n, stored.estimate) == (60, 50 / 60)
    assert (stored.low, stored.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_one_graded_task_makes_it_a_mean(tmp_path: Path) -> None:
    data = write_tasks(tmp_path / "one.jsonl", 59, labels=ONE_RELEVANT)
    graded = write_tasks(tmp_path / "graded.jsonl", 60).read_text().splitlines()[-1]
    data.write_text(data.read_text() + graded + "\n")
    run = make_run(tmp_path / "mixed", [[good()]] * 60, data=data)
    assert only(run, "ndcg_at_1.all >= 0.9").p_pass == pytest.approx(p_above([1.0] * 60, 0.9))


@pytest.mark.parametrize("ending", ["", " common"])
def test_zeros_and_ones_are_paired_exactly(binary: Path, tmp_path: Path, ending: str) -> None:
    mine = make_run(tmp_path / "mine", [[good(1 if task % 10 else 2)] for task in range(60)], data=binary)
    theirs = make_run(tmp_path / "theirs", [[good(1 if task % 15 else 2)] for task in range(60)], data=binary)
    rule = only(mine, f"ndcg_at_1.parsed >= baseline - 0.1{ending}", theirs)
    oracle = noninferior_rates(PairedCounts(52, 2, 4, 2), 0.1)
    assert (rule.p_pass, rule.p_fail) == (oracle.p_pass, oracle.p_fail)
    assert rule.estimate == oracle.estimate


def test_several_samples_of_unequal_tasks_use_the_plan(tmp_path: Path) -> None:
    """What a task could have had counts, not what the fullest one happens to have."""
    parsed = np.array([1, 2, 1, 0])
    table = TaskTable(
        tuple("abcd"),
        total=parsed.astype(float),
        count=parsed,
        missing=np.zeros(4, dtype=np.int64),
        silent=3 - parsed,
        is_rate=False,
        counts_always=False,
    )
    assert table.most == 3
    tighter = replace(table, silent=2 - parsed)
    assert table.against_bar(0.5, ">=", 0.05).p_pass > tighter.against_bar(0.5, ">=", 0.05).p_pass


@pytest.mark.parametrize(
    ("bar", "sense", "passes", "fails"),
    [
        (0.39, ">=", 0.025, 1.0),
        (0.4, ">=", 1.0, 1.0),
        (0.5, ">=", 1.0, 1.0),
        (0.61, ">=", 1.0, 0.025),
        (0.61, "<=", 0.025, 1.0),
    ],
)
def test_a_stored_interval_says_no_more_than_its_own_error(
    bar: float, sense: str, passes: float, fails: float
) -> None:
    stored = Estimate(100, 0.5, 0.4, 0.6, "bootstrap")
    found = from_stored_interval(stored, bar, sense)  # type: ignore[arg-type]
    assert (found.p_pass, found.p_fail) == (passes, fails)
    far = from_stored_interval(stored, -5.0, ">=")
    assert far.p_pass == 0.025  # no farther: nothing but its 95 % is known of it
    bare = from_stored_interval(Estimate(1, 0.5, None, 0.5, "one"), 0.1, ">=")
    assert (bare.p_pass, bare.p_fail) == (1.0, 1.0)


def test_what_the_labels_say_is_known(binary: Path, tmp_path: Path) -> None:
    """Chance was given an interval of 0.013 to 0.181 round a known constant."""
    run: Run = make_run(tmp_path, [[good()]] * 60, data=binary)
    for name, value in (("ndcg_at_1.chance", 0.25), ("task_rate.all_tied", 0.0)):
        stored = run.metrics[name]
        assert stored == Estimate(60, value, None, None, KNOWN)
        assert only(run, f"{name} <= {value}").verdict == "pass"
        assert only(run, f"{name} >= {value + 0.01}").verdict == "fail"
