"""Runs that lack samples: refused, or bounded by what the missing ones could be."""

from pathlib import Path

import pytest
import scipy.stats

from harness.errors import IncompleteError
from harness.evaluate.scoring import rescore
from harness.gate import decide
from harness.report import ReportConfig, report
from harness.runs import Run
from tests.gate.gate_runs import BAD, good, make_run
from tests.gate.stored_runs import TASKS, cut, policy


@pytest.mark.parametrize("status", ["incomplete", "failed", "running"])
@pytest.mark.parametrize("keep", [0, 50])
def test_an_incomplete_run_is_refused(one: Run, tmp_path: Path, status: str, keep: int) -> None:
    run = cut(one, tmp_path / "cut", keep, status)
    with pytest.raises(IncompleteError, match=rf"has {keep} of {TASKS} samples.*`allow_incomplete=True`"):
        decide(run)


def test_samples_that_went_missing_are_noticed(one: Run, tmp_path: Path) -> None:
    """The manifest says complete, the file was cut."""
    run = cut(one, tmp_path / "cut", TASKS - 1, "complete")
    with pytest.raises(IncompleteError, match="`allow_incomplete=True`"):
        decide(run, policy("ndcg_at_1.all >= 0.5"))


def test_only_a_gate_offers_bounds(one: Run, tmp_path: Path) -> None:
    """A report of a run that lost samples, and rescoring it, have no such setting."""
    run = cut(one, tmp_path / "cut", TASKS - 1, "complete")
    for job in (lambda: report(ReportConfig(runs=(run.path,))), lambda: rescore(run.path)):
        with pytest.raises(IncompleteError, match="finish it with the same `harness eval`") as caught:
            job()
        assert "allow_incomplete" not in str(caught.value)


def test_missing_samples_count_at_worst_and_at_best(one: Run, tmp_path: Path) -> None:
    """By hand: the bounds are the two runs in which all missing samples fail, or all succeed."""
    run = cut(one, tmp_path / "cut", 100)
    strict = sum(sample.parse.tier == "strict" for sample in run.iter_samples())
    [rule] = decide(run, policy("parse_validity.strict >= 0.6"), allow_incomplete=True).rules
    worst = scipy.stats.binomtest(strict, TASKS, 0.6, alternative="greater").pvalue
    best = scipy.stats.binomtest(strict + 20, TASKS, 0.6, alternative="less").pvalue
    assert (rule.p_pass, rule.p_fail) == (pytest.approx(worst, abs=1e-9), pytest.approx(best, abs=1e-9))
    assert rule.estimate is not None
    assert rule.estimate.n == 100
    assert rule.estimate.estimate == strict / 100


@pytest.mark.parametrize(
    "rule",
    [
        "parse_validity.strict >= 0.6",
        "ndcg_at_1.parsed >= 0.7",
        "ndcg_at_1.all >= 0.5",
        "parse_validity.strict >= baseline - 0.05",
        "ndcg_at_1.parsed >= baseline - 0.05",
        "ndcg_at_1.parsed >= baseline - 0.05 common",
        "ndcg_at_1.all >= baseline - 0.05",
    ],
)
@pytest.mark.parametrize("scope", ["tasks", "list"])
def test_bounds_hold_whatever_is_missing(one: Run, two: Run, tmp_path: Path, rule: str, scope: str) -> None:
    """No completion of the run, the true one among them, is surer than its bounds."""
    rules = policy(rule, scope=scope)
    paired = "baseline" in rule
    baseline = two if paired else None
    [whole] = decide(one, rules, baseline).rules
    for number, keep in enumerate((0, 60, 110)):
        run = cut(one, tmp_path / str(number), keep)
        [bounds] = decide(run, rules, baseline, allow_incomplete=True).rules
        assert bounds.p_pass >= whole.p_pass - 1e-12  # type: ignore[operator]
        assert bounds.p_fail >= whole.p_fail - 1e-12  # type: ignore[operator]
        if bounds.verdict != "inconclusive":
            assert bounds.verdict == whole.verdict


@pytest.mark.parametrize(
    ("metric", "margin"),
    [
        ("parse_validity.strict", "0.05"),
        ("ndcg_at_1.parsed", "0.05 common"),
        ("ndcg_at_1.parsed", "0.2"),
        ("ndcg_at_1.all", "0.05"),
    ],
)
def test_bounds_hold_whatever_the_baseline_misses(
    one: Run, two: Run, tmp_path: Path, metric: str, margin: str
) -> None:
    rules = policy(f"{metric} >= baseline - {margin}")
    [whole] = decide(one, rules, two).rules
    for number, (mine, theirs) in enumerate([(TASKS, 0), (TASKS, 60), (60, 60), (0, 0), (30, 90)]):
        run = cut(one, tmp_path / f"run{number}", mine)
        baseline = cut(two, tmp_path / f"baseline{number}", theirs)
        with pytest.raises(IncompleteError):
            decide(one, rules, baseline)
        [bounds] = decide(run, rules, baseline, allow_incomplete=True).rules
        # A p-value is never above 1, where the whole run may be already.
        assert bounds.p_pass > min(whole.p_pass, 1.0 - 1e-12)  # type: ignore[operator, type-var]
        assert bounds.p_fail > min(whole.p_fail, 1.0 - 1e-12)  # type: ignore[operator, type-var]
        if (mine, theirs) == (0, 0):
            assert bounds.estimate is not None
            assert (bounds.estimate.n, bounds.estimate.estimate) == (0, None)
            assert min(bounds.p_pass or 0.0, bounds.p_fail or 0.0) > 0.99


def test_a_list_that_is_not_whole_can_be_settled(folder: Path, tmp_path: Path) -> None:
    """190 of 200 kept the contract; 0.9 is reached whatever the five missing ones said."""
    run = cut(make_run(folder / "nearly", [[good()]] * 190 + [[BAD]] * 10), tmp_path / "cut", 195)
    results = [
        decide(run, policy(f"parse_validity.strict >= {bar}", scope="list"), allow_incomplete=True).verdict
        for bar in (0.9, 0.96, 0.98)
    ]
    assert results == ["pass", "inconclusive", "fail"]


def test_an_empty_run_settles_nothing(one: Run, tmp_path: Path) -> None:
    run = cut(one, tmp_path / "cut", 0)
    result = decide(run, policy("parse_validity.strict >= 0.95"), allow_incomplete=True)
    assert result.exit_code == 4
