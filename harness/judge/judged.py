"""What a run was judged: `judge.jsonl` beside the samples it is about, read in one way for all who ask."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.errors import DataError, RunMismatchError
from harness.judge.pair_metrics import MEASURES, pair_table
from harness.judge.plan import task_key
from harness.judge.records import HumanLabel, Judgement, PairJudgement, RubricUse, read_records, read_rubric
from harness.judge.rubric import Rubric
from harness.metrics.columns import TaskTable
from harness.metrics.table import PAIR_PREFIX, RUBRIC_PREFIX
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

    A parsed sample that has no score is missing, and so is one that a provider withheld; a repeat without a
    score leaves its sample known in part: a judge that refuses what is bad must not raise a mean by it.
    Tasks that a limit left out aren't there: judging takes tasks in a random order, so that those before the
    limit are a sample of all.

    Raises:
        DataError: the run wasn't judged with it, or its judgements can't be read.
    """
    judged = _judged(run, metric)
    criterion = metric.removeprefix(RUBRIC_PREFIX).partition(".")[2]
    planned: Counter[str] = Counter()
    strict: dict[str, str] = {}
    rankings: dict[str, tuple[int, ...] | None] = {}
    withheld: Counter[str] = Counter()
    for sample in run.iter_samples():
        planned[sample.task_id] += 1
        withheld[sample.task_id] += sample.parse is None
        if sample.parse is not None and sample.parse.tier == "strict":
            strict[sample.key], rankings[sample.key] = sample.task_id, sample.parse.ranking
    rows = [row for row in judged.rankings.values() if holds(row, rankings)]
    parsed = Counter(strict.values())
    task_ids = _asked_tasks(rows, planned, parsed)
    place = {task_id: index for index, task_id in enumerate(task_ids)}
    asked, scored = Counter(row.sample for row in rows), scored_by_sample(rows)
    # Per task: samples with a score, and the sum, least and largest sum of their values.
    columns = np.zeros((4, len(place)))
    for key, value in sample_values(judged.rubric, scored, criterion or None).items():
        known = len(scored[key]) / asked[key]
        columns[:, place[strict[key]]] += (1.0, value, value * known, value * known + (1.0 - known))
    count, (total, least, most) = columns[0].astype(np.int64), columns[1:]
    of_parsed = np.array([parsed[task_id] for task_id in task_ids], dtype=np.int64)
    of_all = np.array([planned[task_id] for task_id in task_ids], dtype=np.int64)
    unseen = np.array([withheld[task_id] for task_id in task_ids], dtype=np.int64)
    limits = None if np.array_equal(least, most) else (least, most)
    return TaskTable(
        tuple(task_ids),
        total,
        count,
        of_parsed - count + unseen,
        of_all - of_parsed - unseen,
        is_rate=False,
        counts_always=True,
        limits=limits,
        withheld=unseen,
    )


def _asked_tasks(rows: Sequence[Judgement], tasks: Iterable[str], parsed: Collection[str]) -> list[str]:
    """The tasks that were to be judged: all of them, or those that came before a limit.

    A limit or a stop shows as a parsed task behind the last that was judged; of each seed's order by itself.
    """
    ids = list(tasks)
    if not rows:
        return ids
    last: dict[int, str] = {}
    for row in rows:
        key = task_key(row.order_seed, row.task_id)
        last[row.order_seed] = max(last.get(row.order_seed, key), key)
    asked: set[str] = set()
    for seed, end in last.items():
        keys = {task_id: task_key(seed, task_id) for task_id in ids}
        beyond = min((keys[task_id] for task_id in parsed if keys[task_id] > end), default=None)
        asked.update(task_id for task_id in ids if beyond is None or keys[task_id] < beyond)
    return [task_id for task_id in ids if task_id in asked]


def pairwise_table(run: Run, metric: str) -> TaskTable | None:
    """`pairwise.<rubric>.<other>.<measure>` of a run by task; None for what no rule can be about by task.

    A pair that lacks a verdict in one of its two orders is missing.

    Raises:
        DataError: the run wasn't judged with it, or its judgements can't be read.
    """
    rubric, other, measure = [*metric.removeprefix(PAIR_PREFIX).split("."), "", ""][:3]
    if measure not in MEASURES:
        return None
    rankings = {
        sample.key: sample.parse.ranking
        for sample in run.iter_samples()
        if sample.parse is not None and sample.parse.tier == "strict"
    }
    pairs = _judged(run, f"{RUBRIC_PREFIX}{rubric}").pairs.values()
    rows = [row for row in pairs if row.other == other and holds(row, rankings)]
    return pair_table(rows, [task.task_id for task in run.tasks()], measure)


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
