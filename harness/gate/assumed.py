"""What a plan takes to be true: a number that was named, or what a run measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np

from harness.gate.advice import BarRule
from harness.gate.common_tasks import asked_of
from harness.gate.expression import BaselineRule, PolicyError, Rule, WordRule
from harness.gate.policy import Policy
from harness.gate.tables import task_tables
from harness.metrics.columns import FloatArray, TaskTable
from harness.metrics.table import PAIR_PREFIX, RUBRIC_PREFIX, sample_metric
from harness.runs import Run
from harness.runs.columns import read_task_rows
from harness.runs.comparability import pair_runs


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a task's observation is taken to be like, for one rule.

    Attributes:
        values: a population of observations, one a task: a metric's values, or candidate − baseline.
        pairs: [P, 2] candidate's and baseline's values where the rule compares; None where it doesn't.
        single: whether an observation is one sample that is 0 or 1.
        best: the same where answers without a value are as good as they could have been, for the rule's
            failing; `values` are then as bad as they could. None where every answer has a value.
    """

    values: FloatArray
    pairs: FloatArray | None
    single: bool
    best: Assumed | None = None


def is_planned(rule: Rule) -> TypeGuard[BarRule]:
    """Whether tasks decide a rule: words and stored intervals (`cliff.lambda_star`) are read from a run."""
    by_task = sample_metric(rule.metric) is not None or rule.metric.startswith((RUBRIC_PREFIX, PAIR_PREFIX))
    return by_task and not isinstance(rule, WordRule)


def assume(rule: BarRule, truth: float, discordant: float) -> Assumed:
    """A population of 0 and 1 with this mean (−1, 0 and 1 for a difference): of all the most spread out.

    Raises:
        PolicyError: no such population.
    """
    cells = 10_000
    metric = sample_metric(rule.metric)
    if not isinstance(rule, BaselineRule):
        if not 0.0 <= truth <= 1.0:
            raise PolicyError(f"{rule.metric} = {truth:g} is assumed; it lies between 0 and 1")
        ones = round(truth * cells)
        values = np.repeat([1.0, 0.0], [ones, cells - ones])
        return Assumed(values, None, metric is not None and metric.is_rate)
    if not abs(truth) <= discordant <= 1.0:
        raise PolicyError(
            f"{rule.metric} = baseline{truth:+g} is assumed, but candidate and baseline differ on only "
            f"{discordant:g} of the tasks; set `discordant` to at least {abs(truth):g}"
        )
    better = round(0.5 * (discordant + truth) * cells)
    worse = round(0.5 * (discordant - truth) * cells)
    pairs = np.repeat([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [better, worse, cells - better - worse], axis=0)
    return Assumed(pairs[:, 0] - pairs[:, 1], pairs, metric is not None and metric.is_rate)


def measured(run: Run, policy: Policy, baseline: Run | None) -> dict[str, Assumed]:
    """What a run shows, taken to be true of tasks like its own, by a rule's text.

    Raises:
        HarnessError: as `decide`.
    """
    rules = [rule for rule in policy.parsed_rules if is_planned(rule)]
    mine = task_tables(run, [rule.metric for rule in rules], allow_missing=True)
    pairing = theirs = None
    if baseline is not None:
        pairing = pair_runs(run.manifest, read_task_rows(run), baseline, common=False)
        theirs = task_tables(baseline, [rule.metric for rule in rules if isinstance(rule, BaselineRule)])
    found = {}
    for rule in (rule for rule in rules if rule.metric in mine):
        table = mine[rule.metric]
        single = table.is_rate and run.manifest.samples_per_task == 1
        if not isinstance(rule, BaselineRule):
            found[rule.text] = Assumed(table.means[table.count > 0], None, single)
        elif pairing is not None and theirs is not None:
            found[rule.text] = _differing(rule, *pairing.pair(table, theirs[rule.metric]), single)
    return {text: one for text, one in found.items() if len(one.values)}


def _differing(rule: BaselineRule, mine: TaskTable, theirs: TaskTable, single: bool) -> Assumed:
    """The differences that a rule is about: of the tasks that both have, or of all at worst and at best."""
    asked = [asked_of(rule, table) for table in (mine, theirs)]
    worst, best = ((0.0, 1.0), (1.0, 0.0)) if rule.sense == ">=" else ((1.0, 0.0), (0.0, 1.0))

    def of(fills: tuple[float, float]) -> Assumed:
        means = [table.filled(fill).means for table, fill in zip(asked, fills, strict=True)]
        pairs = np.column_stack(means)
        pairs = pairs[~np.isnan(pairs).any(axis=1)]
        return Assumed(pairs[:, 0] - pairs[:, 1], pairs, single)

    at_worst = of(worst)
    return replace(at_worst, best=of(best)) if any(table.is_open for table in asked) else at_worst


def read_assumption(text: str, rules: Sequence[BarRule]) -> list[tuple[BarRule, float]]:
    """The rules that `metric=0.97` or `metric=baseline-0.01` is about, each with its truth.

    Raises:
        PolicyError: it is neither, or no rule is about it.
    """
    name, _, value = (part.strip() for part in text.partition("="))
    paired = value.startswith("baseline")
    try:
        truth = float(value.removeprefix("baseline").replace(" ", "") or ("0" if paired else ""))
    except ValueError:
        raise PolicyError(
            f"`{text}` is no assumption; write parse_validity.strict=0.97 or ndcg_at_1.all=baseline-0.01"
        ) from None
    meant = [rule for rule in rules if rule.metric == name and isinstance(rule, BaselineRule) == paired]
    if not meant:
        raise PolicyError(f"`{text}` is assumed, but no rule of the policy is about that")
    return [(rule, truth) for rule in meant]
