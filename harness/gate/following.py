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

    def _settle(self) -> None:
        """First verdicts stand; as in `settle`, passing is rule by rule, failing after Holm's correction."""
        adjusted = holm([rule.p_fail for rule in self.rules])
        for place, (rule, p_fail) in enumerate(zip(self.rules, adjusted, strict=True)):
            if self.verdicts[place] == "inconclusive":
                self.verdicts[place] = verdict_at(rule.p_pass, p_fail, self.levels)
