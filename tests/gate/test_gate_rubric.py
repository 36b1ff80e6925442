"""Rules on a rubric: from the judgements of a run, paired with a baseline judged alike."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DataError, RunMismatchError
from harness.gate import Policy, PolicyError, RuleResult, decide
from harness.judge import Rubric, load_rubric, rubric_metrics, rubric_table
from harness.judge.plan import task_key
from harness.judge.records import JudgeLog, Judgement, PairJudgement, RubricUse
from harness.runs import Run, RunDirectory, load
from harness.runs.directory import JUDGE_LOG
from tests.gate.gate_runs import answers, good, make_run, write_tasks
from tests.stats.betting import p_above

TASKS = 60
NAME = "listwise-relevance"


@pytest.fixture(scope="module")
def rubric() -> Rubric:
    return load_rubric(NAME)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("rubric") / "tasks.jsonl", TASKS)


def judged(
    folder: Path, data: Path, rubric: Rubric, score: Callable[[int, int], int | None], seed: int = 0
) -> Run:
    """Every parsed sample judged twice: `score(task, repeat)`, None where the judge failed."""
    run = make_run(folder, answers(50, seed=seed)(TASKS, 1), data=data)
    with RunDirectory(run.path) as directory, JudgeLog(run.path) as log:
        log.append(RubricUse(rubric.digest, "job", rubric.model_dump(mode="json")))
        for sample in run.iter_samples():
            if sample.parse.tier != "strict" or sample.parse.ranking is None:
                continue
            for repeat in range(2):
                value = score(int(sample.task_id[1:]), repeat)
                log.append(
                    Judgement(
                        digest=rubric.digest,
                        sample=sample.key,
                        task_id=sample.task_id,
                        repeat=repeat,
                        order_seed=0,
                        ranking=sample.parse.ranking,
                        model="judge",
                        client="recorded",
                        scores=None if value is None else {one.name: value for one in rubric.criteria},
                        unscored="refused" if value is None else None,  # type: ignore[arg-type]
                        note="",
                        prompt_tokens=None,
                        output_tokens=None,
                        cached=False,
                    )
                )
        directory.write_metrics(run.metrics | rubric_metrics(run))
    return load(run.path)


def low_high(rubric: Rubric) -> tuple[int, int]:
    return rubric.criteria[0].lowest, rubric.criteria[0].highest


@pytest.fixture
def run(tmp_path: Path, data: Path, rubric: Rubric) -> Run:
    low, high = low_high(rubric)

    def score(task: int, repeat: int) -> int | None:
        if task % 7 == 0 and repeat == 1:
            return None
        return low + (task + repeat) % (high - low + 1)

    return judged(tmp_path / "one", data, rubric, score)


def only(run: Run, rule: str, baseline: Run | None = None) -> RuleResult:
    [result] = decide(run, Policy(rules=(rule,)), baseline).rules
    return result


@pytest.mark.parametrize("criterion", [False, True])
def test_scores_are_those_of_the_metric(run: Run, rubric: Rubric, criterion: bool) -> None:
    name = f"rubric.{NAME}" + (f".{rubric.criteria[0].name}" if criterion else "")
    stored = run.metrics[name]
    rule = only(run, f"{name} >= 0.4")
    assert rule.estimate is not None
    assert rule.estimate.n == stored.n
    assert rule.estimate.estimate == pytest.approx(stored.estimate, abs=1e-12)


def test_a_bar_is_tested_with_unscored_repeats_at_their_worst(run: Run, rubric: Rubric) -> None:
    low, high = low_high(rubric)
    strict = sorted(int(sample.task_id[1:]) for sample in run.iter_samples() if sample.parse.tier == "strict")
    values = []
    for task in strict:
        repeats = [0] if task % 7 == 0 else [0, 1]
        values.append(math.fsum((task + one) % (high - low + 1) / (high - low) for one in repeats) / 2)
    rule = only(run, f"rubric.{NAME} >= 0.35")
    assert f"those of {sum(task % 7 == 0 for task in strict)} tasks are scored in part" in rule.why
    assert 0.0 < rule.p_pass < 1.0
    assert rule.p_pass == pytest.approx(p_above(values, 0.35), rel=1e-9)


def test_a_baseline_judged_alike_is_paired(run: Run, tmp_path: Path, data: Path, rubric: Rubric) -> None:
    low, high = low_high(rubric)
    other = judged(tmp_path / "two", data, rubric, lambda task, _: low + task % (high - low + 1), seed=1)
    tasks = [
        {sample.task_id for sample in one.iter_samples() if sample.parse.tier == "strict"}
        for one in (run, other)
    ]
    rule = only(run, f"rubric.{NAME} >= baseline - 0.3 common", other)
    assert rule.estimate is not None
    assert rule.estimate.n == len(tasks[0] & tasks[1])
    assert rule.verdict == "pass"
    assert f"on the {rule.estimate.n} of {TASKS} tasks with a value in both runs" in rule.why
    every = only(run, f"rubric.{NAME} >= baseline - 0.3", other)
    assert every.verdict == "inconclusive"
    assert every.estimate is not None
    assert every.estimate.estimate == rule.estimate.estimate


def test_a_judge_that_refuses_what_is_bad_passes_nothing(tmp_path: Path, data: Path, rubric: Rubric) -> None:
    """Best score for two thirds of the answers, silence about the rest."""
    low, high = low_high(rubric)

    def score(task: int, _: int) -> int | None:
        return None if task % 3 == 0 else high

    refusing = judged(tmp_path / "one", data, rubric, score)
    strict = [int(sample.task_id[1:]) for sample in refusing.iter_samples() if sample.parse.tier == "strict"]
    unscored = sum(task % 3 == 0 for task in strict)
    rule = only(refusing, f"rubric.{NAME} >= 0.7")
    assert rule.verdict == "inconclusive"
    assert f"on the {50 - unscored} of {TASKS} answers with a value" in rule.why
    assert f"10 don't parse, {unscored} are unscored" in rule.why
    assert "what has no value decides it" in rule.why
    assert rule.more is None
    for continued in (False, True):
        result = decide(refusing, Policy(rules=(f"rubric.{NAME} >= 0.7",)), continued=continued)
        assert result.verdict == "inconclusive"
        assert "what has no value decides it" in result.rules[0].why
    # Whatever the judge would have said of them, a third of the answers can't drag the mean below this.
    assert only(refusing, f"rubric.{NAME} >= 0.4").verdict == "pass"
    poor = judged(tmp_path / "two", data, rubric, lambda task, _: None if task % 3 == 0 else low)
    assert only(poor, f"rubric.{NAME} >= 0.7").verdict == "fail"
    for end in ("", " common"):
        assert only(refusing, f"rubric.{NAME} >= baseline - 0.1{end}", refusing).verdict == "inconclusive"


def test_tasks_beyond_a_limit_are_no_unscored_ones(tmp_path: Path, data: Path, rubric: Rubric) -> None:
    """Judging takes tasks in a random order; those that it never came to aren't missing by what they say."""
    _, high = low_high(rubric)
    whole = judged(tmp_path / "one", data, rubric, lambda _, __: high)
    parsed = [sample.task_id for sample in whole.iter_samples() if sample.parse.tier == "strict"]
    order = sorted((f"t{number}" for number in range(TASKS)), key=lambda task_id: task_key(0, task_id))
    kept = {task_id for task_id in order[:30] if task_id in parsed}
    after = next(place for place, task_id in enumerate(order) if place >= 30 and task_id in parsed)
    log = whole.path / JUDGE_LOG
    records = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text(
        "".join(
            json.dumps(record) + "\n"
            for record in records
            if record["kind"] == "rubric" or record["task_id"] in kept
        )
    )
    table = rubric_table(load(whole.path), f"rubric.{NAME}")
    assert set(table.task_ids) == set(order[:after])
    assert (table.count.sum(), table.missing.sum()) == (len(kept), 0)
    assert table.silent.sum() == after - len(kept)


