"""What each metric says of one sample: the bridge from a metric's name to the samples behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.contract import FAILURE_CODES, TIERS
from harness.errors import DataError, nearest
from harness.gate.expression import BaselineRule, NumberRule, PolicyError, Rule, WordRule
from harness.runs import Sample

CLIFF_WORDS = ("left", "right", "on_cliff", "out_of_scope")
WORD_METRICS = ("cliff.verdict", "cliff.observed")
RUBRIC = "rubric."


@dataclass(frozen=True, slots=True)
class Measure:
    """How a metric is added up from samples; its value always lies in [0, 1].

    Attributes:
        is_rate: whether each sample's value is 0 or 1.
        informative_only: whether tasks whose labels can't rank are left out.
        counts_always: whether every sample of the other tasks counts, whatever it says.
        value: of a sample; None when the sample doesn't count.
    """

    is_rate: bool
    informative_only: bool
    counts_always: bool
    value: Callable[[Sample], float | None]


def _tier_up_to(rank: int) -> Measure:
    accepted = frozenset(TIERS[: rank + 1])
    return Measure(True, False, True, lambda sample: float(sample.parse.tier in accepted))


def _code(code: str) -> Measure:
    return Measure(True, False, True, lambda sample: float(sample.parse.code == code))


def _parsed(score: str) -> Measure:
    return Measure(False, True, False, lambda sample: _score(sample, score))


def _all(score: str) -> Measure:
    return Measure(False, True, True, lambda sample: _score(sample, score) or 0.0)


def _score(sample: Sample, name: str) -> float | None:
    value = sample.scores.get(name)
    if value is not None and not 0.0 <= value <= 1.0 + 1e-9:
        # NaN ends here too: it compares as false.
        raise DataError(
            f"sample {sample.key!r} of task {sample.task_id!r} has {name} = {value}, which is no score; "
            "`harness rescore` computes it anew"
        )
    return None if value is None else min(value, 1.0)


MEASURES: dict[str, Measure] = {
    **{f"parse_validity.{tier}": _tier_up_to(rank) for rank, tier in enumerate(TIERS) if tier != "none"},
    **{f"failure_rate.{code}": _code(code) for code in FAILURE_CODES},
    "truncation_rate": Measure(True, False, True, lambda sample: float(sample.finish_reason == "length")),
    **{f"{score}.parsed": _parsed(score) for score in ("ndcg_at_1", "ndcg_at_k")},
    **{f"{score}.all": _all(score) for score in ("ndcg_at_1", "ndcg_at_k")},
}
"""Metrics that samples alone decide, and that a live gate can follow."""


def check_rules(rules: Iterable[Rule], stored: Iterable[str]) -> None:
    """Refuse rules about metrics that aren't there, words that no field has and bars out of range.

    Args:
        rules: of the policy.
        stored: names in the run's metrics.

    Raises:
        PolicyError: the message names the nearest metrics.
    """
    metrics = {*MEASURES, *stored}
    for rule in rules:
        if isinstance(rule, WordRule):
            _check_words(rule)
        elif rule.metric not in metrics:
            raise _unknown(rule, sorted({*metrics, *WORD_METRICS}))
        elif rule.metric in MEASURES or rule.metric.startswith(RUBRIC):
            _check_range(rule)


def _check_words(rule: WordRule) -> None:
    if rule.metric not in WORD_METRICS:
        hint = nearest(rule.metric, list(WORD_METRICS))
        raise PolicyError(f"rule `{rule.text}`: `in` goes with {' and '.join(WORD_METRICS)} only{hint}")
    for word in rule.allowed:
        if word not in CLIFF_WORDS:
            hint = nearest(word, list(CLIFF_WORDS))
            raise PolicyError(
                f"rule `{rule.text}`: {rule.metric} is never `{word}`; it is one of "
                f"{', '.join(CLIFF_WORDS)}{hint}"
            )


def _unknown(rule: NumberRule | BaselineRule, metrics: list[str]) -> PolicyError:
    if rule.metric in WORD_METRICS:
        return PolicyError(f"rule `{rule.text}`: {rule.metric} is a word; write `{rule.metric} in [left]`")
    why = "no such metric in this run"
    if rule.metric.startswith((RUBRIC, "judge.", "pairwise.")):
        why += "; `harness judge` adds those of a rubric"
    return PolicyError(f"rule `{rule.text}`: {why}{nearest(rule.metric, metrics)}")


def _check_range(rule: NumberRule | BaselineRule) -> None:
    if isinstance(rule, NumberRule) and not 0.0 <= rule.bar <= 1.0:
        percent = 1.0 < rule.bar <= 100.0
        hint = f"; write {rule.bar:g} % as {rule.bar / 100.0:g}" if percent else ""
        raise PolicyError(f"rule `{rule.text}`: {rule.metric} lies between 0 and 1{hint}")
    if isinstance(rule, BaselineRule) and not (math.isfinite(rule.shift) and abs(rule.shift) < 1.0):
        raise PolicyError(f"rule `{rule.text}`: a difference of {rule.metric} lies between -1 and 1")
