"""What a run was judged: `judge.jsonl` beside the samples it is about, read in one way for all who ask."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from harness.errors import DataError, RunMismatchError
from harness.judge.records import HumanLabel, Judgement, PairJudgement, RubricUse, read_records, read_rubric
from harness.judge.rubric import Rubric
from harness.metrics.columns import TaskTable
from harness.metrics.table import RUBRIC_PREFIX
from harness.runs import Run
from harness.runs.directory import JUDGE_LOG


@dataclass(frozen=True, slots=True)
class Judged:
    """What one rubric's judge said of a run; of several lines on the same question the last counts.

    Attributes:
        rubric: the one used last under its name: scores by different rubrics are never mixed.
        rankings: by sample, repeat and presentation.
        pairs: by other run, sample, repeat and presentation.
    """

    rubric: Rubric
    rankings: dict[tuple[str, int, int], Judgement] = field(default_factory=dict)
    pairs: dict[tuple[str, str, int, int, str | None], PairJudgement] = field(default_factory=dict)


def read_judged(run: Run) -> tuple[dict[str, Judged], dict[str, dict[str, float]]]:
    """Everything in a run's `judge.jsonl`: rubric → what its judge said, and rubric → people's labels.

    Raises:
        DataError: it can't be read.
    """
    by_digest: dict[str, Judged] = {}
    latest: dict[str, str] = {}
    labels: dict[str, dict[str, float]] = defaultdict(dict)
    for record in read_records(run.path):
        if isinstance(record, Judgement | PairJudgement) and record.digest not in by_digest:
            raise DataError(
                f"{run.path / JUDGE_LOG} holds a judgement by rubric {record.digest}, but not that rubric: "
                "a line is lost; remove the file and judge the run again"
            )
        match record:
            case RubricUse():
                rubric = read_rubric(record)
                by_digest.setdefault(record.digest, Judged(rubric))
                latest[rubric.name] = record.digest
            case Judgement():
                unit = (record.sample, record.repeat, record.order_seed)
                by_digest[record.digest].rankings[unit] = record
            case PairJudgement():
                pair = (record.other, record.sample, record.repeat, record.order_seed, record.shown)
                by_digest[record.digest].pairs[pair] = record
            case HumanLabel():
                labels[record.rubric][record.sample] = record.score
    return {name: by_digest[digest] for name, digest in latest.items()}, labels


def holds(row: Judgement | PairJudgement, rankings: Mapping[str, tuple[int, ...] | None]) -> bool:
    """Whether a judgement counts: while its sample parses strictly to the ranking that was judged.

    Args:
        row: the judgement.
        rankings: of the samples that parse strictly, by key.
    """
    return rankings.get(row.sample) == row.ranking


def scored_by_sample(rows: Iterable[Judgement]) -> dict[str, list[Judgement]]:
    """The judgements with a score, by sample, in the order given."""
    scored: dict[str, list[Judgement]] = defaultdict(list)
    for row in rows:
        if row.scores is not None:
            scored[row.sample].append(row)
    return dict(scored)


def sample_values(
    rubric: Rubric, scored: Mapping[str, list[Judgement]], criterion: str | None = None
) -> dict[str, float]:
    """What a rubric says of each sample: the mean of its repeats, in [0, 1].

    Args:
        rubric: what was judged by.
        scored: as `scored_by_sample` gives them.
        criterion: one of the rubric's; None for all, weighted.

    Raises:
        DataError: the rubric has no such criterion.
    """
    value = _value_of(rubric, criterion)
    return {
        sample: math.fsum(value(row.scores or {}) for row in repeats) / len(repeats)
        for sample, repeats in scored.items()
    }


def rubric_table(run: Run, metric: str) -> TaskTable:
    """`rubric.<name>` or `rubric.<name>.<criterion>` of a run, added up by task.

    Raises:
        DataError: the run wasn't judged with it, or its judgements can't be read.
    """
    judged = _judged(run, metric)
    criterion = metric.removeprefix(RUBRIC_PREFIX).partition(".")[2]
    strict = {
        sample.key: (sample.task_id, sample.parse.ranking)
        for sample in run.iter_samples()
        if sample.parse.tier == "strict"
    }
    rankings = {key: ranking for key, (_, ranking) in strict.items()}
    scored = scored_by_sample(row for row in judged.rankings.values() if holds(row, rankings))
    by_task: dict[str, list[float]] = defaultdict(list)
    for key, value in sample_values(judged.rubric, scored, criterion or None).items():
        by_task[strict[key][0]].append(value)
    return TaskTable(
        tuple(by_task),
        np.array([math.fsum(values) for values in by_task.values()], dtype=np.float64),
        np.array([len(values) for values in by_task.values()], dtype=np.int64),
        np.zeros(len(by_task), dtype=np.int64),
        is_rate=False,
        counts_always=False,
    )


def require_same_rubric(candidate: Run, baseline: Run, metric: str) -> None:
    """Refuse a comparison of scores by different rubrics or judges.

    Raises:
        RunMismatchError: the digests differ.
        DataError: a run wasn't judged with it.
    """
    mine, theirs = (_judged(run, metric).rubric.digest for run in (candidate, baseline))
    if mine != theirs:
        raise RunMismatchError(
            f"{metric} was scored with another rubric or judge in {baseline.path} (digest {theirs}, "
            f"here {mine}); judge both runs with the same file"
        )


def rubric_of(metric: str) -> str:
    """Name of the rubric behind `rubric.<name>` or `rubric.<name>.<criterion>`."""
    return metric.removeprefix(RUBRIC_PREFIX).partition(".")[0]


def _judged(run: Run, metric: str) -> Judged:
    name = rubric_of(metric)
    judged = read_judged(run)[0].get(name)
    if judged is None:
        raise DataError(f"{run.path} has no judgements by rubric {name}; run `harness judge` on it")
    return judged


def _value_of(rubric: Rubric, criterion: str | None) -> Callable[[dict[str, int]], float]:
    if criterion is None:
        return rubric.score
    for one in rubric.criteria:
        if one.name == criterion:
            return lambda scores: one.normalise(scores[criterion])
    raise DataError(f"rubric {rubric.name} has no criterion {criterion}; see its file")