def test_another_judge_is_refused(run: Run, tmp_path: Path, data: Path, rubric: Rubric) -> None:
    low, _ = low_high(rubric)
    other = judged(tmp_path / "two", data, rubric.with_model("another-judge"), lambda _, __: low)
    with pytest.raises(RunMismatchError, match="another rubric or judge"):
        only(run, f"rubric.{NAME} >= baseline", other)


def test_an_unjudged_baseline_is_said(run: Run, tmp_path: Path, data: Path) -> None:
    other = make_run(tmp_path / "two", answers(50)(TASKS, 1), data=data)
    with pytest.raises(DataError, match="run `harness judge`"):
        only(run, f"rubric.{NAME} >= baseline", other)


def test_metrics_older_than_the_judgements_are_refused(run: Run) -> None:
    with RunDirectory(run.path) as directory:
        stale = run.metrics[f"rubric.{NAME}"]
        wrong = type(stale)(stale.n, 0.123, stale.low, stale.high, stale.method)
        directory.write_metrics(run.metrics | {f"rubric.{NAME}": wrong})
    with pytest.raises(DataError, match="harness judge"):
        only(load(run.path), f"rubric.{NAME} >= 0.4")


def test_what_speaks_against_the_judge_is_noted(run: Run) -> None:
    notes = decide(run, Policy(rules=(f"rubric.{NAME} >= 0.4", "parse_validity.strict >= 0.5"))).notes
    assert any("judgements have no score" in note for note in notes)
    assert all(note.startswith(f"judge {NAME}: ") for note in notes)


