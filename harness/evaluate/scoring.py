"""From raw text to parse result, scores and metrics; needs no engine, so a run can be rescored any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from harness.contract import Contract, ParseResult, decoded, judge
from harness.data.tasks import PromptTask, RankingTask, Task, terms_of
from harness.errors import DataError
from harness.evaluate.session import Tally, settled
from harness.judge import rubric_metrics
from harness.judge.judged import read_judged
from harness.metrics.match import match_names, match_scores
from harness.metrics.table import CLIFF_PREFIXES, SCORES, can_rank
from harness.progress import OnProgress, Progress, ignore
from harness.runs import Manifest, Run, RunDirectory, Sample, load, source_of
from harness.runs.columns import Held, lacking, lost_of, metrics_of_samples, read_columns, unknown_task
from harness.runs.directory import CLIFF, read_manifest
from harness.runs.directory import METRICS as METRICS_FILE
from harness.runs.integrity import StaleCliffError, cliff_metrics, has_source
from harness.runs.staleness import changes
from harness.stats import Estimate

Scores = dict[str, float | None]
OnRemark = Callable[[str], object]


def ignore_remark(remark: str) -> None:
    """Say nothing."""


class TaskScorer:
    """Parses and scores completions of one task."""

    def __init__(self, task: Task, contract: Contract) -> None:
        self._terms = terms_of(task, contract)
        self._relevance = task.relevance
        self._can_rank = can_rank(task.relevance)
        self._known = isinstance(task, PromptTask) and task.has_expected
        self._expected = task.expected if isinstance(task, PromptTask) else None
        names = match_names(self._expected) if self._known else ()
        self._unscored: Scores = dict.fromkeys(SCORES if isinstance(task, RankingTask) else names)

    def __call__(
        self, text: str, finish_reason: str, reasoning: str = ""
    ) -> tuple[ParseResult | None, Scores]:
        """Parse a raw completion and score its ranking, or hold it against the answer that is expected.

        Scores are None unless it parsed strictly, and where labels can't tell one ranking from another (none
        relevant, or all tied). What a provider withheld isn't the model's answer and has no parse result.
        """
        if finish_reason == "withheld":
            return None, dict(self._unscored)
        if finish_reason == "length" and reasoning and not text.strip():
            return _cut_off_thinking(reasoning), dict(self._unscored)
        parsed = judge(text, self._terms, finish_reason=finish_reason)
        return parsed, self._scores(text, parsed)

    def _scores(self, text: str, parsed: ParseResult) -> Scores:
        if self._known and parsed.tier == "strict":
            return match_scores(decoded(text), self._expected)
        if parsed.tier != "strict" or parsed.ranking is None or not self._can_rank:
            return dict(self._unscored)
        return {name: score(self._relevance, parsed.ranking) for name, score in SCORES.items()}


def _cut_off_thinking(reasoning: str) -> ParseResult:
    said = f"cut off by the token limit after {len(reasoning)} characters of reasoning"
    return ParseResult("none", "truncated", None, said, None)


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
    metrics = metrics_of_samples(run, read_columns(run))
    return {**metrics, **(kept or {}), **rubric_metrics(run)}


def rescore(path: Path, on_progress: OnProgress = ignore, on_remark: OnRemark = ignore_remark) -> Run:
    """Parse and score every stored text again with today's code, and compute the metrics anew.

    Streams: memory grows by a few numbers a sample, not with the texts.

    Args:
        path: the run directory.
        on_progress: told where it stands.
        on_remark: told what of the run was changed by hand since its metrics were computed.

    Raises:
        DataError: not a run, one without samples, a file of it can't be read, or a sample is there twice.
        IncompleteError: a run that was complete lacks samples.
        RunMismatchError: the run is being written.
    """
    read_manifest(path)  # what isn't a run gets no lock either
    with RunDirectory(path) as directory:
        manifest = read_manifest(path)
        run = Run(path, manifest, {})
        for remark in _changed_by_hand(path):
            on_remark(remark)
        cliff = measured_by_cliff(path, on_remark)
        tasks = list(run.tasks()) if not manifest.sealed else run.tasks()
        scorers = {task.task_id: TaskScorer(task, manifest.contract) for task in tasks}
        read_judged(run)  # what can't be read must be known before anything is replaced
        if not manifest.was_complete and next(run.iter_samples(), None) is None:
            raise DataError(
                f"{path} has no samples yet, so there is nothing to score; draw them with its `harness eval`"
            )
        tally = Tally()
        samples = _scored_anew(run, scorers, on_progress, tally)
        with directory.unsettled(cliff) as unsettle:
            directory.replace_samples(samples, unsettle)
            if not manifest.sealed:
                # Written by an older version: from now on all of it carries checksums.
                directory.write_tasks(tasks)
            directory.write_metrics(summarise_run(path, manifest, kept=cliff))
        if not manifest.was_complete:
            _settle(directory, tally)
    return load(path)


def measured_by_cliff(path: Path, on_remark: OnRemark = ignore_remark) -> dict[str, Estimate]:
    """Metrics of the cliff job, which rest on token probabilities: parsing again leaves them as they are.

    Those of other rollouts than there are now are left out.

    Raises:
        DataError: `cliff.json` isn't what was written.
    """
    if (path / CLIFF).exists() and has_source(path):
        try:
            return cliff_metrics(path)
        except StaleCliffError as error:
            on_remark(f"{error}; its metrics are left out")
            return {}
    try:
        run = load(path)
    except DataError:
        # An unreadable metrics.json is what rescoring replaces; the cliff job keeps its own file beside it.
        return {}
    metrics = {} if run.manifest.sealed and not (path / CLIFF).exists() else run.metrics
    return {name: value for name, value in metrics.items() if name.startswith(CLIFF_PREFIXES)}


def _changed_by_hand(path: Path) -> Iterator[str]:
    try:
        run = load(path)
    except DataError as error:
        yield f"{error}"
        return
    if run.source is not None:
        found = changes(run.source, source_of(path, run.manifest), run.metrics, path)
        if found:
            yield f"{path} isn't what its {METRICS_FILE} was made from: {'; '.join(found)}"


def _settle(directory: RunDirectory, tally: Tally) -> None:
    """Nobody is drawing: a session that was killed noted less than it left, and the run is incomplete."""
    manifest = read_manifest(directory.path)
    sessions = settled(manifest.sessions, tally, manifest.started)
    status = "incomplete" if manifest.status == "running" else manifest.status
    if (sessions, status) != (manifest.sessions, manifest.status):
        directory.write_manifest(manifest.model_copy(update={"sessions": sessions, "status": status}))


def _scored_anew(
    run: Run, scorers: dict[str, TaskScorer], on_progress: OnProgress, tally: Tally
) -> Iterator[Sample]:
    place = {task_id: number for number, task_id in enumerate(scorers)}
    held = Held(run)
    for done, sample in enumerate(run.iter_samples(), start=1):
        scorer = scorers.get(sample.task_id)
        if scorer is None:
            raise unknown_task(run.path, sample)
        held.add(place[sample.task_id], sample)
        tally.add(sample)
        parsed, scores = scorer(sample.text, sample.finish_reason, sample.reasoning)
        on_progress(Progress("rescoring", done, run.manifest.planned))
        yield replace(sample, parse=parsed, scores=scores)
    missing = held.missing(tuple(scorers))
    if run.manifest.was_complete and lost_of(run, tuple(scorers), missing).any():
        raise lacking(run, tuple(scorers), missing)
