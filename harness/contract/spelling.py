"""How candidates are named in an answer: the JSON values that stand for the numbers 1…K."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

Ids = Literal["number", "number0", "string", "letter", "item_id"]

MAX_LISTED: Final = 100
"""Most candidates that a task may have."""

_LETTERS: Final = 26


def letter(number: int) -> str:
    """A for 1, Z for 26, AA for 27, and so on."""
    letters = ""
    while number > 0:
        number, rest = divmod(number - 1, _LETTERS)
        letters = chr(ord("A") + rest) + letters
    return letters


def spell(ids: Ids, number: int, item_ids: Sequence[str] = ()) -> int | str:
    """The JSON value of candidate `number`, counted from 1."""
    match ids:
        case "number":
            return number
        case "number0":
            return number - 1
        case "string":
            return str(number)
        case "letter":
            return letter(number)
    return item_ids[number - 1]


@lru_cache(maxsize=512)
def numbers_of(ids: Ids, k: int, item_ids: tuple[str, ...]) -> dict[int | str, int]:
    """The number of each candidate by the JSON value that stands for it."""
    return {spell(ids, number, item_ids): number for number in range(1, k + 1)}


def scattered(k: int) -> list[int]:
    """1…k by steps of about the golden ratio: neither ascending nor descending for most k, no randomness."""
    step = max(1, round(k * 0.618))
    while math.gcd(step, k) != 1:
        step += 1
    return [(k // 2 + i * step) % k + 1 for i in range(k)]
