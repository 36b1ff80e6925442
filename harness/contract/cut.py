"""The lenient tier: objects that can be cut out of fences or prose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from harness.contract.accept import ranking_of
from harness.contract.json_text import Malformed, Reading, RepeatedKeyError, decode
from harness.contract.terms import Terms

WORK_BUDGET: Final = 4 * 2**20
"""How much of a text is looked at, in characters read, before the search gives up.

Every attempt to read an object costs what it would read on its own plus `ATTEMPT_COST`. A completion of
30,000 tokens is about 120,000 characters, so an ordinary one never comes near; `{"a":` written a million
times does. What was read before isn't read again, so the time is linear in the text's length well below it.
"""

ATTEMPT_COST: Final = 128

# An object begins with a brace followed by a key or by its end; looking for that costs no budget.
_START = re.compile(r'\{[ \t\n\r]*["}]')


@dataclass(frozen=True, slots=True)
class Cut:
    """What was found in a text.

    Attributes:
        any_object: some JSON object can be cut out, valid or not.
        rankings: those of the first two valid objects; one means it is the only one, unless `gave_up`.
        gave_up: the budget was spent before the text's end.
    """

    any_object: bool
    rankings: tuple[tuple[int, ...], ...]
    gave_up: bool


def cut(text: str, terms: Terms) -> Cut:
    """Search `text` from left to right for JSON objects, each from its opening brace.

    An object found is jumped over, so one inside another isn't found; a brace that begins no object is passed
    by. The search ends at the second valid object: then it's anyone's guess which was meant.

    Args:
        text: any string.
        terms: what makes an object valid.
    """
    any_object = False
    rankings: list[tuple[int, ...]] = []
    readings: list[Reading] = []
    work = 0
    start = _START.search(text)
    while start is not None:
        if work > WORK_BUDGET:
            return Cut(any_object, tuple(rankings), gave_up=True)
        found = _ends(text, start.start(), readings)
        if isinstance(found, Malformed):
            work += ATTEMPT_COST + found.position - start.start()
            start = _START.search(text, start.start() + 1)
            continue
        work += ATTEMPT_COST + found - start.start()
        any_object = True
        ranking = _ranking_at(text, start.start(), terms)
        if ranking is not None:
            rankings.append(ranking)
            if len(rankings) > 1:
                break
        start = _START.search(text, found)
    return Cut(any_object, tuple(rankings), gave_up=False)


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
