"""The repaired tier: what a repair library makes of a text, when there is nothing it could have made up."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from harness.contract.accept import ranking_of
from harness.contract.spelling import numbers_of
from harness.contract.terms import Terms

MAX_LENGTH: Final = 4096
"""Longest piece handed to json_repair, in characters from its first brace: its time grows faster than the
square of the length (measured worst case at 4,096: below three seconds)."""

MAX_BRACKETS: Final = 64
"""Most opening brackets handed to it: it recurses on them."""

MAX_QUOTES: Final = 512
"""Most quotation marks handed to it: its slowest inputs consist of them."""

_QUOTE = "\"'“”‘’"


def repaired(text: str, terms: Terms) -> tuple[int, ...] | None:
    """The ranking that json_repair can save from a text that isn't JSON, or None.

    Repair libraries close, drop, reorder and merge what they can't read, so a valid result alone doesn't show
    that the model gave this ranking. It counts only if the list can be read off the text as it stands: after
    the key's only occurrence come a colon, an opening bracket, the ids in this order with nothing but
    quotation marks, commas and white space between them, and a closing bracket or the end of the text. Of a
    bare array the opening bracket is the text's only one. Objects with ids and kind schema have no such list.

    Args:
        text: a text that isn't JSON as a whole.
        terms: what the result is held to.

    Raises:
        RecursionError: json_repair ran out of stack; a fresh one may do.
    """
    contract = terms.contract
    if contract.kind == "schema" or contract.id_field is not None:
        return None
    legible = _legible(text, terms)
    if legible is None:
        return None
    piece = text[max(text.find("{" if contract.members else "["), 0) :]
    if (
        len(piece) > MAX_LENGTH
        or sum(map(piece.count, "[{(")) > MAX_BRACKETS
        or sum(map(piece.count, _QUOTE)) > MAX_QUOTES
    ):
        return None
    ranking = ranking_of(_json_repair(piece), terms)
    return ranking if ranking == legible else None


def _json_repair(piece: str) -> object:
    import json_repair

    try:
        return json_repair.repair_json(piece, return_objects=True, skip_json_loads=True)
    except Exception as error:
        # Not a swallowed failure: a text that the library chokes on is one it can't repair.
        if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
            raise RecursionError("json_repair") from error
        return None


def _legible(text: str, terms: Terms) -> tuple[int, ...] | None:
    """The candidates that follow the only occurrence of the ranking's key, or the only bracket there is."""
    name, listed, one = _patterns(terms)
    match = name.search(text)
    if match is None or name.search(text, match.end()) is not None:
        return None
    ids = listed.match(text, match.end())
    if ids is None:
        return None
    contract = terms.contract
    values = [int(id_) if contract.ids in ("number", "number0") else id_ for id_ in one.findall(ids[1])]
    numbers = numbers_of(contract.ids, terms.k, terms.item_ids)
    return tuple(numbers.get(value, 0) for value in values)


@lru_cache(maxsize=256)
def _patterns(terms: Terms) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """The key as a member's name, what must follow it, and one id."""
    between = rf"[\s,{_QUOTE}]"
    match terms.contract.ids:
        case "number" | "string":
            one = "[1-9][0-9]{0,8}"
        case "number0":
            one = "(?:0|[1-9][0-9]{0,8})"
        case "letter":
            one = "[A-Z]{1,2}"
        case _:
            one = f"(?:{'|'.join(map(re.escape, sorted(terms.item_ids, key=len, reverse=True)))})"
    key = terms.contract.key
    name = rf"(?<!\w){re.escape(key)}[{_QUOTE}]?\s*:" if key else r"[\[({]"
    opening = r"\s*[\[(]" if key else ""
    ids = rf"{between}*{one}(?:{between}+{one}){{{terms.listed - 1}}}"
    return (
        re.compile(name),
        re.compile(rf"{opening}({ids}){between}*(?:[\])}}]|\Z)"),
        re.compile(one),
    )
