"""`decide(run, policy, baseline)`: fixed-sample verdicts on a stored run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from harness.errors import DataError
from harness.gate.comparability import Pairing, pair_runs
from harness.gate.evidence import (
    Evidence,
    against_bar,
    against_baseline,
    exactly,
    from_stored_interval,
    list_range,
    rate_from_counts,
)
from harness.gate.expression import BaselineRule, NumberRule, PolicyError, Rule, WordRule
from harness.gate.loading import cliff_word
from harness.gate.measures import MEASURES, RUBRIC, check_rules
from harness.gate.policy import Policy
from harness.gate.result import GateResult, RuleResult, Subject, exit_code, gate_verdict
from harness.gate.settle import BarRule, Levels, settle, settle_word
from harness.gate.tables import TaskTable, incomplete, read_task_rows, tabulate
from harness.runs import Run
from harness.stats import Estimate


def decide(
    run: Run,
    policy: Policy | None = None,
    baseline: Run | None = None,
    *,
    allow_incomplete: bool = False,
    common: bool = False,
) -> GateResult:
    """Judge a stored run by a policy.

    Rates are taken from `metrics.json` where each task has one sample; everything else is added up by task
    from `samples.jsonl`, streaming. Rules against a baseline are paired by task.

    Args:
        run: the run to judge.
        policy: None is `parse_validity.strict >= 0.95`.
        baseline: what rules with `baseline` compare with.
        allow_incomplete: count missing samples at their worst and at their best instead of refusing.
        common: compare runs that differ in more than the checkpoint, on the tasks they share.

    Raises:
        PolicyError: a rule that can't be judged on this run.
        RunMismatchError: run and baseline asked different things; the message lists them.
        IncompleteError: samples are missing.
        DataError: a file of a run can't be read, or holds what can't be.
    """
    policy = policy or Policy()
    session = _Session(run, policy, baseline, allow_incomplete, common)
    return conclude(session.results(), session.notes, session.subject(), policy)


def conclude(
    rules: Sequence[RuleResult], notes: Sequence[str], subject: Subject, policy: Policy
) -> GateResult:
    """The gate's verdict from those of its rules."""
    verdict = gate_verdict([rule.verdict for rule in rules])
    return GateResult(
        verdict=verdict,
        exit_code=exit_code(verdict, policy.on_inconclusive),
        rules=tuple(rules),
        notes=tuple(notes),
        subject=subject,
        alpha=policy.alpha,
    )


def describe(run: Run, samples: int, baseline: Run | None) -> Subject:
    """Which run this is, for people."""
    manifest = run.manifest
    split = f" ({manifest.dataset.split})" if manifest.dataset.split else ""
    return Subject(
        run=str(run.path),
        checkpoint=manifest.engine.checkpoint,
        dataset=f"{manifest.dataset.name}{split}",
        samples=samples,
        planned=manifest.planned,
        baseline=None if baseline is None else f"{baseline.manifest.engine.checkpoint} in {baseline.path}",
    )


