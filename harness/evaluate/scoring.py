"""From raw text to parse result, scores and metrics; needs no engine, so a run can be rescored any time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from harness.contract import Contract, ParseResult, parse
from harness.data.tasks import RankingTask
from harness.errors import DataError
from harness.judge import rubric_metrics
from harness.metrics.stopped import summarise_stopped, without_interval
from harness.metrics.summary import summarise
from harness.metrics.table import CLIFF_PREFIX, METRICS, SCORES, can_rank
from harness.progress import OnProgress, Progress, ignore
from harness.runs import Manifest, Run, RunDirectory, Sample, load, read_samples
from harness.runs.columns import read_columns, unknown_task
from harness.runs.directory import SAMPLES, read_manifest, read_tasks
from harness.runs.drawing import drawing_order
from harness.stats import Estimate

Scores = dict[str, float | None]


class TaskScorer:
    """Parses and scores completions of one task."""

    def __init__(self, task: RankingTask, contract: Contract) -> None:
        self._contract = contract
        self._k = task.k
        self._relevance = task.relevance
        self._can_rank = can_rank(task.relevance)

    def __call__(self, text: str, finish_reason: str) -> tuple[ParseResult, Scores]:
        """Parse a raw completion and score its ranking; scores are None unless it parsed strictly.

        Labels that can't tell one ranking from another (none relevant, or all tied) give None as well.
        """
        parsed = parse(text, self._k, self._contract, finish_reason=finish_reason)
        if parsed.tier != "strict" or parsed.ranking is None or not self._can_rank:
            return parsed, dict.fromkeys(SCORES)
        return parsed, {name: score(self._relevance, parsed.ranking) for name, score in SCORES.items()}


def summarise_run(
    path: Path, manifest: Manifest, kept: Mapping[str, Estimate] | None = None
) -> dict[str, Estimate]:
    """Every metric that a run's samples and judgements give, whatever the order they came in.

    Args:
        path: the run directory.
        manifest: of the run.
        kept: metrics that rest on something else and go with them.

    Raises:
        DataError: a file of the run can't be read, or its files don't belong together.
    """
    run = Run(path, manifest, {})
    columns, seed = read_columns(run, METRICS), manifest.sampling["seed"]
    if manifest.stopped is None:
        return {**summarise(columns, seed=seed), **(kept or {}), **rubric_metrics(run)}
    judged = {name: without_interval(value) for name, value in rubric_metrics(run).items()}
    order = drawing_order(seed, columns.task_ids)
    return {**summarise_stopped(columns, order), **(kept or {}), **judged}


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
            directory.write_metrics(summarise_run(path, manifest, kept=cliff))
    return load(path)


def measured_by_cliff(path: Path) -> dict[str, Estimate]:
    """Metrics of the cliff job, which rest on token probabilities: parsing again leaves them as they are."""
    try:
        metrics = load(path).metrics
    except DataError:
        # An unreadable metrics.json is what rescoring replaces; the cliff job keeps its own file beside it.
        return {}
    return {name: value for name, value in metrics.items() if name.startswith(CLIFF_PREFIX)}


def _scored_anew(
    path: Path, scorers: dict[str, TaskScorer], planned: int, on_progress: OnProgress
) -> Iterator[Sample]:
    for done, sample in enumerate(read_samples(path / SAMPLES), start=1):
        scorer = scorers.get(sample.task_id)
        if scorer is None:
            raise unknown_task(path, sample)
        parsed, scores = scorer(sample.text, sample.finish_reason)
        on_progress(Progress("rescoring", done, planned))
        yield replace(sample, parse=parsed, scores=scores)
