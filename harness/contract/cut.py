"""The lenient tier: values that can be cut out of fences or prose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from harness.contract.accept import ranking_of
from harness.contract.json_text import Malformed, Reading, RepeatedKeyError, decode
from harness.contract.schemas import root_types
from harness.contract.terms import Terms

WORK_BUDGET: Final = 4 * 2**20
"""How much of a text is looked at, in characters read, before the search gives up.

Every attempt to read an object costs what it would read on its own plus `ATTEMPT_COST`. A completion of
30,000 tokens is about 120,000 characters, so an ordinary one never comes near; `{"a":` written a million
times does. What was read before isn't read again, so the time is linear in the text's length well below it.
"""

ATTEMPT_COST: Final = 128

SCHEMA_COST: Final = 2048
"""What it costs beside to hold one value to a schema."""

# An object begins with a brace followed by a key or by its end; looking for that costs no budget. An array
# begins with a bracket followed by a value or its end. Others are words of their own, or strings.
_OBJECTS = re.compile(r'\{[ \t\n\r]*["}]')
_CONTAINERS = re.compile(r'\{[ \t\n\r]*["}]|\[[ \t\n\r]*(?:[\[\]{"]|-?[0-9]|true\b|false\b|null\b)')
_VALUES = re.compile(
    _CONTAINERS.pattern
    + r'|"|(?<![\w.-])-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?!\w)|\b(?:true|false|null)\b'
)


@dataclass(frozen=True, slots=True)
class Cut:
    """What was found in a text.

    Attributes:
        any_value: some JSON value of the kind that is looked for can be cut out, valid or not.
        rankings: those of the first two valid values, empty of kind schema; one means it is the only one,
            unless `gave_up`.
        gave_up: the budget was spent before the text's end.
    """

    any_value: bool
    rankings: tuple[tuple[int, ...], ...]
    gave_up: bool


def cut(text: str, terms: Terms) -> Cut:
    """Search `text` from left to right for JSON values of the kind that an answer is.

    For an answer that is an object only objects are looked for, for an array arrays too, else any value. What
    is found is jumped over, so a value inside another isn't found; a beginning that leads nowhere is passed
    by. The search ends at the second valid one: then it's anyone's guess which was meant.

    Args:
        text: any string.
        terms: what makes a value valid.
    """
    any_value = False
    rankings: list[tuple[int, ...]] = []
    readings: list[Reading] = []
    work = 0
    beginning = beginnings(terms)
    extra_cost = 0 if terms.whole_schema is None else SCHEMA_COST
    start = beginning.search(text)
    while start is not None:
        if work > WORK_BUDGET:
            return Cut(any_value, tuple(rankings), gave_up=True)
        found = _ends(text, start.start(), readings)
        if isinstance(found, Malformed):
            work += ATTEMPT_COST + found.position - start.start()
            start = beginning.search(text, start.start() + 1)
            continue
        work += ATTEMPT_COST + extra_cost + found - start.start()
        any_value = True
        ranking = _ranking_at(text, start.start(), terms)
        if ranking is not None:
            rankings.append(ranking)
            if len(rankings) > 1:
                break
        start = beginning.search(text, found)
    return Cut(any_value, tuple(rankings), gave_up=False)


def beginnings(terms: Terms) -> re.Pattern[str]:
    """What begins a value of the kind that an answer is."""
    if terms.contract.kind == "listwise":
        return _OBJECTS if terms.contract.members else _CONTAINERS
    return _beginnings(terms.whole_schema or "true")


@lru_cache(maxsize=512)
def _beginnings(schema: str) -> re.Pattern[str]:
    types = root_types(schema)
    return _OBJECTS if types == {"object"} else _CONTAINERS if types <= {"object", "array"} else _VALUES


def only_objects(terms: Terms) -> bool:
    """Whether only objects are looked for."""
    return beginnings(terms) is _OBJECTS


def _ends(text: str, start: int, readings: list[Reading]) -> int | Malformed:
    """As `skim(text, start)`, by what was read already where that says it.

    An object that no reading under way comes by stands in what it takes for a string, and one that does takes
    the string for structure: so there are two at most, whatever the text, and each goes through it once.
    """
    readings[:] = [reading for reading in readings if reading.reaches(start)]
    for reading in readings:
        found = reading.ends(start)
        if found is not None:
            return found
    readings.append(Reading(text, start))
    found = readings[-1].ends(start)
    assert found is not None, "a reading knows of its own beginning"
    return found


def _ranking_at(text: str, start: int, terms: Terms) -> tuple[int, ...] | None:
    try:
        return ranking_of(decode(text, start), terms)
    except RepeatedKeyError:
        return None
