"""`decide(run, policy, baseline)`: fixed-sample verdicts on a stored run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from harness.errors import IncompleteError
from harness.gate import looks
from harness.gate.advice import BarRule
from harness.gate.cliff_rules import cliff_word, settle_word
from harness.gate.common_tasks import asked_of, blind_spot, explained, withheld_note
from harness.gate.continued import follow, order_of
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
from harness.gate.following import Following
from harness.gate.looks import Levels
from harness.gate.policy import Policy, check_rules
from harness.gate.record import counted, earlier_looks
from harness.gate.settle import settle
from harness.gate.stream import Stream
from harness.gate.tables import tables_of, whole_columns
from harness.metrics.columns import Columns, TaskTable
from harness.metrics.stopped import STOPPED_EARLY
from harness.metrics.table import (
    CLIFF_PREFIXES,
    JUDGE_PREFIXES,
    PAIR_PREFIX,
    RUBRIC_PREFIX,
    metric_named,
    sample_metric,
)
from harness.runs import Run, source_of
from harness.runs.columns import (
    incomplete,
    metrics_of_samples,
    read_columns,
    read_task_rows,
)
from harness.runs.comparability import PROMPT, Pairing, pair_runs, prompts_of, require_same_prompts
from harness.runs.gate_record import GateResult, Look, LookKind, RuleResult, Subject, Verdict
from harness.runs.hidden_tokens import HiddenTokens
from harness.runs.integrity import cliff_metrics, require_given, require_sound
from harness.runs.source import Source, from_run, judged_sha256
from harness.runs.staleness import digest_entries
from harness.stats import Estimate

_EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "inconclusive": 4}
BASELINES = " (of the baseline)"
OF_BASELINE = " of the baseline"


def decide(
    run: Run,
    policy: Policy | None = None,
    baseline: Run | None = None,
    *,
    allow_incomplete: bool = False,
    common: bool = False,
    continued: bool = False,
    stream: Path | None = None,
) -> GateResult:
    """Judge a stored run by a policy.

    Alpha is spent over looks: `gate.json` in the run tells of earlier ones, see `harness.gate.looks`.

    Everything is counted from the sources: metrics of samples from `samples.jsonl`, streaming, rubrics from
    `judge.jsonl`, the cliff's from `cliff.json`. A run whose `metrics.json` says something else is refused.
    Rules against a baseline are paired by task.

    Args:
        run: the run to judge.
        policy: None is `parse_validity.strict >= 0.95`.
        baseline: what rules with `baseline` compare with.
        allow_incomplete: count missing samples at their worst and at their best instead of refusing.
        common: compare runs that differ in more than the checkpoint, on the tasks they share.
        continued: feed the run to tests that may be looked at any time, so that it can grow and be gated
            again at no cost; a run that was gated like this, or live, always is.
        stream: file of the checkpoints gated for one release, among which this one takes a place and passes
            at its share of alpha, see `harness.gate.stream`.

    Raises:
        PolicyError: a rule that can't be judged on this run.
        RunMismatchError: run and baseline asked different things; the message lists them.
        IncompleteError: samples are missing.
        DataError: a file of a run can't be read, or holds what can't be.
    """
    policy = policy or Policy()
    earlier, left = earlier_looks(run.path), looks.tasks_left(run.manifest)
    session = _Session(run, policy, baseline, allow_incomplete, common)
    counting = None if stream is None else Stream(stream, policy)
    elsewhere = () if counting is None else counting.looks_elsewhere(run.manifest, run.path)
    state = session.state()
    spending = looks.spend(
        (*earlier, *elsewhere),
        state,
        looks.kind_of(earlier, continued=continued),
        policy.alpha,
        whole=run.manifest.status == "complete" and left == 0 and session.is_scored,
        planned=policy.looks,
    )
    looks.require_something(spending, policy, run.path)
    place = None if counting is None else counting.take(run.manifest, run.path)
    levels = looks.levels_of(policy, spending, place)
    rules = session.results(levels, left, spending.kind, earlier)
    notes = [*session.notes, *looks.notes(spending, place, policy), *looks.weights_unseen(run.manifest)]
    result = conclude(rules, notes, session.subject(), policy, levels.interval)
    result = made_from(result, session.sources)
    result = counted(replace(result, stream=place), earlier, spending, policy, state)
    if counting is not None and place is not None:
        counting.note(place, run.manifest, run.path, result.looks[-1])
    return result


def conclude(
    rules: Sequence[RuleResult], notes: Sequence[str], subject: Subject, policy: Policy, alpha: float
) -> GateResult:
    """The gate's verdict from those of its rules, judged at this alpha."""
    verdict = gate_verdict([rule.verdict for rule in rules])
    return GateResult(
        verdict=verdict,
        exit_code=_EXIT_CODES[policy.on_inconclusive if verdict == "inconclusive" else verdict],
        rules=tuple(rules),
        notes=tuple(notes),
        subject=subject,
        alpha=alpha,
    )


