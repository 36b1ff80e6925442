"""What the templates are given: everything that the page says, in the order in which it says it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harness import __version__
from harness.judge import findings
from harness.metrics.table import CONTRACT, QUALITY
from harness.report import plots, text
from harness.report.comparison import number_of_tests
from harness.report.content import Content
from harness.report.distributions import (
    Counts,
    failure_counts,
    length_counts,
    mean_tokens,
    outcome_counts,
    rank_counts,
)
from harness.report.examples import examples
from harness.report.metrics import MetricLine, compared_lines, metric_groups, rubric_lines, rubric_names
from harness.report.provenance import manifest_fields, reproduction
from harness.report.reading import RunFacts
from harness.report.rows import Shown
from harness.stats import Estimate

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


@dataclass(frozen=True, slots=True)
class CostCell:
    """A number of the manifest."""

    name: str
    value: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run was and took."""

    run: str
    cells: tuple[CostCell, ...]
    tokens: Estimate | None
    engine: str


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
    return {
        "facts": _facts(content),
        "sections": _sections(),
        "runs": runs,
        "baseline": None if content.baseline is None else content.baseline.name,
        "margin": content.config.margin,
        "decided": content.decided,
        "comparisons": content.comparisons,
        "groups": groups,
        "compared": compared_lines(groups, names),
        "difference_axis": _difference_axis(content),
        "tests": number_of_tests({one.candidate: one for one in content.comparisons}),
        "test_names": _test_names(content),
        "outcomes": _outcomes(content),
        "costs": [_cost(facts) for facts in runs],
        "failures": failure_counts(runs),
        "sweep": content.sweep,
        "panels": _panels(),
        "lambda_axis": _lambda_axis(content),
        "role_axis": _role_axis(runs),
        "without_cliff": [facts.name for facts in runs if facts.cliff is None],
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


def _sections() -> list[tuple[str, str]]:
    return [
        ("decision", "Decision"),
        ("numbers", "Numbers"),
        ("failures", "Failures"),
        ("cliff", "Cliff"),
        ("judge", "Rubric"),
        ("distributions", "Distributions"),
        ("samples", "Samples"),
        ("provenance", "Provenance"),
    ]


def _difference_axis(content: Content) -> plots.Axis:
    differences = [
        one.comparison.difference
        for comparison in content.comparisons
        for one in comparison.differences.values()
    ]
    ends = [end for one in differences for end in (one.estimate, one.low, one.high)]
    return plots.around_zero(content.config.margin * 2, *ends)


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


def _cost(facts: RunFacts) -> Cost:
    manifest = facts.run.manifest
    sessions = manifest.sessions
    prompt = sum(session.prompt_tokens for session in sessions)
    completion = sum(session.completion_tokens for session in sessions)
    loading = [one.load_seconds for one in sessions if one.load_seconds is not None]
    generating = [one.generate_seconds for one in sessions if one.generate_seconds is not None]

    def cell(name: str, value: float | None, shown: Callable[[float], str]) -> CostCell:
        return CostCell(name, value, "" if value is None else shown(value))

    return Cost(
        facts.name,
        (
            cell("engine.parameters", manifest.engine.parameters, text.parameters),
            cell("sessions.prompt_tokens", prompt or None, text.whole),
            cell("sessions.completion_tokens", completion or None, text.whole),
            cell("sessions.load_seconds", sum(loading) if loading else None, text.seconds),
            cell("sessions.generate_seconds", sum(generating) if generating else None, text.seconds),
        ),
        mean_tokens(facts),
        f"{manifest.engine.name} {manifest.engine.version}",
    )


def _panels() -> list[dict[str, Any]]:
    return [
        {"metric": CONTRACT, "label": "strict parse validity", "shown": text.percent},
        {"metric": QUALITY, "label": "NDCG@1 on parsed", "shown": text.decimal},
    ]


def _lambda_axis(content: Content) -> plots.Axis | None:
    sweep = content.sweep
    if sweep is None:
        return None
    band = () if sweep.band is None else (sweep.band.low, sweep.band.high)
    return plots.over(*(lam for lam, _ in sweep.points), *band)


def _role_axis(runs: tuple[RunFacts, ...]) -> plots.Axis:
    """One axis for all runs, so that their plots can be compared."""
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
