"""Every metric of a run, once: what it says of a sample or of a task, and how that is averaged.

An entry of `METRICS` is all that a metric needs: `harness eval` and `rescore` write it into `metrics.json`,
a gate's rules may be about it, a live gate follows it, and summaries and reports show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.contract import FAILURE_CODES, TIERS, ParseResult, Tier
from harness.errors import DataError
from harness.metrics.ranking import chance_ndcg, has_relevant, is_all_tied, ndcg_at

Labels = Sequence[float]
Ranking = Sequence[int]

FORMAT, FAILURES, RANKING = "Format", "Failures", "Ranking"
"""Groups of metrics: each answers one question, and failures are listed by code."""

CONTRACT = "parse_validity.strict"
"""Whether the raw answer keeps the contract, which everything else comes after."""
QUALITY = "ndcg_at_1.parsed"
"""How well the answers that keep it rank."""
CONTRACT_BAR = 0.95
"""Share of answers that must keep the contract where nobody asks for another."""

CLIFF_PREFIX = "cliff."
"""Metrics of the measurement of λ*, which rest on token probabilities and not on samples alone."""
RUBRIC_PREFIX = "rubric."
JUDGE_PREFIXES = (RUBRIC_PREFIX, "judge.", "pairwise.")
"""Metrics that judging adds."""

SCORES: dict[str, Callable[[Labels, Ranking], float | None]] = {
    "ndcg_at_1": lambda relevance, ranking: ndcg_at(relevance, ranking, 1),
    "ndcg_at_k": lambda relevance, ranking: ndcg_at(relevance, ranking, len(relevance)),
}
"""Scores of a ranking that are stored with its sample, for tasks whose labels can rank."""


class StoredSample(Protocol):
    """What a metric may look at: one line of `samples.jsonl`."""

    @property
    def key(self) -> str:
        """Unique in its run."""

    @property
    def task_id(self) -> str:
        """The task it answers."""

    @property
    def finish_reason(self) -> str:
        """`stop` or `length`."""

    @property
    def parse(self) -> ParseResult:
        """Tier, code and ranking."""

    @property
    def scores(self) -> Mapping[str, float | None]:
        """Values of `SCORES`, None where undefined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How a metric is averaged and shown; its values always lie in [0, 1].

    Attributes:
        name: in `metrics.json` and in rules.
        group: heading it stands under.
        label: what it is called there.
        hint: what a reader may need to know about it.
        is_rate: whether each value is 0 or 1. A rate has Wilson's interval, with the design effect of several
            samples a task; a mean has the percentile bootstrap by task.
        rankable_only: whether tasks whose labels can't rank are left out.
        lower_is_better: whether less of it is better.
        brief: whether it is one of the few in a short summary.
    """

    name: str
    group: str
    label: str
    hint: str = ""
    is_rate: bool
    rankable_only: bool = False
    lower_is_better: bool = False
    brief: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMetric(Metric):
    """A metric of samples.

    Attributes:
        value: of a sample, None when it doesn't count.
        always: whether every sample counts, whatever it says.
    """

    value: Callable[[StoredSample], float | None]
    always: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMetric(Metric):
    """A metric of the tasks that were asked, each counted once however many samples it has.

    Attributes:
        value: of a task's labels, None when it doesn't count.
        rare: whether it is worth a line only where it isn't 0.
    """

    value: Callable[[Labels], float | None]
    rare: bool = False


def can_rank(relevance: Labels) -> bool:
    """Whether labels can tell one full ranking from another."""
    return has_relevant(relevance) and not is_all_tied(relevance)


def contradiction(sample: StoredSample, rankable: bool) -> str | None:
    """What no sample that was parsed and scored can say, None where all is well.

    Args:
        sample: as it is stored.
        rankable: whether the labels of its task can rank.
    """
    tier, code = sample.parse.tier, sample.parse.code
    if tier not in TIERS or not (code is None or code in FAILURE_CODES):
        return f"tier {tier!r} and code {code!r}, which don't exist"
    if (code is None) != (tier == "strict"):
        return f"tier {tier!r} and code {code!r}, which exclude each other"
    if tier == "strict" and rankable:
        for name in SCORES:
            if sample.scores.get(name) is None:
                return f"no {name}, although it parsed strictly"
    return None


def _scored(sample: StoredSample, name: str) -> float | None:
    value = sample.scores.get(name) if sample.parse.tier == "strict" else None
    if value is not None and not 0.0 <= value <= 1.0 + 1e-9:
        # NaN ends here too: it compares as false.
        raise DataError(
            f"sample {sample.key!r} of task {sample.task_id!r} has {name} = {value}, which is no score; "
            "`harness rescore` computes it anew"
        )
    return None if value is None else min(value, 1.0)


def _validity(worst: Tier, hint: str, *, brief: bool = False) -> SampleMetric:
    """Share of samples usable by whoever accepts this tier, and so the ones before it."""
    accepted = frozenset(TIERS[: TIERS.index(worst) + 1])
    return SampleMetric(
        name=f"parse_validity.{worst}",
        group=FORMAT,
        label=worst,
        hint=hint,
        is_rate=True,
        brief=brief,
        value=lambda sample: float(sample.parse.tier in accepted),
    )


def _failure(code: str) -> SampleMetric:
    """Share of samples whose strict parse failed for this reason."""
    return SampleMetric(
        name=f"failure_rate.{code}",
        group=FAILURES,
        label=code,
        is_rate=True,
        lower_is_better=True,
        value=lambda sample: float(sample.parse.code == code),
    )


def _parsed(score: str, label: str, hint: str = "", *, brief: bool = False) -> SampleMetric:
    """Mean of a score over strictly parsed samples."""
    return SampleMetric(
        name=f"{score}.parsed",
        group=RANKING,
        label=f"{label}, parsed",
        hint=hint,
        is_rate=False,
        rankable_only=True,
        brief=brief,
        value=lambda sample: _scored(sample, score),
        always=False,
    )


def _all(score: str, label: str, hint: str = "", *, brief: bool = False) -> SampleMetric:
    """Mean of a score over all samples, every one that isn't strict counting 0."""
    return SampleMetric(
        name=f"{score}.all",
        group=RANKING,
        label=f"{label}, failures as 0",
        hint=hint,
        is_rate=False,
        rankable_only=True,
        brief=brief,
        value=lambda sample: _scored(sample, score) or 0.0,
    )