def test_every_score_equal_is_no_certainty(tmp_path: Path, data: Path, rubric: Rubric) -> None:
    _, high = low_high(rubric)
    perfect = judged(tmp_path / "two", data, rubric, lambda _, __: high)
    rule = only(perfect, f"rubric.{NAME} >= 0.99")
    assert rule.verdict == "inconclusive"
    assert rule.estimate is not None
    assert np.isclose(rule.estimate.estimate or 0.0, 1.0)


def compared(folder: Path, data: Path, rubric: Rubric, won: Callable[[int], bool | None]) -> Run:
    """Every task side by side with another run's answer, in both orders; None where the judge refused one."""
    run = make_run(folder, [[good()]] * TASKS, data=data)
    with RunDirectory(run.path) as directory, JudgeLog(run.path) as log:
        log.append(RubricUse(rubric.digest, "job", rubric.model_dump(mode="json")))
        for sample in run.iter_samples():
            outcome = won(int(sample.task_id[1:]))
            for shown, other in (("first", "second"), ("second", "first")):
                better = None if outcome is None and shown == "second" else shown if outcome else other
                log.append(
                    PairJudgement(
                        digest=rubric.digest,
                        other="other",
                        sample=sample.key,
                        task_id=sample.task_id,
                        repeat=0,
                        order_seed=0,
                        shown=shown,  # type: ignore[arg-type]
                        ranking=sample.parse.ranking or (),
                        other_ranking=(2, 1, 3, 4),
                        model="judge",
                        client="recorded",
                        better=better,  # type: ignore[arg-type]
                        unscored="refused" if better is None else None,
                        note="",
                        prompt_tokens=None,
                        output_tokens=None,
                        cached=False,
                    )
                )
        directory.write_metrics(run.metrics | rubric_metrics(run))
    return load(run.path)


@pytest.mark.parametrize("measure", ["preference", "win_rate"])
def test_a_pair_without_a_verdict_is_not_dropped(
    tmp_path: Path, data: Path, rubric: Rubric, measure: str
) -> None:
    """Wins wherever there is a verdict, a third without one; all the metrics hold is the first."""
    name = f"pairwise.{NAME}.other.{measure}"
    run = compared(tmp_path / "one", data, rubric, lambda task: None if task % 3 == 0 else True)
    assert run.metrics[name].estimate == 1.0
    rule = only(run, f"{name} >= 0.8")
    assert (rule.verdict, rule.estimate and rule.estimate.n) == ("inconclusive", 40)
    assert "on the 40 of 60 answers with a value (20 are unscored)" in rule.why
    assert only(run, f"{name} >= 0.4").verdict == "pass"
    whole = compared(tmp_path / "two", data, rubric, lambda task: task % 3 != 0)
    assert only(whole, f"{name} >= 0.9").verdict == "fail"
    with pytest.raises(PolicyError, match="isn't known by task"):
        only(run, f"{name} >= baseline", whole)
