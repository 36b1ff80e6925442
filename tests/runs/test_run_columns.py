"""The one reader of stored samples: what it gives, and what it refuses of files that were changed."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.engines.config import EngineConfig
from harness.errors import DataError, IncompleteError
from harness.evaluate import EvalConfig, evaluate, rescore
from harness.metrics.table import metrics_of, sample_metrics
from harness.runs import Run, load
from harness.runs.columns import read_columns
from tests.resealing import Row, change_rows

OF_RANKS = metrics_of(ranks=True, scores=())
LABELS = {"a": [3, 1, 0], "b": [0, 2, 1], "tied": [2, 2, 2]}
TEXTS = ('{"ranking": [1, 2, 3]}', 'Sure! {"ranking": [1, 2, 3]}')


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two samples a task, the second of them not strict."""
    tasks = [
        {
            "task_id": name,
            "history": [],
            "candidates": [{"item_id": f"{name}{place}", "title": "x"} for place in range(3)],
            "relevance": labels,
        }
        for name, labels in LABELS.items()
    ]
    answers = [
        {"task_id": name, "sample_index": index, "text": text}
        for name in LABELS
        for index, text in enumerate(TEXTS)
    ]
    for name, rows in (("tasks", tasks), ("answers", answers)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = EngineConfig(engine="replay", replay=tmp_path / "answers.jsonl")
    settings = EvalConfig(
        engine=engine, data=str(tmp_path / "tasks.jsonl"), out=tmp_path / "run", samples=2, temperature=1.0
    )
    return evaluate(settings)


def changed(run: Run, change: Callable[[list[Row]], None]) -> Run:
    """The run with lines of its samples.jsonl changed."""
    change_rows(run.path / "samples.jsonl", change)
    return load(run.path)


def test_values_stand_in_the_order_of_the_file(run: Run) -> None:
    found = read_columns(changed(run, lambda rows: rows.reverse()))
    assert found.task_ids == ("a", "b", "tied")
    assert found.can_rank.tolist() == [True, True, False]
    assert found.task.tolist() == [2, 2, 1, 1, 0, 0]
    assert found.index.tolist() == [1, 0, 1, 0, 1, 0]
    assert found.missing.tolist() == [0, 0, 0]
    assert found.values["parse_validity.strict"].tolist() == [0, 1, 0, 1, 0, 1]
    assert found.values["failure_rate.extra_text"].tolist() == [1, 0, 1, 0, 1, 0]
    np.testing.assert_equal(found.values["ndcg_at_1.parsed"], [math.nan] * 3 + [0, math.nan, 1])
    np.testing.assert_equal(found.values["ndcg_at_1.all"], [math.nan, math.nan, 0, 0, 0, 1])
    assert found.values["task_rate.all_tied"].tolist() == [0, 0, 1]
    assert found.values.keys() == set(OF_RANKS)


def test_only_what_is_asked_for_is_read(run: Run) -> None:
    found = read_columns(run, ["truncation_rate"], also={"length": lambda sample: len(sample.text)})
    assert found.values.keys() == {"truncation_rate", "length"}
    assert found.values["length"].tolist() == [len(text) for text in TEXTS] * 3


def test_by_task(run: Run) -> None:
    found = read_columns(run)
    tables = {name: found.by_task(metric) for name, metric in sample_metrics().items() if name in OF_RANKS}
    assert tables["parse_validity.strict"].mean_of() == {"a": 0.5, "b": 0.5, "tied": 0.5}
    assert tables["ndcg_at_1.all"].mean_of() == {"a": 0.5, "b": 0.0}
    assert tables["ndcg_at_1.parsed"].mean_of() == {"a": 1.0, "b": 0.0}
    for name, table in tables.items():
        assert table.estimate == pytest.approx(run.metrics[name].estimate, abs=1e-12), name


def test_missing_samples_are_counted(run: Run) -> None:
    found = read_columns(changed(run, lambda rows: rows.__delitem__(slice(1, 4))), ["ndcg_at_1.all"])
    assert found.missing.tolist() == [1, 2, 0]
    assert found.by_task(sample_metrics()["ndcg_at_1.all"]).missing.tolist() == [1, 2]


def test_lenient_answers_are_ranked_though_they_are_stored_without_scores(run: Run) -> None:
    assert [one.scores["ndcg_at_1"] for one in run.iter_samples()] == [1.0, None, 0.0, None, None, None]
    table = read_columns(run).by_task(sample_metrics()["ndcg_at_1.lenient"])
    assert (table.mean_of(), table.count.tolist()) == ({"a": 1.0, "b": 0.0}, [2, 2])
    assert read_columns(run).by_task(sample_metrics()["ndcg_at_1.parsed"]).count.tolist() == [1, 1]


def test_without_tasks_they_are_those_that_are_answered(run: Run) -> None:
    (run.path / "tasks.jsonl").unlink()
    found = read_columns(run, ["ndcg_at_1.all"], asked=())
    assert found.task_ids == ("a", "b", "tied")
    assert found.can_rank.all()
    with pytest.raises(DataError, match=r"tasks\.jsonl"):
        read_columns(run, ["ndcg_at_1.all"])


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row["parse"].update(tier="perfect"),
        lambda row: row["parse"].update(code="ugly"),
        lambda row: row["parse"].update(code="empty"),
        lambda row: row["parse"].update(tier="lenient"),
        lambda row: row["scores"].update(ndcg_at_1=None),
        lambda row: row["scores"].pop("ndcg_at_k"),
        lambda row: row["scores"].update(ndcg_at_1=1.5),
        lambda row: row["scores"].update(ndcg_at_1=-0.1),
        lambda row: row["scores"].update(ndcg_at_k=math.nan),
    ],
)
def test_a_sample_that_contradicts_itself_is_refused_until_it_is_rescored(
    run: Run, change: Callable[[Row], None]
) -> None:
    before = (run.path / "metrics.json").read_bytes()
    spoilt = changed(run, lambda rows: change(rows[0]))
    with pytest.raises(DataError, match="harness rescore") as error:
        read_columns(spoilt)
    assert "\n" not in str(error.value)
    assert repr(next(iter(spoilt.iter_samples())).key) in str(error.value)
    rescore(run.path)
    assert (run.path / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[0].update(task_id="nobody's"), "nobody's.* belong together"),
        (lambda rows: rows[0].update(sample_index=1), "number 1 of task 'a'.* twice"),
        (lambda rows: rows[0].update(sample_index=2), "number 2 of task 'a'.* belong together"),
        (lambda rows: rows.append(rows[0]), "number 0 of task 'a'.* twice"),
        (lambda rows: rows.append(rows[0] | {"sample_index": 2}), "number 2 of task 'a'.* twice"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    run: Run, change: Callable[[list[Row]], None], says: str
) -> None:
    before = (run.path / "metrics.json").read_bytes()
    with pytest.raises(DataError, match=says) as error:
        read_columns(changed(run, change))
    assert "\n" not in str(error.value)
    spoilt = (run.path / "samples.jsonl").read_bytes()
    with pytest.raises(DataError, match=says):
        rescore(run.path)
    assert (run.path / "samples.jsonl").read_bytes() == spoilt
    assert (run.path / "metrics.json").read_bytes() == before


def test_a_run_that_lost_samples_is_not_rescored_to_fewer(run: Run) -> None:
    changed(run, lambda rows: rows.__delitem__(slice(1, 4)))
    with pytest.raises(IncompleteError, match=r"3 of 6 samples \(lost since: of 'a', 'b'\); .*harness eval"):
        rescore(run.path)
