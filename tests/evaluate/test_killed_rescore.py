"""Samples and metrics are one state: a rescoring killed between them leaves no run that passes for whole."""

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from harness.contract import ParseResult
from harness.errors import IncompleteError
from harness.evaluate import evaluate, rescore
from harness.evaluate.scoring import summarise_run
from harness.files import is_draft
from harness.gate import decide, open_run
from harness.runs import RunDirectory, load
from harness.runs.seals import opened_document
from tests.gate.gate_runs import BAD, answers, config, make_run
from tests.killing import killed_at
from tests.report.report_runs import judged, with_cliff

TASKS = 40
STATE = ("samples.jsonl", "metrics.json", "manifest.json", "cliff.json", "judge.jsonl")
MADE_OF_SAMPLES = ("samples.jsonl", "metrics.json")


@pytest.fixture(scope="module")
def outdated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run whose answers an older parser took for valid."""
    run = make_run(tmp_path_factory.mktemp("outdated"), answers(20)(TASKS, 1))
    before = [
        replace(
            sample,
            parse=ParseResult("strict", None, None, None, (1, 2, 3, 4)),
            scores={"ndcg_at_1": 1.0, "ndcg_at_k": 1.0},
        )
        for sample in run.iter_samples()
    ]
    with RunDirectory(run.path) as directory:
        directory.replace_samples(before)
        directory.write_metrics(summarise_run(run.path, run.manifest))
    return judged(with_cliff(load(run.path), 1.2)).path


@pytest.fixture(scope="module")
def expected(outdated: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    calm = shutil.copytree(outdated, tmp_path_factory.mktemp("calm") / "run")
    rescore(calm)
    return state(calm)


def state(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in STATE}


def numbers(state: dict[str, bytes]) -> dict[str, object]:
    """The metrics by name."""
    content, _ = opened_document(state["metrics.json"])
    return {name: value for name, value in content.items() if name != "source"}


def test_a_rescoring_changes_what_rests_on_samples_alone(outdated: Path, expected: dict[str, bytes]) -> None:
    before = state(outdated)
    assert {name for name in STATE if before[name] != expected[name]} == set(MADE_OF_SAMPLES)
    assert BAD.replace('"', '\\"').encode() in before["samples.jsonl"]
    assert b'"cliff.lambda_star"' in expected["metrics.json"]
    assert b'"rubric.' in expected["metrics.json"]


def test_killed_anywhere_a_rescoring_leaves_no_old_numbers(
    outdated: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    before, unfinished = state(outdated), 0
    for point in count():
        run = shutil.copytree(outdated, tmp_path / str(point) / "run")
        if not killed_at(point, lambda run=run: rescore(run)):  # type: ignore[misc]
            break
        found = state(run)
        # What metrics there are, are those of the samples there are.
        source = before if found["samples.jsonl"] == before["samples.jsonl"] else expected
        assert numbers(found).items() <= numbers(source).items()
        if load(run).manifest.status == "complete":
            assert found in (before, expected)
        else:
            unfinished += 1
            with pytest.raises(IncompleteError, match="finish it"):
                decide(open_run(run))
            finished = shutil.copytree(run, tmp_path / str(point) / "evaluated")
            evaluate(config(outdated.parent / "tasks.jsonl", outdated.parent / "outputs.jsonl", finished))
            assert load(finished).manifest.status == "complete"
            assert (finished / "metrics.json").read_bytes() == source["metrics.json"]
        rescore(run)
        assert state(run) == expected
        assert not any(is_draft(path) for path in run.iterdir())
    assert unfinished >= 4
    assert state(run) == expected
