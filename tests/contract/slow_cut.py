"""The search for objects as it is defined: each beginning is read anew, whatever was read before."""

from __future__ import annotations

from harness.contract.cut import _OBJECTS, ATTEMPT_COST, WORK_BUDGET, Cut, _ranking_at
from harness.contract.json_text import (
    _CLOSER,
    MAX_DEPTH,
    Malformed,
    _next_value,
    _past_scalar,
    _past_space,
)
from harness.contract.terms import Terms


def slow_skim(text: str, start: int) -> int | Malformed:
    closers: list[str] = []
    position = start
    while True:
        closer = _CLOSER.get(text[position : position + 1])
        ended = True
        if closer is None:
            found = _past_scalar(text, position)
        elif len(closers) == MAX_DEPTH:
            return Malformed(position, f"nested deeper than {MAX_DEPTH} levels", too_deep=True)
        else:
            position = _past_space(text, position + 1)
            ended = text.startswith(closer, position)
            if ended:
                found = position + 1
            else:
                closers.append(closer)
                found = _next_value(text, position, closer)
        while ended and not isinstance(found, Malformed):
            if not closers:
                return found
            position = _past_space(text, found)
            if text.startswith(closers[-1], position):
                closers.pop()
                found = position + 1
            elif text.startswith(",", position):
                ended = False
                found = _next_value(text, position + 1, closers[-1])
            else:
                found = Malformed(position, f"expected ',' or '{closers[-1]}'")
        if isinstance(found, Malformed):
            return found
        position = found


def slow_cut(text: str, terms: Terms) -> Cut:
    any_value = False
    rankings: list[tuple[int, ...]] = []
    work = 0
    start = _OBJECTS.search(text)
    while start is not None:
        if work > WORK_BUDGET:
            return Cut(any_value, tuple(rankings), gave_up=True)
        found = slow_skim(text, start.start())
        if isinstance(found, Malformed):
            work += ATTEMPT_COST + found.position - start.start()
            start = _OBJECTS.search(text, start.start() + 1)
            continue
        work += ATTEMPT_COST + found - start.start()
        any_value = True
        ranking = _ranking_at(text, start.start(), terms)
        if ranking is not None:
            rankings.append(ranking)
            if len(rankings) > 1:
                break
        start = _OBJECTS.search(text, found)
    return Cut(any_value, tuple(rankings), gave_up=False)
