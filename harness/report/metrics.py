"""Which metrics the page shows, in which group, under which name and in which unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.report.reading import RunFacts
from harness.report.text import decimal, percent, points, signed

Shown = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class MetricLine:
    """A metric on the page.

    Attributes:
        name: in `metrics.json`.
        group: heading it stands under.
        label: what it is called.
        hint: what a reader may need to know about it.
        shown: writes its value.
        change: writes a difference of two values.
        plotted: whether it lies in [0, 1] and is drawn there.
    """

    name: str
    group: str
    label: str
    hint: str = ""
    shown: Shown = decimal
    change: Shown = signed
    plotted: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics that answer one question.

    Attributes:
        name: heading.
        metrics: in order.
        missing: what stands where a run lacks one.
    """

    name: str
    metrics: tuple[MetricLine, ...]
    missing: str


def _rate(name: str, label: str, hint: str = "") -> MetricLine:
    return MetricLine(name, "Format", label, hint, percent, points)


_FORMAT = (
    _rate("parse_validity.strict", "strict", "parse validity: the raw text is valid on its own"),
    _rate("parse_validity.lenient", "lenient", "or one valid object can be cut out"),
    _rate("parse_validity.repaired", "repaired", "or a repair library makes one"),
    _rate("truncation_rate", "truncated", "cut off at the token budget"),
)
_RANKING = (
    MetricLine("ndcg_at_1.parsed", "Ranking", "NDCG@1, parsed", "strictly parsed samples only"),
    MetricLine("ndcg_at_1.all", "Ranking", "NDCG@1, failures as 0", "all samples"),
    MetricLine("ndcg_at_k.parsed", "Ranking", "NDCG@K, parsed"),
    MetricLine("ndcg_at_k.all", "Ranking", "NDCG@K, failures as 0"),
    MetricLine("ndcg_at_1.chance", "Ranking", "NDCG@1 by chance", "random rankings of the same tasks"),
    MetricLine("task_rate.no_relevant", "Ranking", "tasks with no relevant candidate", "left out", percent),
    MetricLine("task_rate.all_tied", "Ranking", "tasks with all labels tied", "left out", percent),
)
_EXPOSURE = (
    ("coverage", "parsed samples judged", percent, True),
    ("unscored", "judgements without a score", percent, True),
    ("self_agreement", "agreement of repeats", decimal, True),
    ("position_bias", "position bias", decimal, True),
    ("relevance_correlation", "correlation with the labels", signed, False),
    ("length_correlation", "correlation with title length", signed, False),
    ("human_correlation", "correlation with people", signed, False),
    ("detectable_difference", "detectable difference", decimal, True),
)
_HINTS = {
    "self_agreement": "quadratic-weighted κ",
    "position_bias": "½ expected",
    "detectable_difference": "of two runs like this one",
}


def metric_groups(runs: Iterable[RunFacts]) -> list[Group]:
    """Format, ranking, rubric: each metric that a run has; those about odd tasks only where there are any."""
    known = list(runs)
    names = _rubric_names(known)
    rubrics = tuple(
        MetricLine(f"rubric.{name}", "Rubric", name, "strictly parsed samples; exposure below")
        for name in names
    )
    ranking = tuple(line for line in _RANKING if line.name not in _ODD or _occurs(known, line.name))
    groups = [
        Group("Format", _FORMAT, "no metrics"),
        Group("Ranking", ranking, "no metrics"),
    ]
    return groups + ([Group("Rubric", rubrics, "not judged")] if rubrics else [])


def compared_lines(groups: Iterable[Group], compared: Iterable[str]) -> list[MetricLine]:
    """The lines of the metrics that are compared with the baseline, in the order of the groups."""
    wanted = set(compared)
    return [line for group in groups for line in group.metrics if line.name in wanted]


def rubric_lines(runs: Iterable[RunFacts], name: str) -> list[MetricLine]:
    """A rubric's score, its criteria and its exposure, those that a run has."""
    known = list(runs)
    stored = dict.fromkeys(metric for facts in known for metric in facts.run.metrics)
    score = f"rubric.{name}"
    lines = [MetricLine(score, "Score", name)]
    lines += [
        MetricLine(metric, "Criterion", metric.removeprefix(f"{score}."))
        for metric in stored
        if metric.startswith(f"{score}.")
    ]
    lines += [
        MetricLine(f"judge.{name}.{field}", "Exposure", label, _HINTS.get(field, ""), shown, signed, plotted)
        for field, label, shown, plotted in _EXPOSURE
        if f"judge.{name}.{field}" in stored
    ]
    prefix = f"judge.{name}."
    listed = {line.name for line in lines}
    lines += [
        MetricLine(
            metric, "Exposure", _spelled(metric.removeprefix(prefix)), "", _exposure_shown(metric, prefix)
        )
        for metric in stored
        if metric.startswith(prefix) and metric not in listed
    ]
    prefix = f"pairwise.{name}."
    lines += [
        MetricLine(metric, "Pairwise", _spelled(metric.removeprefix(prefix)))
        for metric in stored
        if metric.startswith(prefix)
    ]
    return lines


def _spelled(field: str) -> str:
    """`self_agreement.top_choice` as words."""
    return field.replace("_", " ").replace(".", ", ")


def _exposure_shown(metric: str, prefix: str) -> Shown:
    return percent if metric.startswith(f"{prefix}unscored") else decimal


_ODD = frozenset({"task_rate.no_relevant", "task_rate.all_tied"})


def _occurs(runs: Iterable[RunFacts], name: str) -> bool:
    return any(facts.run.metrics[name].estimate for facts in runs if name in facts.run.metrics)


def _rubric_names(runs: Iterable[RunFacts]) -> list[str]:
    return list(dict.fromkeys(name for facts in runs for name in facts.rubrics))
