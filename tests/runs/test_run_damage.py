"""A damaged or forged run never tells another story in silence; benchmarks/run_damage.py does more."""

import shutil
from pathlib import Path

import pytest

from benchmarks.run_damage import SAID, SILENT, Edit, World, build, edits, flips, outcomes, routes, staleness
from harness.errors import DataError, IncompleteError
from harness.evaluate import evaluate, rescore
from harness.gate import decide
from harness.report import ReportConfig, report
from harness.runs import load, stale_reasons
from harness.runs.gate_record import GateRecord
from harness.runs.integrity import read_gate
from tests.gate.gate_runs import answers, config, make_run
from tests.gate.stored_runs import policy
from tests.resealing import made_before_checksums

FLIPS = 40
FINE = ("refused", "said", "same")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("damage"))


def test_the_undamaged_run_is_current_and_nothing_of_it_is_called_stale(world: World) -> None:
    record = GateRecord.from_dict(read_gate(world.run))
    assert stale_reasons(load(world.run), record) == ()
    assert "stale" not in world.expected["report"]
    assert outcomes(world, lambda run: None, ()) == dict.fromkeys(world.expected, "same")


def test_no_flipped_bit_changes_a_number_in_silence(world: World) -> None:
    found = [
        (name, command, outcome)
        for name, damage in flips(world, FLIPS, seed=13)
        for command, outcome in outcomes(world, damage, (name, "samples")).items()
    ]
    assert [one for one in found if one[2] not in FINE] == []
    assert sum(outcome == "refused" for _, _, outcome in found) > FLIPS


@pytest.mark.parametrize("edit", edits(), ids=str)
def test_no_edit_by_hand_changes_a_number_in_silence(world: World, edit: Edit) -> None:
    found = outcomes(world, edit.damage, edit.names)
    assert set(found.values()) <= set(FINE), found


def test_a_verdict_that_no_longer_holds_is_called_stale(world: World) -> None:
    found = {what: staleness(world, route) for what, route in routes(world).items()}
    assert len(found) >= 7
    assert {what: outcome for what, outcome in found.items() if not outcome.startswith(SAID)} == {}
    assert SILENT not in found.values()


def test_a_run_of_an_older_version_is_read_and_rescoring_seals_it(world: World, tmp_path: Path) -> None:
    run = shutil.copytree(world.run, tmp_path / "run")
    made_before_checksums(run)
    before = load(run)
    assert not before.manifest.sealed
    assert before.source is None
    rules = policy("parse_validity.strict >= 0.3", "rubric.listwise-relevance >= 0.2")
    assert decide(before, rules).rules == decide(load(world.run), rules).rules
    assert "stale" in report(ReportConfig(runs=(run,)), "md").document  # its verdict kept no digests
    after = rescore(run)
    assert after.metrics == before.metrics
    assert after.manifest.sealed
    assert after.manifest.status == "complete"
    for name in ("samples.jsonl", "tasks.jsonl"):
        assert (run / name).read_bytes() == (world.run / name).read_bytes()
    rescore(run)


def test_a_run_of_an_older_version_goes_on(tmp_path: Path) -> None:
    run = make_run(tmp_path, answers(15)(20, 1), limit=12)
    made_before_checksums(run.path)
    whole = evaluate(config(tmp_path / "tasks.jsonl", tmp_path / "outputs.jsonl", run.path))
    assert whole.metrics == make_run(tmp_path / "new", answers(15)(20, 1)).metrics
    assert not whole.manifest.sealed
    assert rescore(run.path).manifest.sealed


@pytest.mark.parametrize("name", ["samples.jsonl", "tasks.jsonl"])
def test_rescoring_without_its_sources_says_what_to_do(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, answers(15)(20, 1))
    before = (run.path / "metrics.json").read_bytes()
    (run.path / name).unlink()
    with pytest.raises(DataError, match=rf"no {name} any more; .*harness eval"):
        rescore(run.path)
    assert (run.path / "metrics.json").read_bytes() == before
    assert load(run.path).manifest.status == "complete"


def test_evaluating_again_brings_back_what_was_lost(tmp_path: Path) -> None:
    run = make_run(tmp_path, answers(15)(20, 1))
    settings = config(tmp_path / "tasks.jsonl", tmp_path / "outputs.jsonl", run.path)
    before = {name: (run.path / name).read_bytes() for name in ("tasks.jsonl", "metrics.json")}
    (run.path / "tasks.jsonl").unlink()
    evaluate(settings)
    assert {name: (run.path / name).read_bytes() for name in before} == before
    lines = (run.path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (run.path / "samples.jsonl").write_bytes(b"".join(lines[:7] + lines[8:]))
    with pytest.raises(IncompleteError, match="19 of 20 samples"):
        decide(load(run.path))
    evaluate(settings)
    assert (run.path / "metrics.json").read_bytes() == before["metrics.json"]


def test_metrics_that_were_forged_are_not_passed_on_by_evaluating_again(tmp_path: Path) -> None:
    run = make_run(tmp_path, answers(15)(20, 1))
    text = (run.path / "metrics.json").read_text()
    (run.path / "metrics.json").write_text(text.replace('"estimate": 0.75', '"estimate": 1.0'))
    with pytest.raises(DataError, match=r"metrics\.json.*harness rescore"):
        evaluate(config(tmp_path / "tasks.jsonl", tmp_path / "outputs.jsonl", run.path))
