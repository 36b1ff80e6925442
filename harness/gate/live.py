"""`decide_live(config, policy)`: evaluate a checkpoint only until the gate knows enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from harness.data.tasks import RankingTask
from harness.evaluate import EvalConfig, evaluate
from harness.gate.cliff_rules import cliff_word, settle_word
from harness.gate.decide import conclude, describe, made_from, task_tables
from harness.gate.expression import BaselineRule, PolicyError, WordRule
from harness.gate.policy import Policy, check_rules
from harness.gate.sequential_rule import SequentialRule
from harness.gate.settle import Levels, settle, verdict_at
from harness.metrics.table import can_rank, sample_metrics
from harness.progress import OnProgress, ignore
from harness.runs import Manifest, Run, Sample
from harness.runs.columns import incomplete, read_columns
from harness.runs.comparability import Common, Pairing, pair_runs
from harness.runs.directory import CLIFF
from harness.runs.gate_record import GateResult, LiveFacts, RuleResult, Verdict
from harness.runs.integrity import require_sound
from harness.settings import Count, Settings
from harness.stats import holm

Until = Literal["verdict", "rules"]

_ORDER_STREAM = 0x6761_7465
"""Keeps the order of tasks apart from everything else that is drawn with the run's seed."""


class LiveOptions(Settings, title="Live gate"):
    """How a live gate draws."""

    max_tasks: Count | None = None
    """Draw at most N tasks."""
    until: Until = "verdict"
    """Stop once the gate's verdict is known, or only once every rule's is."""
    common: Common = False


def decide_live(
    config: EvalConfig,
    policy: Policy | None = None,
    baseline: Run | None = None,
    options: LiveOptions | None = None,
    on_progress: OnProgress = ignore,
) -> tuple[GateResult, Run]:
    """Evaluate in random order and stop as soon as the evidence is there.

    All rules on metrics of samples are tested sequentially, without inflating their error rates; rules about
    the cliff are read from the run at the end. The run directory is that of `evaluate(config)`, which goes
    on to the full evaluation.

    Args:
        config: of the evaluation; its seed also decides the order of tasks.
        policy: None is `parse_validity.strict >= 0.95`.
        baseline: what rules with `baseline` compare with.
        options: budget and when to stop.
        on_progress: told where the job stands.

    Raises:
        PolicyError: a rule that can't be judged while drawing.
        HarnessError: as `evaluate`.
        IncompleteError: the engine died or was interrupted; the same call goes on.
    """
    gate = LiveGate(policy or Policy(), config.seed, baseline, options or LiveOptions())
    run = evaluate(config, on_progress, early_stop=gate)
    return gate.result(run), run


