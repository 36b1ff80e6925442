"""Digests of a run's files: what changes them, and what a verdict made from them says when they change."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.evaluate.scoring import rescore
from harness.gate import Policy, decide
from harness.gate.record import record, write_record
from harness.runs import Run, load, source_of, stale_reasons
from harness.runs.gate_record import GateRecord
from harness.runs.staleness import baseline_unchecked
from tests.gate.gate_runs import answers, make_run, write_outputs, write_tasks
from tests.gate.live_runs import live

RULE = "parse_validity.strict >= 0.5"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("made"), answers(15)(20, 1))


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    return load(shutil.copytree(made.path, tmp_path / "run"))


def edit(path: Path, name: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    (path / name).write_bytes(b"".join(change((path / name).read_bytes().splitlines(keepends=True))))


def test_a_run_is_its_samples_in_whatever_order_they_finished(run: Run) -> None:
    before = source_of(run.path)
    assert (before.samples, before.tasks) == (20, 20)
    edit(run.path, "samples.jsonl", lambda lines: lines[::-1])
    assert source_of(run.path) == before


def test_a_torn_line_belongs_to_nobody_yet(run: Run) -> None:
    before = source_of(run.path)
    with (run.path / "samples.jsonl").open("ab") as file:
        file.write(b'{"key": "torn')
    assert source_of(run.path) == before


@pytest.mark.parametrize("change", [lambda lines: [*lines, lines[3]], lambda lines: lines[1:]])
def test_doubled_and_dropped_lines_are_another_run(
    run: Run, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    before = source_of(run.path)
    edit(run.path, "samples.jsonl", change)
    after = source_of(run.path)
    assert after.samples_sha256 != before.samples_sha256
    assert after.drawn_sha256 != before.drawn_sha256


def test_scores_aren_t_drawn_and_texts_are(run: Run) -> None:
    before = source_of(run.path)
    edit(
        run.path,
        "samples.jsonl",
        lambda lines: [b.replace(b'"ndcg_at_1":1.0', b'"ndcg_at_1":0.0') for b in lines],
    )
    scored = source_of(run.path)
    assert scored.drawn_sha256 == before.drawn_sha256
    assert scored.samples_sha256 != before.samples_sha256
    edit(run.path, "samples.jsonl", lambda lines: [b.replace(b"[1, 2", b"[2, 1", 1) for b in lines])
    assert source_of(run.path).drawn_sha256 != before.drawn_sha256


def gated(run: Run) -> GateRecord:
    """The record of a gate as it comes back from its file."""
    policy = Policy(rules=(RULE,))
    return GateRecord.from_dict(json.loads(json.dumps(record(decide(run, policy), policy))))


def test_a_record_of_the_run_as_it_is_holds(run: Run) -> None:
    assert stale_reasons(run, gated(run)) == ()


def test_a_record_without_digests_is_never_taken_for_current(run: Run) -> None:
    policy = Policy(rules=(RULE,))
    old = {name: value for name, value in record(decide(run, policy), policy).items() if "source" not in name}
    [reason] = stale_reasons(run, GateRecord.from_dict(old))
    assert "digests" in reason


def test_a_run_that_lost_a_sample_makes_its_record_stale(run: Run) -> None:
    before = gated(run)
    edit(run.path, "samples.jsonl", lambda lines: lines[1:])
    [reason] = stale_reasons(load(run.path), before)
    assert reason == "it was made of 20 samples, the run has 19 now"


def stopped_and_gated(folder: Path) -> Run:
    data = write_tasks(folder / "tasks.jsonl", 200)
    outputs = write_outputs(folder / "outputs.jsonl", answers(120)(200, 1))
    result, run = live(data, outputs, folder / "run")
    write_record(run.path, result, Policy())
    assert not run.metrics
    return run


def recorded(run: Run) -> GateRecord:
    return GateRecord.from_dict(json.loads((run.path / "gate.json").read_text()))


def test_metrics_that_came_later_of_the_same_samples_change_nothing(tmp_path: Path) -> None:
    run = stopped_and_gated(tmp_path)
    again = rescore(run.path)
    assert "parse_validity.strict" in again.metrics
    assert stale_reasons(again, recorded(run)) == ()


def test_metrics_that_came_later_of_other_samples_do(tmp_path: Path) -> None:
    run = stopped_and_gated(tmp_path)
    again = rescore(run.path)
    assert again.source is not None
    elsewhere = replace(again, source=replace(again.source, drawn_sha256="0" * 64))
    [reason] = stale_reasons(elsewhere, recorded(run))
    assert "metrics.json says something else" in reason
    other = replace(again.metrics["parse_validity.strict"], n=1)
    changed = replace(again, metrics=again.metrics | {"parse_validity.strict": other})
    first = GateRecord.from_dict(
        json.loads(json.dumps(record(decide(again, Policy(), allow_incomplete=True), Policy())))
    )
    assert stale_reasons(again, first) == ()
    assert stale_reasons(changed, first) == ("metrics.json says something else of what its rules name",)


def test_a_baseline_that_is_gone_is_not_stale_but_named(made: Run, run: Run, tmp_path: Path) -> None:
    base = load(shutil.copytree(made.path, tmp_path / "base"))
    policy = Policy(rules=(RULE, "parse_validity.strict >= baseline - 0.5"))
    write_record(run.path, decide(run, policy, base), policy)
    assert (stale_reasons(run, recorded(run)), baseline_unchecked(run, recorded(run))) == ((), None)
    base.path.rename(tmp_path / "moved")
    assert stale_reasons(run, recorded(run)) == ()
    assert baseline_unchecked(run, recorded(run)) == "its baseline isn't at ../base any more, so not checked"
    assert baseline_unchecked(run, gated(run)) is None


def test_metrics_that_are_gone_say_nothing_else(run: Run) -> None:
    before = gated(run)
    (run.path / "metrics.json").unlink()
    assert stale_reasons(load(run.path), before) == ("metrics.json is gone",)
