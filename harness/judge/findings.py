"""What the exposure numbers say against a judge, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.judge.variance import VARIANCE, variance_advice
from harness.stats import Estimate

FindingCode = Literal[
    "inconsistent", "position", "length", "irrelevant", "constant", "unscored", "one_presentation"
]

AGREEMENT_BAR = 0.4
"""κ up to 0.4 is at most "fair" (Landis & Koch, Biometrics 33, 1977, p. 165)."""
LENGTH_BAR = 0.1
UNSCORED_BAR = 0.05
_EVEN = 0.5
_PREFERENCE = ".preference"


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason for not relying on a judge.

    Attributes:
        code: stable name of the finding.
        message: what was found, with its numbers.
    """

    code: FindingCode
    message: str


def findings(metrics: Mapping[str, Estimate], rubric: str) -> list[Finding]:
    """Reasons for not relying on a rubric's scores, from the metrics of a judged run.

    An absence of findings means that these tests found nothing at this n, not that the judge is right.

    - `inconsistent`: the self-agreement isn't shown to be above 0.4.
    - `position`: the interval of the position bias excludes ½.
    - `length`: scores go along with title lengths beyond relevance: |ρ| ≥ 0.1 and its interval excludes 0.
    - `irrelevant`: no positive correlation with the programmatic relevance is shown.
    - `constant`: all scores are equal, so nothing can be told.
    - `unscored`: more than 5 % of the judgements have no score.
    - `one_presentation`: nothing was judged twice, so neither agreement nor position bias is known.

    Pairs of runs can have `inconsistent`, `position` and `unscored`.

    Args:
        metrics: as `rubric_metrics` gives them.
        rubric: its name.
    """
    found: list[Finding] = []
    if f"judge.{rubric}.coverage" in metrics:
        found += _of_scores(dict(_below(metrics, f"judge.{rubric}.")))
    for other in pairwise_others(metrics, rubric):
        found += _of_pairs(other, dict(_below(metrics, f"pairwise.{rubric}.{other}.")))
    return found


def remarks(metrics: Mapping[str, Estimate], rubric: str) -> list[str]:
    """What speaks against relying on a rubric's judge, and how much of a run it saw, in sentences.

    Args:
        metrics: as `rubric_metrics` gives them.
        rubric: its name.
    """
    found = [f"judge {rubric}: {finding.message}" for finding in findings(metrics, rubric)]
    coverage = metrics.get(f"judge.{rubric}.coverage")
    if coverage is not None and coverage.estimate is not None and coverage.estimate < 1.0:
        found.append(f"judge {rubric}: judged {coverage.estimate:.1%} of {coverage.n} parsed samples")
    return found


def advice(metrics: Mapping[str, Estimate], rubric: str) -> str | None:
    """What would narrow the mean score's interval, by where the scores vary; None where that isn't known.

    Args:
        metrics: as `rubric_metrics` gives them.
        rubric: its name.
    """
    return variance_advice(dict(_below(metrics, f"judge.{rubric}.{VARIANCE}")))


def pairwise_others(metrics: Mapping[str, Estimate], rubric: str) -> list[str]:
    """Names of the runs that a run was judged side by side with."""
    names = (name for name, _ in _below(metrics, f"pairwise.{rubric}."))
    return [name.removesuffix(_PREFERENCE) for name in names if name.endswith(_PREFERENCE)]


def _of_scores(metrics: Mapping[str, Estimate]) -> list[Finding]:
    found = _unscored("", metrics["unscored"])
    agreement = metrics["self_agreement"]
    if agreement.n == 0:
        found.append(Finding("one_presentation", "nothing was judged twice; two repeats or more would show"))
    elif agreement.estimate is None:
        found.append(Finding("constant", "all scores are equal; the rubric tells nothing apart"))
    found += _inconsistent("", agreement)
    bias = metrics["position_bias"]
    if _excludes_even(bias):
        way = "raises" if (bias.estimate or 0.0) > _EVEN else "lowers"
        shown = f"{_shown(bias)} of differing pairs, ½ expected"
        found.append(Finding("position", f"listing the first choice early {way} its score: {shown}"))
    found += _length(metrics["length_correlation"])
    relevance = metrics["relevance_correlation"]
    if relevance.estimate is not None and (relevance.low is None or relevance.low <= 0.0):
        message = f"scores aren't shown to follow the programmatic relevance: ρ = {_shown(relevance)}"
        found.append(Finding("irrelevant", message))
    return found


def _of_pairs(other: str, metrics: Mapping[str, Estimate]) -> list[Finding]:
    beside = f"beside {other}: "
    found = _unscored(beside, metrics["unscored"]) + _inconsistent(beside, metrics["self_agreement"])
    bias = metrics["position_bias"]
    if _excludes_even(bias):
        message = f"{beside}the ranking shown first wins {_shown(bias)} of decided verdicts, ½ expected"
        found.append(Finding("position", message))
    return found


def _unscored(beside: str, rate: Estimate) -> list[Finding]:
    if rate.estimate is None or rate.estimate <= UNSCORED_BAR:
        return []
    return [Finding("unscored", f"{beside}{100 * rate.estimate:.1f} % of judgements have no score")]


def _inconsistent(beside: str, agreement: Estimate) -> list[Finding]:
    surely = agreement.estimate if agreement.low is None else agreement.low
    if surely is None or surely > AGREEMENT_BAR:
        return []
    message = (
        f"{beside}agreement of repeats isn't shown to exceed κ = {AGREEMENT_BAR}: κ = {_shown(agreement)}"
    )
    return [Finding("inconsistent", message)]


def _excludes_even(bias: Estimate) -> bool:
    return bias.low is not None and bias.high is not None and not bias.low <= _EVEN <= bias.high


def _below(metrics: Mapping[str, Estimate], prefix: str) -> list[tuple[str, Estimate]]:
    return [(name.removeprefix(prefix), value) for name, value in metrics.items() if name.startswith(prefix)]


def _length(length: Estimate) -> list[Finding]:
    if length.estimate is None or length.low is None or length.high is None:
        return []
    if abs(length.estimate) < LENGTH_BAR or length.low <= 0.0 <= length.high:
        return []
    way = "longer" if length.estimate > 0 else "shorter"
    message = f"scores prefer {way} titles at equal relevance: partial ρ = {_shown(length)}"
    return [Finding("length", message)]


def _shown(estimate: Estimate) -> str:
    text = f"{estimate.estimate:z.2f}"
    if estimate.low is not None and estimate.high is not None:
        text += f" ({estimate.low:z.2f} … {estimate.high:z.2f})"
    return text
