"""Every metric of a run, once: what it says of a sample or of a task, and how that is averaged.

An entry of `METRICS` is all that a metric needs: `harness eval` and `rescore` write it into `metrics.json`,
a gate's rules may be about it, a live gate follows it, and summaries and reports show it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import Protocol

from harness.contract import FAILURE_CODES, TIERS, ParseResult, Tier
from harness.errors import DataError
from harness.metrics.match import FIELD_PREFIX, MATCH, first_fields
from harness.metrics.ranking import chance_ndcg, has_relevant, is_all_tied, ndcg_at

Labels = Sequence[float]
Ranking = Sequence[int]

FORMAT, FAILURES, RANKING, MATCHES = "Format", "Failures", "Ranking", "Correctness"
"""Groups of metrics: each answers one question, and failures are listed by code."""

CONTRACT = "parse_validity.strict"
"""Whether the raw answer keeps the contract, which everything else comes after."""
QUALITY = "ndcg_at_1.parsed"
"""How well the answers that keep it rank."""
QUALITY_OF_ALL = "ndcg_at_1.all"
"""How well all answers rank, those that don't keep it as 0: it can't be raised by failing on hard tasks."""
MATCH_OF_ALL = f"{MATCH}.all"
"""How many of all answers are right."""
CONTRACT_BAR = 0.95
"""Share of answers that must keep the contract where nobody asks for another."""

CLIFF_PREFIXES = ("cliff.", "reached.")
"""Metrics of the measurement of λ* and λ reached, which rest on token probabilities, not on samples alone."""
RUBRIC_PREFIX = "rubric."
PAIR_PREFIX = "pairwise."
KNOWN = "known from the labels of these tasks"
"""Method of an estimate that nothing was sampled for."""
JUDGE_PREFIXES = (RUBRIC_PREFIX, "judge.", PAIR_PREFIX)
"""Metrics that judging adds."""

SCORES: dict[str, Callable[[Labels, Ranking], float | None]] = {
    "ndcg_at_1": lambda relevance, ranking: ndcg_at(relevance, ranking, 1),
    # Where a contract asks for the best m alone, nothing is said of the other ranks.
    "ndcg_at_k": lambda relevance, ranking: ndcg_at(relevance, ranking, len(ranking) or 1),
}
"""Scores of a ranking that are stored with its sample, for tasks whose labels can rank. `ndcg_at_k` is over
as many ranks as the answer lists: all K, or the m that the contract asks for."""

LENIENT_SCORES = tuple(f"{name}.lenient" for name in SCORES)
"""Metrics of the answers that are strict or lenient."""

_FIRST_RANK = ("ndcg_at_1",)
"""Those that look at the first rank only."""


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
        """`stop`, `length` or `withheld`."""

    @property
    def parse(self) -> ParseResult | None:
        """Tier, code and ranking; None where the answer was withheld, so that there was nothing to parse."""

    @property
    def scores(self) -> Mapping[str, float | None]:
        """Values of `SCORES`, or of `match_names` of the task's right answer; None where undefined."""


OfSample = Callable[[StoredSample], float | None]

