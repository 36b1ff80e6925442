"""`evaluate` over recorded outputs: the flow after the engine, on real files."""

import json
from pathlib import Path

import pytest

from harness.engines.config import EngineConfig
from harness.errors import DataError, HarnessError, RunMismatchError
from harness.evaluate import EvalConfig, evaluate, rescore
from harness.runs import Run, load
from tests.report.report_runs import with_cliff
from tests.resealing import change_document, change_rows

K = 3
RELEVANCE = {"a": [3, 1, 0], "b": [0, 2, 1], "c": [0, 0, 0], "d": [2, 2, 2]}
TEXTS = {
    "a": '{"ranking": [1, 2, 3]}',
    "b": '{"ranking": [1, 2, 3]}',
    "c": '{"ranking": [3, 2, 1]}',
    "d": 'Sure! {"ranking": [3, 2, 1]}',
}


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {
            "task_id": name,
            "history": [],
            "candidates": [{"item_id": f"{name}{i}", "title": f"Thing {i}"} for i in range(K)],
            "relevance": labels,
        }
        for name, labels in RELEVANCE.items()
    ]
    return write_lines(tmp_path / "tasks.jsonl", rows)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return write_lines(
        tmp_path / "outputs.jsonl", [{"task_id": name, "text": text} for name, text in TEXTS.items()]
    )


def config(data: Path, recorded: Path, out: Path, **changes: object) -> EvalConfig:
    engine = EngineConfig(engine="replay", replay=recorded)
    return EvalConfig(engine=engine, data=str(data), out=out, **changes)  # type: ignore[arg-type]


@pytest.fixture
def run(data: Path, recorded: Path, tmp_path: Path) -> Run:
    return evaluate(config(data, recorded, tmp_path / "run"))


def test_several_stored_answers_of_a_task_need_no_temperature(data: Path, recorded: Path) -> None:
    """Also where `auto` is left to find out that stored outputs are meant."""
    for name in ("replay", "auto"):
        engine = EngineConfig(engine=name, replay=recorded)  # type: ignore[arg-type]
        assert EvalConfig(engine=engine, data=str(data), samples=2).samples == 2
    with pytest.raises(HarnessError, match="set `temperature=`"):
        EvalConfig(engine=EngineConfig(ckpt="zoo:base"), samples=2)


def test_the_three_numbers_stay_apart(run: Run) -> None:
    """By hand: 3 of 4 strict; NDCG@1 of a is 1, of b is 0; c has nothing relevant and d is all tied."""
    metrics = run.metrics
    assert metrics["parse_validity.strict"].estimate == 3 / 4
    assert metrics["parse_validity.strict"].n == 4
    assert metrics["parse_validity.lenient"].estimate == 1.0
    assert metrics["failure_rate.extra_text"].estimate == 1 / 4
    assert metrics["ndcg_at_1.parsed"].estimate == 1 / 2
    assert metrics["ndcg_at_1.parsed"].n == 2
    assert metrics["task_rate.no_relevant"].estimate == 1 / 4
    assert metrics["task_rate.all_tied"].estimate == 2 / 4


def test_a_failure_counts_zero_in_all_and_nothing_in_parsed(
    data: Path, recorded: Path, tmp_path: Path
) -> None:
    write_lines(
        recorded,
        [{"task_id": name, "text": "no" if name == "a" else text} for name, text in TEXTS.items()],
    )
    metrics = evaluate(config(data, recorded, tmp_path / "run")).metrics
    assert (metrics["ndcg_at_1.parsed"].n, metrics["ndcg_at_1.parsed"].estimate) == (1, 0.0)
    assert (metrics["ndcg_at_1.all"].n, metrics["ndcg_at_1.all"].estimate) == (2, 0.0)


def test_nothing_parsed_is_not_zero(data: Path, recorded: Path, tmp_path: Path) -> None:
    write_lines(recorded, [{"task_id": name, "text": ""} for name in TEXTS])
    metrics = evaluate(config(data, recorded, tmp_path / "run")).metrics
    assert metrics["parse_validity.strict"].estimate == 0.0
    assert metrics["failure_rate.empty"].estimate == 1.0
    assert (metrics["ndcg_at_1.parsed"].n, metrics["ndcg_at_1.parsed"].estimate) == (0, None)


