"""Whether an answer is the right one: JSON values compared as JSON Schema compares them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

MATCH: Final = "match.exact"
"""Score of an answer as a whole."""
FIELD_PREFIX: Final = "match.field."
"""Begins the score of one top-level field."""
MOST_FIELDS: Final = 64
"""Fields that have a score, the first by name: a metric for each of a thousand is a report of nothing."""


def equal(answer: Any, expected: Any) -> bool:
    """Whether two JSON values are the same, as JSON Schema's `const` means it.

    Numbers are equal by value (1 and 1.0), a truth value is no number, the order of keys says nothing and
    that of a list does, strings are the same code point for code point.

    Args:
        answer: decoded, nested less deeply than the interpreter can follow.
        expected: likewise.
    """
    if isinstance(answer, bool) or isinstance(expected, bool):
        return answer is expected
    if isinstance(answer, int | float) and isinstance(expected, int | float):
        return answer == expected
    if isinstance(answer, dict) and isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(equal(answer[key], expected[key]) for key in answer)
    if isinstance(answer, list) and isinstance(expected, list):
        return len(answer) == len(expected) and all(map(equal, answer, expected))
    return type(answer) is type(expected) and bool(answer == expected)


def match_names(expected: Any) -> tuple[str, ...]:
    """Scores of an answer to a task whose right answer is this: of the whole, and of each field of an object.

    A field whose name ends in `.all` has none, its metric would be another's; nor has one that can't be
    written on a line.
    """
    fields = expected if isinstance(expected, dict) else ()
    return (MATCH, *(FIELD_PREFIX + name for name in first_fields(fields)))


def first_fields(names: Iterable[str]) -> list[str]:
    """Those that have a score, by name."""
    found = {name for name in names if name and name.isprintable() and not name.endswith(".all")}
    return sorted(found)[:MOST_FIELDS]


def match_scores(answer: Any, expected: Any) -> dict[str, float | None]:
    """Scores of a decoded answer, 0 or 1; a field that it lacks is wrong."""
    scores: dict[str, float | None] = {}
    for name in match_names(expected):
        if name == MATCH:
            scores[name] = float(equal(answer, expected))
        else:
            field = name.removeprefix(FIELD_PREFIX)
            there = isinstance(answer, dict) and field in answer
            scores[name] = float(there and equal(answer[field], expected[field]))
    return scores
