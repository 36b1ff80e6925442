"""All rules of a policy, followed task by task: tests that stay valid however often one looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.gate.looks import Levels
from harness.gate.sequential_rule import Said, SequentialRule
from harness.gate.settle import settle, verdict_at
from harness.runs.gate_record import RuleResult, Verdict
from harness.stats import holm

Until = Literal["verdict", "rules"]


class Following:
    """Tests of all rules about samples, fed with one task at a time in one fixed order.

    Args:
        rules: one test a rule.
        levels: error rates.
        until: whether nothing more is asked for once the gate's verdict is known, or only once every rule's
            is.
    """

    def __init__(self, rules: Sequence[SequentialRule], levels: Levels, until: Until = "rules") -> None:
        self.rules = tuple(rules)
        self.levels = levels
        self.until = until
        self.tasks_used = 0
        self.verdicts: list[Verdict] = ["inconclusive"] * len(self.rules)
        self._decided_at = [0] * len(self.rules)
        self._settle()

    def observe(self, task_id: str, values: Sequence[Said]) -> None:
        """Take the next task.

        Args:
            task_id: its id.
            values: what its samples say, by rule.
        """
        self.tasks_used += 1
        for rule, said in zip(self.rules, values, strict=True):
            rule.observe(task_id, said)
        self._settle()

    @property
    def is_settled(self) -> bool:
        """Whether further tasks would change nothing that was asked for."""
        if self.until == "verdict" and "fail" in self.verdicts:
            return True
        return bool(self.verdicts) and "inconclusive" not in self.verdicts

    def results(self, left: int | None) -> list[RuleResult]:
        """One result a rule; `left` as for `settle`."""
        evidence = [(rule.rule, rule.evidence()) for rule in self.rules]
        return settle(evidence, self.levels, self.verdicts, left)

    def notes(self, undrawn: int) -> list[str]:
        """Where a verdict is older than the numbers beside it, and what isn't counted.

        Args:
            undrawn: tasks of the run that weren't fed, as they aren't there in full.
        """
        told = [
            f"`{rule.rule.text}` was decided after {at} of {self.tasks_used} tasks and that verdict stands; "
            f"estimate and interval are those of all {self.tasks_used}"
            for rule, verdict, at in zip(self.rules, self.verdicts, self._decided_at, strict=True)
            if verdict != "inconclusive" and at < self.tasks_used
        ]
        if undrawn:
            told.append(
                f"{undrawn} tasks aren't there in full yet and are neither counted nor bounded: the test is "
                f"of the {self.tasks_used} that come before them; the same `harness eval` draws the rest"
            )
        return told

    def _settle(self) -> None:
        """First verdicts stand; as in `settle`, passing is rule by rule, failing after Holm's correction."""
        adjusted = holm([rule.p_fail for rule in self.rules])
        for place, (rule, p_fail) in enumerate(zip(self.rules, adjusted, strict=True)):
            if self.verdicts[place] == "inconclusive":
                self.verdicts[place] = verdict_at(rule.p_pass, p_fail, self.levels)
                self._decided_at[place] = self.tasks_used
