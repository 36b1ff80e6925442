"""`decide_live(config, policy)`: evaluate a checkpoint only until the gate knows enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.data.tasks import PromptTask, RankingTask, Task
from harness.evaluate import EvalConfig, evaluate
from harness.gate import looks
from harness.gate.advice import BarRule
from harness.gate.cliff_rules import cliff_word, settle_word
from harness.gate.common_tasks import blind_spot, withheld_note
from harness.gate.decide import BASELINES, OF_BASELINE, conclude, describe, made_from, remarks_on
from harness.gate.expression import BaselineRule, PolicyError, WordRule
from harness.gate.following import Following, Until
from harness.gate.policy import Policy, check_rules
from harness.gate.record import counted, earlier_looks
from harness.gate.sequential_rule import Said, SequentialRule
from harness.gate.stream import Stream
from harness.gate.tables import tables_of, whole_columns
from harness.metrics.columns import TaskTable
from harness.metrics.match import match_names
from harness.metrics.stopped import STOPPED_EARLY
from harness.metrics.table import LENIENT_SCORES, Metric, can_rank, sample_metric
from harness.progress import OnProgress, ignore
from harness.runs import Manifest, Run, Sample, source_of
from harness.runs.columns import incomplete, read_columns, scored_leniently
from harness.runs.comparability import (
    PROMPT,
    Common,
    Pairing,
    pair_runs,
    prompt_mark,
    prompts_of,
    require_same_prompts,
)
from harness.runs.directory import CLIFF
from harness.runs.drawing import drawing_order
from harness.runs.gate_record import GateResult, LiveFacts, Look, RuleResult, StreamPlace
from harness.runs.hidden_tokens import HiddenTokens
from harness.runs.integrity import require_sound
from harness.runs.manifest import Stopped
from harness.settings import Count, Settings


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
    *,
    stream: Path | None = None,
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
        stream: file of the checkpoints gated for one release, see `decide`.

    Raises:
        PolicyError: a rule that can't be judged while drawing.
        HarnessError: as `evaluate`.
        IncompleteError: the engine died or was interrupted; the same call goes on.
    """
    gate = LiveGate(policy or Policy(), config.seed, baseline, options or LiveOptions(), stream)
    run = evaluate(config, on_progress, early_stop=gate)
    return gate.result(run), run


