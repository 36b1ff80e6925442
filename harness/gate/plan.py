"""`plan(policy, tasks)`: what a gate can show, before anything is drawn.

Power is that of the very tests that the gate will use: exact for rates of single samples, by seeded
simulation elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.gate.advice import BarRule, bar_of
from harness.gate.assumed import Assumed, assume, is_planned
from harness.gate.evidence import against_bar, against_baseline
from harness.gate.expression import BaselineRule
from harness.gate.looks import Levels, kind_of, levels_of, spend, tasks_left
from harness.gate.policy import Policy
from harness.gate.record import earlier_looks
from harness.gate.stream import Stream
from harness.metrics.columns import FloatArray, TaskTable
from harness.metrics.table import sample_metric
from harness.runs import Run
from harness.runs.source import source_of
from harness.stats import SequentialTest
from harness.stats.distributions import binomial_sf

_DRAWS = 400
_LIVE_DRAWS = 100
_STEPS = 10
_MOST_TASKS = 1_000_000


@dataclass(frozen=True, slots=True)
class RulePlan:
    """What one rule can show.

    Attributes:
        rule: its text.
        level: of its test for passing.
        least_tasks: fewest tasks with which it can pass at all; None where no number is enough.
        truth: assumed of the metric or the difference, at worst where answers have no value; None where
            nothing was assumed.
        passes: probability of passing then.
        fails: probability of failing then, before Holm's correction for several rules.
        detectable: least extreme truth at which it passes with the policy's power; None where none does.
        live_tasks: median number of tasks that a live gate draws then, the budget where it stays undecided.
    """

    rule: str
    level: float
    least_tasks: int | None
    truth: float | None
    passes: float | None
    fails: float | None
    detectable: float | None
    live_tasks: float | None


def levels_of_next(policy: Policy, tasks: int, run: Run | None, stream: Path | None) -> Levels:
    """Levels of the look that a gate would take at so many tasks; nothing is taken or written.

    Args:
        policy: with alpha.
        tasks: how many will be there.
        run: that will grow to them, or has them; None for a look at all tasks of a dataset.
        stream: file of a stream in which the checkpoint has, or would take, a place.

    Raises:
        PolicyError: the stream is full, or was begun with another policy.
        DataError: a file can't be read.
    """
    if run is None:
        spending = spend((), "", "fixed", policy.alpha, whole=True, planned=policy.looks)
    else:
        earlier, left = earlier_looks(run.path), tasks_left(run.manifest)
        if stream is not None:
            earlier += Stream(stream, policy).looks_elsewhere(run.manifest, run.path)
        # Other tasks than the run has are another look.
        drawn = source_of(run.path, run.manifest).drawn_sha256 if tasks == run.manifest.tasks else ""
        whole = left is not None and tasks >= run.manifest.tasks + left
        kind = kind_of(earlier, continued=False)
        spending = spend(earlier, drawn, kind, policy.alpha, whole=whole, planned=policy.looks)
    manifest = None if run is None else run.manifest
    place = None if stream is None else Stream(stream, policy).place_of(manifest)
    levels = levels_of(policy, spending, place)
    if stream is not None or policy.checkpoints is None:
        return levels
    # A policy that plans checkpoints will be used with a stream.
    return replace(levels, passing=levels.passing / policy.checkpoints)


def plan(
    policy: Policy,
    tasks: int,
    assumed: Mapping[str, Assumed],
    *,
    levels: Levels | None = None,
    discordant: float = 0.1,
    seed: int = 0,
) -> list[RulePlan]:
    """What each rule about numbers can show on so many tasks, looked at once.

    Args:
        policy: with the rules and levels; planned looks and checkpoints of a stream share alpha.
        tasks: how many are going to be evaluated, ≥ 1.
        assumed: by a rule's text, what is taken to be true.
        levels: of the look; None for one at all tasks of a dataset.
        discordant: share of tasks on which candidate and baseline are taken to differ where only their
            difference is known.
        seed: of the simulations.
    """
    levels = levels or levels_of_next(policy, tasks, None, None)
    rules = [rule for rule in policy.parsed_rules if is_planned(rule)]
    return [
        _plan_rule(rule, levels, policy, tasks, assumed.get(rule.text), discordant, seed) for rule in rules
    ]


def _plan_rule(
    rule: BarRule,
    levels: Levels,
    policy: Policy,
    tasks: int,
    assumed: Assumed | None,
    discordant: float,
    seed: int,
) -> RulePlan:
    metric, level = sample_metric(rule.metric), levels.passing
    single = metric is not None and metric.is_rate
    if level <= 0.0:
        known = assumed is not None
        truth = float(assumed.values.mean()) if assumed is not None else None
        return RulePlan(
            rule.text, 0.0, None, truth, 0.0 if known else None, 0.0 if known else None, None, None
        )

    def passes(population: Assumed, draws: int = _DRAWS) -> float:
        return _chances(rule, population, tasks, level, levels.failing, seed, draws)[0]

    least = _least_tasks(rule, level, single)
    if assumed is None:
        truth = chances = live = None
    else:
        truth = float(assumed.values.mean())
        chances = _chances(rule, assumed, tasks, level, levels.failing, seed, _DRAWS)
        live = _live_tasks(rule, assumed, tasks, level, seed)
    possible = least is not None and least <= tasks
    detectable = (
        _detectable(rule, lambda at: passes(assume(rule, at, max(discordant, abs(at))), 200), policy.power)
        if possible
        else None
    )
    return RulePlan(
        rule.text,
        level,
        least,
        truth,
        None if chances is None else chances[0],
        None if chances is None else chances[1],
        detectable,
        live,
    )


def _least_tasks(rule: BarRule, level: float, single: bool) -> int | None:
    """Fewest tasks with which the rule passes where every observation is as good as it can be."""

    def can(tasks: int) -> bool:
        good = 1.0 if rule.sense == ">=" else 0.0
        mine = _table(np.full(tasks, good), single)
        if isinstance(rule, BaselineRule):
            theirs = _table(np.full(tasks, 1.0 - good if rule.shift * (good - 0.5) > 0 else good), single)
            return (
                against_baseline(mine, theirs, rule.shift, rule.sense, level, interval=False).p_pass <= level
            )
        return against_bar(mine, rule.bar, rule.sense, level, interval=False).p_pass <= level

    size = 1
    while not can(size):
        size *= 2
        if size > _MOST_TASKS:
            return None
    low = size // 2
    while size - low > 1:
        middle = (low + size) // 2
        low, size = (low, middle) if can(middle) else (middle, size)
    return size


def _chances(
    rule: BarRule, assumed: Assumed, tasks: int, level: float, failing: float, seed: int, draws: int
) -> tuple[float, float]:
    """Probabilities of passing and of failing."""
    if assumed.best is not None:
        worst = replace(assumed, best=None)
        return tuple(  # type: ignore[return-value]
            _chances(rule, one, tasks, level, failing, seed, draws)[side]
            for side, one in enumerate((worst, assumed.best))
        )
    truth = float(assumed.values.mean())
    if assumed.single and not isinstance(rule, BaselineRule) and 0.0 < rule.bar < 1.0:
        good, bar = (truth, rule.bar) if rule.sense == ">=" else (1.0 - truth, 1.0 - rule.bar)
        return _rejects(tasks, bar, good, level), _rejects(tasks, 1.0 - bar, 1.0 - good, failing)
    rng = np.random.default_rng([seed, 1])
    passed = failed = 0
    for _ in range(draws):
        rows = rng.integers(len(assumed.values), size=tasks)
        if assumed.pairs is not None:
            mine, theirs = (_table(assumed.pairs[rows, side], assumed.single) for side in (0, 1))
            evidence = against_baseline(mine, theirs, bar_of(rule), rule.sense, level, interval=False)
        else:
            table = _table(assumed.values[rows], assumed.single)
            evidence = against_bar(table, bar_of(rule), rule.sense, level, interval=False)
        passed += evidence.p_pass <= level
        failed += evidence.p_fail <= failing
    return passed / draws, failed / draws


def _rejects(n: int, bar: float, true: float, alpha: float) -> float:
    """Exact probability that "the rate is at most the bar" is rejected, whatever the true rate."""
    least = next((k for k in range(math.ceil(bar * n), n + 1) if binomial_sf(k - 1, n, bar) <= alpha), n + 1)
    return binomial_sf(least - 1, n, true) if least <= n else 0.0


def _detectable(rule: BarRule, passes: Callable[[float], float], power: float) -> float | None:
    """The truth nearest to the bar at which the rule passes with this probability, by bisection."""
    bar, best = bar_of(rule), 1.0 if rule.sense == ">=" else 0.0
    if isinstance(rule, BaselineRule):
        best = 1.0 if rule.sense == ">=" else -1.0
    if passes(best) < power:
        return None
    near, far = bar, best
    for _ in range(_STEPS):
        middle = 0.5 * (near + far)
        near, far = (near, middle) if passes(middle) >= power else (middle, far)
    return far


def _live_tasks(rule: BarRule, assumed: Assumed, tasks: int, level: float, seed: int) -> float:
    """Median number of tasks until a test that may be looked at any time has decided."""
    paired = isinstance(rule, BaselineRule)
    bar = 0.5 * (1.0 + rule.shift) if isinstance(rule, BaselineRule) else rule.bar
    worst, best = assumed.values, (assumed.best or assumed).values
    rng = np.random.default_rng([seed, 2])
    used = []
    for _ in range(_LIVE_DRAWS):
        passing, failing = (SequentialTest(bar, alpha=level, sense=rule.sense) for _ in range(2))
        for row in rng.integers(len(worst), size=tasks):
            at_worst, at_best = (float(values[row]) for values in (worst, best))
            if paired:
                at_worst, at_best = 0.5 * (1.0 + at_worst), 0.5 * (1.0 + at_best)
            if passing.update(at_worst) == "pass" or failing.update(at_best) == "fail":
                break
        used.append(passing.n)
    return float(np.median(used))


def _table(values: FloatArray, is_rate: bool) -> TaskTable:
    tasks = len(values)
    return TaskTable(
        task_ids=tuple(map(str, range(tasks))),
        total=values,
        count=np.ones(tasks, dtype=np.int64),
        missing=np.zeros(tasks, dtype=np.int64),
        silent=np.zeros(tasks, dtype=np.int64),
        is_rate=is_rate,
        counts_always=True,
    )
