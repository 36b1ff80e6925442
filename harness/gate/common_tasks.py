"""What a rule rests on: which answers have a value, on which tasks both runs do, and what the rest could do.

A mean over what parsed in each run compares different tasks: a run that parses only the easy half ties with
one that parses nearly all. So a rule against a baseline is about *all* tasks unless it says `common`: an
answer without a value counts as the worst that it could have been where the rule might pass, and as the best
where it might fail. These are the bounds of Manski ("Nonparametric bounds on treatment effects", American
Economic Review 80, 1990), which nothing but the range of the metric goes into; a test of the worst case at
level alpha is one of the all-tasks difference, whatever the missing values are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.gate.evidence import Evidence, list_range
from harness.gate.expression import BaselineRule, NumberRule, PolicyError, Rule
from harness.metrics.columns import TaskTable
from harness.metrics.table import (
    CONTRACT,
    CONTRACT_BAR,
    JUDGE_PREFIXES,
    RUBRIC_PREFIX,
    WITHHELD,
    sample_metric,
)


@dataclass(frozen=True, slots=True)
class Tally:
    """Answers of one run, by what they say for a metric.

    Attributes:
        valued: have a value.
        silent: have none, since they don't parse.
        missing: have none yet: not drawn, withheld by a provider, or not scored.
        partly: tasks of whose scores some repeats are missing.
        withheld: those of `missing` that a provider withheld.
    """

    valued: int
    silent: int
    missing: int
    partly: int = 0
    withheld: int = 0

    @classmethod
    def of(cls, table: TaskTable) -> Tally:
        """Of all tasks of a table."""
        partly = 0 if table.limits is None else int((table.limits[0] < table.limits[1]).sum())
        withheld = int(table.hidden.sum())
        return cls(
            int(table.count.sum()), int(table.silent.sum()), int(table.missing.sum()), partly, withheld
        )

    def plus(self, valued: int, silent: int, missing: int, withheld: int) -> Tally:
        """With further answers."""
        return Tally(
            self.valued + valued,
            self.silent + silent,
            self.missing + missing,
            self.partly,
            self.withheld + withheld,
        )

    @property
    def is_whole(self) -> bool:
        """Whether every answer has its value."""
        return not (self.silent or self.missing or self.partly)

    def lacking(self, metric: str) -> str:
        """`12 don't parse, 5 are unscored`, empty where nothing lacks."""
        absent = "unscored" if metric.startswith(JUDGE_PREFIXES) else "missing"
        gone = self.missing - self.withheld
        parts = [
            (self.silent, f"{self.silent} {_agree(self.silent, 'does', 'do')}n't parse"),
            (self.withheld, f"{self.withheld} {_agree(self.withheld, 'was', 'were')} withheld"),
            (gone, f"{gone} {_agree(gone, 'is', 'are')} {absent}"),
            (
                self.partly,
                f"those of {self.partly} {_agree(self.partly, 'task', 'tasks')} are scored in part",
            ),
        ]
        return ", ".join(text for number, text in parts if number)


def rests_on(tally: Tally, metric: str) -> str:
    """`on the 239 of 500 answers with a value (261 don't parse)`, empty where all have one."""
    if tally.is_whole or not tally.valued:
        return ""
    answers = tally.valued + tally.silent + tally.missing
    return f"on the {tally.valued} of {answers} answers with a value ({tally.lacking(metric)})"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Tasks of a rule against a baseline.

    Attributes:
        tasks: how many both runs were asked.
        common: on how many both have a value.
        mine: the run's mean over the common ones, None without any.
        theirs: the baseline's.
        of_mine: answers of the run to all tasks.
        of_theirs: of the baseline.
    """

    tasks: int
    common: int
    mine: float | None
    theirs: float | None
    of_mine: Tally
    of_theirs: Tally

    @classmethod
    def of(cls, mine: TaskTable, theirs: TaskTable) -> Pairs:
        """Of two tables of the same tasks, in the same order."""
        both = (mine.count > 0) & (theirs.count > 0)
        means = [float(np.mean(table.means[both])) if both.any() else None for table in (mine, theirs)]
        return cls(len(both), int(both.sum()), means[0], means[1], Tally.of(mine), Tally.of(theirs))

    def detail(self, metric: str) -> str:
        """Both means over the tasks that are compared, and how many tasks those are."""
        sides = (("run", self.of_mine), ("baseline", self.of_theirs))
        lacking = "; ".join(f"{name}: {one.lacking(metric)}" for name, one in sides if not one.is_whole)
        if self.mine is None or self.theirs is None:
            return f"no task of {self.tasks} has a value in both runs ({lacking})" if lacking else ""
        means = f"{self.mine:.4f} against the baseline's {self.theirs:.4f}"
        if not lacking:
            return means
        return f"on the {self.common} of {self.tasks} tasks with a value in both runs ({lacking}), {means}"


