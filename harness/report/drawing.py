"""What the plots beside the numbers are drawn from: axes scaled to the data, points in the order of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harness.metrics.table import CONTRACT, QUALITY
from harness.report import plots, text
from harness.report.content import Content
from harness.report.metrics import Group, MetricLine
from harness.report.reading import RunFacts
from harness.stats import Estimate

Drawn = tuple[Estimate | None, bool]
"""An estimate, and whether its dot is filled."""


def metric_axes(content: Content, groups: Iterable[Group]) -> dict[str, plots.Axis]:
    """An axis a metric, that holds every run's estimate and interval."""
    return {
        line.name: plots.estimates(*(facts.run.metrics.get(line.name) for facts in content.runs))
        for group in groups
        for line in group.metrics
    }


def metric_stacks(content: Content, groups: Iterable[Group]) -> dict[str, list[Drawn]]:
    """Every run's estimate of a metric."""
    return {
        line.name: [
            (facts.run.metrics.get(line.name), facts is not content.baseline) for facts in content.runs
        ]
        for group in groups
        for line in group.metrics
    }


def difference_axes(content: Content, lines: Sequence[MetricLine]) -> dict[str, plots.Axis]:
    """An axis a metric that holds its differences, 0 and the margin; one for all where one run has them."""
    found = {line.name: [one for one, _ in _differences(content, line)] for line in lines}
    if len(content.comparisons) == 1:
        every = [one for some in found.values() for one in some]
        found = dict.fromkeys(found, every)
    margin = Estimate(0, 0.0, -content.config.margin, content.config.margin, "margin")
    return {name: plots.estimates(margin, *some, within=(-1.0, 1.0)) for name, some in found.items()}


def difference_stacks(content: Content, lines: Sequence[MetricLine]) -> dict[str, list[Drawn]]:
    """Every run's difference in a metric."""
    return {line.name: _differences(content, line) for line in lines}


def _differences(content: Content, line: MetricLine) -> list[Drawn]:
    return [
        (comparison.differences[line.name].comparison.difference, True)
        for comparison in content.comparisons
        if line.name in comparison.differences
    ]


def panels() -> list[dict[str, Any]]:
    """What is drawn along λ."""
    return [
        {"metric": CONTRACT, "label": "strict parse validity", "shown": text.percent},
        {"metric": QUALITY, "label": "NDCG@1 on parsed", "shown": text.decimal},
    ]


def lambda_axis(content: Content) -> plots.Axis | None:
    """The axis of λ; None where the runs are no sweep."""
    sweep = content.sweep
    if sweep is None:
        return None
    band = () if sweep.band is None else (sweep.band.low, sweep.band.high)
    return plots.over(*(lam for lam, _ in sweep.points), *band)


def role_axis(runs: Sequence[RunFacts]) -> plots.Axis:
    """One axis of λ* for all runs, so that their plots can be compared."""
    cliffs = [facts.cliff for facts in runs if facts.cliff is not None]
    stars = [
        star
        for cliff in cliffs
        for star in (
            cliff.lambda_star,
            *(role.lambda_star for role in cliff.estimate.under(cliff.calibration).roles),
        )
    ]
    # An interval that ends far out would squeeze everything else: points and lower ends decide.
    ends = [end for star in stars for end in (star.value, star.low)]
    return plots.over(*(cliff.lam for cliff in cliffs), *ends)
