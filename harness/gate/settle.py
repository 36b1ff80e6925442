"""From evidence to verdicts: level, Holm's correction and the sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence

from harness.gate.advice import BarRule, advice, bar_of, further
from harness.gate.evidence import Evidence
from harness.gate.expression import BaselineRule
from harness.gate.looks import Levels
from harness.runs.gate_record import More, RuleResult, Verdict
from harness.stats import holm


def settle(
    rules: Sequence[tuple[BarRule, Evidence]],
    levels: Levels,
    verdicts: Sequence[Verdict] | None = None,
    left: int | None = None,
) -> list[RuleResult]:
    """Verdicts of all rules that have p-values.

    A rule passes at its level by itself: the gate passes only if all do, so a false pass of the gate is no
    likelier than that of a rule (an intersection-union test). Any rule can make the gate fail, so failing
    takes Holm's correction over the rules.

    Args:
        rules: each with its evidence.
        levels: error rates.
        verdicts: those that were reached while drawing, of which the first stands; None to reach them now.
        left: tasks that the dataset has beyond those of the run, for the advice.
    """
    adjusted = holm([evidence.p_fail for _, evidence in rules])
    given = verdicts or [
        verdict_at(evidence.p_pass, p_fail, levels)
        for (_, evidence), p_fail in zip(rules, adjusted, strict=True)
    ]
    return [
        _rule_result(rule, evidence, p_fail, verdict, levels, len(rules), left)
        for (rule, evidence), p_fail, verdict in zip(rules, adjusted, given, strict=True)
    ]


def verdict_at(p_pass: float, p_fail: float, levels: Levels) -> Verdict:
    """Verdict of a rule by its p-values, the second corrected for several rules."""
    if p_pass <= levels.passing:
        return "pass"
    return "fail" if p_fail <= levels.failing else "inconclusive"


def _rule_result(
    rule: BarRule,
    evidence: Evidence,
    p_fail: float,
    verdict: Verdict,
    levels: Levels,
    rules: int,
    left: int | None,
) -> RuleResult:
    more = further(rule, evidence, levels, rules, left) if verdict == "inconclusive" else None
    return RuleResult(
        rule=rule.text,
        metric=rule.metric,
        bar=bar_of(rule),
        estimate=evidence.estimate,
        verdict=verdict,
        why=explain(rule, evidence, verdict, p_fail, more, levels),
        p_pass=evidence.p_pass,
        p_fail=p_fail,
        more=more,
    )


def explain(
    rule: BarRule, evidence: Evidence, verdict: Verdict, p_fail: float, more: More | None, levels: Levels
) -> str:
    """The sentence that says why a rule came out as it did."""
    value = evidence.estimate.estimate
    if isinstance(rule, BaselineRule):
        if value is None and not evidence.reach:
            return f"nothing to compare: no task has {rule.metric} in both runs"
        shown = "a difference" if value is None else f"a difference of {value:+z.4f}"
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
    if evidence.p_fail <= levels.failing:
        reason = f"is {other} {bar} by itself, but not after the correction for several rules"
    else:
        reason = f"can't be told from {bar}"
    return f"{lead}{at}{shown} {reason}; {advice(evidence, more)}"


def _number(value: float) -> str:
    return f"{value:z.4f}".rstrip("0").rstrip(".") if value else "0"


def _p(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"
