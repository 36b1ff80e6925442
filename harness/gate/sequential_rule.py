"""One rule of a live gate: an anytime-valid test that is fed a task at a time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from harness.gate.advice import BarRule, bar_of
from harness.gate.common_tasks import Pairs, Tally, bounded, rests_on, with_pairs
from harness.gate.evidence import Evidence
from harness.gate.expression import BaselineRule
from harness.gate.looks import Levels
from harness.metrics.columns import TaskTable
from harness.stats import Estimate, SequentialTest, confidence_sequence

SampleValues = Sequence[float | None]
"""What each sample of a task says for a metric, None where it doesn't count."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the samples of one task say for a metric.

    Attributes:
        valued: samples with a value.
        silent: samples without one that don't count, such as those that didn't parse.
        missing: samples that count and whose value isn't known, such as unscored and withheld ones.
        total: of the values.
        least: of the values of samples that count, once all are known.
        most: likewise.
        withheld: those of `missing` that a provider withheld.
    """

    valued: int = 0
    silent: int = 0
    missing: int = 0
    total: float = 0.0
    least: float = 0.0
    most: float = 0.0
    withheld: int = 0

    @classmethod
    def of(cls, values: SampleValues, withheld: Sequence[bool] = (), missing: int = 0) -> Said:
        """By the samples of one task, whether each was withheld, and how many more there should be.

        Without `withheld` none was. Values lie in [0, 1].
        """
        counted = [value for value in values if value is not None]
        hidden = sum(was and value is None for value, was in zip(values, withheld, strict=False))
        total = math.fsum(counted)
        silent, unknown = len(values) - len(counted) - hidden, hidden + missing
        return cls(len(counted), silent, unknown, total, total, total + unknown, hidden)

    @property
    def counting(self) -> int:
        """Samples that count."""
        return self.valued + self.missing

    @property
    def samples(self) -> int:
        """All of them."""
        return self.valued + self.missing + self.silent


def said_by_task(table: TaskTable) -> dict[str, Said]:
    """A stored metric, task by task."""
    columns = (table.count, table.silent, table.missing, table.total)
    ends = (table.filled(0.0).total, table.filled(1.0).total)
    rows = zip(*(column.tolist() for column in (*columns, *ends, table.hidden)), strict=True)
    return {task_id: Said(*row) for task_id, row in zip(table.task_ids, rows, strict=True)}


class SequentialRule:
    """Feeds `SequentialTest` with one observation in [0, 1] a task.

    Against a number the observation is the mean over the task's samples, those that don't count (not parsed,
    say) standing at the bar itself: the mean of the observations is at least the bar exactly where the
    metric is, and a sample at the bar leaves all capital as it is. A value that isn't known counts as the
    worst that it could be in the test that may pass the rule, and as the best in the one that may fail it.

    Against a baseline it is (1 + difference) / 2, and a sample that doesn't count is one whose value isn't
    known. Where the rule says `common`, a task without a sample that counts on either side stands at the bar.

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
        self._theirs = None if baseline is None else said_by_task(baseline)
        self._bar = 0.5 * (1.0 + rule.shift) if isinstance(rule, BaselineRule) else rule.bar
        self._population = len(self._tasks) if whole_list and self._tasks else None
        self._common = isinstance(rule, BaselineRule) and rule.common
        self._open = False
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

    def observe(self, task_id: str, said: Said) -> None:
        """Take the next task in the order of drawing, with all its samples."""
        if task_id not in self._tasks:
            return
        self._tally = self._tally.plus(said.valued, said.silent, said.missing, said.withheld)
        if self._theirs is None:
            neutral, least, most = self._against_bar(said)
        else:
            neutral, least, most = self._compared(said, self._theirs.get(task_id, Said(silent=1)))
        if neutral:
            self._neutral += 1
        else:
            self._least.append(least)
            self._most.append(most)
        self._open |= least < most
        above = self.rule.sense == ">="
        self._passing.update(min(1.0, max(0.0, least if above else most)))
        self._failing.update(min(1.0, max(0.0, most if above else least)))
        self._note()

    def _against_bar(self, said: Said) -> tuple[bool, float, float]:
        """Whether the task says nothing, and the least and largest that its observation could be."""
        self._samples += said.valued
        self._total += said.total
        if not said.counting:
            return True, self._bar, self._bar
        least, most = ((total + said.silent * self._bar) / said.samples for total in (said.least, said.most))
        return False, least, most

    def _compared(self, mine: Said, theirs: Said) -> tuple[bool, float, float]:
        """The same of a difference."""
        their = (theirs.valued, theirs.silent, theirs.missing, theirs.withheld)
        self._their_tally = self._their_tally.plus(*their)
        if mine.valued and theirs.valued:
            means = mine.total / mine.valued, theirs.total / theirs.valued
            self._samples += 1
            self._total += means[0] - means[1]
            self._paired = [total + mean for total, mean in zip(self._paired, means, strict=True)]
        if self._common and not (mine.counting and theirs.counting):
            return True, self._bar, self._bar
        (my_least, my_most), (their_least, their_most) = (
            (said.least / said.counting, said.most / said.counting)
            if self._common
            else (said.least / said.samples, (said.most + said.silent) / said.samples)
            for said in (mine, theirs)
        )
        return False, 0.5 * (1.0 + my_least - their_most), 0.5 * (1.0 + my_most - their_least)

    def evidence(self) -> Evidence:
        """What was seen so far, with p-values that hold at any time."""
        estimate = self._estimate()
        value = estimate.estimate
        above = value is not None and value >= bar_of(self.rule)
        for_pass, for_fail = self._passing.log_evidence_pass, self._failing.log_evidence_fail
        capital = for_pass if above == (self.rule.sense == ">=") else for_fail
        if self._open:
            # The estimate is of what has a value alone.
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
            evidence = replace(evidence, detail=rests_on(self._tally, self.rule.metric))
            return bounded(evidence, self.rule, *self._reach()) if self._open else evidence
        both = self._samples
        mine, theirs = (total / both if both else None for total in self._paired)
        pairs = Pairs(self._passing.n, both, mine, theirs, self._tally, self._their_tally)
        return with_pairs(evidence, self.rule, pairs, *self._reach())

    def _reach(self) -> tuple[float | None, float | None]:
        """Least and largest that the mean of what was observed could be."""
        if not self._least:
            return None, None
        low, high = (math.fsum(column) / len(column) for column in (self._least, self._most))
        return (low, high) if self._theirs is None else (2.0 * low - 1.0, 2.0 * high - 1.0)


def _certainly(test: SequentialTest, verdict: str) -> bool:
    """Whether no further entry of the list can change this verdict, rather than that it was bet for."""
    bet = max(test.log_evidence_pass, test.log_evidence_fail) >= -math.log(test.alpha)
    return test.decided_at == test.n and test.verdict == verdict and not bet