def check_common(rule: Rule) -> None:
    """Refuse `common` where every answer has a value, so that it would say nothing.

    Raises:
        PolicyError: the message says what to do.
    """
    metric = sample_metric(rule.metric)
    if isinstance(rule, BaselineRule) and rule.common and metric is not None and metric.always:
        raise PolicyError(f"rule `{rule.text}`: every answer counts for {rule.metric}; leave `common` out")


def blind_spot(rules: Sequence[Rule]) -> list[str]:
    """A note where rules are about what parses alone, and no other asks how much that is."""
    metrics = {rule.metric: sample_metric(rule.metric) for rule in rules}
    of_every = [rule for rule in rules if (one := metrics[rule.metric]) is not None and one.always]
    of_some = [
        rule
        for rule in rules
        if (isinstance(rule, NumberRule) or (isinstance(rule, BaselineRule) and rule.common))
        and (
            rule.metric.startswith(RUBRIC_PREFIX)
            or (metrics[rule.metric] is not None and rule not in of_every)
        )
    ]
    if not of_some or of_every:
        return []
    return [
        f"`{of_some[0].text}` is about the answers with a value alone, and no rule asks how many those are; "
        f"add one such as `{CONTRACT} >= {CONTRACT_BAR}`"
    ]


def withheld_note(withheld: int, samples: int, whose: str = "") -> list[str]:
    """What a gate says of answers that a provider withheld; nothing where it withheld none.

    Args:
        withheld: how many.
        samples: of how many.
        whose: which run's, where it isn't the one judged.
    """
    if not withheld:
        return []
    return [
        f"{withheld:,} of {samples:,} answers{whose} were withheld by the provider (a filter or a refusal), "
        "which is no failure to parse: a rule takes them at their worst before it passes and at their best "
        f"before it fails; `{WITHHELD} <= …` bounds how many may be"
    ]


def asked_of(rule: BaselineRule, table: TaskTable) -> TaskTable:
    """A table as the rule means it: of every answer, or of those with a value where it says `common`."""
    return table if rule.common else table.of_every_answer()


def explained(
    evidence: Evidence, rule: NumberRule | BaselineRule, mine: TaskTable, theirs: TaskTable | None
) -> Evidence:
    """The evidence with what its sentence says of the answers that it rests on, and of the rest.

    Args:
        evidence: on the rule.
        rule: what was asked.
        mine: the run's table as it is, not yet as `asked_of` makes it.
        theirs: the baseline's on the same tasks, None for a rule against a number.
    """
    if theirs is None:
        hidden = int(((mine.count == 0) & (mine.missing > 0)).sum())
        evidence = replace(evidence, detail=rests_on(Tally.of(mine), rule.metric), hidden=hidden)
        return bounded(evidence, rule, *list_range(mine, None))
    assert isinstance(rule, BaselineRule)
    pairs = Pairs.of(mine, theirs)
    low, high = list_range(asked_of(rule, mine), asked_of(rule, theirs))
    return with_pairs(evidence, rule, pairs, low, high)


def with_pairs(
    evidence: Evidence, rule: BaselineRule, pairs: Pairs, low: float | None, high: float | None
) -> Evidence:
    """The evidence on a rule against a baseline with its words.

    Args:
        evidence: on the rule.
        rule: what was asked.
        pairs: the tasks.
        low: least value that the difference can have on the tasks that the rule is about.
        high: largest.
    """
    evidence = replace(evidence, detail=pairs.detail(rule.metric))
    evidence = bounded(evidence, rule, low, high)
    if low is None or high is None or low == high:
        return evidence
    begin = " there, and" if pairs.common else " of"
    about = "" if rule.common else f" on all {pairs.tasks} tasks"
    span = f"{low:+z.4f} … {high:+z.4f}{about}, whatever the others would have been"
    return replace(evidence, reach=f"{begin} {span}, which")


def bounded(
    evidence: Evidence, rule: NumberRule | BaselineRule, low: float | None, high: float | None
) -> Evidence:
    """The evidence with what decides the rule where answers without a value could put it on either side."""
    bar, sense = (rule.bar if isinstance(rule, NumberRule) else rule.shift), rule.sense
    if low is None or high is None:
        return evidence
    settled = (low >= bar or high < bar) if sense == ">=" else (high <= bar or low > bar)
    if settled:
        above = low >= bar if sense == ">=" else low > bar
        return evidence if low == high else replace(evidence, at_worst=low if above else high)
    deciding = "what has no value decides it, not further tasks"
    if isinstance(rule, BaselineRule) and not rule.common:
        metric = sample_metric(rule.metric)
        if metric is None or not metric.always:
            deciding += "; with `common` at its end the rule is about the tasks compared alone"
    return replace(evidence, deciding=deciding)


def _agree(number: int, one: str, many: str) -> str:
    return one if number == 1 else many