def _odd(name: str, label: str, value: Callable[[Labels], bool]) -> TaskMetric:
    """Share of tasks whose labels say nothing about ranking, so that the NDCG means leave them out."""
    return TaskMetric(
        name=f"task_rate.{name}",
        group=RANKING,
        label=label,
        hint="left out",
        is_rate=True,
        value=lambda relevance: float(value(relevance)),
        rare=True,
    )


_ENTRIES: tuple[SampleMetric | TaskMetric, ...] = (
    _validity("strict", "parse validity: the raw text is valid on its own", brief=True),
    _validity("lenient", "or one valid object can be cut out"),
    _validity("repaired", "or a repair library makes one"),
    *(_failure(code) for code in FAILURE_CODES),
    SampleMetric(
        name="truncation_rate",
        group=FORMAT,
        label="truncated",
        hint="cut off at the token budget",
        is_rate=True,
        lower_is_better=True,
        brief=True,
        value=lambda sample: float(sample.finish_reason == "length"),
    ),
    _parsed("ndcg_at_1", "NDCG@1", "strictly parsed samples only", brief=True),
    _all("ndcg_at_1", "NDCG@1", "all samples", brief=True),
    _parsed("ndcg_at_k", "NDCG@K"),
    _all("ndcg_at_k", "NDCG@K"),
    TaskMetric(
        name="ndcg_at_1.chance",
        group=RANKING,
        label="NDCG@1 by chance",
        hint="random rankings of the same tasks",
        is_rate=False,
        rankable_only=True,
        value=lambda relevance: chance_ndcg(relevance, 1),
    ),
    _odd("no_relevant", "tasks with no relevant candidate", lambda relevance: not has_relevant(relevance)),
    _odd("all_tied", "tasks with all labels tied", is_all_tied),
)

METRICS: dict[str, SampleMetric | TaskMetric] = {metric.name: metric for metric in _ENTRIES}
"""All of them, in the order of `metrics.json`."""


def sample_metric(name: str) -> SampleMetric | None:
    """The metric of samples of this name, None where there is none."""
    metric = METRICS.get(name)
    return metric if isinstance(metric, SampleMetric) else None


def sample_metrics() -> dict[str, SampleMetric]:
    """Metrics that samples alone decide, and that a live gate can follow."""
    return {name: metric for name, metric in METRICS.items() if isinstance(metric, SampleMetric)}