class LiveGate:
    """An `EarlyStop` that draws tasks in seeded random order and ends when the policy is settled.

    Samples arrive as the engine finishes them, short answers first; a test fed in that order would see more
    of the good ones at first. So a task is handed to the tests when all before it in the order of
    drawing have been, which also makes the verdict independent of timing.
    """

    def __init__(
        self,
        policy: Policy,
        seed: int,
        baseline: Run | None,
        options: LiveOptions,
        stream: Path | None = None,
    ) -> None:
        self._policy, self._seed, self._baseline, self._options = policy, seed, baseline, options
        self._stream = None if stream is None else Stream(stream, policy)
        self._place: StreamPlace | None = None
        self._bars = [rule for rule in policy.parsed_rules if not isinstance(rule, WordRule)]
        self._check_rules()
        self._earlier: tuple[Look, ...] = ()
        self._spending = looks.spend((), "", "live", policy.alpha, whole=False)
        self._folder = Path()
        # `check_rules` let none pass that isn't there.
        found = [sample_metric(rule.metric) for rule in self._bars]
        self._metrics = [metric for metric in found if metric is not None]
        self._following = Following((), looks.levels_of(policy, self._spending))
        self._order: list[str] = []
        # Labels of the tasks whose lenient answers have to be ranked.
        self._ranked: dict[str, Sequence[float]] = {}
        self._tasks = 0
        self._samples_per_task = 1
        # A task's samples: whether each was withheld, and what it says for each rule.
        self._waiting: dict[str, list[tuple[bool, tuple[float | None, ...]]]] = {}
        self._without: Counter[str] = Counter()
        self._pairing: Pairing | None = None

    def plan(
        self,
        manifest: Manifest,
        tasks: Sequence[Task],
        folder: Path,
        prompts: Mapping[str, str],
    ) -> Sequence[str]:
        """See `EarlyStop.plan`."""
        theirs = self._pair(manifest, tasks, prompts)
        self._folder, self._earlier = folder, earlier_looks(folder)
        elsewhere = () if self._stream is None else self._stream.looks_elsewhere(manifest, folder)
        taken = (*self._earlier, *elsewhere)
        self._spending = looks.spend(taken, "", "live", self._policy.alpha, whole=False)
        looks.require_something(self._spending, self._policy, folder)
        looks.require_one_list(self._policy, manifest.grown)
        self._place = None if self._stream is None else self._stream.take(manifest, folder)
        levels = looks.levels_of(self._policy, self._spending, self._place)
        everything = [task.task_id for task in tasks]
        rules = [
            SequentialRule(
                rule,
                levels=levels,
                rules=len(self._bars),
                tasks=self._about(rule, _that_have(metric, rule, tasks)),
                baseline=theirs.get(rule.metric) if isinstance(rule, BaselineRule) else None,
                counts_always=metric.always,
                whole_list=self._policy.scope == "list",
            )
            for rule, metric in zip(self._bars, self._metrics, strict=True)
        ]
        self._following = Following(rules, levels, self._options.until)
        if any(metric.name in LENIENT_SCORES for metric in self._metrics):
            self._ranked = {task.task_id: task.relevance for task in tasks if can_rank(task.relevance)}
        self._order = drawing_order(self._seed, everything, manifest.grown)[: self._options.max_tasks]
        self._tasks, self._samples_per_task = len(tasks), manifest.samples_per_task
        return [] if self._following.is_settled else self._order

    def enough(self, sample: Sample) -> bool:
        """See `EarlyStop.enough`."""
        relevance = self._ranked.get(sample.task_id)
        scored = sample if relevance is None else scored_leniently(sample, relevance)
        values = tuple(metric.value(scored) for metric in self._metrics)
        self._waiting.setdefault(sample.task_id, []).append((sample.parse is None, values))
        return self._follow()

    def enough_without(self, task_id: str) -> bool:
        """See `EarlyStop.enough_without`."""
        self._without[task_id] += 1
        return self._follow()

    def _follow(self) -> bool:
        """Hand on what comes next in the order of drawing, as far as it is there."""
        following = self._following
        while following.tasks_used < len(self._order) and not following.is_settled:
            task_id = self._order[following.tasks_used]
            there, missing = self._waiting.get(task_id, []), self._without[task_id]
            if len(there) + missing < self._samples_per_task:
                return False
            self._waiting.pop(task_id, None)
            withheld = [was for was, _ in there]
            by_rule = [[values[rule] for _, values in there] for rule in range(len(self._metrics))]
            following.observe(task_id, [Said.of(values, withheld, missing) for values in by_rule])
        return following.is_settled

    def stopped(self) -> Stopped | None:
        """See `EarlyStop.stopped`."""
        return Stopped(by="gate", tasks_used=self._following.tasks_used) if self._stopped_early() else None

    def result(self, run: Run) -> GateResult:
        """What the gate decided, once the evaluation has ended."""
        beyond = looks.tasks_left(run.manifest)
        undrawn = self._tasks - self._following.tasks_used
        settled = iter(self._following.results(None if beyond is None else beyond + undrawn))
        rules = [
            self._word(rule, run) if isinstance(rule, WordRule) else next(settled)
            for rule in self._policy.parsed_rules
        ]
        hidden, withheld = HiddenTokens(run.manifest), []
        for sample in run.iter_samples():
            hidden.add(sample)
            withheld.append(sample.parse is None)
        samples = len(withheld)
        baseline = None if self._pairing is None else self._pairing.run
        levels = self._following.levels
        result = conclude(rules, [], describe(run, samples, baseline), self._policy, levels.interval)
        live = LiveFacts(
            tasks_used=self._following.tasks_used,
            tasks=self._tasks,
            samples_drawn=samples,
            samples_saved=run.manifest.planned - samples,
            stopped_early=self._stopped_early(),
        )
        notes = [*self._notes(run, live, sum(withheld)), *filter(None, [hidden.remark()])]
        result = replace(result, live=live, stream=self._place, notes=tuple(notes))
        runs = [run] if baseline is None else [run, baseline]
        result = made_from(result, [(one, source_of(one.path, one.manifest)) for one in runs])
        assert result.source is not None
        state = result.source.drawn_sha256
        result = counted(result, self._earlier, self._spending, self._policy, state)
        if self._stream is not None and self._place is not None:
            self._stream.note(self._place, run.manifest, run.path, result.looks[-1])
        return result

    def _stopped_early(self) -> bool:
        return self._following.is_settled and self._following.tasks_used < len(self._order)

    def _check_rules(self) -> None:
        check_rules(self._policy.parsed_rules, ())
        for rule in self._bars:
            if isinstance(rule, BaselineRule) and self._baseline is None:
                raise PolicyError(f"rule `{rule.text}` compares with a baseline; give one as `baseline=RUN`")

    def _pair(
        self, manifest: Manifest, tasks: Sequence[Task], prompts: Mapping[str, str]
    ) -> dict[str, TaskTable]:
        """The baseline's metrics by task, once it is known to be comparable."""
        metrics = sorted({rule.metric for rule in self._bars if isinstance(rule, BaselineRule)})
        if self._baseline is None or not metrics:
            return {}
        self._pairing = pair_runs(manifest, tasks, self._baseline, common=self._options.common)
        if self._baseline.manifest.status != "complete":
            raise incomplete(self._baseline, read_columns(self._baseline, ()))
        require_sound(self._baseline)
        columns = whole_columns(self._baseline, metrics, PROMPT)
        asked = {task_id: prompt_mark(sha256) for task_id, sha256 in prompts.items()}
        notes = require_same_prompts(
            self._pairing, manifest, asked, prompts_of(columns), common=self._options.common
        )
        withheld = withheld_note(columns.withheld_samples, columns.n, OF_BASELINE)
        self._pairing = replace(self._pairing, notes=(*self._pairing.notes, *notes, *withheld))
        return tables_of(columns, metrics)

    def _about(self, rule: BarRule, tasks: Sequence[str]) -> Sequence[str]:
        """Those of the tasks that a rule is about."""
        if not isinstance(rule, BaselineRule) or self._pairing is None or self._pairing.tasks is None:
            return tasks
        return [task_id for task_id in tasks if task_id in self._pairing.tasks]

    def _word(self, rule: WordRule, run: Run) -> RuleResult:
        if not (run.path / CLIFF).exists():
            why = f"the run has no {CLIFF}; evaluate it with a teacher and a base"
            return RuleResult(rule.text, rule.metric, None, None, "inconclusive", why)
        return settle_word(rule, cliff_word(run, rule.metric))

    def _notes(self, run: Run, live: LiveFacts, withheld: int) -> list[str]:
        notes = blind_spot(self._policy.parsed_rules)
        notes += withheld_note(withheld, live.samples_drawn)
        for one in [run] if self._pairing is None else [run, self._pairing.run]:
            notes += remarks_on(one, "" if one is run else BASELINES)
        notes += self._pairing.notes if self._pairing is not None else ()
        if self._baseline is not None and self._pairing is None:
            notes.append("no rule of the policy compares with the baseline")
        notes += looks.notes(self._spending, self._place, self._policy)
        notes += looks.weights_unseen(run.manifest)
        if live.stopped_early:
            notes.append(STOPPED_EARLY)
        if live.stopped_early and "inconclusive" in self._following.verdicts:
            notes.append(
                "drawing ended with the first rule that fails, which fails the gate; `until=rules` goes on"
            )
        if run.manifest.status != "complete":
            notes.append("the run isn't complete; `harness eval` with the same options goes on with it")
        return notes


def _that_have(metric: Metric, rule: BarRule, tasks: Sequence[Task]) -> list[str]:
    """Ids of the tasks that a metric is about.

    Raises:
        PolicyError: there is none, so that no answer could ever settle the rule.
    """
    if metric.score is not None:
        found = [
            task.task_id
            for task in tasks
            if isinstance(task, PromptTask)
            and task.has_expected
            and metric.score in match_names(task.expected)
        ]
    elif metric.rankable_only:
        found = [task.task_id for task in tasks if can_rank(task.relevance)]
    else:
        found = [task.task_id for task in tasks]
    if not found and not any(isinstance(task, RankingTask) for task in tasks):
        raise PolicyError(f"rule `{rule.text}`: no task of these data has a value for {metric.name}")
    if not found and metric.score is not None:
        raise PolicyError(f"rule `{rule.text}`: no task of these data has such an `expected`")
    return found
