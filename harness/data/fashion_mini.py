"""The project's own synthetic catalogue and ranking tasks, a pure function of a seed.

A user's taste is a category, a colour and a brand. The history shows it: each of the three is the single
most frequent value there. The relevance of a candidate is the number of the three that it shares with the
taste, 0…3, and exactly one candidate has the highest.

Candidates alone don't give the taste away: they are drawn around the taste and, in the same way, around a
decoy that differs from it in all three. Exchanging the two leaves the distribution of candidates as it is,
so a ranker that doesn't read the history finds the best one at most half of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from harness.data.tasks import MAX_CANDIDATES, Item, RankingTask
from harness.errors import DataError

Split = Literal["train", "validation", "test", "variable-k"]
Kind = tuple[int, int, int]
"""Indices into CATEGORIES, COLOURS and BRANDS."""

DATASET_NAME = "fashion-mini"
DEFAULT_SEED = 20260501
DEFAULT_K = 8
VARIABLE_K = (3, 12)
SHIPPED_ROWS: dict[Split, int] = {"train": 2000, "validation": 256, "test": 512, "variable-k": 256}
MIN_K = 3
"""The best candidate, its decoy and one more."""

VALUES = 10
"""Categories, colours and brands: as many of each."""
MATERIALS_PER_CATEGORY = 4
MATERIALS: dict[str, tuple[str, str, str, str]] = {
    "shirt": ("linen", "cotton", "silk", "flannel"),
    "dress": ("linen", "cotton", "silk", "jersey"),
    "jacket": ("denim", "leather", "quilted", "tweed"),
    "skirt": ("pleated", "denim", "linen", "wool"),
    "trousers": ("linen", "cotton", "wool", "corduroy"),
    "coat": ("wool", "tweed", "quilted", "waxed"),
    "scarf": ("silk", "wool", "knitted", "woven"),
    "boots": ("leather", "suede", "lined", "waxed"),
    "sneakers": ("canvas", "leather", "suede", "knitted"),
    "handbag": ("leather", "canvas", "suede", "woven"),
}
CATEGORIES = tuple(MATERIALS)
COLOURS = ("Navy", "Red", "Olive", "White", "Black", "Beige", "Teal", "Pink", "Grey", "Mustard")
BRANDS = ("Arden", "Bellmoor", "Corvo", "Duskin", "Elowen", "Fjara", "Halden", "Isolde", "Marlowe", "Quillan")
ORNAMENTS = (
    *(' "Slim"', ' "Atelier"', " 'Classic'"),
    *(", édition d’été", " für Zuhause", " señorita"),
    *(" 新款", " 限定", " 한정판"),
    *(" ✨", " 🎁", " 👗🧵"),
)
"""What a minority of titles carries before the brand; says nothing about relevance."""
ORNAMENTED_SHARE = 0.15
BEST_RELEVANCE = {3: 0.7, 2: 0.3}
"""How often the best candidate shares three, and two, attributes with the taste."""
TASTE_SHARE = 0.3
"""Probability that an attribute of any other candidate is the taste's, and that it is the decoy's."""

# Ids, titles and the split of each taste are the catalogue's: the same for every seed of tasks.
_CATALOGUE_SEED = 907
_TASTES_PER_SPLIT: dict[Split, int] = {"train": 600, "validation": 100, "test": 200, "variable-k": 100}


@dataclass(frozen=True, slots=True)
class _Catalogue:
    items: tuple[Item, ...]
    tastes: dict[Split, tuple[Kind, ...]]

    def item(self, kind: Kind, material: int) -> Item:
        category, colour, brand = kind
        return self.items[((category * VALUES + colour) * VALUES + brand) * MATERIALS_PER_CATEGORY + material]


@cache
def _catalogue() -> _Catalogue:
    rng = np.random.default_rng(_CATALOGUE_SEED)
    kinds = [
        (category, colour, brand, material)
        for category in range(VALUES)
        for colour in range(VALUES)
        for brand in range(VALUES)
        for material in range(MATERIALS_PER_CATEGORY)
    ]
    numbers = rng.permutation(len(kinds))
    ornamented = rng.random(len(kinds)) < ORNAMENTED_SHARE
    ornaments = rng.integers(len(ORNAMENTS), size=len(kinds))
    items = []
    for (category, colour, brand, material), number, has_ornament, ornament in zip(
        kinds, numbers, ornamented, ornaments, strict=True
    ):
        noun = CATEGORIES[category]
        extra = ORNAMENTS[ornament] if has_ornament else ""
        title = f"{COLOURS[colour]} {MATERIALS[noun][material]} {noun}{extra} – {BRANDS[brand]}"
        items.append(Item(item_id=f"F{number:04d}", title=title))
    return _Catalogue(tuple(items), _split_tastes(rng))


def _split_tastes(rng: np.random.Generator) -> dict[Split, tuple[Kind, ...]]:
    """No taste is in two splits, and a history shows one taste only: so no task is in two splits."""
    order = [int(index) for index in rng.permutation(VALUES**3)]
    ends = np.cumsum([0, *_TASTES_PER_SPLIT.values()]).tolist()
    return {
        split: tuple((index // 100, index // 10 % 10, index % 10) for index in order[start:end])
        for split, (start, end) in zip(_TASTES_PER_SPLIT, pairwise(ends), strict=True)
    }


def generate_tasks(
    split: Split, n: int, seed: int = DEFAULT_SEED, k: int | tuple[int, int] | None = None
) -> tuple[RankingTask, ...]:
    """Make n tasks of a split; the first tasks of a longer series are those of a shorter one.

    Args:
        split: its tastes occur in no other split, for any seed.
        n: number of tasks, ≥ 1.
        seed: ≥ 0.
        k: number of candidates, or the lowest and highest of them, 3 ≤ K ≤ 100; by default 8, and 3…12 for
            `variable-k`.

    Raises:
        DataError: an argument out of its range.
    """
    if split not in get_args(Split):
        raise DataError(f"unknown split {split!r}; choose one of {', '.join(get_args(Split))}")
    if n < 1 or seed < 0:
        raise DataError(f"n = {n} and seed = {seed}: n must be at least 1 and the seed at least 0")
    if k is None:
        k = VARIABLE_K if split == "variable-k" else DEFAULT_K
    low, high = (k, k) if isinstance(k, int) else k
    if not MIN_K <= low <= high <= MAX_CANDIDATES:
        raise DataError(f"k = {k}: the number of candidates must lie in {MIN_K}…{MAX_CANDIDATES}")
    return tuple(_task(split, index, seed, (low, high)) for index in range(n))


def _task(split: Split, index: int, seed: int, k_range: tuple[int, int]) -> RankingTask:
    # A stream of its own for each task: task i is the same however many are made.
    rng = np.random.default_rng([seed, get_args(Split).index(split), index])
    taste, decoy = _taste_and_decoy(_catalogue().tastes[split], rng)
    k = int(rng.integers(k_range[0], k_range[1] + 1))
    used: set[str] = set()
    # A history holds at most three items of one kind, of four materials: each gets its item.
    history = tuple(item for kind in _history(taste, rng) if (item := _unused_item(kind, rng, used)))
    drawn = [_draw_item(draw, rng, used) for draw in _candidate_draws(taste, decoy, k, rng)]
    shuffled = [drawn[place] for place in rng.permutation(k)]
    return RankingTask(
        task_id=f"{DATASET_NAME}-{split}-{seed}-{index:05d}",
        history=history,
        candidates=tuple(item for _, item in shuffled),
        relevance=tuple(float(_shared(kind, taste)) for kind, _ in shuffled),
        meta={"taste": [CATEGORIES[taste[0]], COLOURS[taste[1]], BRANDS[taste[2]]]},
    )


def _shared(one: Kind, other: Kind) -> int:
    return sum(a == b for a, b in zip(one, other, strict=True))


def _taste_and_decoy(tastes: tuple[Kind, ...], rng: np.random.Generator) -> tuple[Kind, Kind]:
    # The pair is drawn as one, from the same split, so that nothing tells its two members apart.
    while True:
        taste, decoy = (tastes[index] for index in rng.integers(len(tastes), size=2))
        if _shared(taste, decoy) == 0:
            return taste, decoy


def _history(taste: Kind, rng: np.random.Generator) -> list[Kind]:
    """Three or four kinds in which each value of the taste occurs at least twice, any other at most once."""
    length = int(rng.integers(3, 5))
    columns = []
    for value in taste:
        column = [value] * length
        deviating = int(rng.integers(1, length - 1))
        others = rng.permutation([other for other in range(VALUES) if other != value])
        for place, other in zip(rng.permutation(length)[:deviating], others, strict=False):
            column[place] = int(other)
        columns.append(column)
    return list(zip(*columns, strict=True))


def _candidate_draws(taste: Kind, decoy: Kind, k: int, rng: np.random.Generator) -> list[Callable[[], Kind]]:
    """How each candidate's kind is drawn: the best, the decoy's best, then k − 2 that are worse than both."""
    best = int(rng.choice(list(BEST_RELEVANCE), p=list(BEST_RELEVANCE.values())))

    def neither(attribute: int) -> int:
        while (value := int(rng.integers(VALUES))) in (taste[attribute], decoy[attribute]):
            pass
        return value

    def near(centre: Kind, away: Kind) -> Kind:
        kind = list(centre)
        for attribute in rng.permutation(3)[best:]:
            kind[attribute] = away[attribute] if rng.random() < 0.5 else neither(attribute)
        return kind[0], kind[1], kind[2]

    def worse() -> Kind:
        while True:
            draws = rng.random(3)
            values = [
                taste[i] if draw < TASTE_SHARE else decoy[i] if draw < 2 * TASTE_SHARE else neither(i)
                for i, draw in enumerate(draws)
            ]
            kind = (values[0], values[1], values[2])
            if max(_shared(kind, taste), _shared(kind, decoy)) < best:
                return kind

    return [lambda: near(taste, decoy), lambda: near(decoy, taste), *[worse] * (k - 2)]


def _draw_item(draw: Callable[[], Kind], rng: np.random.Generator, used: set[str]) -> tuple[Kind, Item]:
    while True:
        kind = draw()
        if item := _unused_item(kind, rng, used):
            return kind, item


def _unused_item(kind: Kind, rng: np.random.Generator, used: set[str]) -> Item | None:
    items = [_catalogue().item(kind, material) for material in range(MATERIALS_PER_CATEGORY)]
    unused = [item for item in items if item.item_id not in used]
    if not unused:
        return None
    item = unused[rng.integers(len(unused))]
    used.add(item.item_id)
    return item