def made_from(result: GateResult, sources: Sequence[tuple[Run, Source]]) -> GateResult:
    """The result with the digests of the runs that it was made from: the one judged, then its baseline."""
    run, source = sources[0]
    result = replace(
        result, source=source, read_sha256=digest_entries(run, {rule.metric for rule in result.rules})
    )
    for baseline, its_source in sources[1:]:
        there = from_run(run.path, baseline.path)
        result = replace(result, baseline_run=there, baseline_source=its_source)
    return result


def gate_verdict(rules: Sequence[Verdict]) -> Verdict:
    """All pass → pass, any fails → fail, else inconclusive."""
    if "fail" in rules:
        return "fail"
    return "pass" if all(verdict == "pass" for verdict in rules) else "inconclusive"


def remarks_on(run: Run, whose: str = "") -> list[str]:
    """What isn't as it was asked for of the engine and its answers, and what a complete run lacks."""
    found = [f"{one}{whose}" for one in run.manifest.remarks]
    missing = run.manifest.missing if run.manifest.status == "complete" else ()
    if not missing:
        return found
    return [
        *found,
        f"{len(missing)} of {run.manifest.planned} samples of {run.path} couldn't be had and count at their "
        f"worst and at their best (first: of task {missing[0].task_id}, {missing[0].cause})",
    ]


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
        self,
        run: Run,
        policy: Policy,
        baseline: Run | None,
        allow_incomplete: bool,
        common: bool,
    ) -> None:
        self.run, self.policy = run, policy
        self.allow_incomplete = allow_incomplete
        self.notes: list[str] = []
        self._columns: list[Columns] = []
        rules = policy.parsed_rules
        self.pairing = self._pair(rules, baseline, common)
        self.sources: list[tuple[Run, Source]] = []
        for one in [run] if self.pairing is None else [run, self.pairing.run]:
            with _bounds_offered(one):
                _require_complete(one, allow_incomplete)
                self.sources.append((one, self._sound(one)))
            self.notes += remarks_on(one, "" if one is run else BASELINES)
        check_rules(rules, run.metrics)
        self.notes += blind_spot(rules)
        self._tables = self._tabulate(run, [rule for rule in rules if not isinstance(rule, WordRule)])
        self._theirs: dict[str, TaskTable] = {}
        if self.pairing is not None:
            paired = [rule for rule in rules if isinstance(rule, BaselineRule)]
            self._theirs = self._tabulate(self.pairing.run, paired)
            self.notes += self.pairing.notes
            asked, before = map(prompts_of, self._columns)
            self.notes += require_same_prompts(self.pairing, run.manifest, asked, before, common=common)

    def _sound(self, run: Run) -> Source:
        try:
            return require_sound(run)
        except IncompleteError:
            if not self.allow_incomplete:
                raise
            self.notes.append(f"samples of {run.path} are gone since its metrics were computed")
            return source_of(run.path, run.manifest)

    @property
    def is_scored(self) -> bool:
        """Whether no task is left that a judge could still be asked about."""
        judged = [table for name, table in self._tables.items() if name.startswith(RUBRIC_PREFIX)]
        return all(len(table.task_ids) >= self.run.manifest.tasks for table in judged)

    def state(self) -> str:
        """Digest of what the rules are judged by."""
        source = self.sources[0][1]
        if not any(name.startswith(JUDGE_PREFIXES) for name in self._tables):
            return source.drawn_sha256
        return hashlib.sha256(f"{source.drawn_sha256} {judged_sha256(self.run.path)}".encode()).hexdigest()

    def results(
        self, levels: Levels, left: int | None, kind: LookKind, earlier: Sequence[Look]
    ) -> list[RuleResult]:
        """One result a rule, in the policy's order.

        Args:
            levels: error rates.
            left: tasks that the dataset has beyond those of the run.
            kind: of the look.
            earlier: looks at the run so far.
        """
        rules = self.policy.parsed_rules
        bars = [rule for rule in rules if not isinstance(rule, WordRule)]
        if kind == "fixed":
            missing = self.run.manifest.planned - self.subject().samples
            # What a complete run does without, no further session draws.
            missing -= len(self.run.manifest.missing) if self.run.manifest.status == "complete" else 0
            found = [(rule, replace(self._evidence(rule, levels), missing=missing)) for rule in bars]
            settled = settle(found, levels, left=left)
        else:
            each = self.run.manifest.samples_per_task
            seen = [look.samples // each for look in earlier if look.kind == kind]
            following = self._followed(bars, levels, order_of(self.run, kind, seen))
            undrawn = self.run.manifest.tasks - following.tasks_used
            self.notes += following.notes(undrawn)
            if self.run.manifest.stopped is not None:
                self.notes.append(STOPPED_EARLY)
            settled = following.results(None if left is None else left + undrawn)
        numbers = iter(settled)
        return [
            settle_word(rule, cliff_word(self.run, rule.metric))
            if isinstance(rule, WordRule)
            else next(numbers)
            for rule in rules
        ]

    def _followed(self, bars: Sequence[BarRule], levels: Levels, order: Sequence[str]) -> Following:
        mine = dict(self._tables)
        if self.pairing is not None:
            # Both on the tasks they share: a task that one side lacks is no observation.
            for name, theirs in self._theirs.items():
                mine[name], self._theirs[name] = self.pairing.pair(mine[name], theirs)
        for rule in bars:
            if rule.metric not in mine:
                raise PolicyError(
                    f"rule `{rule.text}`: {rule.metric} isn't known by task, so it can't be followed from "
                    "look to look; leave it to a policy of its own"
                )
        whole_list = self.policy.scope == "list"
        return follow(bars, levels, mine, self._theirs, order, whole_list=whole_list)

    def subject(self) -> Subject:
        """Which run was judged."""
        return describe(
            self.run, self.sources[0][1].samples, None if self.pairing is None else self.pairing.run
        )

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
        metrics = {name for name in names if sample_metric(name) is not None}
        tables: dict[str, TaskTable] = {}
        if metrics or self.pairing is not None:
            with _bounds_offered(run):
                hidden = HiddenTokens(run.manifest)
                also = {**PROMPT, "hidden": hidden.measured}
                columns = whole_columns(run, metrics, also, allow_missing=self.allow_incomplete)
            if run is self.run and (remark := hidden.remark()):
                self.notes.append(remark)
            self._columns.append(columns)
            whose = "" if run is self.run else OF_BASELINE
            self.notes += withheld_note(columns.withheld_samples, columns.n, whose)
            tables = tables_of(columns, metrics)
        for name in (name for name in names if name.startswith(RUBRIC_PREFIX)):
            tables[name] = self._rubric_table(run, name)
        for name in (name for name in names if name.startswith(PAIR_PREFIX) and run is self.run):
            tables |= _pairwise_table(run, name)
        for name, table in tables.items():
            # Without unscored answers a mean is still that of `metrics.json`; without samples it isn't.
            whole = name.startswith(JUDGE_PREFIXES) or not (table.missing - table.hidden).any()
            if run.manifest.status == "complete" and name in run.metrics and whole:
                run.require_current(name, table.estimate)
        return tables

    def _rubric_table(self, run: Run, name: str) -> TaskTable:
        from harness.judge import remarks, require_same_rubric, rubric_of, rubric_table

        if run is not self.run:
            require_same_rubric(self.run, run, name)
        found = remarks(run.metrics, rubric_of(name))
        self.notes += [remark for remark in found if remark not in self.notes]
        return rubric_table(run, name)

    def _evidence(self, rule: BarRule, levels: Levels) -> Evidence:
        if isinstance(rule, BaselineRule):
            return self._against_baseline(rule, levels)
        table = self._tables.get(rule.metric)
        if table is not None:
            evidence = against_bar(table, rule.bar, rule.sense, levels.interval)
            return explained(self._in_scope(evidence, rule.bar, rule, table, None), rule, table, None)
        stored = self.run.stored(rule.metric)
        require_given(self.run, self._derived(rule.metric), (rule.metric,))
        if stored.method == "wilson":
            evidence = rate_from_counts(stored, rule.bar, rule.sense, levels.interval)
        else:
            evidence = from_stored_interval(stored, rule.bar, rule.sense)
        if self.policy.scope == "list":
            return exactly(evidence, stored.estimate, stored.estimate, rule.bar, rule.sense)
        return evidence

    def _derived(self, metric: str) -> dict[str, Estimate]:
        """What the source of a metric that isn't one of samples gives."""
        if metric.startswith(CLIFF_PREFIXES):
            return cliff_metrics(self.run.path)
        if metric.startswith(JUDGE_PREFIXES):
            from harness.judge import rubric_metrics

            return rubric_metrics(self.run)
        if metric_named(metric) is not None:
            return metrics_of_samples(self.run, read_columns(self.run))
        return {}

    def _against_baseline(self, rule: BaselineRule, levels: Levels) -> Evidence:
        assert self.pairing is not None
        if rule.metric not in self._theirs:
            raise PolicyError(
                f"rule `{rule.text}`: {rule.metric} isn't known by task, so it can't be compared with a "
                "baseline's"
            )
        mine, theirs = self.pairing.pair(self._tables[rule.metric], self._theirs[rule.metric])
        asked = asked_of(rule, mine), asked_of(rule, theirs)
        evidence = against_baseline(*asked, rule.shift, rule.sense, levels.interval)
        return explained(self._in_scope(evidence, rule.shift, rule, *asked), rule, mine, theirs)

    def _in_scope(
        self, evidence: Evidence, bar: float, rule: BarRule, mine: TaskTable, theirs: TaskTable | None
    ) -> Evidence:
        if self.policy.scope == "tasks":
            return evidence
        return exactly(evidence, *list_range(mine, theirs), bar, rule.sense)


def _pairwise_table(run: Run, name: str) -> dict[str, TaskTable]:
    from harness.judge import pairwise_table

    table = pairwise_table(run, name)
    return {} if table is None else {name: table}


@contextmanager
def _bounds_offered(run: Run) -> Iterator[None]:
    """What lacks samples can be gated by bounds; what a live gate stopped has its verdict without."""
    try:
        yield
    except IncompleteError as error:
        if run.manifest.stopped is not None:
            raise
        raise IncompleteError(
            f"{error}, or gate by worst and best case with `allow_incomplete=True`"
        ) from None


def _require_complete(run: Run, allowed: bool) -> None:
    if run.manifest.status != "complete" and not allowed:
        raise incomplete(run, read_columns(run, ()))