class LiveGate:
    """An `EarlyStop` that draws tasks in seeded random order and ends when the policy is settled.

    Samples arrive as the engine finishes them, short answers first; a test fed in that order would see more
    of the good ones at first. So a task is handed to the tests when all before it in the order of
    drawing have been, which also makes the verdict independent of timing.
    """

    def __init__(self, policy: Policy, seed: int, baseline: Run | None, options: LiveOptions) -> None:
        self._policy, self._seed, self._baseline, self._options = policy, seed, baseline, options
        self._bars = [rule for rule in policy.parsed_rules if not isinstance(rule, WordRule)]
        self._check_rules()
        self._rules: list[SequentialRule] = []
        self._verdicts: list[Verdict] = ["inconclusive"] * len(self._bars)
        self._order: list[str] = []
        self._tasks = 0
        self._samples_per_task = 1
        self._waiting: dict[str, list[tuple[float | None, ...]]] = {}
        self._used = 0
        self._pairing: Pairing | None = None

    def plan(self, manifest: Manifest, tasks: Sequence[RankingTask]) -> Sequence[str]:
        """See `EarlyStop.plan`."""
        theirs = self._pair(manifest, tasks)
        everything = [task.task_id for task in tasks]
        rankable = [task.task_id for task in tasks if can_rank(task.relevance)]
        common = None if self._pairing is None else self._pairing.tasks
        for rule in self._bars:
            metric = sample_metrics()[rule.metric]
            about: Iterable[str] = rankable if metric.rankable_only else everything
            baseline = theirs.get(rule.metric) if isinstance(rule, BaselineRule) else None
            if baseline is not None and common is not None:
                about = [task_id for task_id in about if task_id in common]
            self._rules.append(
                SequentialRule(
                    rule,
                    metric,
                    alpha=self._policy.alpha,
                    strictest=self._policy.alpha / len(self._bars),
                    tasks=frozenset(about),
                    baseline=baseline,
                    whole_list=self._policy.scope == "list",
                )
            )
        shuffled = np.random.default_rng([self._seed, _ORDER_STREAM]).permutation(len(everything))
        self._order = [everything[place] for place in shuffled[: self._options.max_tasks]]
        self._tasks, self._samples_per_task = len(tasks), manifest.samples_per_task
        self._settle()
        return [] if self._is_settled() else self._order

    def enough(self, sample: Sample) -> bool:
        """See `EarlyStop.enough`."""
        values = tuple(rule.metric.value(sample) for rule in self._rules)
        self._waiting.setdefault(sample.task_id, []).append(values)
        while self._used < len(self._order) and not self._is_settled():
            task_id = self._order[self._used]
            if len(self._waiting.get(task_id, ())) < self._samples_per_task:
                return False
            self._observe(task_id, self._waiting.pop(task_id))
        return self._is_settled()

    def result(self, run: Run) -> GateResult:
        """What the gate decided, once the evaluation has ended."""
        evidence = [(rule.rule, rule.evidence()) for rule in self._rules]
        levels = Levels(self._policy.alpha, self._policy.power)
        settled = iter(settle(evidence, levels, self._verdicts))
        rules = [
            self._word(rule, run) if isinstance(rule, WordRule) else next(settled)
            for rule in self._policy.parsed_rules
        ]
        samples = sum(1 for _ in run.iter_samples())
        baseline = None if self._pairing is None else self._pairing.run
        result = conclude(rules, [], describe(run, samples, baseline), self._policy)
        live = LiveFacts(
            tasks_used=self._used,
            tasks=self._tasks,
            samples_drawn=samples,
            samples_saved=run.manifest.planned - samples,
            stopped_early=self._is_settled() and self._used < len(self._order),
        )
        result = replace(result, live=live, notes=tuple(self._notes(run, live)))
        return made_from(result, run, baseline)

    def _check_rules(self) -> None:
        check_rules(self._policy.parsed_rules, ())
        for rule in self._bars:
            if isinstance(rule, BaselineRule) and self._baseline is None:
                raise PolicyError(f"rule `{rule.text}` compares with a baseline; give one as `baseline=RUN`")

    def _pair(self, manifest: Manifest, tasks: Sequence[RankingTask]) -> dict[str, dict[str, float]]:
        """The baseline's value by metric and task, once it is known to be comparable."""
        metrics = sorted({rule.metric for rule in self._bars if isinstance(rule, BaselineRule)})
        if self._baseline is None or not metrics:
            return {}
        self._pairing = pair_runs(manifest, tasks, self._baseline, common=self._options.common)
        if self._baseline.manifest.status != "complete":
            raise incomplete(self._baseline, read_columns(self._baseline, ()))
        require_sound(self._baseline)
        tables = task_tables(self._baseline, metrics)
        return {name: table.mean_of() for name, table in tables.items()}

    def _observe(self, task_id: str, samples: Sequence[tuple[float | None, ...]]) -> None:
        self._used += 1
        for rule, values in zip(self._rules, zip(*samples, strict=True), strict=True):
            rule.observe(task_id, values)
        self._settle()

    def _settle(self) -> None:
        """First verdicts stand; as in `settle`, passing is at alpha and failing after Holm's correction."""
        adjusted = holm([rule.p_fail for rule in self._rules])
        for place, (rule, p_fail) in enumerate(zip(self._rules, adjusted, strict=True)):
            if self._verdicts[place] == "inconclusive":
                self._verdicts[place] = verdict_at(rule.p_pass, p_fail, self._policy.alpha)

    def _is_settled(self) -> bool:
        """Whether further samples would change nothing that was asked for."""
        if self._options.until == "verdict" and "fail" in self._verdicts:
            return True
        return bool(self._verdicts) and "inconclusive" not in self._verdicts

    def _word(self, rule: WordRule, run: Run) -> RuleResult:
        if not (run.path / CLIFF).exists():
            why = f"the run has no {CLIFF}; evaluate it with a teacher and a base"
            return RuleResult(rule.text, rule.metric, None, None, "inconclusive", why)
        return settle_word(rule, cliff_word(run, rule.metric))

    def _notes(self, run: Run, live: LiveFacts) -> list[str]:
        notes = list(self._pairing.notes) if self._pairing is not None else []
        if self._baseline is not None and self._pairing is None:
            notes.append("no rule of the policy compares with the baseline")
        if live.stopped_early and "inconclusive" in self._verdicts:
            notes.append(
                "drawing ended with the first rule that fails, which fails the gate; `until=rules` goes on"
            )
        if run.manifest.status != "complete":
            notes.append("the run isn't complete; `harness eval` with the same options goes on with it")
        return notes
