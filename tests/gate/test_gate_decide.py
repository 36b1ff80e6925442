"""Verdicts on stored runs: the numbers against scipy, and the logic by hand."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from harness.errors import DataError
from harness.gate import decide
from harness.runs import Run, load
from tests.gate.gate_runs import BAD, answers, make_run
from tests.gate.stored_runs import TASKS, column, copy_of, mixed, only, policy, shifted
from tests.stats.betting import p_above


@pytest.mark.parametrize("bar", [0.6, 0.75, 0.8, 0.9])
@pytest.mark.parametrize("sense", [">=", "<="])
def test_a_rate_has_the_exact_binomial_p_values(one: Run, bar: float, sense: str) -> None:
    strict = column(one, "strict")
    successes, n = int(strict.sum()), len(strict)
    above, below = (
        scipy.stats.binomtest(successes, n, bar, alternative=way).pvalue for way in ("greater", "less")
    )
    rule = only(one, f"parse_validity.strict {sense} {bar}")
    p_pass, p_fail = (above, below) if sense == ">=" else (below, above)
    assert rule.p_pass == pytest.approx(p_pass, abs=1e-9)
    assert rule.p_fail == pytest.approx(p_fail, abs=1e-9)
    expected = "pass" if p_pass <= 0.05 else "fail" if p_fail <= 0.05 else "inconclusive"
    assert rule.verdict == expected


@pytest.mark.parametrize("metric", ["ndcg_at_1.parsed", "ndcg_at_1.all", "ndcg_at_k.parsed"])
def test_a_mean_has_the_betting_test_over_tasks(one: Run, metric: str) -> None:
    """Tasks with equal labels say nothing; failures count 0 in `.all` and not at all in `.parsed`."""
    score, kind = metric.split(".")
    values = column(one, score)[: TASKS - 10]
    values = np.nan_to_num(values) if kind == "all" else values[~np.isnan(values)]
    bar = float(values.mean()) - 0.1
    rule = only(one, f"{metric} >= {bar!r}")
    assert 0.0 < rule.p_pass < 1.0  # type: ignore[operator]
    assert rule.p_pass == pytest.approx(p_above(values, bar), rel=1e-9)
    assert rule.estimate is not None
    assert (rule.estimate.n, rule.estimate.estimate) == (len(values), pytest.approx(values.mean()))


def test_differences_are_paired_by_task(one: Run, two: Run) -> None:
    """`common`: over the tasks on which both parsed."""
    values = [column(run, "ndcg_at_1")[: TASKS - 10] for run in (one, two)]
    difference = (values[0] - values[1])[~np.isnan(values[0] + values[1])]
    rule = only(one, "ndcg_at_1.parsed >= baseline - 0.3 common", two)
    assert 0.0 < rule.p_pass < 1.0  # type: ignore[operator]
    assert rule.p_pass == pytest.approx(p_above(difference, -0.3, -1.0, 1.0), rel=1e-9)
    assert rule.estimate is not None
    assert rule.estimate.n == len(difference)


@pytest.mark.parametrize("shift", ["- 0.1", "+ 0", "+ 0.1"])
def test_failures_against_a_baseline_are_successes_turned_round(one: Run, two: Run, shift: str) -> None:
    """Every failure here is extra text, so both rules say the same."""
    turned = {"- 0.1": "+ 0.1", "+ 0": "- 0", "+ 0.1": "- 0.1"}[shift]
    rate = only(one, f"parse_validity.strict >= baseline {shift}", two)
    failures = only(one, f"failure_rate.extra_text <= baseline {turned}", two)
    assert failures.p_pass == pytest.approx(rate.p_pass, abs=1e-12)
    assert failures.p_fail == pytest.approx(rate.p_fail, abs=1e-12)
    assert rate.estimate is not None
    assert failures.estimate is not None
    assert failures.estimate.estimate == pytest.approx(-rate.estimate.estimate)  # type: ignore[operator]
    assert failures.estimate.low == pytest.approx(-rate.estimate.high)  # type: ignore[operator]


def test_superiority_and_inferiority_are_one_question_from_two_sides(one: Run, two: Run) -> None:
    """Candidate ≥ baseline + x is refuted exactly where baseline − candidate ≤ −x is."""
    for shift in (0.02, 0.1, 0.25):
        better = only(one, f"parse_validity.strict >= baseline + {shift}", two)
        worse = only(two, f"parse_validity.strict <= baseline - {shift}", one)
        assert better.p_pass == pytest.approx(worse.p_pass, abs=1e-12)
        assert better.p_fail == pytest.approx(worse.p_fail, abs=1e-12)


def test_margins_move_the_verdict_one_way(one: Run, two: Run) -> None:
    shifts = np.linspace(-0.3, 0.3, 25)
    p_values = [only(one, shifted("parse_validity.strict", shift), two).p_pass for shift in shifts]
    assert p_values == sorted(p_values)  # type: ignore[type-var]
    assert p_values[0] < 0.01
    assert p_values[-1] > 0.99  # type: ignore[operator]


def test_several_samples_a_task_are_not_independent(folder: Path, data: Path) -> None:
    """Three copies of each answer say no more than one."""
    texts = mixed(5)
    single = make_run(folder / "single", texts, data=data)
    copied = make_run(folder / "copied", [row * 3 for row in texts], data=data)
    for rule in ("ndcg_at_1.all >= 0.5", "ndcg_at_1.parsed >= 0.6"):
        assert only(copied, rule).p_pass == pytest.approx(only(single, rule).p_pass, abs=1e-9)
    rule = "parse_validity.strict >= 0.7"
    assert only(copied, rule).p_pass > only(single, rule).p_pass  # type: ignore[operator]


def test_several_samples_a_task_against_a_baseline(several: Run, folder: Path, data: Path) -> None:
    other = make_run(folder / "several-other", mixed(4, samples=3), data=data)
    means = [
        run.samples.assign(strict=run.samples["tier"] == "strict").groupby("task_id")["strict"].mean()
        for run in (several, other)
    ]
    rule = only(several, "parse_validity.strict >= baseline - 0.25", other)
    assert 0.0 < rule.p_pass < 1.0  # type: ignore[operator]
    assert rule.p_pass == pytest.approx(p_above(means[0] - means[1], -0.25, -1.0, 1.0), rel=1e-9)


def bar_with(p: float, run: Run, *, passing: bool) -> float:
    """The bar at which the exact test gives this p-value."""
    strict = column(run, "strict")
    successes, n = int(strict.sum()), len(strict)
    if passing:
        return float(scipy.stats.beta.ppf(p, successes, n - successes + 1))
    return float(scipy.stats.beta.ppf(1 - p, successes + 1, n - successes))


def test_a_gate_fails_only_after_the_correction_for_several_rules(one: Run) -> None:
    rate = f"parse_validity.strict >= {bar_with(0.03, one, passing=False)!r}"
    alone = only(one, rate)
    assert (alone.verdict, alone.p_fail) == ("fail", pytest.approx(0.03))
    together = decide(one, policy(rate, "truncation_rate <= 0.5"))
    assert [rule.verdict for rule in together.rules] == ["inconclusive", "pass"]
    assert together.rules[0].p_fail == pytest.approx(0.06)
    assert "correction" in together.rules[0].why
    assert together.verdict == "inconclusive"


def test_passing_needs_no_correction(one: Run) -> None:
    rate = f"parse_validity.strict >= {bar_with(0.03, one, passing=True)!r}"
    assert only(one, rate).p_pass == pytest.approx(0.03)
    assert decide(one, policy(rate, "truncation_rate <= 0.5")).verdict == "pass"


@pytest.mark.parametrize(
    ("rules", "verdict", "codes"),
    [
        (["parse_validity.strict >= 0.5"], "pass", (0, 0, 0)),
        (["parse_validity.strict >= 0.99"], "fail", (1, 1, 1)),
        (["parse_validity.strict >= 0.8"], "inconclusive", (1, 0, 4)),
        (["parse_validity.strict >= 0.5", "parse_validity.strict >= 0.8"], "inconclusive", (1, 0, 4)),
        (["parse_validity.strict >= 0.99", "parse_validity.strict >= 0.8"], "fail", (1, 1, 1)),
        (["parse_validity.strict >= 0.99", "parse_validity.strict >= 0.5"], "fail", (1, 1, 1)),
    ],
)
def test_exit_codes(one: Run, rules: list[str], verdict: str, codes: tuple[int, int, int]) -> None:
    for choice, code in zip(("fail", "pass", "inconclusive"), codes, strict=True):
        result = decide(one, policy(*rules, on_inconclusive=choice))
        assert (result.verdict, result.exit_code) == (verdict, code)


def test_the_default_is_strict_validity_of_95_percent(folder: Path) -> None:
    run = make_run(folder / "default", answers(170)(500, 1))
    [rule] = decide(run).rules
    assert (rule.rule, rule.verdict) == ("parse_validity.strict >= 0.95", "fail")


def test_more_samples_is_what_the_exact_test_asks_for(folder: Path) -> None:
    """With that many, a checkpoint as good as measured, or as it may be, passes with probability 0.8."""
    rule = only(make_run(folder / "advice", answers(291)(300, 1)), "parse_validity.strict >= 0.95")
    assert rule.verdict == "inconclusive"
    assert rule.more is not None
    assert rule.estimate is not None
    for more, truth in ((rule.more.likely, 0.97), (rule.more.soonest, rule.estimate.high)):
        n = 300 + (more or 0)
        needed = next(x for x in range(n + 1) if scipy.stats.binom.sf(x - 1, n, 0.95) <= 0.05)
        assert 0.8 <= scipy.stats.binom.sf(needed - 1, n, truth) < (0.83 if n > 320 else 1.0)
    assert rule.more.left == 0
    assert "more samples would likely settle it if the truth is what was measured" in rule.why
    assert "the dataset has none left" in rule.why


def test_nothing_parsed_is_no_zero(folder: Path) -> None:
    run = make_run(folder / "nothing", [[BAD]] * 40)
    result = decide(run, policy("parse_validity.strict >= 0.95", "ndcg_at_1.parsed >= 0.1"))
    assert [rule.verdict for rule in result.rules] == ["fail", "inconclusive"]
    assert result.rules[1].estimate is not None
    assert (result.rules[1].estimate.n, result.rules[1].estimate.estimate) == (0, None)
    assert "nothing to measure" in result.rules[1].why
    assert result.exit_code == 1


def test_a_list_alone_is_settled_by_its_numbers(one: Run, two: Run) -> None:
    rate = one.metrics["parse_validity.strict"].estimate or 0.0
    assert only(one, f"parse_validity.strict >= {rate!r}", scope="list").verdict == "pass"
    assert only(one, f"parse_validity.strict >= {rate + 1e-6!r}", scope="list").verdict == "fail"
    difference = rate - (two.metrics["parse_validity.strict"].estimate or 0.0)
    for shift, verdict in ((difference - 0.001, "pass"), (difference + 0.001, "fail")):
        assert only(one, shifted("parse_validity.strict", shift), two, scope="list").verdict == verdict


@pytest.mark.parametrize("name", ["samples.jsonl", "tasks.jsonl"])
def test_metrics_alone_are_no_run(one: Run, tmp_path: Path, name: str) -> None:
    path = copy_of(one, tmp_path / "copy")
    (path / name).unlink()
    with pytest.raises(DataError, match=rf"has no {name} any more; .*harness eval"):
        only(load(path), "parse_validity.strict >= 0.6")
