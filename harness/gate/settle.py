"""From evidence to verdicts: level, Holm's correction and the sentence that says why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.gate.evidence import Evidence
from harness.gate.expression import BaselineRule, NumberRule
from harness.runs.gate_record import RuleResult, Verdict
from harness.stats import exact_power_proportion, holm, sample_size_proportion
from harness.stats.distributions import normal_quantile

_MANY = 10_000_000
"""More further samples than this are as good as none."""

BarRule = NumberRule | BaselineRule


@dataclass(frozen=True, slots=True)
class Levels:
    """Error rates of a gate.

    Attributes:
        alpha: level of every test.
        power: wanted of the advice on further samples.
    """

    alpha: float
    power: float


def settle(
    rules: Sequence[tuple[BarRule, Evidence]], levels: Levels, verdicts: Sequence[Verdict] | None = None
) -> list[RuleResult]:
    """Verdicts of all rules that have p-values.

    A rule passes at alpha by itself: the gate passes only if all do, so a false pass of the gate is no
    likelier than that of a rule (an intersection-union test). Any rule can make the gate fail, so failing
    takes Holm's correction over the rules.

    Args:
        rules: each with its evidence.
        levels: error rates.
        verdicts: those that were reached while drawing, of which the first stands; None to reach them now.
    """
    adjusted = holm([evidence.p_fail for _, evidence in rules])
    given = verdicts or [
        verdict_at(evidence.p_pass, p_fail, levels.alpha)
        for (_, evidence), p_fail in zip(rules, adjusted, strict=True)
    ]
    return [
        _rule_result(rule, evidence, p_fail, verdict, levels, len(rules))
        for (rule, evidence), p_fail, verdict in zip(rules, adjusted, given, strict=True)
    ]


def verdict_at(p_pass: float, p_fail: float, alpha: float) -> Verdict:
    """Verdict of a rule by its p-values, the second corrected for several rules."""
    if p_pass <= alpha:
        return "pass"
    return "fail" if p_fail <= alpha else "inconclusive"


def bar_of(rule: BarRule) -> float:
    """What the estimate is compared with."""
    return rule.bar if isinstance(rule, NumberRule) else rule.shift


def _rule_result(
    rule: BarRule, evidence: Evidence, p_fail: float, verdict: Verdict, levels: Levels, rules: int
) -> RuleResult:
    more = _more(rule, evidence, levels, rules) if verdict == "inconclusive" else None
    return RuleResult(
        rule=rule.text,
        metric=rule.metric,
        bar=bar_of(rule),
        estimate=evidence.estimate,
        verdict=verdict,
        why=explain(rule, evidence, verdict, p_fail, more, levels.alpha),
        p_pass=evidence.p_pass,
        p_fail=p_fail,
        more=more,
    )


def explain(
    rule: BarRule, evidence: Evidence, verdict: Verdict, p_fail: float, more: int | None, alpha: float
) -> str:
    """The sentence that says why a rule came out as it did."""
    value = evidence.estimate.estimate
    if isinstance(rule, BaselineRule):
        if value is None and not evidence.reach:
            return f"nothing to compare: no task has {rule.metric} in both runs"
        shown = "a difference" if value is None else f"a difference of {value:+.4f}"
        shown, bar = f"{shown}{evidence.reach}", f"{rule.shift:+g}"
    elif value is None:
        return f"nothing to measure: none of the samples counts for {rule.metric}"
    else:
        shown, bar = _number(value), _number(bar_of(rule))
    lead = f"{evidence.detail}: " if evidence.detail else ""
    at = "on this list of tasks, " if evidence.kind == "exact" else ""
    side = "at least" if rule.sense == ">=" else "at most"
    other = "below" if rule.sense == ">=" else "above"
    if verdict == "pass":
        return f"{lead}{at}{shown} is shown to be {side} {bar} ({_p(evidence.p_pass)})"
    if verdict == "fail":
        return f"{lead}{at}{shown} is shown to be {other} {bar} ({_p(p_fail)})"
    if evidence.p_fail <= alpha:
        reason = f"is {other} {bar} by itself, but not after the correction for several rules"
    else:
        reason = f"can't be told from {bar}"
    return f"{lead}{at}{shown} {reason}; {_advice(evidence, more)}"


def _advice(evidence: Evidence, more: int | None) -> str:
    if evidence.deciding:
        return evidence.deciding
    if more is None:
        return "it lies so close that further samples are unlikely to settle it"
    unit = "samples" if evidence.kind in ("rate", "stored") else "tasks"
    return f"about {more:,} more {unit} would likely settle it"


def _more(rule: BarRule, evidence: Evidence, levels: Levels, rules: int) -> int | None:
    """Further units with which the rule would likely be settled if the truth is the estimate."""
    value, bar = evidence.estimate.estimate, bar_of(rule)
    if evidence.kind == "exact" or evidence.deciding:
        return None
    if evidence.reach:
        # Some answers have no value: the estimate is of the others alone.
        passing = evidence.p_pass < evidence.p_fail
    elif value is None or value == bar:
        return None
    else:
        passing = (value > bar) == (rule.sense == ">=")
    alpha = levels.alpha if passing else levels.alpha / rules
    p = evidence.p_pass if passing else evidence.p_fail
    units = evidence.units
    if evidence.kind == "sequential":
        needed = _sequential_size(evidence, alpha)
    elif evidence.kind == "rate" and value is not None:
        needed = _rate_size(bar, value, units, alpha, levels.power)
    elif not 0.0 < p < 1.0 or units == 0:
        needed = None
    elif evidence.kind == "constant":
        # Equal values: each further one multiplies the p-value by the same factor.
        needed = math.ceil(units * math.log(alpha) / math.log(p))
    else:
        seen = -normal_quantile(p)
        wanted = normal_quantile(levels.power) - normal_quantile(alpha)
        needed = math.ceil(units * (wanted / seen) ** 2) if seen > 0.0 else None
    if needed is None or needed > _MANY:
        return None
    return max(1, needed - units)


def _rate_size(bar: float, true: float, n: int, alpha: float, power: float) -> int | None:
    """Samples with which the exact binomial test has this power, found upwards from its approximation."""
    if not 0.0 < bar < 1.0:
        return None
    size = max(n + 1, sample_size_proportion(bar, true, alpha=alpha, power=power))
    while size <= _MANY and exact_power_proportion(size, bar, true, alpha=alpha) < power:
        size += max(1, size // 50)
    return size


def _sequential_size(evidence: Evidence, alpha: float) -> int | None:
    """Units after which capital that goes on growing as it has would reach 1/alpha.

    Capital spread over all stakes lags behind the best of them by about ½ log n + ½.
    """
    units = evidence.units
    rate = (evidence.log_capital + 0.5 * math.log(units) + 0.5) / units if units else 0.0
    if rate * _MANY < 1.0:
        return None
    size = float(units)
    for _ in range(5):
        size = (0.5 * math.log(max(size, 1.0)) + 0.5 - math.log(alpha)) / rate
    return max(units + 1, math.ceil(size))


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if value else "0"


def _p(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"
