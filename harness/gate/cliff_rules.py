"""Rules about the side of the cliff, `cliff.verdict in [left]`: words in `cliff.json`, not numbers."""

from __future__ import annotations

from harness.errors import DataError, nearest
from harness.gate.expression import PolicyError, WordRule
from harness.runs import Run
from harness.runs.directory import CLIFF
from harness.runs.gate_record import RuleResult
from harness.runs.integrity import read_cliff, unreadable_cliff

WORD_METRICS = ("cliff.verdict", "cliff.observed")
_TOLD = ("left", "right")


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


def settle_word(rule: WordRule, word: str | None) -> RuleResult:
    """Verdict of a rule about the cliff's side.

    `on_cliff` and `out_of_scope` are answers of a diagnostic that can't tell `left` from `right`: unless the
    rule names them they settle nothing.
    """
    allowed = " or ".join(rule.allowed)
    if word in rule.allowed:
        return RuleResult(rule.text, rule.metric, None, None, "pass", f"the verdict is {word}")
    if word in _TOLD:
        return RuleResult(rule.text, rule.metric, None, None, "fail", f"the verdict is {word}, not {allowed}")
    reason = {
        None: "there is no student to observe",
        "on_cliff": "λ lies inside the interval of λ*, so that left and right can't be told apart",
        "out_of_scope": "a precondition of the diagnostic isn't met, so that it says nothing",
    }.get(word, f"`{word}` is no side")
    return RuleResult(rule.text, rule.metric, None, None, "inconclusive", reason)


def cliff_word(run: Run, metric: str) -> str | None:
    """`cliff.verdict` or `cliff.observed` of a run; None where the latter isn't known.

    Raises:
        DataError: there is no `cliff.json`, or it can't be read.
    """
    field = metric.partition(".")[2]
    try:
        word = read_cliff(run.path)[field]
    except FileNotFoundError:
        raise DataError(
            f"{run.path} has no {CLIFF}, which {metric} needs; evaluate it with a teacher and a base"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable_cliff(run.path, error) from error
    if word is not None and not isinstance(word, str):
        raise DataError(f"{run.path / CLIFF} holds {field} = {word!r}, which is no word")
    return word
