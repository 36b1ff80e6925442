"""Which metrics the page shows, in which group, under which name and in which unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.contract import TIERS
from harness.metrics.table import CONTRACT, FAILURES, RUBRIC_PREFIX, Metric, adds_nothing, metrics_in
from harness.report.reading import RunFacts
from harness.report.text import Shown, decimal, percent, points, signed


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
        brief: whether a short summary has it.
        is_rate: whether it is written in percent.
    """

    name: str
    group: str
    label: str
    hint: str = ""
    shown: Shown = decimal
    change: Shown = signed
    plotted: bool = True
    brief: bool = False
    is_rate: bool = False


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


_EXPOSURE = (
    ("coverage", "parsed samples judged", percent, True),
    ("unscored", "judgements without a score", percent, True),
    ("self_agreement", "agreement of repeats", decimal, True),
    ("position_bias", "position bias", decimal, True),
    ("relevance_correlation", "correlation with the labels", signed, False),
    ("length_correlation", "correlation with title length", signed, False),
    ("human_correlation", "correlation with people", signed, False),
    ("human_mean", "people's mean score", decimal, False),
    ("detectable_difference", "detectable difference", decimal, True),
)
_HINTS = {
    "self_agreement": "quadratic-weighted κ",
    "position_bias": "½ expected",
    "human_mean": "of all judged, on the scale of their labels",
    "detectable_difference": "of two runs like this one",
}


def metric_groups(runs: Iterable[RunFacts]) -> list[Group]:
    """Every metric of the table by its group, failures apart, and the rubrics; rare ones where they occur."""
    known = list(runs)
    groups: dict[str, list[MetricLine]] = {}
    stored = {name for facts in known for name in facts.run.metrics}
    for metric in metrics_in(stored):
        said = all(adds_nothing(metric.name, facts.run.metrics) for facts in known)
        if metric.group != FAILURES and not said and (not metric.rare or _occurs(known, metric.name)):
            groups.setdefault(metric.group, []).append(_line(metric))
    found = [Group(name, tuple(lines), "no metrics") for name, lines in groups.items()]
    hint = "strictly parsed samples; exposure below"
    rubrics = tuple(
        MetricLine(f"{RUBRIC_PREFIX}{name}", "Rubric", name, hint, brief=True) for name in rubric_names(known)
    )
    return found + ([Group("Rubric", rubrics, "not judged")] if rubrics else [])


def rubric_names(runs: Iterable[RunFacts]) -> list[str]:
    """Names of the rubrics that judged any of the runs."""
    return list(dict.fromkeys(name for facts in runs for name in facts.rubrics))


def _line(metric: Metric) -> MetricLine:
    shown, change = (percent, points) if metric.is_rate else (decimal, signed)
    return MetricLine(
        metric.name,
        metric.group,
        metric.label,
        metric.hint,
        shown,
        change,
        brief=metric.brief,
        is_rate=metric.is_rate,
    )


def alike_tiers(runs: Sequence[RunFacts]) -> tuple[str, ...]:
    """Tiers of parse validity that say in every run what strict says, so that one row is enough."""

    def same(facts: RunFacts, name: str) -> bool:
        return facts.run.metrics.get(name) == facts.run.metrics.get(CONTRACT)

    tiers = [f"parse_validity.{tier}" for tier in TIERS]
    known = [facts for facts in runs if CONTRACT in facts.run.metrics]
    return tuple(
        name for name in tiers if name != CONTRACT and known and all(same(facts, name) for facts in known)
    )


def compared_lines(groups: Iterable[Group], compared: Iterable[str]) -> list[MetricLine]:
    """The lines of the metrics that are compared with the baseline, in the order of the groups."""
    wanted = set(compared)
    return [line for group in groups for line in group.metrics if line.name in wanted]


def rubric_lines(runs: Iterable[RunFacts], name: str) -> list[MetricLine]:
    """A rubric's score, its criteria and its exposure, those that a run has."""
    known = list(runs)
    stored = dict.fromkeys(metric for facts in known for metric in facts.run.metrics)
    score = f"{RUBRIC_PREFIX}{name}"
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


def _occurs(runs: Iterable[RunFacts], name: str) -> bool:
    return any(facts.run.metrics[name].estimate for facts in runs if name in facts.run.metrics)
