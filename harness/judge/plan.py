"""Which questions a judging asks: which of them are answered already, and under which key each is cached."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data.tasks import RankingTask
from harness.errors import DataError, HarnessError
from harness.judge.answer import (
    PASSING,
    PERHAPS_PAID,
    Preference,
    UnscoredReason,
    pair_schema,
    ranking_schema,
)
from harness.judge.client import Question
from harness.judge.config import JudgeConfig
from harness.judge.cost import request_bytes
from harness.judge.prompt import JUDGE_PROMPT_VERSION, pair_prompt, presented_order, ranking_prompt
from harness.judge.records import Judgement, PairJudgement, Record
from harness.metrics.table import JUDGE_PREFIXES
from harness.runs import Run, Sample, load
from harness.runs.integrity import require_sound

_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Unit:
    """One judgement that is wanted.

    Attributes:
        sample: key of the sample.
        task_id: its task.
        repeat: 0-based.
        ranking: this run's.
        other_ranking: the other run's, None when one ranking is graded.
        shown: whether this run's ranking is shown `first` or `second`; None when one ranking is graded, or
            when both are the same.
    """

    sample: str
    task_id: str
    repeat: int
    ranking: tuple[int, ...]
    other_ranking: tuple[int, ...] | None = None
    shown: Preference | None = None

    @property
    def needs_no_judge(self) -> bool:
        """Whether both rankings are the same."""
        return self.ranking == self.other_ranking


@dataclass(frozen=True, slots=True)
class Ask:
    """One question, and every judgement that its answer gives.

    Attributes:
        key: everything that decides the answer, hashed.
        units: the judgements; more than one where samples of a task have the same ranking.
        size: bytes of the question.
    """

    key: str
    units: tuple[Unit, ...]
    size: int


class Plan:
    """The questions of one judging.

    Args:
        config: what is judged and how.

    Raises:
        HarnessError: the run can't be judged this way.
        DataError: a file of a run can't be read.
    """

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.run = _complete_run(config.run)
        self.other_run = _complete_run(config.pairwise) if config.pairwise else None
        if self.other_run and config.rubric.pairwise_template is None:
            raise HarnessError(
                f"rubric {config.rubric.name} has no pairwise_template; add one, or judge without `pairwise=`"
            )
        self.other = None if self.other_run is None else _name_of(self.other_run)
        self._tasks = self._chosen_tasks()
        self._schema = pair_schema() if self.other_run else ranking_schema(config.rubric)
        self.units = self._units()

    @property
    def mode(self) -> str:
        """`ranking` or `pair`."""
        return "pair" if self.other_run else "ranking"

    def question(self, unit: Unit) -> Question:
        """The request that asks for a judgement."""
        config, task = self.config, self._tasks[unit.task_id]
        order = presented_order(config.seed, unit.task_id, unit.repeat, task.k)
        if unit.other_ranking is None:
            prompt = ranking_prompt(config.rubric, task, unit.ranking, order)
        else:
            both = (unit.ranking, unit.other_ranking)
            first, second = both if unit.shown == "first" else both[::-1]
            prompt = pair_prompt(config.rubric, task, first, second, order)
        return Question(config.rubric.model, prompt, self._schema)

    def asks(self, units: Iterable[Unit]) -> list[Ask]:
        """The distinct questions behind these judgements, in their order.

        A question that one sample asks again, since few candidates have few orders, is a new draw with a key
        of its own: answered from the cache, it would pose as agreement. The same question about another
        sample is the same draw.
        """
        grouped: dict[str, list[Unit]] = {}
        sizes: dict[str, int] = {}
        asked: Counter[tuple[str, str]] = Counter()
        for unit in units:
            question = self.question(unit)
            content = _digest(
                [
                    JUDGE_PROMPT_VERSION,
                    self.config.endpoint,
                    self.config.rubric.digest,
                    question.model.model_dump(mode="json"),
                    question.prompt.system,
                    question.prompt.user,
                    question.schema,
                ]
            )
            draw = asked[unit.sample, content]
            asked[unit.sample, content] += 1
            key = f"{content}-{draw}"
            grouped.setdefault(key, []).append(unit)
            sizes[key] = request_bytes(question)
        return [Ask(key, tuple(units), sizes[key]) for key, units in grouped.items()]

    def open_units(self, records: Iterable[Record]) -> tuple[list[Unit], Counter[UnscoredReason]]:
        """Judgements that are still wanted, and why those there are have no score, where they have none.

        A judgement that failed for a passing reason, such as a service that was too busy, is wanted again;
        one that may have been paid for only when the user is ready to pay for it twice.
        """
        passing = PASSING | PERHAPS_PAID if self.config.ask_again else PASSING
        done: dict[Unit, UnscoredReason | None] = {}
        for record in records:
            unit = self._unit_of(record)
            if unit is None:
                continue
            unscored = record.unscored  # type: ignore[union-attr]
            if unscored in passing:
                done.pop(unit, None)
            else:
                done[unit] = unscored
        reasons = (done.get(unit) for unit in self.units)
        unscored_for = Counter(reason for reason in reasons if reason is not None)
        return [unit for unit in self.units if unit not in done], unscored_for

    def _unit_of(self, record: Record) -> Unit | None:
        if not isinstance(record, Judgement | PairJudgement) or record.digest != self.config.rubric.digest:
            return None
        if record.order_seed != self.config.seed:
            return None
        if isinstance(record, Judgement):
            if self.other_run is not None:
                return None
            return Unit(record.sample, record.task_id, record.repeat, record.ranking)
        if record.other != self.other:
            return None
        return Unit(
            record.sample, record.task_id, record.repeat, record.ranking, record.other_ranking, record.shown
        )

    def _chosen_tasks(self) -> dict[str, RankingTask]:
        """Tasks in a random order: a judging that is cut short has judged a sample of them.

        The order depends on each task's id alone, so that runs on the same tasks are judged on the same ones.
        """
        tasks = {task.task_id: task for task in self.run.tasks() if isinstance(task, RankingTask)}
        if not tasks:
            raise HarnessError(
                f"{self.run.path} has no rankings to grade, and a judge grades nothing else; answers to "
                "tasks with `expected` are held against it by match.exact"
            )
        if self.other_run:
            tasks = _shared(tasks, self.other_run)
        order = sorted(tasks, key=lambda task_id: task_key(self.config.seed, task_id))
        return {task_id: tasks[task_id] for task_id in order[: self.config.limit]}

    def _units(self) -> list[Unit]:
        mine = _strict_rankings(self.run)
        position = {task_id: index for index, task_id in enumerate(self._tasks)}
        chosen = sorted(
            (position[task_id], index, sample, ranking)
            for (task_id, index), (sample, ranking) in mine.items()
            if task_id in position
        )
        names = list(self._tasks)
        if self.other_run is None:
            return [
                Unit(sample, names[task], repeat, ranking)
                for task, _, sample, ranking in chosen
                for repeat in range(self.config.repeats)
            ]
        theirs = _strict_rankings(self.other_run)
        return [
            unit
            for task, index, sample, ranking in chosen
            if (names[task], index) in theirs
            for unit in self._pair_units(sample, names[task], ranking, theirs[names[task], index][1])
        ]

    def _pair_units(
        self, sample: str, task_id: str, ranking: tuple[int, ...], other: tuple[int, ...]
    ) -> Iterator[Unit]:
        if ranking == other:
            yield Unit(sample, task_id, 0, ranking, other)
            return
        for repeat in range(self.config.repeats):
            yield Unit(sample, task_id, repeat, ranking, other, "first")
            yield Unit(sample, task_id, repeat, ranking, other, "second")


def task_key(seed: int, task_id: str) -> str:
    """By which tasks are ordered for judging: random, and the same in every run."""
    return _digest([seed, task_id])


def sample_keys(samples: Iterable[Sample]) -> dict[tuple[str, int], str]:
    """(task_id, sample_index) → key."""
    return {(sample.task_id, sample.sample_index): sample.key for sample in samples}


def _complete_run(path: Path) -> Run:
    run = load(path)
    if run.manifest.status != "complete" or not run.metrics:
        status = run.manifest.status
        raise HarnessError(
            f"{path} isn't complete (status {status}); run its `harness eval` again, then judge"
        )
    require_sound(run, [name for name in run.metrics if not name.startswith(JUDGE_PREFIXES)])
    return run


def _strict_rankings(run: Run) -> dict[tuple[str, int], tuple[str, tuple[int, ...]]]:
    """(task_id, sample_index) → key and ranking of the strictly parsed samples; nothing else is judged."""
    return {
        (sample.task_id, sample.sample_index): (sample.key, ranking)
        for sample in run.iter_samples()
        if (ranking := sample.strict_ranking) is not None
    }


def _shared(tasks: dict[str, RankingTask], other: Run) -> dict[str, RankingTask]:
    shared = {}
    for theirs in other.tasks():
        mine = tasks.get(theirs.task_id)
        if mine is None or not isinstance(theirs, RankingTask):
            continue
        if mine.candidates != theirs.candidates or mine.history != theirs.history:
            raise DataError(f"task {mine.task_id} isn't the same in both runs; compare runs on the same data")
        shared[mine.task_id] = mine
    if not shared:
        raise DataError(f"{other.path} has no task in common with this run; compare runs on the same data")
    return shared


def _identity(run: Run) -> list[object]:
    return [run.manifest.started, run.manifest.identity()]


def _name_of(run: Run) -> str:
    slug = _SLUG.sub("-", run.path.resolve().name.lower()).strip("-") or "run"
    return f"{slug}-{_digest(_identity(run))[:6]}"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
