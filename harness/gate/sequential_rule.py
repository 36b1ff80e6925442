"""One rule of a live gate: an anytime-valid test that is fed a task at a time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from harness.gate.advice import BarRule, bar_of
from harness.gate.evidence import Evidence
from harness.gate.expression import BaselineRule
from harness.gate.looks import Levels
from harness.stats import Estimate, SequentialTest, confidence_sequence

SampleValues = Sequence[float | None]
"""What each sample of a task says for a metric, None where it doesn't count."""


class SequentialRule:
    """Feeds `SequentialTest` with one observation in [0, 1] a task.

    Against a number the observation is the mean over the task's samples, those that don't count (not parsed,
    say) standing at the bar itself: the mean of the observations is at least the bar exactly where the
    metric is, and a sample at the bar leaves all capital as it is. Against a baseline it is
    (1 + difference) / 2, and a task without a value on either side stands at the bar likewise.

    Args:
        rule: what is to be shown.
        levels: error rates; the interval that is reported has that of passing.
        rules: how many the policy has.
        tasks: ids of the tasks that the rule is about.
        baseline: the baseline's value by task, None without one.
        counts_always: whether every sample counts for the metric, whatever it says.
        whole_list: whether the rule is about this list of tasks alone.
    """

    def __init__(
        self,
        rule: BarRule,
        *,
        levels: Levels,
        rules: int,
        tasks: Collection[str],
        baseline: Mapping[str, float] | None,
        counts_always: bool,
        whole_list: bool,
    ) -> None:
        self.rule = rule
        self.p_pass = 1.0
        self.p_fail = 1.0
        self._alpha = levels.interval
        strictest = min(levels.interval, (levels.failing or levels.interval) / rules)
        self._tasks = frozenset(tasks)
        self._baseline = baseline
        self._bar = 0.5 * (1.0 + rule.shift) if isinstance(rule, BaselineRule) else rule.bar
        self._population = len(self._tasks) if whole_list and self._tasks else None
        self._test = SequentialTest(self._bar, alpha=strictest, sense=rule.sense, population=self._population)
        self._pooled = not counts_always
        self._observed = array("d")
        self._neutral = 0
        self._samples = 0
        self._total = 0.0
        self._paired = [0.0, 0.0]
        self._note()

    def observe(self, task_id: str, values: SampleValues) -> None:
        """Take the next task in the order of drawing, with all its samples."""
        if task_id not in self._tasks:
            return
        counted = [value for value in values if value is not None]
        if self._baseline is None:
            neutral = not counted
            observation = math.fsum(self._bar if value is None else value for value in values) / len(values)
            self._samples += len(counted)
            self._total += math.fsum(counted)
        else:
            theirs = self._baseline.get(task_id)
            neutral = theirs is None or not counted
            observation = self._bar
            if theirs is not None and counted:
                mine = math.fsum(counted) / len(counted)
                observation = 0.5 * (1.0 + mine - theirs)
                self._samples += 1
                self._total += mine - theirs
                self._paired[0] += mine
                self._paired[1] += theirs
        if neutral:
            self._neutral += 1
        else:
            self._observed.append(observation)
        self._test.update(min(1.0, max(0.0, observation)))
        self._note()

    def evidence(self) -> Evidence:
        """What was seen so far, with p-values that hold at any time."""
        estimate = self._estimate()
        value = estimate.estimate
        above = value is not None and value >= bar_of(self.rule)
        capital = (
            self._test.log_evidence_pass
            if above == (self.rule.sense == ">=")
            else self._test.log_evidence_fail
        )
        evidence = Evidence(self.p_pass, self.p_fail, estimate, self._test.n, "sequential")
        return replace(evidence, detail=self._detail(), log_capital=capital)

    def _note(self) -> None:
        """Keep the smallest p-values so far: 1 / capital, or 0 where nothing can change the answer."""
        test = self._test
        passing, failing = test.log_evidence_pass, test.log_evidence_fail
        self.p_pass = min(self.p_pass, math.exp(min(0.0, -passing)))
        self.p_fail = min(self.p_fail, math.exp(min(0.0, -failing)))
        threshold = -math.log(test.alpha)
        if test.decided_at == test.n and max(passing, failing) < threshold:
            if test.verdict == "pass":
                self.p_pass = 0.0
            elif test.verdict == "fail":
                self.p_fail = 0.0

    def _estimate(self) -> Estimate:
        method = "betting confidence sequence"
        if self._samples == 0:
            return Estimate(0, None, None, None, method)
        value = self._total / self._samples
        if self._pooled and self._baseline is None and self._samples != len(self._observed):
            # Several samples a task of which some don't count: a ratio, not a mean of what was observed.
            return Estimate(self._samples, value, None, None, f"{method}: none for a ratio")
        population = None if self._neutral else self._population
        interval = confidence_sequence(self._observed, 1.0 - 2.0 * self._alpha, population=population)
        low, high = interval.low, interval.high
        if self._baseline is not None and low is not None and high is not None:
            low, high = 2.0 * low - 1.0, 2.0 * high - 1.0
        return Estimate(self._samples, value, low, high, interval.method)

    def _detail(self) -> str:
        if self._baseline is None or not self._samples:
            return ""
        mine, theirs = (total / self._samples for total in self._paired)
        return f"{mine:.4f} against the baseline's {theirs:.4f}"