WITHHELD = "withheld_rate"
"""How often a provider's filter or refusal stands in place of the model's answer: counted apart."""
LATER = frozenset({WITHHELD, *LENIENT_SCORES})
"""Metrics that runs of older versions lack; of withheld answers they couldn't hold any."""


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is averaged and shown; its values always lie in [0, 1].

    Attributes:
        name: in `metrics.json` and in rules.
        group: heading it stands under.
        label: what it is called there.
        hint: what a reader may need to know about it.
        is_rate: whether each value is 0 or 1.
        rate_of_one_grade: whether that is so where all relevant candidates of a task are equally relevant.
        rankable_only: whether tasks whose labels can't rank are left out.
        lower_is_better: whether less of it is better.
        brief: whether it is one of the few in a short summary.
        rare: whether it is worth a line only where it isn't 0.
        score: name of the stored score that it is about, which not every task has; None where all count.
        compared: whether a report compares runs by it: each comparison costs the others some power.
    """

    name: str
    group: str
    label: str
    hint: str
    _: KW_ONLY
    is_rate: bool = False
    rate_of_one_grade: bool = False
    rankable_only: bool = False
    lower_is_better: bool = False
    brief: bool = False
    rare: bool = False
    score: str | None = None
    compared: bool = True


@dataclass(frozen=True, slots=True)
class SampleMetric(Metric):
    """A metric of samples.

    Attributes:
        value: of a sample, None when it doesn't count or its answer was withheld.
        always: whether every answer counts, whatever it says.
    """

    value: OfSample
    _: KW_ONLY
    always: bool = True


@dataclass(frozen=True, slots=True)
class TaskMetric(Metric):
    """A metric of the tasks that were asked, each counted once however many samples it has.

    Attributes:
        value: of a task's labels, None when it doesn't count.
    """

    value: Callable[[Labels], float | None]


def can_rank(relevance: Labels) -> bool:
    """Whether labels can tell one full ranking from another."""
    return has_relevant(relevance) and not is_all_tied(relevance)


def contradiction(sample: StoredSample, rankable: bool) -> str | None:
    """What no sample that was parsed and scored can say, None where all is well.

    Args:
        sample: as it is stored.
        rankable: whether the labels of its task can rank.
    """
    withheld = sample.finish_reason == "withheld"
    if sample.parse is None or withheld:
        return None if sample.parse is None and withheld else "a parse result, or none, that it can't have"
    tier, code = sample.parse.tier, sample.parse.code
    if tier not in TIERS or not (code is None or code in FAILURE_CODES):
        return f"tier {tier!r} and code {code!r}, which don't exist"
    if (code is None) != (tier == "strict"):
        return f"tier {tier!r} and code {code!r}, which exclude each other"
    if tier == "strict" and rankable:
        for name in SCORES:
            if sample.scores.get(name) is None:
                return f"no {name}, although it parsed strictly"
    if tier == "strict" and MATCH in sample.scores and sample.scores[MATCH] is None:
        return f"no {MATCH}, although it parsed strictly"
    return None


def _validity(worst: Tier, hint: str, *, brief: bool = False) -> SampleMetric:
    """Share of samples usable by whoever accepts this tier, and so the ones before it."""
    accepted = frozenset(TIERS[: TIERS.index(worst) + 1])

    def value(sample: StoredSample) -> float | None:
        return None if sample.parse is None else float(sample.parse.tier in accepted)

    return SampleMetric(f"parse_validity.{worst}", FORMAT, worst, hint, value, is_rate=True, brief=brief)


def _failure(code: str) -> SampleMetric:
    """Share of samples whose strict parse failed for this reason."""

    def value(sample: StoredSample) -> float | None:
        return None if sample.parse is None else float(sample.parse.code == code)

    return SampleMetric(f"failure_rate.{code}", FAILURES, code, "", value, is_rate=True, lower_is_better=True)


def _scored(
    name: str, otherwise: float | None, *, worst: Tier = "strict", of_all_tasks: bool = True
) -> OfSample:
    """A score of a sample parsed that well, `otherwise` of any other answer to a task that has the score."""
    accepted = frozenset(TIERS[: TIERS.index(worst) + 1])

    def score(sample: StoredSample) -> float | None:
        if sample.parse is None or not (of_all_tasks or name in sample.scores):
            return None
        value = sample.scores.get(name) if sample.parse.tier in accepted else None
        if value is None:
            return otherwise
        if not 0.0 <= value <= 1.0 + 1e-9:
            # NaN ends here too: it compares as false.
            raise DataError(
                f"sample {sample.key!r} of task {sample.task_id!r} has {name} = {value}, which is no score; "
                "`harness rescore` computes it anew"
            )
        return min(value, 1.0)

    return score


def _parsed(score: str, label: str, hint: str = "", *, brief: bool = False) -> SampleMetric:
    """Mean over strictly parsed samples."""
    name, label = f"{score}.parsed", f"{label}, parsed"
    value = _scored(score, None)
    return SampleMetric(
        name,
        RANKING,
        label,
        hint,
        value,
        rate_of_one_grade=score in _FIRST_RANK,
        rankable_only=True,
        brief=brief,
        always=False,
    )


def _all(score: str, label: str, hint: str = "", *, brief: bool = False) -> SampleMetric:
    """Mean over all answers, every one that isn't strict counting 0."""
    name, label = f"{score}.all", f"{label}, failures as 0"
    return SampleMetric(
        name,
        RANKING,
        label,
        hint,
        _scored(score, 0.0),
        rate_of_one_grade=score in _FIRST_RANK,
        rankable_only=True,
        brief=brief,
    )


def _lenient(score: str, label: str, hint: str = "") -> SampleMetric:
    """Mean over the samples that are usable by whoever cuts one object out of fences or prose."""
    return SampleMetric(
        f"{score}.lenient",
        RANKING,
        f"{label}, lenient",
        hint,
        _scored(score, None, worst="lenient"),
        rate_of_one_grade=score in _FIRST_RANK,
        rankable_only=True,
        always=False,
        compared=False,
    )


def _match(name: str, label: str, hint: str, *, every: bool, brief: bool = False) -> SampleMetric:
    """Share of right answers: of those that parsed strictly, or of `every` one, failures as wrong."""
    return SampleMetric(
        f"{name}.all" if every else name,
        MATCHES,
        f"{label}, failures as 0" if every else f"{label}, parsed",
        hint,
        _scored(name, 0.0 if every else None, of_all_tasks=False),
        is_rate=True,
        always=every,
        brief=brief,
        score=name,
        compared=name == MATCH,
    )


