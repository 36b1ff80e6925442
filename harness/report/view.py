"""What the templates are given: everything that the page says, in the order in which it says it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harness import __version__
from harness.judge import findings
from harness.metrics.stopped import STOPPED_EARLY
from harness.metrics.table import CONTRACT, METRICS
from harness.report import drawing
from harness.report.against import alike_comparisons
from harness.report.comparison import number_of_tests
from harness.report.content import Content
from harness.report.cost import costs_of
from harness.report.distributions import Counts, failure_counts, length_counts, outcome_counts, rank_counts
from harness.report.examples import examples
from harness.report.groups import Group, groups_of
from harness.report.metrics import Group as MetricGroup
from harness.report.metrics import (
    MetricLine,
    alike_tiers,
    compared_lines,
    metric_groups,
    rubric_lines,
    rubric_names,
)
from harness.report.provenance import manifest_fields, reproduction
from harness.report.reading import RunFacts
from harness.report.rows import Shown
from harness.report.scatter import scatter_of

_MOST_TICKS = 9


@dataclass(frozen=True, slots=True)
class Histogram:
    """A distribution to draw, one plot a run."""

    title: str
    column: str
    metric: str
    counts: Counts
    nothing: str

    @property
    def labelled(self) -> list[int]:
        """Bins whose label fits under the axis."""
        bins = len(self.counts.labels)
        step = max(1, -(-bins // _MOST_TICKS))
        return list(range(0, bins, step))


def view(content: Content, shown: Shown, data: str) -> dict[str, Any]:
    """The templates' `page`.

    Args:
        content: what the report says.
        shown: rows of the viewer.
        data: the same, encoded for its script.
    """
    runs = content.runs
    groups = metric_groups(runs)
    names = dict.fromkeys(name for one in content.comparisons for name in one.differences)
    rubrics = rubric_names(runs)
    place = content.baseline_place
    lines = compared_lines(groups, names)
    costs = costs_of(runs)
    alike, alike_differences = alike_tiers(runs), alike_comparisons(content.comparisons)
    sentences = groups_of(content)
    return {
        "facts": _facts(content),
        "sections": _sections(content),
        "forecasts": content.forecasts,
        "runs": runs,
        "baseline": None if content.baseline is None else content.baseline.name,
        "margin": content.config.margin,
        "groups": sentences,
        "missing": {kind: _all_or(names, runs) for kind, names in content.missing.items()},
        "beside": {cost.run: cost.beside for cost in costs},
        "scatter": scatter_of(content, _short_names(content, sentences)),
        "any_stopped": any(facts.stopped for facts in runs),
        "stopped_early": STOPPED_EARLY,
        "contract": CONTRACT,
        "comparisons": content.comparisons,
        "groups_of_metrics": groups,
        "methods": _methods(runs, groups),
        "alike": alike,
        "alike_labels": _labels(alike),
        "axes": drawing.metric_axes(content, groups),
        "stacks": drawing.metric_stacks(content, groups),
        "compared": lines,
        "alike_differences": alike_differences,
        "alike_differences_labels": _labels(alike_differences),
        "difference_axes": drawing.difference_axes(content, lines),
        "difference_stacks": drawing.difference_stacks(content, lines),
        "tests": number_of_tests({one.candidate: one for one in content.comparisons}),
        "test_names": _test_names(content),
        "outcomes": _outcomes(content),
        "costs": costs,
        "failures": failure_counts(runs),
        "sweep": content.sweep,
        "panels": drawing.panels(),
        "lambda_axis": drawing.lambda_axis(content),
        "role_axis": drawing.role_axis(runs),
        "without_cliff": [facts.name for facts in runs if facts.cliff is None and facts.place is None],
        "rubrics": [_rubric(runs, name) for name in rubrics],
        "not_judged": [facts.name for facts in runs if not facts.rubrics],
        "histograms": _histograms(content),
        "shown": shown,
        "shown_note": _shown_note(content, shown),
        "examples": examples(shown.rows, [facts.name for facts in runs], place),
        "data": Markup(data) if shown.rows else "",
        "reproductions": [reproduction(facts) for facts in runs],
        "provenance": _provenance(runs),
        "reproduce": reproduce_command(content),
    }


def reproduce_command(content: Content) -> str:
    """The command that makes this report again, runs by name."""
    config = content.config
    words = ["harness", "report", *(facts.name for facts in content.runs)]
    if content.baseline is not None:
        words += ["--baseline", content.baseline.name]
    if config.title:
        words += ["--title", config.title]
    if config.max_samples is not None:
        words += ["--max-samples", str(config.max_samples)]
    if config.redact:
        words += ["--redact", config.redact]
    if config.margin != type(config)(runs=config.runs).margin:
        words += ["--margin", f"{config.margin:g}"]
    if config.x:
        words += ["--x", config.x]
    for name, value in config.lambdas.items():
        words += ["--lambda", f"{name}={value:g}"]
    return f"Made with harness {__version__}: {shlex.join(words)}"


def _facts(content: Content) -> list[str]:
    manifests = {facts.name: facts.run.manifest for facts in content.runs}
    datasets = dict.fromkeys(
        f"{one.dataset.name}{f' ({one.dataset.split})' if one.dataset.split else ''}"
        for one in manifests.values()
    )
    sizes = dict.fromkeys(f"{one.tasks:,} tasks × {one.samples_per_task}" for one in manifests.values())
    candidates = dict.fromkeys(k for facts in content.runs for k in facts.candidates)
    found = [" / ".join(datasets), " / ".join(sizes)]
    if candidates:
        low, high = min(candidates), max(candidates)
        found.append(f"K = {low}" if low == high else f"K = {low} … {high}")
    if content.baseline is not None:
        found.append(f"baseline {content.baseline.name}")
    if content.config.redact:
        found.append("titles and words of outputs masked")
    return found


def _methods(runs: Sequence[RunFacts], groups: Sequence[MetricGroup]) -> list[str]:
    """How the intervals of the metrics were made, in the order in which they stand."""
    found = (facts.run.metrics.get(line.name) for group in groups for line in group.metrics for facts in runs)
    return list(dict.fromkeys(one.method for one in found if one is not None and one.low is not None))


def _labels(names: Sequence[str]) -> list[str]:
    return [METRICS[name].label for name in names]


def _all_or(names: Sequence[str], runs: Sequence[RunFacts]) -> list[str]:
    return ["all runs"] if len(names) == len(runs) > 1 else list(names)


def _short_names(content: Content, groups: Sequence[Group]) -> dict[str, str]:
    """What runs are called in the figure: of a sweep each λ once."""
    return {
        one.run: group.label.replace(" = ", " ") for group in groups if group.label for one in group.decided
    }


def _sections(content: Content) -> list[tuple[str, str]]:
    forecast = [("forecast", "Forecast")] if content.forecasts else []
    return [
        ("decision", "Decision"),
        ("numbers", "Numbers"),
        ("failures", "Failures"),
        *forecast,
        ("cliff", "Cliff"),
        ("judge", "Rubric"),
        ("distributions", "Distributions"),
        ("samples", "Samples"),
        ("provenance", "Provenance"),
    ]


def _test_names(content: Content) -> list[str]:
    return list(
        dict.fromkeys(
            one.comparison.test
            for comparison in content.comparisons
            for one in comparison.differences.values()
            if one.p_holm is not None
        )
    )


def _outcomes(content: Content) -> dict[str, dict[str, int]]:
    if content.baseline is None:
        return {}
    counts = {
        facts.name: outcome_counts(facts, content.baseline)
        for facts in content.runs
        if facts is not content.baseline
    }
    return {name: {str(kind): n for kind, n in found.items()} for name, found in counts.items() if found}


def _rubric(runs: tuple[RunFacts, ...], name: str) -> dict[str, Any]:
    lines: list[MetricLine] = rubric_lines(runs, name)
    found = [
        (facts.name, finding.message)
        for facts in runs
        if name in facts.rubrics
        for finding in findings(facts.run.metrics, name)
    ]
    return {"name": name, "metrics": lines, "findings": found}


def _histograms(content: Content) -> list[Histogram]:
    lengths, ranks = length_counts(content.runs), rank_counts(content.runs)
    return [
        Histogram(
            f"Length of the outputs in {lengths.unit}",
            lengths.unit,
            "length",
            lengths,
            "No sample has a length.",
        ),
        Histogram(
            "Rank of the relevant item, strictly parsed samples",
            "rank",
            "best_rank",
            ranks,
            "No sample parsed strictly on a task whose labels can rank.",
        ),
    ]


def _shown_note(content: Content, shown: Shown) -> str:
    parts = [f"{len(shown.rows):,} of {shown.total:,} samples are in this file"]
    if len(shown.rows) < shown.total:
        parts[0] += (
            ", in equal numbers from every combination of outcomes and failure codes as far as it goes; "
            "counts elsewhere on this page are of all samples"
        )
    note = ". ".join(parts) + "."
    if content.config.redact:
        note += " Titles are hidden, words of outputs are masked, reasons are left out."
    return f"{note} {shown.prompts_note}".strip()


def _provenance(runs: tuple[RunFacts, ...]) -> list[tuple[str, list[Any]]]:
    fields = manifest_fields(runs)
    if len(runs) == 1:
        return [("Manifest", fields)]
    return [
        ("Fields that differ", [field for field in fields if field.differs]),
        ("Fields that are the same", [field for field in fields if not field.differs]),
    ]
