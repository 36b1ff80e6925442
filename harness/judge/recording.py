"""From a question's outcome to the lines of `judge.jsonl` that it gives."""

from __future__ import annotations

from typing import cast

from harness.judge.answer import AnswerReader, UnscoredReason
from harness.judge.asking import Failure
from harness.judge.client import Reply
from harness.judge.plan import Plan, Unit
from harness.judge.records import JudgeLog, Judgement, PairJudgement

_SAME = "both rankings are the same"


class Recorder:
    """Writes judgements.

    Args:
        plan: the judging they belong to.
        log: the run's `judge.jsonl`.
    """

    def __init__(self, plan: Plan, log: JudgeLog) -> None:
        self._plan = plan
        self._log = log
        self._reader = AnswerReader(plan.config.rubric)
        self.client = ""
        """Library and version that sends, once there is one."""

    def write(self, unit: Unit, outcome: Reply | Failure | None, *, cached: bool) -> UnscoredReason | None:
        """Append the judgement that an outcome gives.

        Args:
            unit: what was judged.
            outcome: None for a pair that needs no judge.
            cached: whether no request was sent for it.

        Returns:
            Why it has no score, None where it has one.
        """
        row = (
            self._ranking(unit, outcome, cached)
            if unit.other_ranking is None
            else self._pair(unit, outcome, cached)
        )
        self._log.append(row)
        return row.unscored

    def _ranking(self, unit: Unit, outcome: Reply | Failure | None, cached: bool) -> Judgement:
        assert outcome is not None, "one ranking always needs a judge"
        scores, unscored, note = None, _failed(outcome), _detail(outcome)
        if isinstance(outcome, Reply):
            verdict = self._reader.verdict(outcome)
            scores, unscored, note = verdict.scores, verdict.unscored, verdict.note
        config = self._plan.config
        prompt_tokens, output_tokens = _tokens(outcome)
        return Judgement(
            digest=config.rubric.digest,
            sample=unit.sample,
            task_id=unit.task_id,
            repeat=unit.repeat,
            order_seed=config.seed,
            ranking=unit.ranking,
            model=config.rubric.model.name,
            client=self.client,
            scores=scores,
            unscored=unscored,
            note=note,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            cached=cached,
        )

    def _pair(self, unit: Unit, outcome: Reply | Failure | None, cached: bool) -> PairJudgement:
        assert unit.other_ranking is not None
        assert self._plan.other is not None
        better, unscored, note = None, _failed(outcome), _detail(outcome)
        if isinstance(outcome, Reply):
            verdict = self._reader.pair_verdict(outcome)
            better, unscored, note = verdict.better, verdict.unscored, verdict.note
        elif outcome is None:
            better, note = "tie", _SAME
        config = self._plan.config
        prompt_tokens, output_tokens = _tokens(outcome)
        return PairJudgement(
            digest=config.rubric.digest,
            other=self._plan.other,
            sample=unit.sample,
            task_id=unit.task_id,
            repeat=unit.repeat,
            order_seed=config.seed,
            shown=unit.shown,
            ranking=unit.ranking,
            other_ranking=unit.other_ranking,
            model="" if outcome is None else config.rubric.model.name,
            client="" if outcome is None else self.client,
            better=better,
            unscored=unscored,
            note=note,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            cached=cached,
        )


def _failed(outcome: Reply | Failure | None) -> UnscoredReason | None:
    # A fatal failure ends the session instead; every other kind is a reason by the same name.
    return cast(UnscoredReason, outcome.kind) if isinstance(outcome, Failure) else None


def _detail(outcome: Reply | Failure | None) -> str:
    return outcome.detail if isinstance(outcome, Failure) else ""


def _tokens(outcome: Reply | Failure | None) -> tuple[int | None, int | None]:
    return (outcome.prompt_tokens, outcome.output_tokens) if isinstance(outcome, Reply) else (None, None)
