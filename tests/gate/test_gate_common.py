"""A rule against a baseline is about every task: no value is bounded, unless the rule says `common`."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.gate import Policy, PolicyError, RuleResult, decide
from harness.gate.common_tasks import asked_of
from harness.gate.evidence import against_baseline, list_range
from harness.gate.expression import BaselineRule
from harness.gate.live import LiveOptions
from harness.gate.looks import Levels
from harness.gate.policy import check_rules
from harness.gate.sequential_rule import Said, SequentialRule
from harness.metrics.table import sample_metrics
from harness.runs import Run
from tests.gate.gate_runs import BAD, good, make_run, write_outputs, write_tasks
from tests.gate.live_runs import live
from tests.gate.stored_runs import only
from tests.gate.task_values import task_table

CASES = json.loads((Path(__file__).parents[1] / "cases" / "common_tasks.json").read_text())
SCORES = {"best": good(1), "second": good(2), "none": BAD}
"""NDCG@1 of 1, of 1/7 (gains 7, 1, 0, 0) and none."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_cases(case: dict[str, object], tmp_path: Path) -> None:
    """A case lists how many tasks were answered how by the run and by the baseline, and what a rule says."""
    mine, theirs = (
        [SCORES[word] for count, *words in case["answers"] for word in [words[side]] * count]  # type: ignore[attr-defined]
        for side in (0, 1)
    )
    data = write_tasks(tmp_path / "tasks.jsonl", len(mine))
    run, baseline = (
        make_run(tmp_path / name, [[text] for text in texts], data=data)
        for name, texts in (("run", mine), ("baseline", theirs))
    )
    for rule, verdict, says in case["rules"]:  # type: ignore[attr-defined]
        result = only(run, rule, baseline)
        assert result.verdict == verdict, result.why
        assert says in result.why