def _odd(name: str, label: str, value: Callable[[Labels], bool]) -> TaskMetric:
    """Share of tasks whose labels say nothing about ranking, so that the NDCG means leave them out."""

    def of_task(labels: Labels) -> float | None:
        return float(value(labels)) if labels else None

    return TaskMetric(f"task_rate.{name}", RANKING, label, "left out", of_task, is_rate=True, rare=True)


_ENTRIES: tuple[SampleMetric | TaskMetric, ...] = (
    _validity("strict", "parse validity: the raw text is valid on its own", brief=True),
    _validity("lenient", "or one valid object can be cut out"),
    _validity("repaired", "or a repair library makes one"),
    *map(_failure, FAILURE_CODES),
    SampleMetric(
        "truncation_rate",
        FORMAT,
        "truncated",
        "cut off at the token budget",
        lambda sample: None if sample.parse is None else float(sample.finish_reason == "length"),
        is_rate=True,
        lower_is_better=True,
        brief=True,
    ),
    SampleMetric(
        WITHHELD,
        FORMAT,
        "withheld",
        "by the provider's filter or refusal; all other rates are of the rest",
        lambda sample: float(sample.parse is None),
        is_rate=True,
        lower_is_better=True,
        brief=True,
        rare=True,
    ),
    _parsed("ndcg_at_1", "NDCG@1", "strictly parsed samples only", brief=True),
    _lenient("ndcg_at_1", "NDCG@1", "strict or lenient ones"),
    _all("ndcg_at_1", "NDCG@1", "all samples", brief=True),
    _parsed("ndcg_at_k", "NDCG@K"),
    _lenient("ndcg_at_k", "NDCG@K"),
    _all("ndcg_at_k", "NDCG@K"),
    TaskMetric(
        "ndcg_at_1.chance",
        RANKING,
        "NDCG@1 by chance",
        "random rankings of the same tasks",
        lambda relevance: chance_ndcg(relevance, 1),
        rankable_only=True,
    ),
    _odd("no_relevant", "tasks with no relevant candidate", lambda relevance: not has_relevant(relevance)),
    _odd("all_tied", "tasks with all labels tied", is_all_tied),
    _match(MATCH, "right answers", "strictly parsed samples only", every=False, brief=True),
    _match(MATCH, "right answers", "all samples", every=True, brief=True),
)

METRICS: dict[str, SampleMetric | TaskMetric] = {metric.name: metric for metric in _ENTRIES}
"""The fixed ones, in the order of `metrics.json`; those of fields come after, see `metric_named`."""


def metric_named(name: str) -> SampleMetric | TaskMetric | None:
    """One of `METRICS`, or that of a field of right answers (`match.field.city`, `match.field.city.all`)."""
    return METRICS.get(name) or (_of_field(name) if name.startswith(FIELD_PREFIX) else None)


def sample_metric(name: str) -> SampleMetric | None:
    """Likewise, if samples alone decide it, so that a live gate can follow it."""
    metric = metric_named(name)
    return metric if isinstance(metric, SampleMetric) else None


def metrics_in(names: Collection[str]) -> list[SampleMetric | TaskMetric]:
    """The metrics among some names, in the order of `metrics.json`."""
    fixed = [metric for name, metric in METRICS.items() if name in names]
    # By name, and each beside its `.all`, whatever order a set of names has.
    ordered = sorted(names, key=lambda name: (name.removesuffix(".all"), name))
    fields = (metric_named(name) for name in ordered if name.startswith(FIELD_PREFIX))
    return fixed + [metric for metric in fields if metric is not None]


def metrics_of(*, ranks: bool, scores: Collection[str]) -> list[str]:
    """Names of the metrics of a run.

    Args:
        ranks: whether any of its tasks has candidates to rank.
        scores: of `match_names` of all its tasks; of too many fields the first by name count.
    """
    fields = {name.removeprefix(FIELD_PREFIX) for name in scores if name.startswith(FIELD_PREFIX)}
    without = {group for group, has in ((RANKING, ranks), (MATCHES, MATCH in scores)) if not has}
    names = [name for name, metric in METRICS.items() if metric.group not in without]
    for field in first_fields(fields):
        names += [FIELD_PREFIX + field, f"{FIELD_PREFIX}{field}.all"]
    return names


def adds_nothing(name: str, metrics: Mapping[str, object]) -> bool:
    """Whether a run's lenient answers are its strict ones, so that a line about them would say it twice."""
    return name in LENIENT_SCORES and metrics.get(name) == metrics.get(name.replace(".lenient", ".parsed"))


@lru_cache(maxsize=4096)
def _of_field(name: str) -> SampleMetric | None:
    # The prefix first: a field may be called `all`.
    said = name.removeprefix(FIELD_PREFIX)
    field = said.removesuffix(".all")
    return _match(FIELD_PREFIX + field, field, "", every=field != said) if field else None


def sample_metrics() -> dict[str, SampleMetric]:
    """The fixed metrics that samples alone decide."""
    return {name: metric for name, metric in METRICS.items() if isinstance(metric, SampleMetric)}