class _Session:
    """One decision: reads each run once, for all the rules that need it."""

    def __init__(
        self, run: Run, policy: Policy, baseline: Run | None, allow_incomplete: bool, common: bool
    ) -> None:
        self.run, self.policy = run, policy
        self.allow_incomplete = allow_incomplete
        self.notes: list[str] = []
        rules = policy.parsed_rules
        self.pairing = self._pair(rules, baseline, common)
        for one in self._runs():
            _require_complete(one, allow_incomplete)
        check_rules(rules, run.metrics)
        self._tables = self._tabulate(run, [rule for rule in rules if self._needs_samples(rule)])
        self._theirs: dict[str, TaskTable] = {}
        if self.pairing is not None:
            paired = [rule for rule in rules if isinstance(rule, BaselineRule)]
            self._theirs = self._tabulate(self.pairing.run, paired)
            self.notes += self.pairing.notes

    def results(self) -> list[RuleResult]:
        """One result a rule, in the policy's order."""
        rules = self.policy.parsed_rules
        bars = [rule for rule in rules if not isinstance(rule, WordRule)]
        levels = Levels(self.policy.alpha, self.policy.power)
        settled = iter(settle([(rule, self._evidence(rule)) for rule in bars], levels))
        return [
            settle_word(rule, cliff_word(self.run, rule.metric))
            if isinstance(rule, WordRule)
            else next(settled)
            for rule in rules
        ]

    def subject(self) -> Subject:
        """Which run was judged."""
        manifest = self.run.manifest
        complete = manifest.status == "complete"
        samples = manifest.planned if complete else sum(1 for _ in self.run.iter_samples())
        return describe(self.run, samples, None if self.pairing is None else self.pairing.run)

    def _runs(self) -> list[Run]:
        return [self.run] if self.pairing is None else [self.run, self.pairing.run]

    def _pair(self, rules: Sequence[Rule], baseline: Run | None, common: bool) -> Pairing | None:
        asking = [rule for rule in rules if isinstance(rule, BaselineRule)]
        if asking and baseline is None:
            raise PolicyError(f"rule `{asking[0].text}` compares with a baseline; give one as `baseline=RUN`")
        if baseline is None:
            return None
        if not asking:
            self.notes.append("no rule of the policy compares with the baseline")
            return None
        return pair_runs(self.run.manifest, read_task_rows(self.run.path), baseline, common=common)

    def _needs_samples(self, rule: Rule) -> bool:
        if isinstance(rule, WordRule):
            return False
        return isinstance(rule, BaselineRule) or not self._counts_are_stored(rule)

    def _counts_are_stored(self, rule: NumberRule) -> bool:
        manifest, measure = self.run.manifest, MEASURES.get(rule.metric)
        return (
            measure is not None
            and measure.is_rate
            and manifest.status == "complete"
            and manifest.samples_per_task == 1
            and rule.metric in self.run.metrics
        )

    def _tabulate(self, run: Run, rules: Sequence[Rule]) -> dict[str, TaskTable]:
        names = {rule.metric for rule in rules}
        tables = {}
        if sampled := sorted(names & MEASURES.keys()):
            tables = tabulate(run, sampled, allow_missing=self.allow_incomplete)
        for name in sorted(name for name in names if name.startswith(RUBRIC)):
            tables[name] = self._rubric_table(run, name)
        for name, table in tables.items():
            if run.manifest.status == "complete" and name in run.metrics and not table.missing.any():
                _require_agreement(run, name, table)
        return tables

    def _rubric_table(self, run: Run, name: str) -> TaskTable:
        from harness.gate.rubrics import judge_remarks, require_same_rubric, rubric_table

        if run is not self.run:
            require_same_rubric(self.run, run, name)
        self.notes += [remark for remark in judge_remarks(run, name) if remark not in self.notes]
        return rubric_table(run, name)

    def _evidence(self, rule: BarRule) -> Evidence:
        if isinstance(rule, BaselineRule):
            return self._against_baseline(rule)
        table = self._tables.get(rule.metric)
        if table is not None:
            evidence = against_bar(table, rule.bar, rule.sense, self.policy.alpha)
            return self._in_scope(evidence, rule.bar, rule, table, None)
        stored = stored_estimate(self.run, rule.metric)
        if self._counts_are_stored(rule):
            if stored.n != self.run.manifest.planned:
                raise DataError(_stale(self.run, rule.metric))
            evidence = rate_from_counts(stored, rule.bar, rule.sense, self.policy.alpha)
        elif stored.method == "wilson":
            evidence = rate_from_counts(stored, rule.bar, rule.sense, self.policy.alpha)
        else:
            evidence = from_stored_interval(stored, rule.bar, rule.sense)
        if self.policy.scope == "list":
            return exactly(evidence, stored.estimate, stored.estimate, rule.bar, rule.sense)
        return evidence

    def _against_baseline(self, rule: BaselineRule) -> Evidence:
        assert self.pairing is not None
        if rule.metric not in self._theirs:
            raise PolicyError(
                f"rule `{rule.text}`: {rule.metric} isn't known by task, so it can't be compared with a "
                "baseline's"
            )
        mine, theirs = self.pairing.pair(self._tables[rule.metric], self._theirs[rule.metric])
        evidence = against_baseline(mine, theirs, rule.shift, rule.sense, self.policy.alpha)
        return self._in_scope(
            replace(evidence, detail=both_values(mine, theirs)), rule.shift, rule, mine, theirs
        )

    def _in_scope(
        self, evidence: Evidence, bar: float, rule: BarRule, mine: TaskTable, theirs: TaskTable | None
    ) -> Evidence:
        if self.policy.scope == "tasks":
            return evidence
        return exactly(evidence, *list_range(mine, theirs), bar, rule.sense)


def both_values(mine: TaskTable, theirs: TaskTable) -> str:
    """`0.9500 against the baseline's 0.9550`, each over all its samples of the common tasks."""
    shown = ["–" if one.estimate is None else f"{one.estimate:.4f}" for one in (mine, theirs)]
    return f"{shown[0]} against the baseline's {shown[1]}"


def stored_estimate(run: Run, metric: str) -> Estimate:
    """A metric of the run, checked: files are edited by hand and written by other programs.

    Raises:
        DataError: it isn't there, or isn't made of counts and finite numbers.
    """
    estimate = run.metrics.get(metric)
    if estimate is None:
        raise DataError(f"{run.path} has no metric {metric}; `harness rescore {run.path}` computes them anew")
    numbers = (estimate.estimate, estimate.low, estimate.high)
    sound = isinstance(estimate.n, int) and not isinstance(estimate.n, bool) and estimate.n >= 0
    if not sound or not all(value is None or _is_finite(value) for value in numbers):
        raise DataError(
            f"metrics.json of {run.path} holds {metric} = {estimate.estimate} "
            f"[{estimate.low}, {estimate.high}], n = {estimate.n}, which is no measurement; "
            f"`harness rescore {run.path}` computes it anew"
        )
    return estimate


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require_agreement(run: Run, metric: str, table: TaskTable) -> None:
    stored, computed = stored_estimate(run, metric).estimate, table.estimate
    if stored is None or computed is None:
        agree = stored is None and computed is None
    else:
        agree = math.isclose(stored, computed, rel_tol=0.0, abs_tol=1e-9)
    if not agree:
        raise DataError(_stale(run, metric))


def _stale(run: Run, metric: str) -> str:
    again = "judge" if metric.startswith(RUBRIC) else "rescore"
    return (
        f"{metric} in metrics.json of {run.path} isn't what its samples give; `harness {again} {run.path}` "
        "computes it anew"
    )


def _require_complete(run: Run, allowed: bool) -> None:
    if run.manifest.status != "complete" and not allowed:
        raise incomplete(run, sum(1 for _ in run.iter_samples()))
