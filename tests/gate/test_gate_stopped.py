"""A run that was ended by its own samples says so wherever its numbers are."""

from pathlib import Path

import pytest

from harness.evaluate import evaluate
from harness.evaluate.scoring import rescore
from harness.gate import Policy, decide
from harness.gate.live import LiveOptions
from harness.gate.record import write_record
from harness.metrics.stopped import STOPPED, STOPPED_EARLY
from harness.metrics.table import KNOWN, sample_metrics
from harness.runs import load
from harness.runs.drawing import drawing_order
from harness.stats import confidence_sequence
from tests.gate.gate_runs import answers, config, write_outputs, write_tasks
from tests.gate.live_runs import live

TASKS = 200


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks.jsonl", TASKS)


@pytest.fixture
def answered(tmp_path: Path) -> Path:
    return write_outputs(tmp_path / "outputs.jsonl", answers(120)(TASKS, 1))


def test_a_stopped_run_is_marked_until_it_is_whole(data: Path, answered: Path, tmp_path: Path) -> None:
    result, run = live(data, answered, tmp_path / "run")
    assert result.live is not None
    assert result.live.stopped_early
    assert run.manifest.stopped is not None
    assert run.manifest.stopped.tasks_used == result.live.tasks_used
    assert any(STOPPED_EARLY in note for note in result.notes)
    rescored = rescore(run.path)
    assert rescored.manifest.stopped == run.manifest.stopped
    of_samples = {name: one for name, one in rescored.metrics.items() if name in sample_metrics()}
    assert of_samples
    assert all(STOPPED in one.method for one in of_samples.values())
    assert rescored.metrics["ndcg_at_1.chance"].method == KNOWN
    whole = evaluate(config(data, answered, tmp_path / "run"))
    assert whole.manifest.stopped is None
    assert not any(STOPPED in one.method for one in whole.metrics.values())


def test_a_stored_gate_on_it_says_so_too(data: Path, answered: Path, tmp_path: Path) -> None:
    drawn, run = live(data, answered, tmp_path / "run")
    write_record(run.path, drawn, Policy())
    again = decide(load(run.path), allow_incomplete=True)
    assert again.verdict == drawn.verdict
    assert any(STOPPED_EARLY in note for note in again.notes)
    whole = decide(evaluate(config(data, answered, tmp_path / "run")))
    assert whole.verdict == drawn.verdict
    assert not any(STOPPED_EARLY in note for note in whole.notes)


def test_its_intervals_are_those_of_a_confidence_sequence(data: Path, answered: Path, tmp_path: Path) -> None:
    _, run = live(data, answered, tmp_path / "run")
    metrics = rescore(run.path).metrics
    strict = {sample.task_id: float(sample.parse.tier == "strict") for sample in run.iter_samples()}
    order = drawing_order(0, [task.task_id for task in run.tasks()])
    drawn = [strict[task_id] for task_id in order if task_id in strict]
    expected = confidence_sequence(drawn, 0.95)
    found = metrics["parse_validity.strict"]
    assert (found.n, found.estimate, found.low, found.high) == (
        expected.n,
        pytest.approx(expected.estimate),
        expected.low,
        expected.high,
    )


def test_a_budget_is_no_stopping(data: Path, answered: Path, tmp_path: Path) -> None:
    """A number of tasks fixed beforehand, in random order, is an ordinary sample."""
    answers_on_the_bar = write_outputs(tmp_path / "bar.jsonl", answers(190)(TASKS, 1))
    result, run = live(data, answers_on_the_bar, tmp_path / "run", options=LiveOptions(max_tasks=20))
    assert result.verdict == "inconclusive"
    assert run.manifest.stopped is None


def test_a_killed_evaluation_of_a_stopped_run_keeps_the_mark(
    data: Path, answered: Path, tmp_path: Path
) -> None:
    from harness.errors import Interrupted
    from harness.progress import Progress

    live(data, answered, tmp_path / "run")

    def interrupt(progress: Progress) -> None:
        if progress.done >= 50:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        evaluate(config(data, answered, tmp_path / "run"), interrupt)
    assert load(tmp_path / "run").manifest.stopped is not None
