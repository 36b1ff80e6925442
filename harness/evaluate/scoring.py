"""From raw text to parse result, scores and metrics; needs no engine, so a run can be rescored any time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.contract import FAILURE_CODES, Contract, ParseResult, parse
from harness.data.tasks import RankingTask
from harness.errors import DataError
from harness.judge import merge_rubric_metrics
from harness.metrics import (
    NO_CODE,
    TIERS,
    SampleTable,
    chance_ndcg,
    has_relevant,
    is_all_tied,
    ndcg_at,
    summarise,
)
from harness.progress import OnProgress, Progress, ignore
from harness.runs import Run, RunDirectory, Sample, load, read_samples
from harness.runs.directory import SAMPLES, read_manifest, read_tasks
from harness.stats import Estimate

Scores = dict[str, float | None]
_CLIFF = "cliff."


class TaskScorer:
    """Parses and scores completions of one task."""

    def __init__(self, task: RankingTask, contract: Contract) -> None:
        self._contract = contract
        self._k = task.k
        self._relevance = task.relevance
        self._informative = has_relevant(task.relevance) and not is_all_tied(task.relevance)

    def __call__(self, text: str, finish_reason: str) -> tuple[ParseResult, Scores]:
        """Parse a raw completion and score its ranking; scores are None unless it parsed strictly.

        Labels that can't tell one ranking from another (none relevant, or all tied) give None as well.
        """
        parsed = parse(text, self._k, self._contract, finish_reason=finish_reason)
        if parsed.tier != "strict" or parsed.ranking is None or not self._informative:
            return parsed, {"ndcg_at_1": None, "ndcg_at_k": None}
        return parsed, {
            "ndcg_at_1": ndcg_at(self._relevance, parsed.ranking, at=1),
            "ndcg_at_k": ndcg_at(self._relevance, parsed.ranking, at=self._k),
        }


def score_text(
    text: str, task: RankingTask, contract: Contract | None = None, finish_reason: str = "stop"
) -> tuple[ParseResult, Scores]:
    """Parse and score one raw completion of one task."""
    return TaskScorer(task, contract or Contract())(text, finish_reason)


def summarise_run(path: Path, seed: int) -> dict[str, Estimate]:
    """Every metric of a run from its stored samples, whatever the order they finished in.

    Args:
        path: the run directory.
        seed: of the bootstrap.

    Raises:
        DataError: a file of the run can't be read, or a sample's task is missing.
    """
    return summarise(_tabulate(path), FAILURE_CODES, seed=seed)


def rescore(path: Path, on_progress: OnProgress = ignore) -> Run:
    """Parse and score every stored text again with today's code, and compute the metrics anew.

    Streams: memory grows by a few numbers a sample, not with the texts.

    Raises:
        DataError: not a run, or a file of it can't be read.
        RunMismatchError: the run is being written.
    """
    manifest = read_manifest(path)
    with RunDirectory(path) as directory:
        cliff = measured_by_cliff(path)
        scorers = {task.task_id: TaskScorer(task, manifest.contract) for task in read_tasks(path)}
        samples = _scored_anew(path, scorers, manifest.planned, on_progress)
        with directory.unsettled(cliff) as unsettle:
            directory.replace_samples(samples, unsettle)
            directory.write_metrics(summarise_run(path, manifest.sampling["seed"]) | cliff)
            merge_rubric_metrics(directory)
    return load(path)


def measured_by_cliff(path: Path) -> dict[str, Estimate]:
    """Metrics of the cliff job, which rest on token probabilities: parsing again leaves them as they are."""
    try:
        metrics = load(path).metrics
    except DataError:
        # An unreadable metrics.json is what rescoring replaces; the cliff job keeps its own file beside it.
        return {}
    return {name: value for name, value in metrics.items() if name.startswith(_CLIFF)}


def _scored_anew(
    path: Path, scorers: dict[str, TaskScorer], planned: int, on_progress: OnProgress
) -> Iterator[Sample]:
    for done, sample in enumerate(read_samples(path / SAMPLES), start=1):
        scorer = scorers.get(sample.task_id)
        if scorer is None:
            raise _unknown_task(path, sample)
        parse, scores = scorer(sample.text, sample.finish_reason)
        on_progress(Progress("rescoring", done, planned))
        yield replace(sample, parse=parse, scores=scores)


def _tabulate(path: Path) -> SampleTable:
    """The run's samples by column; typed arrays keep a million samples at some tens of megabytes."""
    position, no_relevant, all_tied, chance = _task_columns(read_tasks(path))
    tier_number = {tier: number for number, tier in enumerate(TIERS)}
    code_number: dict[str | None, int] = {code: number for number, code in enumerate(FAILURE_CODES)}
    code_number[None] = NO_CODE
    task_index, tier, code, truncated = array("l"), array("b"), array("b"), array("b")
    at_1, at_k = array("d"), array("d")
    for sample in read_samples(path / SAMPLES):
        try:
            task_index.append(position[sample.task_id])
        except KeyError:
            raise _unknown_task(path, sample) from None
        tier.append(tier_number[sample.parse.tier])
        code.append(code_number[sample.parse.code])
        truncated.append(sample.finish_reason == "length")
        at_1.append(_or_nan(sample.scores["ndcg_at_1"]))
        at_k.append(_or_nan(sample.scores["ndcg_at_k"]))
    return SampleTable(
        task_index=np.asarray(task_index),
        tier=np.asarray(tier),
        code=np.asarray(code),
        truncated=np.asarray(truncated, dtype=np.bool_),
        ndcg_at_1=np.asarray(at_1),
        ndcg_at_k=np.asarray(at_k),
        no_relevant=np.asarray(no_relevant, dtype=np.bool_),
        all_tied=np.asarray(all_tied, dtype=np.bool_),
        chance_ndcg_at_1=np.asarray(chance),
    )


def _task_columns(
    tasks: Iterable[RankingTask],
) -> tuple[dict[str, int], array[int], array[int], array[float]]:
    position: dict[str, int] = {}
    no_relevant, all_tied, chance = array("b"), array("b"), array("d")
    for task in tasks:
        position[task.task_id] = len(position)
        no_relevant.append(not has_relevant(task.relevance))
        all_tied.append(is_all_tied(task.relevance))
        chance.append(_or_nan(chance_ndcg(task.relevance, 1)))
    return position, no_relevant, all_tied, chance


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _unknown_task(path: Path, sample: Sample) -> DataError:
    return DataError(
        f"{path}: sample {sample.key} answers task {sample.task_id}, which tasks.jsonl doesn't hold; "
        "the run's files don't belong together"
    )
