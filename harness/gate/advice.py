"""What would settle an inconclusive rule: a range, since the estimate it rests on has an error itself."""

from __future__ import annotations

import math

from harness.gate.evidence import Evidence
from harness.gate.expression import BaselineRule, NumberRule
from harness.gate.looks import Levels
from harness.runs.gate_record import More
from harness.stats import exact_power_proportion, sample_size_proportion
from harness.stats.distributions import normal_quantile

_MANY = 10_000_000
"""More further samples than this are as good as none."""

BarRule = NumberRule | BaselineRule


def bar_of(rule: BarRule) -> float:
    """What the estimate is compared with."""
    return rule.bar if isinstance(rule, NumberRule) else rule.shift


def further(rule: BarRule, evidence: Evidence, levels: Levels, rules: int, left: int | None) -> More | None:
    """Units beyond those there are with which the next look would likely settle the rule.

    Args:
        rule: an inconclusive one.
        evidence: on it.
        levels: of this look and the next.
        rules: how many the policy has, for the correction of failing.
        left: tasks that the dataset has beyond those of the run; None where nobody counted.

    Returns:
        None where further tasks aren't what is lacking: nothing counts, or samples are missing.
    """
    value, bar = evidence.estimate.estimate, bar_of(rule)
    if value is None or evidence.kind == "exact" or evidence.missing or evidence.deciding:
        return None
    ends = [end for end in (evidence.estimate.low, evidence.estimate.high) if end is not None]
    side = [end for end in ends if (end - bar) * (value - bar) > 0.0] or ends
    far = max(side, key=lambda end: abs(end - bar), default=value)

    # A test sees answers without a value at their worst, of those drawn later as of those there are.
    worst = None if evidence.kind == "sequential" else evidence.at_worst
    there = evidence.units + (0 if worst is None else evidence.hidden)
    likely_truth = value if worst is None else worst

    def beyond(truth: float) -> int | None:
        needed = _units(rule, evidence, truth, levels, rules)
        return None if needed is None or needed > _MANY else max(1, needed - there)

    soonest, likely = beyond(far), beyond(likely_truth)
    if soonest is not None and likely is not None and soonest > likely:
        soonest = likely
    return More(soonest, likely, left)


def advice(evidence: Evidence, more: More | None) -> str:
    """The part of a sentence that says what to do about an inconclusive rule."""
    if more is None:
        if evidence.missing:
            return f"{evidence.missing:,} samples are missing: the same `harness eval` draws them"
        return evidence.deciding or "nothing that could be drawn decides it"
    unit = "samples" if evidence.kind in ("rate", "stored") else "tasks"
    left = _left(more)
    if evidence.at_worst is not None and evidence.kind != "sequential":
        left = f", and as many answers have no value as now{left}"
    if more.soonest is None:
        return f"it lies so close that further {unit} are unlikely to settle it"
    if more.likely is None:
        return (
            f"about {rounded(more.soonest)} more {unit} would settle it if the truth is as far from the bar "
            f"as the interval allows, and none if it is what was measured{left}"
        )
    sooner = ""
    if rounded(more.soonest) != rounded(more.likely):
        sooner = f" ({rounded(more.soonest)} if it is as far from the bar as the interval allows)"
    return (
        f"about {rounded(more.likely)} more {unit} would likely settle it if the truth is what was "
        f"measured{sooner}{left}"
    )


def rounded(count: int) -> str:
    """To two significant digits, rounded up: more would pretend to know."""
    size = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // size) * size:,}"


def _left(more: More) -> str:
    if more.left is None:
        return ""
    if more.left == 0:
        return "; the dataset has none left"
    few = more.soonest is not None and more.left < more.soonest
    return f"; the dataset has {more.left:,} left" + (", too few" if few else "")


def _units(rule: BarRule, evidence: Evidence, truth: float, levels: Levels, rules: int) -> int | None:
    """Units in all with which the next look would likely settle the rule if this is the truth."""
    value, bar = evidence.estimate.estimate, bar_of(rule)
    if value is None or truth == bar:
        return None
    passing = (truth > bar) == (rule.sense == ">=")
    alpha = levels.later if passing else levels.failing / rules
    if alpha <= 0.0:
        return None
    if evidence.kind == "rate":
        return _rate_size(bar, truth, evidence.units + evidence.hidden, alpha, levels.power)
    # log p and log capital grow with the square of the distance: scaled from what was seen.
    if evidence.at_worst is not None and evidence.kind != "sequential" and evidence.log_capital <= 0.0:
        value = evidence.at_worst  # which the p-values are of
    stretch = ((truth - bar) / (value - bar)) ** 2 if value != bar else 0.0
    if evidence.kind == "sequential":
        return _sequential_size(evidence, alpha, stretch)
    return _fixed_size(evidence, passing, alpha, stretch, levels.power)


def _fixed_size(evidence: Evidence, passing: bool, alpha: float, stretch: float, power: float) -> int | None:
    """Units after which the test of a mean or a paired rate likely refutes at alpha."""
    if evidence.log_capital > 0.0:
        return _mean_size(evidence, alpha, stretch, power)
    p = evidence.p_pass if passing else evidence.p_fail
    if not 0.0 < p < 1.0 or not stretch or not evidence.units:
        return None
    return math.ceil(evidence.units * math.log(alpha) / math.log(p) / stretch)


def _rate_size(bar: float, true: float, n: int, alpha: float, power: float) -> int | None:
    """Samples with which the exact binomial test has this power, found upwards from its approximation."""
    if not 0.0 < bar < 1.0:
        return None
    size = max(n + 1, sample_size_proportion(bar, true, alpha=alpha, power=power))
    while size <= _MANY and exact_power_proportion(size, bar, true, alpha=alpha) < power:
        size += max(1, size // 50)
    return size


def _mean_size(evidence: Evidence, alpha: float, stretch: float, power: float) -> int | None:
    """Units after which capital at the stakes of `mean_against_bar` likely reaches 1/alpha.

    The capital is lognormal, near enough, its logarithm scattering by √(2 · mean); spread over a few stakes
    it lags behind the best of them by about 1.
    """
    rate = stretch * evidence.log_capital / evidence.units
    if rate * _MANY < 1.0:
        return None
    wanted = 0.5 * (math.sqrt(2.0 * (1.0 - math.log(alpha))) + normal_quantile(power)) ** 2
    return math.ceil(wanted / rate)


def _sequential_size(evidence: Evidence, alpha: float, stretch: float) -> int | None:
    """Units after which capital that goes on growing as it has would reach 1/alpha.

    Capital spread over all stakes lags behind the best of them by about ½ log n + ½.
    """
    units = evidence.units
    rate = stretch * (evidence.log_capital + 0.5 * math.log(units) + 0.5) / units if units else 0.0
    if rate * _MANY < 1.0:
        return None
    size = float(units)
    for _ in range(5):
        size = (0.5 * math.log(max(size, 1.0)) + 0.5 - math.log(alpha)) / rate
    return max(units + 1, math.ceil(size))
