"""Judges for the fake Gemini: what can be read in a prompt, and how one might answer."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

RELEVANCE = re.compile(r"\bgrade (\d)\b")


@dataclass(frozen=True)
class Seen:
    """What a judge can read in a prompt: the delimited blocks, parsed back from their JSON lines."""

    system: str
    user: str
    history: list[str]
    candidates: list[str]
    """Titles in the order of presentation."""
    rankings: list[list[str]]
    """Titles by rank: one ranking, or the first and the second one."""
    places: list[list[int]]
    """For each ranking, the places (0 is first) at which its items were presented, by rank."""
    criteria: list[str]
    pair: bool


def read_prompt(system: str, user: str, criteria: list[str]) -> Seen:
    def block(tag: str) -> list[dict[str, object]]:
        found = re.findall(rf"^<{tag}>\n(.*?)\n</{tag}>$", user, re.DOTALL | re.MULTILINE)
        if not found or found[0] == "(nothing)":
            return []
        assert len(found) == 1, f"{len(found)} blocks <{tag}>"
        return [json.loads(line) for line in found[0].split("\n")]

    candidates = block("candidates")
    place = {row["candidate"]: index for index, row in enumerate(candidates)}
    tags = ["ranking"] if "<ranking>" in user else ["first", "second"]
    rankings = [block(tag) for tag in tags]
    return Seen(
        system=system,
        user=user,
        history=[str(row["title"]) for row in block("history")],
        candidates=[str(row["title"]) for row in candidates],
        rankings=[[str(row["title"]) for row in rows] for rows in rankings],
        places=[[place[row["candidate"]] for row in rows] for rows in rankings],
        criteria=criteria,
        pair=len(tags) == 2,
    )


Judge = Callable[[Seen, random.Random], dict[str, object]]


def relevance(title: str) -> int:
    found = RELEVANCE.search(title)
    return int(found[1]) if found else 0


def quality(titles: list[str]) -> float:
    """How well a ranking orders the relevance that its titles show, in [0, 1]: discounted, like NDCG."""

    def gain(values: list[int]) -> float:
        return sum((2**value - 1) / (rank + 1) for rank, value in enumerate(values, 1))

    values = [relevance(title) for title in titles]
    best = gain(sorted(values, reverse=True))
    return gain(values) / best if best else 1.0


def graded(seen: Seen, value: float, reason: str = "as it is") -> dict[str, object]:
    """The same grade, 1 to 5, on every criterion."""
    grade = 1 + round(4 * min(1.0, max(0.0, value)))
    return {"reason": reason, "scores": dict.fromkeys(seen.criteria, grade)}


def fair(seen: Seen, rng: random.Random) -> dict[str, object]:
    if seen.pair:
        first, second = (quality(titles) for titles in seen.rankings)
        better = "tie" if first == second else "first" if first > second else "second"
        return {"reason": "by relevance", "better": better}
    return graded(seen, quality(seen.rankings[0]) + rng.uniform(-0.06, 0.06))


def first_wins(seen: Seen, rng: random.Random) -> dict[str, object]:
    """Relevance matters a little; being presented early matters more."""
    if seen.pair:
        return {"reason": "it came first", "better": "first"}
    early = 1.0 - seen.places[0][0] / (len(seen.candidates) - 1)
    return graded(seen, 0.5 * quality(seen.rankings[0]) + 0.5 * early)


def long_titles_win(seen: Seen, rng: random.Random) -> dict[str, object]:
    lengths = [len(titles[0]) for titles in seen.rankings]
    if seen.pair:
        better = "tie" if lengths[0] == lengths[1] else "first" if lengths[0] > lengths[1] else "second"
        return {"reason": "it says more", "better": better}
    shortest, longest = min(map(len, seen.candidates)), max(map(len, seen.candidates))
    long = (lengths[0] - shortest) / max(1, longest - shortest)
    return graded(seen, 0.5 * quality(seen.rankings[0]) + 0.5 * long)


def at_random(seen: Seen, rng: random.Random) -> dict[str, object]:
    if seen.pair:
        return {"reason": "a feeling", "better": rng.choice(["first", "second", "tie"])}
    return {"reason": "a feeling", "scores": {name: rng.randint(1, 5) for name in seen.criteria}}
