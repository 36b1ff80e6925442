"""Every number that judging adds to `metrics.json`, from the run directory alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from harness.data.tasks import RankingTask
from harness.judge.exposure import (
    FloatArray,
    IntArray,
    compact,
    counts,
    detectable_difference,
    position_bias,
    rank_correlation,
    self_agreement,
    sums,
    unscored_rates,
)
from harness.judge.judged import holds, read_judged, sample_values, scored_by_sample
from harness.judge.pair_metrics import pair_metrics
from harness.judge.prompt import presented_order
from harness.judge.records import Judgement
from harness.judge.rubric import Rubric
from harness.judge.variance import VARIANCE, variance_parts
from harness.metrics.stopped import without_interval
from harness.metrics.table import JUDGE_PREFIXES, RUBRIC_PREFIX
from harness.runs import Run, RunDirectory, load
from harness.runs.integrity import require_sound
from harness.stats import Estimate, mean_interval, wilson
from harness.stats.prediction_powered import prediction_powered_mean


@dataclass(frozen=True, slots=True)
class _Sample:
    """A strictly parsed sample of the run as it is now."""

    task: int
    task_id: str
    ranking: tuple[int, ...]
    relevance: float | None
    title_excess: float
    """Characters by which the first choice's title is longer than the mean of the candidates' titles."""


def rubric_metrics(run: Run) -> dict[str, Estimate]:
    """The metrics that judging adds to a run; empty when it wasn't judged.

    Of several rubrics with one name, the one used last counts: scores by different rubrics are never mixed.
    A judgement counts while its sample parses strictly to the ranking that was judged.

    - `rubric.<name>`, `rubric.<name>.<criterion>`: mean score on [0, 1] over samples (each the mean of its
      repeats), n the scored samples.
    - `judge.<name>.coverage`: share of strictly parsed samples that were judged.
    - `judge.<name>.unscored`, `.unscored.<reason>`: shares of judgements without a score.
    - `judge.<name>.self_agreement`, `.self_agreement.<criterion>`: quadratic-weighted κ between repeats.
    - `judge.<name>.position_bias`: how often the repeat that listed the first choice earlier scored higher,
      among repeats that differ; ½ is none.
    - `judge.<name>.relevance_correlation`: Spearman with NDCG over all ranks.
    - `judge.<name>.length_correlation`: Spearman with the length of the first choice's title (beyond the
      candidates' mean length), NDCG held fixed.
    - `judge.<name>.human_correlation`: Spearman with people's labels, when there are any.
    - `judge.<name>.human_mean`: mean label of all judged samples, on the labels' scale, from the labels and
      the scores of the rest (`prediction_powered_mean`); n the labelled samples.
    - `judge.<name>.variance.<part>`: see `variance.variance_parts`.
    - `judge.<name>.detectable_difference`: see `exposure.detectable_difference`.
    - `pairwise.<name>.<other>.…`: see `pair_metrics`.

    Raises:
        DataError: a file of the run can't be read.
    """
    judged, labels = read_judged(run)
    if not judged:
        return {}
    samples = _strict_samples(run)
    current = {key: sample.ranking for key, sample in samples.items()}
    seed = int(run.manifest.sampling.get("seed", 0))
    metrics: dict[str, Estimate] = {}
    for name, by_rubric in sorted(judged.items()):
        rankings = [row for row in by_rubric.rankings.values() if holds(row, current)]
        if rankings:
            # In an order that doesn't depend on when the judgements came in.
            rankings.sort(key=lambda row: (row.task_id, row.sample, row.order_seed, row.repeat))
            metrics |= _score_metrics(by_rubric.rubric, rankings, samples)
            metrics |= _exposure_metrics(by_rubric.rubric, rankings, samples, labels.get(name, {}), seed)
        pairs = [row for row in by_rubric.pairs.values() if holds(row, current)]
        if pairs:
            task_of = {key: sample.task for key, sample in samples.items()}
            metrics |= pair_metrics(name, pairs, task_of, seed)
    if run.manifest.stopped is not None:
        return {name: without_interval(value) for name, value in metrics.items()}
    return metrics


def merge_rubric_metrics(directory: RunDirectory) -> None:
    """Put the numbers of judging, computed anew, into the run's metrics; does nothing for others.

    Args:
        directory: of the run, entered; its `metrics.json` can be read.

    Raises:
        DataError: a file of the run can't be read.
    """
    run = load(directory.path)
    kept = {name: value for name, value in run.metrics.items() if not name.startswith(JUDGE_PREFIXES)}
    now = require_sound(run, kept)
    metrics = kept | rubric_metrics(run)
    if metrics != run.metrics or run.source not in (None, now):
        directory.write_metrics(metrics)


def drop_rubric_metrics(directory: RunDirectory) -> None:
    """Take the numbers of judging out of the run's metrics: judgements are about to be added under them.

    A process killed before `merge_rubric_metrics` then leaves no numbers of an earlier state.
    """
    run = load(directory.path)
    kept = {name: value for name, value in run.metrics.items() if not name.startswith(JUDGE_PREFIXES)}
    require_sound(run, kept)
    if len(kept) < len(run.metrics):
        directory.write_metrics(kept)


def _strict_samples(run: Run) -> dict[str, _Sample]:
    tasks = {task.task_id: (index, task) for index, task in enumerate(run.tasks())}
    samples = {}
    for sample in run.iter_samples():
        ranking = sample.strict_ranking
        if ranking is None:
            continue
        index, task = tasks[sample.task_id]
        assert isinstance(task, RankingTask), "only these are judged"
        lengths = [len(item.title) for item in task.candidates]
        excess = lengths[ranking[0] - 1] - sum(lengths) / len(lengths)
        relevance = sample.scores.get("ndcg_at_k")
        samples[sample.key] = _Sample(index, sample.task_id, ranking, relevance, excess)
    return samples


def _score_metrics(
    rubric: Rubric, rows: Sequence[Judgement], samples: dict[str, _Sample]
) -> dict[str, Estimate]:
    scored = scored_by_sample(rows)
    task = compact([samples[key].task for key in scored])
    count = counts(task)

    def mean(criterion: str | None) -> Estimate:
        values = list(sample_values(rubric, scored, criterion).values())
        return mean_interval(sums(task, values), count)

    name = f"{RUBRIC_PREFIX}{rubric.name}"
    return {name: mean(None)} | {f"{name}.{one.name}": mean(one.name) for one in rubric.criteria}


def _exposure_metrics(
    rubric: Rubric,
    rows: Sequence[Judgement],
    samples: dict[str, _Sample],
    labels: dict[str, float],
    seed: int,
) -> dict[str, Estimate]:
    scored = scored_by_sample(rows)
    name = f"judge.{rubric.name}"
    metrics = {f"{name}.coverage": wilson(len({row.sample for row in rows}), len(samples))}
    metrics |= unscored_rates(
        name, [row.unscored for row in rows], [samples[row.sample].task for row in rows]
    )
    metrics |= _agreement(rubric, scored, samples, seed)
    score = np.array(list(sample_values(rubric, scored).values()))
    task = np.array([samples[key].task for key in scored], dtype=np.int64)
    relevance = np.array(
        [math.nan if samples[key].relevance is None else samples[key].relevance for key in scored],
        dtype=np.float64,
    )
    excess = np.array([samples[key].title_excess for key in scored])
    known = ~np.isnan(relevance)
    metrics[f"{name}.relevance_correlation"] = rank_correlation(
        score[known], relevance[known], task[known], seed=seed
    )
    metrics[f"{name}.length_correlation"] = rank_correlation(
        score[known], excess[known], task[known], given=relevance[known], seed=seed
    )
    human = np.array([labels.get(key, math.nan) for key in scored], dtype=np.float64)
    labelled = ~np.isnan(human)
    if labels:
        metrics[f"{name}.human_correlation"] = rank_correlation(
            score[labelled], human[labelled], task[labelled], seed=seed
        )
        metrics |= _human_mean(name, human, score, task)
    by_task = compact(task)
    metrics[f"{name}.detectable_difference"] = detectable_difference(sums(by_task, score), counts(by_task))
    return metrics | _variance(name, rubric, scored, samples, seed)


def _human_mean(name: str, human: FloatArray, score: FloatArray, task: IntArray) -> dict[str, Estimate]:
    found = prediction_powered_mean(human, score, task)
    if found is None:
        return {}
    worth = "" if found.worth is None else f", worth {found.worth:.0f} labels"
    method = (
        f"prediction-powered (PPI++, λ = {found.weight:.2f}), {found.labelled} labelled of {found.predicted} "
        f"judged{worth}; Student's t, by task"
    )
    return {f"{name}.human_mean": Estimate(found.labelled, found.estimate, found.low, found.high, method)}


def _variance(
    name: str, rubric: Rubric, scored: dict[str, list[Judgement]], samples: dict[str, _Sample], seed: int
) -> dict[str, Estimate]:
    rows = [
        (rubric.score(row.scores or {}), samples[key].task, place)
        for place, (key, repeats) in enumerate(scored.items())
        for row in repeats
    ]
    scores, tasks, answers = (np.array([row[column] for row in rows]) for column in range(3))
    parts = variance_parts(scores.astype(np.float64), tasks, answers, seed=seed)
    return {f"{name}.{VARIANCE}{part}": estimate for part, estimate in parts.items()}


def _agreement(
    rubric: Rubric, scored: dict[str, list[Judgement]], samples: dict[str, _Sample], seed: int
) -> dict[str, Estimate]:
    pairs = [pair for repeats in scored.values() for pair in combinations(repeats, 2)]
    task = np.array([samples[first.sample].task for first, _ in pairs], dtype=np.int64)

    def column(side: int, criterion: str | None) -> npt.NDArray[np.float64]:
        rows = (pair[side].scores or {} for pair in pairs)
        values = [rubric.score(row) if criterion is None else float(row[criterion]) for row in rows]
        return np.array(values, dtype=np.float64)

    name = f"judge.{rubric.name}"
    metrics = {}
    for criterion in (None, *(criterion.name for criterion in rubric.criteria)):
        suffix = "" if criterion is None else f".{criterion}"
        metrics[f"{name}.self_agreement{suffix}"] = self_agreement(
            column(0, criterion), column(1, criterion), task, seed=seed
        )
    shown = [(_place_of_first_choice(first), _place_of_first_choice(second)) for first, second in pairs]
    score = np.stack([column(0, None), column(1, None)], axis=1)
    use = np.array([first != second for first, second in shown], dtype=np.bool_)
    swap = np.array([first > second for first, second in shown], dtype=np.bool_)
    score[swap] = score[swap][:, ::-1]
    metrics[f"{name}.position_bias"] = position_bias(score[use, 0], score[use, 1], task[use])
    return metrics


def _place_of_first_choice(row: Judgement) -> int:
    order = presented_order(row.order_seed, row.task_id, row.repeat, len(row.ranking))
    return order.index(row.ranking[0])
