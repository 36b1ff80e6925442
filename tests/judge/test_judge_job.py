"""Judging whole runs: what is judged, what is shown, and what becomes of the scores."""

import json
from pathlib import Path

import pytest

from harness.errors import DataError, HarnessError, RunMismatchError
from harness.judge import forecast_judging, judge, load_rubric, rubric_metrics
from harness.runs import RunDirectory, load, read_samples
from tests.judge.fake_gemini import FakeGemini, Faults
from tests.judge.gemini_judges import graded
from tests.judge.judge_runs import (
    CHECKPOINT,
    NAME,
    PRICE,
    RAW_MARK,
    Configure,
    judgements,
    make_run,
    make_tasks,
)


def test_without_a_key_nothing_is_asked_and_nothing_breaks(
    config_for: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    run = make_run(tmp_path / "run", make_tasks(5), failures=0.0)
    before = load(run).metrics
    config = config_for(run, "http://127.0.0.1:9", "auto")
    assert rubric_metrics(load(run)) == {}
    expected = forecast_judging(config)
    assert (expected.requests, expected.basis) == (10, "a rule of thumb")
    with pytest.raises(HarnessError, match="GEMINI_API_KEY or GOOGLE_API_KEY"):
        judge(config)
    assert load(run).metrics == before


def test_only_strict_rankings_are_judged_and_nothing_else_is_shown(
    client_name: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "telling-run-name", make_tasks(40), failures=0.4)
    strict = [s for s in read_samples(run / "samples.jsonl") if s.parse.tier == "strict"]
    assert 10 < len(strict) < 35
    with FakeGemini() as fake:
        result = judge(config_for(run, fake.url, client_name))
        sent = " ".join(arrival.body + json.dumps(arrival.headers) for arrival in fake.arrivals)
    assert {row.sample for row in judgements(run)} == {sample.key for sample in strict}
    assert result.run.metrics[f"rubric.{NAME}"].n == len(strict)
    for secret in (
        CHECKPOINT,
        RAW_MARK,
        "telling-run-name",
        *(sample.key for sample in strict),
        '"ranking": [',
    ):
        assert secret not in sent


def test_metrics_come_from_the_run_alone(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(30))
    with FakeGemini(faults=Faults(malformed=0.1)) as fake:
        stored = judge(config_for(run, fake.url, any_client)).run
    again = rubric_metrics(load(run))
    assert again
    assert {name: stored.metrics[name] for name in again} == again
    assert set(stored.metrics) - set(again) == {"parse_validity.strict"}
    # The order of lines says nothing.
    lines = (run / "judge.jsonl").read_text().splitlines(keepends=True)
    (run / "judge.jsonl").write_text("".join([lines[0], *reversed(lines[1:])]))
    assert rubric_metrics(load(run)) == again


def test_a_broken_line_is_named(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(3))
    (run / "judge.jsonl").write_text('{"kind": "ranking"}\n{"kind": "odd"}\n')
    with pytest.raises(DataError, match=r"judge\.jsonl:1"):
        judge(config_for(run, "http://127.0.0.1:9", any_client))


def test_a_ranking_that_changed_since_doesnt_count(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    """As after a rescore with another parser: a sample that isn't strict any more leaves the score."""
    run = make_run(tmp_path / "run", make_tasks(20), failures=0.0)
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client))
        with RunDirectory(run) as directory:
            samples = list(read_samples(run / "samples.jsonl"))
            text = samples[0].to_line().decode().replace('"tier":"strict"', '"tier":"repaired"')
            directory.replace_samples([type(samples[0]).from_line(text), *samples[1:]])
        assert rubric_metrics(load(run))[f"rubric.{NAME}"].n == 19


def test_an_edited_rubric_replaces_the_scores_of_the_old_one(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(10), failures=0.0)
    rubric = load_rubric(NAME)
    edited = rubric.model_copy(update={"version": 2, "reason_words": 20})
    with FakeGemini(lambda seen, rng: graded(seen, 0.25 if "about 20 words" in seen.user else 1.0)) as fake:
        judge(config_for(run, fake.url, any_client))
        second = judge(config_for(run, fake.url, any_client, rubric=edited)).run.metrics
        assert second[f"rubric.{NAME}"].estimate == pytest.approx(0.25)
        sent = len(fake.arrivals)
        back = judge(config_for(run, fake.url, any_client)).run.metrics
        assert back[f"rubric.{NAME}"].estimate == pytest.approx(1.0)
        assert len(fake.arrivals) == sent


def test_two_rubrics_stand_side_by_side(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(10), failures=0.0)
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client))
        judge(config_for(run, fake.url, any_client, rubric=load_rubric("listwise-diversity")))
    metrics = load(run).metrics
    assert f"rubric.{NAME}" in metrics
    assert "rubric.listwise-diversity.variety" in metrics
    assert "parse_validity.strict" in metrics


def test_a_limit_judges_the_same_random_tasks_in_every_run(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    tasks = make_tasks(60)
    chosen = []
    with FakeGemini() as fake:
        for number in range(2):
            run = make_run(tmp_path / f"run{number}", tasks, seed=number, failures=0.0)
            judge(config_for(run, fake.url, any_client, limit=12))
            chosen.append({row.task_id for row in judgements(run)})
            assert load(run).metrics[f"judge.{NAME}.coverage"].estimate == pytest.approx(12 / 60)
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 12
    assert chosen[0] != {f"t{index}" for index in range(12)}


def test_two_judgings_of_one_run_at_once_are_refused(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(3))
    with RunDirectory(run), pytest.raises(RunMismatchError, match="another process"):
        judge(config_for(run, "http://127.0.0.1:9", any_client))


def test_an_unfinished_run_isnt_judged(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(3))
    with RunDirectory(run) as directory:
        manifest = directory.read_manifest()
        assert manifest is not None
        directory.write_manifest(manifest.model_copy(update={"status": "incomplete"}))
    with pytest.raises(HarnessError, match="harness eval"):
        judge(config_for(run, "http://127.0.0.1:9", any_client))
    with pytest.raises(DataError, match="isn't a run"):
        judge(config_for(tmp_path / "nothing", "http://127.0.0.1:9", any_client))
    assert not (tmp_path / "nothing").exists()


def test_progress_counts_every_judgement(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(20), failures=0.0)
    reports = []
    with FakeGemini(faults=Faults(malformed=0.2)) as fake:
        judge(config_for(run, fake.url, any_client), reports.append)
    last = reports[-1]
    assert (last.done, last.total, last.in_flight) == (40, 40, 0)
    assert last.unscored == fake.outcomes()["malformed"]
    assert last.cost == pytest.approx(fake.cost(PRICE.input, PRICE.output))
    done = [report.done for report in reports]
    assert done == sorted(done)


def test_pairs_need_the_same_tasks(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", make_tasks(5))
    other = make_run(tmp_path / "b", make_tasks(5, seed=1), seed=1)
    with pytest.raises(DataError, match="isn't the same in both runs"):
        judge(config_for(run, "http://127.0.0.1:9", any_client, pairwise=other))