def halves(folder: Path, tasks: int = 200) -> tuple[Path, list[str], list[str]]:
    """The run answers the easy half only, and there as well as the baseline, which answers all."""
    rng = random.Random(5)
    data = write_tasks(folder / "tasks.jsonl", tasks)
    theirs = [good(1 if number < tasks // 2 or rng.random() < 0.3 else 3) for number in range(tasks)]
    mine = [*theirs[: tasks // 2], *[BAD] * (tasks - tasks // 2)]
    order = list(range(tasks))
    rng.shuffle(order)
    return data, [mine[place] for place in order], [theirs[place] for place in order]


def test_surviving_on_the_easy_half_passes_nothing(tmp_path: Path) -> None:
    data, mine, theirs = halves(tmp_path)
    run, baseline = (
        make_run(tmp_path / name, [[text] for text in texts], data=data)
        for name, texts in (("run", mine), ("baseline", theirs))
    )
    every = only(run, "ndcg_at_1.parsed >= baseline - 0.02", baseline)
    assert every.verdict == "inconclusive"
    assert every.why.startswith("on the 100 of 200 tasks with a value in both runs (run: 100 don't parse), ")
    assert "what has no value decides it" in every.why
    assert every.more is None
    knowing = only(run, "ndcg_at_1.parsed >= baseline - 0.1 common", baseline)
    assert knowing.verdict == "pass"
    assert only(run, "ndcg_at_1.all >= baseline - 0.1", baseline).verdict == "fail"


def shown_means(result: RuleResult) -> tuple[float, float, float]:
    found = re.search(r"([\d.]+) against the baseline's ([\d.]+): a difference of ([+-][\d.]+)", result.why)
    assert found is not None, result.why
    mine, theirs, difference = map(float, found.groups())
    return mine, theirs, difference


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("rule", ["ndcg_at_1.parsed", "ndcg_at_1.all", "parse_validity.strict"])
def test_both_means_subtract_to_the_difference(tmp_path: Path, rule: str, samples: int) -> None:
    rng = random.Random(samples)
    data = write_tasks(tmp_path / "tasks.jsonl", 60, uninformative=5)
    runs = [
        make_run(
            tmp_path / str(side),
            [[rng.choice([good(1), good(2), BAD]) for _ in range(samples)] for _ in range(60)],
            data=data,
        )
        for side in (0, 1)
    ]
    result = only(runs[0], f"{rule} >= baseline", runs[1])
    mine, theirs, difference = shown_means(result)
    assert mine - theirs == pytest.approx(difference, abs=1.1e-4)
    assert result.estimate is not None
    assert result.estimate.estimate == pytest.approx(difference, abs=1e-4)


def test_a_run_compared_with_itself_needs_all_to_parse(tmp_path: Path) -> None:
    """Where neither has a value the difference could be anything, the same checkpoint or not."""
    run = make_run(tmp_path, [[good()]] * 90 + [[BAD]] * 10)
    rule = only(run, "ndcg_at_1.parsed >= baseline - 0.05", run)
    assert rule.verdict == "inconclusive"
    assert "there, and -0.1000 … +0.1000 on all 100 tasks" in rule.why


VALUES = st.lists(
    st.tuples(*[st.sampled_from([0.0, 0.25, 1.0, None])] * 2),  # type: ignore[arg-type]
    min_size=1,
    max_size=6,
)


def completions(pairs: Sequence[tuple[float | None, float | None]]) -> np.ndarray:
    """Mean difference of every way to give those without a value a 0 or a 1."""
    choices = [[value] if value is not None else [0.0, 1.0] for pair in pairs for value in pair]
    columns = np.array(list(itertools.product(*choices)))
    return (columns[:, 0::2] - columns[:, 1::2]).mean(axis=1)


@given(pairs=VALUES)
def test_the_bounds_are_the_extremes_of_all_completions(
    pairs: list[tuple[float | None, float | None]],
) -> None:
    rule = BaselineRule("r", "ndcg_at_1.parsed", ">=", 0.0)
    tables = [task_table({str(place): pair[side] for place, pair in enumerate(pairs)}) for side in (0, 1)]
    low, high = list_range(*(asked_of(rule, table) for table in tables))
    every = completions(pairs)
    assert (low, high) == (pytest.approx(every.min()), pytest.approx(every.max()))


REPETITIONS = 300


def errors_at_most_alpha(count: int) -> bool:
    """Whether so many errors in so many repetitions are likely (1 in 10,000) at a rate of 5 % or less."""
    return bool(scipy.stats.binom.sf(count - 1, REPETITIONS, 0.05) > 1e-4)


def planted(rng: np.random.Generator, tasks: int, *, hidden_worse: bool) -> tuple[np.ndarray, np.ndarray]:
    """Values of run and baseline, NaN where the run has none; with those too it is 0.1 worse.

    The run loses a tenth of the tasks. Hidden where it is worse: those are all that it lost by. Else hidden
    where it is as good, so that what shows is worse than it is.
    """
    theirs = (rng.random(tasks) < 0.8).astype(float)
    theirs[: tasks // 10] = 1.0
    mine = theirs.copy()
    if hidden_worse:
        mine[: tasks // 10] = np.nan
    else:
        mine[tasks // 10 : tasks // 5] = np.nan
        mine[: tasks // 10] = 0.0
    order = rng.permutation(tasks)
    return mine[order], theirs[order]


@pytest.mark.parametrize("hidden_worse", [False, True])
@pytest.mark.parametrize("sense", [">=", "<="])
def test_what_is_hidden_raises_no_error_rate(sense: str, hidden_worse: bool) -> None:
    """On the margin of all tasks, whichever tasks are hidden; `<=` is the same with both runs exchanged."""
    rng = np.random.default_rng(3)
    tasks = 120
    shift = -0.1 if sense == ">=" else 0.1
    rule = BaselineRule("r", "ndcg_at_1.parsed", sense, shift)  # type: ignore[arg-type]
    counts = {"pass": 0, "fail": 0, "live pass": 0, "live fail": 0}
    for _ in range(REPETITIONS):
        columns = planted(rng, tasks, hidden_worse=hidden_worse)
        first, second = (
            {str(place): None if np.isnan(value) else float(value) for place, value in enumerate(column)}
            for column in (columns if sense == ">=" else columns[::-1])
        )
        asked = (asked_of(rule, task_table(side)) for side in (first, second))
        evidence = against_baseline(*asked, rule.shift, rule.sense, 0.05)
        counts["pass"] += evidence.p_pass <= 0.05
        counts["fail"] += evidence.p_fail <= 0.05
        sequential = SequentialRule(
            rule,
            levels=Levels(passing=0.05, interval=0.05, failing=0.05, later=0.05, power=0.8),
            rules=1,
            tasks=first,
            baseline=task_table(second),
            counts_always=sample_metrics()[rule.metric].always,
            whole_list=False,
        )
        for task_id, value in first.items():
            sequential.observe(task_id, Said.of([value]))
        counts["live pass"] += sequential.p_pass <= 0.05
        counts["live fail"] += sequential.p_fail <= 0.05
    assert all(map(errors_at_most_alpha, counts.values())), counts


def test_a_live_gate_bounds_what_does_not_parse(tmp_path: Path) -> None:
    """What a live gate says of the whole list is what the stored run says; `common` passes early."""
    data, mine, theirs = halves(tmp_path)
    baseline = make_run(tmp_path / "baseline", [[text] for text in theirs], data=data)
    answered = write_outputs(tmp_path / "mine.jsonl", [[text] for text in mine])
    every = "ndcg_at_1.parsed >= baseline - 0.1"
    result, run = live(data, answered, tmp_path / "run", every, baseline=baseline)
    assert result.verdict == "inconclusive"
    assert len(list(run.iter_samples())) == 200
    assert "on the 100 of 200 tasks with a value in both runs (run: 100 don't parse), " in result.rules[0].why
    assert _words(result.rules[0].why) == _words(only(run, every, baseline).why)
    knowing, _ = live(data, answered, tmp_path / "common", f"{every} common", baseline=baseline)
    assert knowing.verdict == "pass"
    assert knowing.live is not None
    assert knowing.live.stopped_early
    lost = "ndcg_at_1.parsed >= baseline - 0.1"
    worse = write_outputs(tmp_path / "worse.jsonl", [[good(3) if text != BAD else BAD] for text in mine])
    failed, _ = live(data, worse, tmp_path / "worse", lost, baseline=baseline, options=LiveOptions())
    assert failed.verdict == "inconclusive"  # 100 tasks that don't parse could be better by as much
    mostly = [[good(3) if number % 20 else BAD] for number in range(200)]
    answered = write_outputs(tmp_path / "mostly.jsonl", mostly)
    refused, _ = live(data, answered, tmp_path / "mostly", lost, baseline=baseline)
    assert refused.verdict == "fail"


@pytest.mark.parametrize("rule", ["ndcg_at_1.parsed >= baseline - 0.3", "ndcg_at_1.parsed >= 0.66"])
def test_a_continued_run_counts_every_answer(tmp_path: Path, rule: str) -> None:
    """Three samples a task, never more than two of which parse."""
    rng = random.Random(1)
    data = write_tasks(tmp_path / "tasks.jsonl", 60)
    texts = [[good(rng.choice([1, 2])), rng.choice([BAD, good()]), BAD] for _ in range(60)]
    run = make_run(tmp_path / "run", texts, data=data)
    baseline = make_run(tmp_path / "baseline", [[good()] * 3] * 60, data=data)
    stored, followed = (
        decide(run, Policy(rules=(rule,)), baseline, continued=continued).rules[0]
        for continued in (False, True)
    )
    assert _words(followed.why).partition(" is shown")[0] == _words(stored.why).partition(" is shown")[0]
    strict = sum(text != BAD for row in texts for text in row)
    assert f"{180 - strict} don't parse" in followed.why


def _words(why: str) -> str:
    """Without what only one of the two knows: the sequential test's advice."""
    return why.partition(" can't be told")[0]


def test_a_whole_list_is_settled_by_its_bounds(tmp_path: Path) -> None:
    """95 equal, five of which only the baseline has a value, 1: the list's difference is in [−0.05, 0]."""
    mine, theirs = [[good()]] * 95 + [[BAD]] * 5, [[good()]] * 100
    data = write_tasks(tmp_path / "tasks.jsonl", 100)
    run, baseline = (make_run(tmp_path / n, texts, data=data) for n, texts in (("a", mine), ("b", theirs)))
    verdicts = [
        only(run, f"ndcg_at_1.parsed >= baseline {shift}", baseline, scope="list").verdict
        for shift in ("- 0.05", "- 0.04", "+ 0.001")
    ]
    assert verdicts == ["pass", "inconclusive", "fail"]


def test_nothing_in_common(tmp_path: Path) -> None:
    """Each parses where the other doesn't; the best against nothing is surely not worse."""
    data = write_tasks(tmp_path / "tasks.jsonl", 100)
    texts = {"none": [[BAD]] * 100, "all": [[good()]] * 100}
    runs = {name: make_run(tmp_path / name, rows, data=data) for name, rows in texts.items()}
    margin = "ndcg_at_1.parsed >= baseline - 0.05"
    result = only(runs["none"], margin, runs["all"])
    assert (result.verdict, result.estimate and result.estimate.estimate) == ("inconclusive", None)
    assert "no task of 100 has a value in both runs" in result.why
    assert only(runs["all"], margin, runs["none"]).verdict == "pass"
    assert only(runs["all"], f"{margin} common", runs["none"]).verdict == "inconclusive"


def test_common_says_nothing_where_every_answer_counts(one: Run) -> None:
    policy = Policy(rules=("ndcg_at_1.all >= baseline - 0.02 common",))
    with pytest.raises(PolicyError, match="leave `common` out"):
        check_rules(policy.parsed_rules, ())
    with pytest.raises(PolicyError, match="leave `common` out"):
        decide(one, policy, one)


@pytest.mark.parametrize("bar", [0.5, 0.99])
def test_a_number_says_on_how_many_answers_it_rests(tmp_path: Path, bar: float) -> None:
    run = make_run(tmp_path, [[good()]] * 30 + [[BAD]] * 70)
    result = only(run, f"ndcg_at_1.parsed >= {bar}")
    assert result.why.startswith("on the 30 of 100 answers with a value (70 don't parse): 1 ")


@pytest.mark.parametrize(
    ("rules", "noted"),
    [
        (("ndcg_at_1.parsed >= 0.5",), True),
        (("ndcg_at_1.parsed >= 0.5", "parse_validity.strict >= 0.1"), False),
        (("ndcg_at_1.parsed >= 0.5", "ndcg_at_1.all >= 0.1"), False),
        (("ndcg_at_1.parsed >= baseline - 0.5",), False),
        (("ndcg_at_1.parsed >= baseline - 0.5 common",), True),
    ],
)
def test_a_policy_that_never_asks_how_much_parses_is_noted(
    one: Run, two: Run, rules: tuple[str, ...], noted: bool
) -> None:
    result = decide(one, Policy(rules=rules), two)
    assert any("no rule asks how many" in note for note in result.notes) is noted


def test_a_column_is_judged_alike_as_a_rate_and_as_a_mean(tmp_path: Path) -> None:
    """59 of 60 right, the other unparsed: both are the same zeros and ones. No interval leaves [0, 1]."""
    run = make_run(tmp_path, [[good()]] * 59 + [[BAD]])
    rate, mean = decide(run, Policy(rules=("parse_validity.strict >= 0.95", "ndcg_at_1.all >= 0.95"))).rules
    assert (rate.verdict, mean.verdict) == ("inconclusive", "inconclusive")
    for rule in (rate, mean):
        assert rule.estimate is not None
        assert rule.estimate.estimate == pytest.approx(59 / 60)
        assert 0.0 <= (rule.estimate.low or 0.0) <= (rule.estimate.high or 2.0) <= 1.0