def test_the_run_alone_is_enough(run: Run, data: Path, recorded: Path) -> None:
    """Everything after the raw text is redone with dataset and recorded outputs gone."""
    before = (run.path / "metrics.json").read_bytes()
    samples = (run.path / "samples.jsonl").read_bytes()
    data.unlink()
    recorded.unlink()
    (run.path / "metrics.json").unlink()
    rescore(run.path)
    assert (run.path / "metrics.json").read_bytes() == before
    assert (run.path / "samples.jsonl").read_bytes() == samples


def test_rescore_uses_the_text_not_the_stored_scores(run: Run) -> None:
    before = (run.path / "samples.jsonl").read_bytes()
    change_rows(
        run.path / "samples.jsonl", lambda rows: [row["scores"].update(ndcg_at_1=0.5) for row in rows]
    )
    assert before != (run.path / "samples.jsonl").read_bytes()
    assert rescore(run.path).metrics == run.metrics
    assert (run.path / "samples.jsonl").read_bytes() == before


def test_rescore_keeps_what_other_jobs_measured(run: Run) -> None:
    before = with_cliff(run, 1.2).metrics
    assert "cliff.lambda_star" in before
    assert rescore(run.path).metrics == before
    (run.path / "metrics.json").write_text("{")
    assert rescore(run.path).metrics == before


@pytest.mark.parametrize("name", ["rubric.relevance", "cliff.lambda_star"])
def test_rescore_drops_numbers_that_nothing_backs(run: Run, name: str) -> None:
    before = load(run.path).metrics
    number = {"n": 2, "estimate": 0.5, "low": 0.1, "high": 0.9, "method": "bootstrap"}
    change_document(run.path / "metrics.json", lambda metrics: metrics.update({name: number}))
    assert rescore(run.path).metrics == before


def test_the_same_command_again_changes_nothing(run: Run, data: Path, recorded: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    evaluate(config(data, recorded, run.path))
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_limit_can_be_raised_but_not_lowered(data: Path, recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert evaluate(config(data, recorded, out, limit=2)).metrics["parse_validity.strict"].n == 2
    whole = evaluate(config(data, recorded, out))
    assert whole.metrics["parse_validity.strict"].n == 4
    assert whole.metrics == evaluate(config(data, recorded, tmp_path / "fresh")).metrics
    with pytest.raises(RunMismatchError, match="choose another `out=`"):
        evaluate(config(data, recorded, out, limit=2))
    assert load(out).metrics == whole.metrics


def test_another_configuration_is_refused_and_named(run: Run, data: Path, recorded: Path) -> None:
    before = (run.path / "manifest.json").read_bytes()
    with pytest.raises(RunMismatchError, match="sampling"):
        evaluate(config(data, recorded, run.path, seed=1))
    assert (run.path / "manifest.json").read_bytes() == before


def test_k_that_tasks_dont_have_is_refused(data: Path, recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="K = 8"):
        evaluate(config(data, recorded, tmp_path / "run", k=8))
    assert not (tmp_path / "run").exists()


def test_several_samples_at_temperature_zero_make_no_sense() -> None:
    with pytest.raises(HarnessError, match="temperature"):
        EvalConfig(engine=EngineConfig(engine="hf", ckpt="x"), samples=2)


def test_no_task_is_said(tmp_path: Path, recorded: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(HarnessError):
        evaluate(config(empty, recorded, tmp_path / "run"))


def test_the_manifest_says_what_was_run(run: Run, data: Path) -> None:
    manifest = run.manifest
    assert manifest.status == "complete"
    assert manifest.finished is not None
    assert manifest.dataset.path == str(data)
    assert len(manifest.dataset.sha256) == 64
    assert manifest.engine.name == "replay"
    assert manifest.packages["numpy"]
    assert [session.generated for session in manifest.sessions] == [4]
