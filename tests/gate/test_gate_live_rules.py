"""What a live gate makes of several rules, a baseline and a cliff, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import IncompleteError, RunMismatchError
from harness.gate import PolicyError
from harness.gate.live import LiveOptions
from tests.gate.gate_runs import answers, make_run, write_outputs, write_tasks
from tests.gate.live_runs import TASKS, VALIDITY, live, outputs


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return write_tasks(folder / "tasks.jsonl", TASKS, uninformative=20)


def test_a_baseline_rule_sees_differences_by_task(data: Path, tmp_path: Path) -> None:
    baseline = make_run(tmp_path / "baseline", answers(360)(TASKS, 1), data=data)
    rule = "parse_validity.strict >= baseline - 0.1"
    worse, _ = live(data, outputs(tmp_path, 100, "bad"), tmp_path / "worse", rule, baseline=baseline)
    assert worse.verdict == "fail"
    assert worse.live is not None
    assert worse.live.tasks_used < 40
    same = write_outputs(tmp_path / "same.jsonl", answers(360)(TASKS, 1))
    equal, run = live(data, same, tmp_path / "equal", rule, baseline=baseline)
    assert equal.verdict == "pass"
    assert equal.rules[0].estimate is not None
    assert equal.rules[0].estimate.estimate == 0.0
    assert equal.live is not None
    assert equal.live.tasks_used < 120
    assert len(list(run.iter_samples())) == equal.live.samples_drawn


def test_a_failed_rule_ends_the_gate_unless_all_are_wanted(data: Path, tmp_path: Path) -> None:
    rules = (VALIDITY, "truncation_rate <= 0.1")
    answered = outputs(tmp_path, 136)
    first, _ = live(data, answered, tmp_path / "first", *rules)
    assert [rule.verdict for rule in first.rules] == ["fail", "inconclusive"]
    assert any("`until=rules`" in note for note in first.notes)
    every, _ = live(data, answered, tmp_path / "every", *rules, options=LiveOptions(until="rules"))
    assert [rule.verdict for rule in every.rules] == ["fail", "pass"]
    assert first.live is not None
    assert every.live is not None
    assert first.live.tasks_used < every.live.tasks_used < TASKS


def test_failing_takes_the_correction_for_several_rules(data: Path, tmp_path: Path) -> None:
    answered = outputs(tmp_path, 300)
    alone, _ = live(data, answered, tmp_path / "alone")
    rules = [f"truncation_rate <= 0.{number}" for number in range(3, 8)]
    many, _ = live(data, answered, tmp_path / "many", VALIDITY, *rules)
    assert alone.verdict == many.verdict == "fail"
    assert alone.live is not None
    assert many.live is not None
    assert many.live.tasks_used > alone.live.tasks_used
    assert many.rules[0].p_fail is not None
    assert 0.05 / 6 < many.rules[0].p_fail <= 0.05


def test_an_unlike_baseline_is_refused_before_anything_is_drawn(data: Path, tmp_path: Path) -> None:
    baseline = make_run(tmp_path / "baseline", answers(360)(TASKS, 1), data=data, max_tokens=9)
    rule = "parse_validity.strict >= baseline - 0.1"
    answered = outputs(tmp_path, 360)
    with pytest.raises(RunMismatchError, match=r"sampling\.max_tokens"):
        live(data, answered, tmp_path / "run", rule, baseline=baseline)
    assert not (tmp_path / "run" / "manifest.json").exists()
    common = LiveOptions(common=True)
    result, _ = live(data, answered, tmp_path / "run", rule, baseline=baseline, options=common)
    assert "common tasks" in result.notes[0]


def test_an_incomplete_baseline_is_refused(data: Path, tmp_path: Path) -> None:
    _, baseline = live(data, outputs(tmp_path, 136), tmp_path / "baseline")
    with pytest.raises(IncompleteError, match="baseline"):
        live(
            data,
            outputs(tmp_path, 300, "other"),
            tmp_path / "run",
            "ndcg_at_1.all >= baseline",
            baseline=baseline,
        )


def test_what_drawing_cannot_show_is_refused(data: Path, tmp_path: Path) -> None:
    for rule in ("rubric.helpful >= 0.5", "cliff.lambda_star >= 1.1", "ndcg_at_1.all >= baseline"):
        with pytest.raises(PolicyError):
            live(data, outputs(tmp_path, 300), tmp_path / "run", rule)


def test_the_cliff_is_read_at_the_end(data: Path, tmp_path: Path) -> None:
    answered = outputs(tmp_path, 398)
    rules = (VALIDITY, "cliff.verdict in [left]")
    result, run = live(data, answered, tmp_path / "run", *rules)
    assert [rule.verdict for rule in result.rules] == ["pass", "inconclusive"]
    assert "cliff.json" in result.rules[1].why
    (run.path / "cliff.json").write_text('{"verdict": "right"}')
    again, _ = live(data, answered, tmp_path / "run", *rules)
    assert [rule.verdict for rule in again.rules] == ["pass", "fail"]
