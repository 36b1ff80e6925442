"""Rubric scores by task, from the judgements of a run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from harness.errors import DataError, RunMismatchError
from harness.gate.measures import RUBRIC
from harness.gate.tables import TaskTable
from harness.judge import findings
from harness.judge.records import Judgement, RubricUse, read_records, read_rubric
from harness.judge.rubric import Rubric
from harness.runs import Run


def rubric_table(run: Run, metric: str) -> TaskTable:
    """`rubric.<name>` or `rubric.<name>.<criterion>` by task: the mean of a sample's scored repeats.

    Of several rubrics with one name the one used last counts, and a judgement counts while its sample
    parses strictly to the ranking that was judged, as in `harness.judge`.

    Raises:
        DataError: the judgements can't be read, or don't give the metric that is stored.
    """
    rubric, rows = _judgements(run, metric)
    value = _value_of(rubric, metric)
    strict = {
        sample.key: (sample.task_id, sample.parse.ranking)
        for sample in run.iter_samples()
        if sample.parse.tier == "strict"
    }
    repeats: dict[str, list[float]] = defaultdict(list)
    for row in rows.values():
        _, ranking = strict.get(row.sample, ("", None))
        if row.scores is not None and ranking == row.ranking:
            repeats[row.sample].append(value(row.scores))
    by_task: dict[str, list[float]] = defaultdict(list)
    for sample, values in repeats.items():
        by_task[strict[sample][0]].append(math.fsum(values) / len(values))
    return TaskTable(
        tuple(by_task),
        np.array([math.fsum(values) for values in by_task.values()], dtype=np.float64),
        np.array([len(values) for values in by_task.values()], dtype=np.int64),
        np.zeros(len(by_task), dtype=np.int64),
        is_rate=False,
        counts_always=False,
    )


def rubric_digest(run: Run, metric: str) -> str:
    """Digest of the rubric behind a metric: its text, scale and judge."""
    return _judgements(run, metric)[0].digest


def require_same_rubric(candidate: Run, baseline: Run, metric: str) -> None:
    """Refuse a comparison of scores by different rubrics or judges.

    Raises:
        RunMismatchError: the digests differ.
        DataError: a run wasn't judged with it.
    """
    mine, theirs = rubric_digest(candidate, metric), rubric_digest(baseline, metric)
    if mine != theirs:
        raise RunMismatchError(
            f"{metric} was scored with another rubric or judge in {baseline.path} (digest {theirs}, "
            f"here {mine}); judge both runs with the same file"
        )


def judge_remarks(run: Run, metric: str) -> list[str]:
    """What speaks against relying on this rubric's judge."""
    name = _name(metric)
    remarks = [f"judge {name}: {finding.message}" for finding in findings(run.metrics, name)]
    coverage = run.metrics.get(f"judge.{name}.coverage")
    if coverage is not None and coverage.estimate is not None and coverage.estimate < 1.0:
        remarks.append(f"judge {name}: judged {coverage.estimate:.1%} of {coverage.n} parsed samples")
    return remarks


def _judgements(run: Run, metric: str) -> tuple[Rubric, dict[tuple[str, int, int], Judgement]]:
    """The rubric used last under this name, and its judgements; of several on one question the last."""
    name = _name(metric)
    rubric: Rubric | None = None
    rows: dict[tuple[str, str, int, int], Judgement] = {}
    for record in read_records(run.path):
        if isinstance(record, RubricUse) and record.rubric.get("name") == name:
            rubric = read_rubric(record)
        elif isinstance(record, Judgement):
            rows[(record.digest, record.sample, record.repeat, record.order_seed)] = record
    if rubric is None:
        raise DataError(f"{run.path} has no judgements by rubric {name}; run `harness judge` on it")
    return rubric, {key[1:]: row for key, row in rows.items() if key[0] == rubric.digest}


def _value_of(rubric: Rubric, metric: str) -> Callable[[dict[str, int]], float]:
    criterion = metric.removeprefix(RUBRIC).partition(".")[2]
    if not criterion:
        return rubric.score
    for one in rubric.criteria:
        if one.name == criterion:
            return lambda scores: one.normalise(scores[criterion])
    raise DataError(f"rubric {rubric.name} has no criterion {criterion}; see its file")


def _name(metric: str) -> str:
    return metric.removeprefix(RUBRIC).partition(".")[0]
