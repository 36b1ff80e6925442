"""The hook that draws in another order and ends early: what it may rely on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.tasks import RankingTask
from harness.engines import Capabilities
from harness.engines.config import EngineConfig
from harness.errors import HarnessError
from harness.evaluate import EvalConfig, evaluate
from harness.evaluate.early_stop import FIRST_WAVE, waves
from harness.runs import Manifest, Sample, read_samples
from harness.runs.manifest import Stopped

TASKS = 12


class Watcher:
    """Draws backwards and ends after some samples."""

    def __init__(self, end_after: int, budget: int = TASKS) -> None:
        self.seen: list[str] = []
        self.end_after, self.budget = end_after, budget

    def plan(
        self, manifest: Manifest, tasks: Sequence[RankingTask], folder: Path, prompts: Mapping[str, str]
    ) -> Sequence[str]:
        assert manifest.planned == TASKS
        return [task.task_id for task in reversed(tasks)][: self.budget]

    def enough(self, sample: Sample) -> bool:
        assert len(self.seen) < self.end_after, "called again after True"
        self.seen.append(sample.task_id)
        return len(self.seen) == self.end_after

    def stopped(self) -> Stopped | None:
        return Stopped(tasks_used=len(self.seen))


@pytest.fixture
def config(tmp_path: Path) -> EvalConfig:
    tasks = tmp_path / "tasks.jsonl"
    candidates = [{"item_id": "a", "title": "A"}, {"item_id": "b", "title": "B"}]
    rows = [
        {"task_id": f"t{n}", "history": [], "candidates": candidates, "relevance": [1, 0]}
        for n in range(TASKS)
    ]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outputs = tmp_path / "outputs.jsonl"
    answers = [{"task_id": f"t{n}", "text": '{"ranking": [1, 2]}'} for n in range(TASKS)]
    outputs.write_text("".join(json.dumps(row) + "\n" for row in answers))
    engine = EngineConfig(engine="replay", replay=outputs)
    return EvalConfig(engine=engine, data=str(tasks), out=tmp_path / "run")


def stored(config: EvalConfig) -> list[str]:
    assert config.out is not None
    return [sample.task_id for sample in read_samples(config.out / "samples.jsonl")]


def test_it_draws_as_planned_and_ends_when_told(config: EvalConfig) -> None:
    watcher = Watcher(5)
    run = evaluate(config, early_stop=watcher)
    assert watcher.seen == stored(config) == [f"t{n}" for n in (11, 10, 9, 8, 7)]
    assert (run.manifest.status, run.metrics) == ("incomplete", {})
    assert run.manifest.finished is None


def test_earlier_samples_are_seen_first(config: EvalConfig) -> None:
    evaluate(config, early_stop=Watcher(3))
    watcher = Watcher(5)
    evaluate(config, early_stop=watcher)
    assert watcher.seen == stored(config)
    satisfied = Watcher(2)
    evaluate(config, early_stop=satisfied)
    assert (len(satisfied.seen), len(stored(config))) == (2, 5)


def test_a_budget_is_no_end(config: EvalConfig) -> None:
    run = evaluate(config, early_stop=Watcher(TASKS + 1, budget=4))
    assert (run.manifest.status, len(stored(config))) == ("incomplete", 4)


def test_everything_drawn_is_a_complete_run(config: EvalConfig) -> None:
    for end_after in (TASKS, TASKS + 1):
        out = config.out.with_name(f"run{end_after}") if config.out else None
        run = evaluate(config.model_copy(update={"out": out}), early_stop=Watcher(end_after))
        assert run.manifest.status == "complete"
        assert run.metrics["parse_validity.strict"].n == TASKS


def test_a_refused_plan_leaves_nothing(config: EvalConfig) -> None:
    class Refuses(Watcher):
        def plan(
            self, manifest: Manifest, tasks: Sequence[RankingTask], folder: Path, prompts: Mapping[str, str]
        ) -> Sequence[str]:
            raise HarnessError("no")

    with pytest.raises(HarnessError, match="no"):
        evaluate(config, early_stop=Refuses(1))
    assert config.out is not None
    assert not (config.out / "manifest.json").exists()
    assert evaluate(config).manifest.status == "complete"


@given(
    st.lists(st.integers(), max_size=500),
    st.booleans(),
    st.none() | st.integers(1, 50),
)
def test_waves_are_the_plan_in_pieces(items: list[int], begins_all: bool, batch_size: int | None) -> None:
    pieces = list(waves(items, Capabilities(begins_all=begins_all, batch_size=batch_size)))
    assert [item for piece in pieces for item in piece] == items
    if batch_size is not None:
        assert all(len(piece) == batch_size for piece in pieces[:-1])
    elif begins_all:
        drawn = 0
        for piece in pieces:
            assert len(piece) <= max(FIRST_WAVE, drawn)
            drawn += len(piece)
