"""`decide(run, policy, baseline)`: fixed-sample verdicts on a stored run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.errors import IncompleteError
from harness.gate.cliff_rules import cliff_word, settle_word
from harness.gate.evidence import (
    Evidence,
    against_bar,
    against_baseline,
    exactly,
    from_stored_interval,
    list_range,
    rate_from_counts,
)
from harness.gate.expression import BaselineRule, PolicyError, Rule, WordRule
from harness.gate.policy import Policy, check_rules
from harness.gate.settle import BarRule, Levels, settle
from harness.metrics.columns import TaskTable
from harness.metrics.table import CLIFF_PREFIX, JUDGE_PREFIXES, RUBRIC_PREFIX, sample_metrics
from harness.runs import Run, source_of
from harness.runs.columns import incomplete, read_columns, read_task_rows
from harness.runs.comparability import Pairing, pair_runs
from harness.runs.gate_record import GateResult, RuleResult, Subject, Verdict
from harness.runs.integrity import cliff_metrics, require_given, require_sound
from harness.runs.source import from_run
from harness.runs.staleness import digest_entries
from harness.stats import Estimate

_EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "inconclusive": 4}


def decide(
    run: Run,
    policy: Policy | None = None,
    baseline: Run | None = None,
    *,
    allow_incomplete: bool = False,
    common: bool = False,
) -> GateResult:
    """Judge a stored run by a policy.

    Everything is counted from the sources: metrics of samples from `samples.jsonl`, streaming, rubrics from
    `judge.jsonl`, the cliff's from `cliff.json`. A run whose `metrics.json` says something else is refused.
    Rules against a baseline are paired by task.

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
    result = conclude(session.results(), session.notes, session.subject(), policy)
    return made_from(result, run, None if session.pairing is None else session.pairing.run)


def conclude(
    rules: Sequence[RuleResult], notes: Sequence[str], subject: Subject, policy: Policy
) -> GateResult:
    """The gate's verdict from those of its rules."""
    verdict = gate_verdict([rule.verdict for rule in rules])
    return GateResult(
        verdict=verdict,
        exit_code=_EXIT_CODES[policy.on_inconclusive if verdict == "inconclusive" else verdict],
        rules=tuple(rules),
        notes=tuple(notes),
        subject=subject,
        alpha=policy.alpha,
    )


def made_from(result: GateResult, run: Run, baseline: Run | None) -> GateResult:
    """The result with the digests of the runs that it was made from."""
    return replace(
        result,
        source=source_of(run.path, run.manifest),
        read_sha256=digest_entries(run, {rule.metric for rule in result.rules}),
        baseline_run=None if baseline is None else from_run(run.path, baseline.path),
        baseline_source=None if baseline is None else source_of(baseline.path, baseline.manifest),
    )


def gate_verdict(rules: Sequence[Verdict]) -> Verdict:
    """All pass → pass, any fails → fail, else inconclusive."""
    if "fail" in rules:
        return "fail"
    return "pass" if all(verdict == "pass" for verdict in rules) else "inconclusive"


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
            self._require_sound(one)
        check_rules(rules, run.metrics)
        self._tables = self._tabulate(run, [rule for rule in rules if not isinstance(rule, WordRule)])
        self._theirs: dict[str, TaskTable] = {}
        if self.pairing is not None:
            paired = [rule for rule in rules if isinstance(rule, BaselineRule)]
            self._theirs = self._tabulate(self.pairing.run, paired)
            self.notes += self.pairing.notes

    def _require_sound(self, run: Run) -> None:
        try:
            require_sound(run)
        except IncompleteError:
            if not self.allow_incomplete:
                raise
            self.notes.append(f"samples of {run.path} are gone since its metrics were computed")

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
        samples = source_of(self.run.path, self.run.manifest).samples
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
        return pair_runs(self.run.manifest, read_task_rows(self.run), baseline, common=common)

    def _tabulate(self, run: Run, rules: Sequence[Rule]) -> dict[str, TaskTable]:
        names = sorted({rule.metric for rule in rules})
        tables = task_tables(run, names, allow_missing=self.allow_incomplete)
        for name in (name for name in names if name.startswith(RUBRIC_PREFIX)):
            tables[name] = self._rubric_table(run, name)
        for name, table in tables.items():
            if run.manifest.status == "complete" and name in run.metrics and not table.missing.any():
                run.require_current(name, table.estimate)
        return tables

    def _rubric_table(self, run: Run, name: str) -> TaskTable:
        from harness.judge import remarks, require_same_rubric, rubric_of, rubric_table

        if run is not self.run:
            require_same_rubric(self.run, run, name)
        found = remarks(run.metrics, rubric_of(name))
        self.notes += [remark for remark in found if remark not in self.notes]
        return rubric_table(run, name)

    def _evidence(self, rule: BarRule) -> Evidence:
        if isinstance(rule, BaselineRule):
            return self._against_baseline(rule)
        table = self._tables.get(rule.metric)
        if table is not None:
            evidence = against_bar(table, rule.bar, rule.sense, self.policy.alpha)
            return self._in_scope(evidence, rule.bar, rule, table, None)
        stored = self.run.stored(rule.metric)
        require_given(self.run, self._derived(rule.metric), (rule.metric,))
        if stored.method == "wilson":
            evidence = rate_from_counts(stored, rule.bar, rule.sense, self.policy.alpha)
        else:
            evidence = from_stored_interval(stored, rule.bar, rule.sense)
        if self.policy.scope == "list":
            return exactly(evidence, stored.estimate, stored.estimate, rule.bar, rule.sense)
        return evidence

    def _derived(self, metric: str) -> dict[str, Estimate]:
        """What the source of a metric that isn't one of samples gives."""
        if metric.startswith(CLIFF_PREFIX):
            return cliff_metrics(self.run.path)
        if metric.startswith(JUDGE_PREFIXES):
            from harness.judge import rubric_metrics

            return rubric_metrics(self.run)
        return {}

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


def task_tables(run: Run, names: Sequence[str], *, allow_missing: bool = False) -> dict[str, TaskTable]:
    """Those of the metrics that are metrics of samples, by task.

    Raises:
        DataError: a file of the run can't be read, or its files don't belong together.
        IncompleteError: samples are missing, unless that is allowed.
    """
    metrics = {name: metric for name, metric in sample_metrics().items() if name in names}
    if not metrics:
        return {}
    columns = read_columns(run, metrics)
    if columns.missing.any() and not allow_missing:
        raise incomplete(run, columns)
    return {name: columns.by_task(metric) for name, metric in metrics.items()}


def _require_complete(run: Run, allowed: bool) -> None:
    if run.manifest.status != "complete" and not allowed:
        raise incomplete(run, read_columns(run, ()))
