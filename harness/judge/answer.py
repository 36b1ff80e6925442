"""What a reply is worth: scores, a preference, or the reason why there is neither."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

import jsonschema

from harness.judge.client import Reply
from harness.judge.rubric import Rubric

Preference = Literal["first", "second", "tie"]

UnscoredReason = Literal[
    "blocked_prompt",
    "blocked_answer",
    "truncated",
    "empty",
    "refused",
    "not_json",
    "wrong_shape",
    "out_of_scale",
    "rejected",
    "bad_response",
    "rate_limited",
    "server_error",
    "timeout",
    "connection",
    "in_doubt",
]

UNSCORED_REASONS: Final[tuple[UnscoredReason, ...]] = get_args(UnscoredReason)
PASSING: Final[frozenset[UnscoredReason]] = frozenset(
    {"bad_response", "rate_limited", "server_error", "timeout", "connection"}
)
"""Reasons that say nothing about the sample: the same command asks again."""
PERHAPS_PAID: Final[frozenset[UnscoredReason]] = frozenset({"in_doubt", "empty"})
"""Nor do these, but the question may have been paid for: asked again where the user is ready to pay twice."""

_MAX_NOTE = 500
_BLOCKING = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR"}
)
_REFUSAL = re.compile(
    r"\s*(i['’]?m sorry|i am sorry|sorry|i apologi[sz]e|i can['’]?t|i can ?not|i won['’]?t|i must decline"
    r"|i['’]?m (not able|unable)|i am (not able|unable)|as an ai)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's answer about one ranking, or why there is none.

    Attributes:
        scores: criterion → score, None when unscored.
        unscored: the reason, None when scored.
        note: the judge's justification, or what was wrong, in at most 500 characters.
    """

    scores: dict[str, int] | None
    unscored: UnscoredReason | None
    note: str


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """The judge's answer about two rankings, or why there is none.

    Attributes:
        better: which position won, None when unscored.
        unscored: the reason, None when scored.
        note: the judge's justification, or what was wrong.
    """

    better: Preference | None
    unscored: UnscoredReason | None
    note: str


def ranking_schema(rubric: Rubric) -> dict[str, Any]:
    """Schema of the answer about one ranking, in the OpenAPI subset that both Gemini libraries send.

    The subset has no bounds on numbers; `AnswerReader` checks them.
    """
    scores = {
        criterion.name: {
            "type": "integer",
            "description": f"whole number from {criterion.lowest} to {criterion.highest}",
        }
        for criterion in rubric.criteria
    }
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string"},
            "scores": {"type": "object", "properties": scores, "required": list(scores)},
        },
        "required": ["reason", "scores"],
    }


def pair_schema() -> dict[str, Any]:
    """Schema of the answer about two rankings."""
    better = {"type": "string", "format": "enum", "enum": list(get_args(Preference))}
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "better": better},
        "required": ["reason", "better"],
    }


class AnswerReader:
    """Reads replies to one rubric's questions; its validators are compiled once.

    Args:
        rubric: names the criteria and their scales.
    """

    def __init__(self, rubric: Rubric) -> None:
        self._criteria = rubric.criteria
        self._ranking = jsonschema.Draft202012Validator(ranking_schema(rubric))
        self._pair = jsonschema.Draft202012Validator(pair_schema())

    def verdict(self, reply: Reply) -> Verdict:
        """Scores from a reply; an answer that can't be used is unscored with a reason, never 0."""
        answer, unscored, note = _read(reply, self._ranking)
        if answer is None:
            return Verdict(None, unscored, note)
        scores = {criterion.name: int(answer["scores"][criterion.name]) for criterion in self._criteria}
        for criterion in self._criteria:
            score, low, high = scores[criterion.name], criterion.lowest, criterion.highest
            if not low <= score <= high:
                return Verdict(
                    None, "out_of_scale", f"{criterion.name} is {score}, the scale {low} to {high}"
                )
        return Verdict(scores, None, str(answer["reason"])[:_MAX_NOTE])

    def pair_verdict(self, reply: Reply) -> PairVerdict:
        """The preference from a reply; an answer that can't be used is unscored, never a tie."""
        answer, unscored, note = _read(reply, self._pair)
        if answer is None:
            return PairVerdict(None, unscored, note)
        return PairVerdict(cast(Preference, answer["better"]), None, str(answer["reason"])[:_MAX_NOTE])


def _read(
    reply: Reply, validator: jsonschema.Draft202012Validator
) -> tuple[dict[str, Any] | None, UnscoredReason | None, str]:
    """The answer as the schema has it, or why there is none, and what was wrong."""
    withheld = _withheld(reply)
    if withheld is not None:
        return None, *withheld
    text = (reply.text or "").strip()
    try:
        answer = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        refused = _REFUSAL.match(text) is not None
        return None, "refused" if refused else "not_json", (text if refused else str(error))[:_MAX_NOTE]
    problem = next(validator.iter_errors(answer), None)
    if problem is not None:
        return None, "wrong_shape", f"{problem.json_path}: {problem.message}"[:_MAX_NOTE]
    return answer, None, ""


def _withheld(reply: Reply) -> tuple[UnscoredReason, str] | None:
    """Why a reply has no whole answer in it, None when it has."""
    if reply.blocked:
        return "blocked_prompt", reply.blocked
    if reply.finish in _BLOCKING:
        return "blocked_answer", reply.finish
    if reply.finish == "MAX_TOKENS":
        return "truncated", "the answer ran into max_output_tokens"
    if not (reply.text or "").strip():
        return "empty", reply.finish or "no answer"
    return None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} isn't JSON")
