"""One rule of a live gate: an anytime-valid test that is fed a task at a time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from harness.gate.advice import BarRule, bar_of
from harness.gate.common_tasks import Pairs, Tally, rests_on, with_pairs
from harness.gate.evidence import Evidence
from harness.gate.expression import BaselineRule
from harness.gate.looks import Levels
from harness.metrics.columns import TaskTable
from harness.stats import Estimate, SequentialTest, confidence_sequence

SampleValues = Sequence[float | None]
"""What each sample of a task says for a metric, None where it doesn't count."""


class SequentialRule:
    """Feeds `SequentialTest` with one observation in [0, 1] a task.

    Against a number the observation is the mean over the task's samples, those that don't count (not parsed,
    say) standing at the bar itself: the mean of the observations is at least the bar exactly where the
    metric is, and a sample at the bar leaves all capital as it is.

    Against a baseline it is (1 + difference) / 2. A sample without a value on either side counts as the worst
    that it could have been in the test that may pass the rule, and as the best in the one that may fail it.
    Where the rule says `common`, a task without a value on either side stands at the bar instead.

    Args:
        rule: what is to be shown.
        levels: error rates.
        rules: how many the policy has.
        tasks: ids of the tasks that the rule is about.
        baseline: the baseline's metric by task, None without one.
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
        baseline: TaskTable | None,
        counts_always: bool,
        whole_list: bool,
    ) -> None:
        self.rule = rule
        self.p_pass = 1.0
        self.p_fail = 1.0
        self._alpha = levels.interval
        strictest = min(levels.interval, (levels.failing or levels.interval) / rules)
        self._tasks = frozenset(tasks)
        self._theirs = None if baseline is None else _by_task(baseline)
        self._bar = 0.5 * (1.0 + rule.shift) if isinstance(rule, BaselineRule) else rule.bar
        self._population = len(self._tasks) if whole_list and self._tasks else None
        self._bounded = isinstance(rule, BaselineRule) and not rule.common
        self._passing, self._failing = (
            SequentialTest(self._bar, alpha=strictest, sense=rule.sense, population=self._population)
            for _ in range(2)
        )
        self._pooled = not counts_always
        # Least and largest that a task's observation could be; the same where every sample has a value.
        self._least, self._most = array("d"), array("d")
        self._neutral = 0
        self._tally = self._their_tally = Tally(0, 0, 0)
        self._samples = 0
        self._total = 0.0
        self._paired = [0.0, 0.0]
        self._note()

    def observe(self, task_id: str, values: SampleValues) -> None:
        """Take the next task in the order of drawing, with all its samples."""
        if task_id not in self._tasks:
            return
        counted = [value for value in values if value is not None]
        self._tally = self._tally.plus(len(counted), len(values) - len(counted))
        if self._theirs is None:
            neutral = not counted
            least = most = math.fsum(self._bar if value is None else value for value in values) / len(values)
            self._samples += len(counted)
            self._total += math.fsum(counted)
        else:
            neutral, least, most = self._compared(values, counted, self._theirs.get(task_id, _Their()))
        if neutral:
            self._neutral += 1
        else:
            self._least.append(least)
            self._most.append(most)
        above = self.rule.sense == ">="
        self._passing.update(min(1.0, max(0.0, least if above else most)))
        self._failing.update(min(1.0, max(0.0, most if above else least)))
        self._note()

    def _compared(
        self, values: SampleValues, counted: Sequence[float], their: _Their
    ) -> tuple[bool, float, float]:
        """Whether the task says nothing, and the least and largest that its observation could be."""
        self._their_tally = self._their_tally.plus(their.valued, their.silent)
        known, unknown = math.fsum(counted), len(values) - len(counted)
        observation = None
        if counted and their.mean is not None:
            mine = known / len(counted)
            observation = 0.5 * (1.0 + mine - their.mean)
            self._samples += 1
            self._total += mine - their.mean
            self._paired[0] += mine
            self._paired[1] += their.mean
        if self._bounded:
            least, most = known / len(values), (known + unknown) / len(values)
            return False, 0.5 * (1.0 + least - their.most), 0.5 * (1.0 + most - their.least)
        if observation is None:
            return True, self._bar, self._bar
        return False, observation, observation

    def evidence(self) -> Evidence:
        """What was seen so far, with p-values that hold at any time."""
        estimate = self._estimate()
        value = estimate.estimate
        above = value is not None and value >= bar_of(self.rule)
        for_pass, for_fail = self._passing.log_evidence_pass, self._failing.log_evidence_fail
        capital = for_pass if above == (self.rule.sense == ">=") else for_fail
        if self._bounded:
            # The estimate is of the tasks with a value alone.
            capital = max(for_pass, for_fail)
        evidence = Evidence(self.p_pass, self.p_fail, estimate, self._passing.n, "sequential")
        return self._in_words(replace(evidence, log_capital=capital))

    def _note(self) -> None:
        """Keep the smallest p-values so far: 1 / capital, or 0 where nothing can change the answer."""
        passing, failing = self._passing, self._failing
        self.p_pass = min(self.p_pass, math.exp(min(0.0, -passing.log_evidence_pass)))
        self.p_fail = min(self.p_fail, math.exp(min(0.0, -failing.log_evidence_fail)))
        if _certainly(passing, "pass"):
            self.p_pass = 0.0
        if _certainly(failing, "fail"):
            self.p_fail = 0.0

    def _estimate(self) -> Estimate:
        method = "betting confidence sequence"
        if self._samples == 0:
            return Estimate(0, None, None, None, method)
        value = self._total / self._samples
        if self._pooled and self._theirs is None and self._samples != len(self._least):
            # Several samples a task of which some don't count: a ratio, not a mean of what was observed.
            return Estimate(self._samples, value, None, None, f"{method}: none for a ratio")
        population = None if self._neutral else self._population
        low, high = (
            confidence_sequence(column, 1.0 - 2.0 * self._alpha, population=population)
            for column in (self._least, self._most)
        )
        least, most = low.low, high.high
        if self._theirs is not None and least is not None and most is not None:
            least, most = 2.0 * least - 1.0, 2.0 * most - 1.0
        return Estimate(self._samples, value, least, most, low.method)

    def _in_words(self, evidence: Evidence) -> Evidence:
        if not isinstance(self.rule, BaselineRule):
            return replace(evidence, detail=rests_on(self._tally, self.rule.metric))
        tasks, both = self._passing.n, self._samples
        mine, theirs = (total / both if both else None for total in self._paired)
        pairs = Pairs(tasks, both, mine, theirs, self._tally, self._their_tally)
        if not self._bounded or not tasks:
            return replace(evidence, detail=pairs.detail(self.rule.metric))
        low, high = (2.0 * math.fsum(column) / tasks - 1.0 for column in (self._least, self._most))
        return with_pairs(evidence, self.rule, pairs, low, high)


@dataclass(frozen=True, slots=True)
class _Their:
    """The baseline's samples of a task: how many have a value, how many none, and what that leaves open."""

    valued: int = 0
    silent: int = 0
    mean: float | None = None
    least: float = 0.0
    most: float = 1.0


def _by_task(table: TaskTable) -> dict[str, _Their]:
    every = table.of_every_answer()
    columns = (
        table.task_ids,
        table.count,
        table.silent,
        table.means,
        every.filled(0.0).means,
        every.filled(1.0).means,
    )
    return {
        task_id: _Their(int(valued), int(silent), float(mean) if valued else None, float(least), float(most))
        for task_id, valued, silent, mean, least, most in zip(*columns, strict=True)
    }


def _certainly(test: SequentialTest, verdict: str) -> bool:
    """Whether no further entry of the list can change this verdict, rather than that it was bet for."""
    bet = max(test.log_evidence_pass, test.log_evidence_fail) >= -math.log(test.alpha)
    return test.decided_at == test.n and test.verdict == verdict and not bet
