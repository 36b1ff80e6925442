"""Rules about the side of the cliff, `cliff.verdict in [left]`: words in `cliff.json`, not numbers."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import DataError, nearest
from harness.gate.expression import PolicyError, WordRule
from harness.runs import Run
from harness.runs.directory import CLIFF
from harness.runs.gate_record import More, RuleResult
from harness.runs.integrity import read_cliff, unreadable_cliff

WORD_METRICS = ("cliff.verdict", "cliff.observed")
_TOLD = ("left", "right")
_OF_THE_DATA = "enough_rollouts"
"""The precondition that puts no checkpoint out of scope."""


@dataclass(frozen=True, slots=True)
class CliffWord:
    """What `cliff.json` says on a rule's metric.

    Attributes:
        word: the side; None where it isn't known.
        more_tasks: about how many further tasks would do to tell it, None where none can be given.
        unmet: what λ* asks for and isn't met, in words.
    """

    word: str | None
    more_tasks: int | None
    unmet: tuple[str, ...] = ()


def check_words(rule: WordRule) -> None:
    """Refuse words about another metric, or that no cliff has.

    Raises:
        PolicyError: the message names the nearest.
    """
    from harness.cliff import SIDES

    if rule.metric not in WORD_METRICS:
        hint = nearest(rule.metric, WORD_METRICS)
        raise PolicyError(f"rule `{rule.text}`: `in` goes with {' and '.join(WORD_METRICS)} only{hint}")
    for word in rule.allowed:
        if word not in SIDES:
            raise PolicyError(
                f"rule `{rule.text}`: {rule.metric} is never `{word}`; it is one of "
                f"{', '.join(SIDES)}{nearest(word, SIDES)}"
            )


def settle_word(rule: WordRule, found: CliffWord) -> RuleResult:
    """Verdict of a rule about the cliff's side.

    `on_cliff`, `undecided` and `out_of_scope` are answers of a diagnostic that can't tell `left` from
    `right`: unless the rule names them they settle nothing.
    """
    allowed, word = " or ".join(rule.allowed), found.word
    if word in rule.allowed:
        return RuleResult(rule.text, rule.metric, None, None, "pass", f"the verdict is {word}")
    if word in _TOLD:
        reason = f"the verdict is {word}, not {allowed}"
        if rule.metric == "cliff.verdict":
            from harness.cliff import NOT_CONFIRMED

            reason += f"; {NOT_CONFIRMED}"
        return RuleResult(rule.text, rule.metric, None, None, "fail", reason)
    reason = {
        None: "there is no student to observe",
        "on_cliff": "λ lies between the bounds of λ*, so that left and right can't be told apart",
        "undecided": "too few tasks carry the tail for the diagnostic to tell left from right",
        "out_of_scope": "the checkpoints don't meet what λ* asks of them, so that it says nothing",
    }.get(word, f"`{word}` is no side")
    if word == "out_of_scope" and found.unmet:
        reason = f"what λ* asks for isn't met: {'; '.join(found.unmet)}"
    if found.more_tasks:
        reason += f"; about {found.more_tasks} more tasks would do"
    more = None if found.more_tasks is None else More(found.more_tasks, found.more_tasks, None)
    return RuleResult(rule.text, rule.metric, None, None, "inconclusive", reason, more=more)


def cliff_word(run: Run, metric: str) -> CliffWord:
    """`cliff.verdict` or `cliff.observed` of a run.

    Raises:
        DataError: there is no `cliff.json`, or it can't be read.
    """
    field = metric.partition(".")[2]
    try:
        content = read_cliff(run.path)
        if "lambda_star" not in content and "lambda_reached" in content:
            raise DataError(
                f"{run.path / CLIFF} holds no estimate of λ*, which {metric} needs; measure it with a clip"
            )
        word = content[field]
        more = (content.get("more") or {}).get("tasks") if field == "verdict" else None
        asked = content.get("preconditions") or ()
        unmet = tuple(str(one["detail"]) for one in asked if not one["met"] and one["name"] != _OF_THE_DATA)
    except FileNotFoundError:
        raise DataError(
            f"{run.path} has no {CLIFF}, which {metric} needs; evaluate it with a teacher and a base"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable_cliff(run.path, error) from error
    if word is not None and not isinstance(word, str):
        raise DataError(f"{run.path / CLIFF} holds {field} = {word!r}, which is no word")
    return CliffWord(word, more if isinstance(more, int) else None, unmet)
