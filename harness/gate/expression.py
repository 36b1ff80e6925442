"""Rules of a policy, `parse_validity.strict >= 0.95` and the like, read by an exact parser.

    rule    := metric (">=" | "<=") bound | metric "in" "[" word ("," word)* "]"
    bound   := number | "baseline" (("+" | "-") number)? "common"?
    metric  := name ("." name)*, a name being letters, digits, "_" and "-"; or "match.field." field

Nothing is evaluated: what isn't one of these is an error that says where.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from harness.errors import HarnessError

Sense = Literal[">=", "<="]


class PolicyError(HarnessError):
    """A policy that can't be used as it is. Exit code 2."""


@dataclass(frozen=True, slots=True)
class NumberRule:
    """`metric >= 0.95` or `metric <= 0.01`.

    Attributes:
        text: the rule as written, white space settled.
        metric: name of the metric.
        sense: which side of the bar passes; the bar itself does.
        bar: the number.
    """

    text: str
    metric: str
    sense: Sense
    bar: float


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """`metric >= baseline - 0.01`: a requirement on candidate − baseline.

    Attributes:
        text: the rule as written, white space settled.
        metric: name of the metric.
        sense: which side passes.
        shift: what candidate − baseline is compared with; −0.01 in the example.
        common: whether it is about the tasks alone on which both sides have a value, knowingly; else an
            answer without one counts as the worst and as the best that it could have been.
    """

    text: str
    metric: str
    sense: Sense
    shift: float
    common: bool = False


@dataclass(frozen=True, slots=True)
class WordRule:
    """`cliff.verdict in [left]`.

    Attributes:
        text: the rule as written, white space settled.
        metric: name of the field.
        allowed: the words that pass.
    """

    text: str
    metric: str
    allowed: tuple[str, ...]


Rule = NumberRule | BaselineRule | WordRule

# A field's name is the user's, and may hold anything that no operator begins with.
_METRIC = re.compile(r"[A-Za-z][\w-]*(?:\.\w[\w-]*)*|match\.field\..+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_BASELINE = re.compile(r"baseline(?:\s*(?P<sign>[+-])\s*(?P<number>\S.*))?", re.ASCII)
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_OPERATOR = re.compile(r"(?P<operator>[<>=!≥≤]+|\sin(?![\w.-]))")
_FORMS = "write `metric >= number`, `metric <= baseline + number` or `metric in [word, word]`"


def parse_rule(text: str) -> Rule:
    """Read one rule.

    Raises:
        PolicyError: it isn't a rule; the message quotes what is wrong and how to write it.
    """
    settled = " ".join(text.split())
    found = _OPERATOR.search(settled)
    if found is None:
        raise PolicyError(f"rule `{settled}` has no comparison; {_FORMS}")
    metric, right = settled[: found.start()].strip(), settled[found.end() :].strip()
    operator = found["operator"].strip()
    if not _METRIC.fullmatch(metric):
        raise PolicyError(f"rule `{settled}`: `{metric}` is no metric name; {_FORMS}")
    if operator == "in":
        return WordRule(settled, metric, _words(settled, right))
    sense = _sense(settled, operator, right)
    if right == "baseline" or right.startswith(("baseline ", "baseline+", "baseline-")):
        bound, common = _without_common(right)
        return BaselineRule(settled, metric, sense, _shift(settled, bound), common)
    if _without_common(right)[1]:
        raise PolicyError(f"rule `{settled}`: `common` goes with `baseline`; leave it out")
    return NumberRule(settled, metric, sense, _number(settled, right))


def _without_common(bound: str) -> tuple[str, bool]:
    """A bound, and whether the word `common` stood behind it."""
    head, _, last = bound.rpartition(" ")
    return (head, True) if last == "common" and head else (bound, False)


def _sense(rule: str, operator: str, right: str) -> Sense:
    if operator == ">=":
        return ">="
    if operator == "<=":
        return "<="
    if _WORD.fullmatch(right) and right != "baseline":
        raise PolicyError(f"rule `{rule}`: `{operator}` compares with no word; write `in [{right}]`")
    meant = "<=" if operator[0] in "<≤" else ">="
    raise PolicyError(f"rule `{rule}`: `{operator}` is no comparison; write `{meant}`")


def _number(rule: str, text: str) -> float:
    if not _NUMBER.fullmatch(text):
        shown = f"`{text}` is no number" if text else "the number is missing"
        hint = "; write 95 % as 0.95" if text.endswith("%") else f"; {_FORMS}"
        raise PolicyError(f"rule `{rule}`: {shown}{hint}")
    value = float(text)
    if not math.isfinite(value):
        raise PolicyError(f"rule `{rule}`: {text} is too large")
    return value


def _shift(rule: str, text: str) -> float:
    match = _BASELINE.fullmatch(text)
    if match is None:
        raise PolicyError(
            f"rule `{rule}`: after `baseline` comes + or - and a number, then `common` or nothing"
        )
    if match["sign"] is None:
        return 0.0
    if match["number"][0] in "+-":
        raise PolicyError(f"rule `{rule}`: after `baseline` comes one sign, not two")
    value = _number(rule, match["number"])
    return -value if match["sign"] == "-" else value


def _words(rule: str, text: str) -> tuple[str, ...]:
    words = [word.strip() for word in text[1:-1].split(",")] if text[:1] + text[-1:] == "[]" else []
    if not words or not all(_WORD.fullmatch(word) for word in words):
        raise PolicyError(f"rule `{rule}`: after `in` comes a list of words such as `[left, on_cliff]`")
    if len(set(words)) < len(words):
        raise PolicyError(f"rule `{rule}` names a word twice")
    return tuple(words)
