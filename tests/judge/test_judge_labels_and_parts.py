"""People's labels and the split of variance, from a judged run to what the command prints."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.judge import advice, judge
from tests.judge.fake_gemini import FakeGemini
from tests.judge.gemini_judges import fair
from tests.judge.judge_runs import NAME, Configure, judgements, make_run, make_tasks


def labels_from(run: Path, path: Path, tasks: int) -> float:
    """Labels of some tasks by people who grade on 1 to 9 as the judge does; returns the mean of all."""
    scores: dict[str, list[float]] = {}
    for row in judgements(run):
        scores.setdefault(row.task_id, []).append(sum((row.scores or {}).values()) / 3)
    people = {task: round(2 * sum(row) / len(row)) - 1.0 for task, row in scores.items()}
    names = sorted(people)[:tasks]
    path.write_text("task_id,score\n" + "".join(f"{task},{people[task]:g}\n" for task in names))
    return sum(people.values()) / len(people)


def test_labels_give_the_mean_human_score_of_all_that_was_judged(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(120), failures=0.0)
    labels = tmp_path / "labels.csv"
    with FakeGemini(fair) as fake:
        judge(config_for(run, fake.url, any_client))
        truth = labels_from(run, labels, 40)
        metrics = judge(config_for(run, fake.url, any_client, labels=labels)).run.metrics
    found = metrics[f"judge.{NAME}.human_mean"]
    assert found.n == metrics[f"judge.{NAME}.human_correlation"].n == 40
    assert found.low < truth < found.high
    assert "40 labelled of 120 judged" in found.method
    # A judge that goes along with people makes the interval narrower than theirs alone.
    assert float(found.method.partition("worth ")[2].partition(" ")[0]) > 60


@pytest.mark.parametrize(
    ("samples", "repeats", "parts"),
    [
        (1, 1, set()),
        (1, 2, {"tasks_and_answers", "repeats"}),
        (3, 2, {"tasks", "answers", "repeats"}),
        (3, 1, {"tasks", "answers_and_repeats"}),
    ],
)
def test_the_parts_that_the_data_tell_apart_are_metrics_with_advice(
    samples: int, repeats: int, parts: set[str], any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(20), failures=0.0, samples=samples)
    with FakeGemini() as fake:
        metrics = judge(config_for(run, fake.url, any_client, repeats=repeats)).run.metrics
    prefix = f"judge.{NAME}.variance."
    assert {name.removeprefix(prefix) for name in metrics if name.startswith(prefix)} == parts
    said = advice(metrics, NAME)
    assert (said is not None) is bool(parts)
    assert said is None or "twice the tasks" in said


def test_the_command_says_what_to_add(
    any_client: str, harness_judge: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(20), failures=0.0, samples=2)
    with FakeGemini() as fake:
        arguments = [str(run), "--rubric", NAME, "--endpoint", fake.url, "--client", any_client]
        output, errors = harness_judge(*arguments).communicate(timeout=120)
        assert "Of the variance of the mean score" in output, errors
        assert "twice the tasks by" in output
        document = json.loads(harness_judge(*arguments, "--json").communicate(timeout=120)[0])
    assert document["advice"].startswith("of the variance of the mean score")
    assert f"judge.{NAME}.variance.answers" in document["metrics"]
