"""Ranking tasks over genuine titles, for benchmarks; written outside the repository.

    python benchmarks/genuine_titles.py --out /tmp/genuine.jsonl --n 64

Genuine: the titles (and item ids) of the 1,000 rows of Amazon Fashion 2023 metadata in HARNESS_SHARED, or
`../shared` beside the repository, with all their length, quotes, CJK and mojibake.
Not genuine: users, histories and relevance. Of the 7,642 items in the 2023 interactions there, 8 have a title
in those rows, so no genuine user can be shown. Instead each task draws an anchor item as the taste; the
history is three items that share words with it, and a candidate's relevance is how many of the three kinds
of word it shares with it: garment, wearer, colour (0…3). NDCG on these tasks says nothing about real users;
their prompts are as long and as odd as real ones, which is what speed and parse validity need.

The data carry no licence that allows redistribution: the output must not enter the repository.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import numpy as np

from harness.data.amazon_rows import Titled, read_titles
from harness.data.tasks import Item, RankingTask
from harness.data.writing import write_tasks
from harness.errors import DataError

ROOT = Path(__file__).resolve().parents[1]
FILES = ("meta_2023_sample500_random.jsonl.gz", "meta_2023_sample500_stratified.jsonl.gz")
HISTORY = 3
RELATED_CANDIDATES = 3
WEIGHT_OF_A_WORD = 10.0
"""An item that shares one word more with the anchor is drawn so much more often."""
GARMENTS = (
    "dress|shirt|tee|blouse|top|sweater|hoodie|jacket|coat|vest|skirt|shorts|pants|leggings|jeans|suit|bra|"
    "swimsuit|bikini|pajamas|costume|socks|shoes|boots|sandals|sneakers|slippers|hat|cap|scarf|gloves|belt|"
    "bag|handbag|backpack|wallet|purse|watch|band|sunglasses|glasses|necklace|earrings|bracelet|ring|pendant|mask"
)
WEARERS = "women|men|girls|boys|kids|baby|toddler|unisex"
COLOURS = "black|white|red|blue|navy|green|pink|purple|grey|gray|brown|gold|silver|yellow|beige|orange"
KINDS_OF_WORD = tuple(
    re.compile(rf"\b(?:{words})(?:'?s)?\b", re.IGNORECASE) for words in (GARMENTS, WEARERS, COLOURS)
)


def shared_folder() -> Path:
    """Where the genuine rows lie, if they are on this machine."""
    return Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared")) / "data" / "amazon_fashion"


def words_of(title: str) -> tuple[str | None, ...]:
    """Garment, wearer and colour: the first word of each kind in a title, None where there is none."""
    found = (kind.search(title) for kind in KINDS_OF_WORD)
    return tuple(match.group().lower().rstrip("s").rstrip("'") if match else None for match in found)


def shared_words(one: tuple[str | None, ...], other: tuple[str | None, ...]) -> int:
    """How many kinds of word two titles agree in."""
    return sum(a is not None and a == b for a, b in zip(one, other, strict=True))


def genuine_title_tasks(folder: Path, n: int, k: int, seed: int) -> list[RankingTask]:
    """Make n tasks of k candidates; see the module's text for what is genuine in them.

    Raises:
        DataError: a file of genuine rows is missing, or k is beyond what they allow.
    """
    rows = [row for name in FILES for row in read_titles(folder / name) if isinstance(row, Titled)]
    items = [Item(item_id=row.item, title=row.title) for row in sorted(rows, key=lambda row: row.item)]
    if not RELATED_CANDIDATES <= k <= 64:
        raise DataError(f"k is {k}; it must lie in {RELATED_CANDIDATES}…64")
    words = [words_of(item.title) for item in items]
    rng = np.random.default_rng(seed)
    tasks: list[RankingTask] = []
    while len(tasks) < n:
        task = _task(items, words, k, rng, f"genuine-titles-{seed}-{len(tasks):04d}")
        if task:
            tasks.append(task)
    return tasks


def _task(
    items: list[Item], words: list[tuple[str | None, ...]], k: int, rng: np.random.Generator, task_id: str
) -> RankingTask | None:
    """One task, or None where the anchor drawn is like too few items."""
    anchor = int(rng.integers(len(items)))
    labels = [shared_words(words[anchor], other) for other in words]
    alike = [index for index, label in enumerate(labels) if label > 0 and index != anchor]
    if len(alike) < HISTORY + RELATED_CANDIDATES:
        return None
    weights = np.array([WEIGHT_OF_A_WORD ** labels[index] for index in alike])
    drawn = rng.choice(alike, HISTORY + RELATED_CANDIDATES, replace=False, p=weights / weights.sum()).tolist()
    history, related = drawn[:HISTORY], drawn[HISTORY:]
    others = [int(index) for index in rng.permutation(len(items)) if index not in (anchor, *drawn)]
    candidates = [*related, *others[: k - RELATED_CANDIDATES]]
    shuffled = [candidates[place] for place in rng.permutation(k)]
    if len({labels[index] for index in shuffled}) == 1:
        return None
    return RankingTask(
        task_id=task_id,
        history=tuple(items[index] for index in history),
        candidates=tuple(items[index] for index in shuffled),
        relevance=tuple(float(labels[index]) for index in shuffled),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="a .jsonl file outside the repository")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if ROOT in arguments.out.resolve().parents:
        parser.error(f"{arguments.out} is inside the repository; genuine rows must stay out of it")
    try:
        tasks = genuine_title_tasks(shared_folder(), arguments.n, arguments.k, arguments.seed)
    except DataError as error:
        parser.error(str(error))
    write_tasks(arguments.out, tasks)
    titles = [len(item.title) for task in tasks for item in (*task.history, *task.candidates)]
    print(
        f"{arguments.out}: {len(tasks)} tasks, genuine titles of {min(titles)}–{max(titles)} characters, "
        "synthetic users and relevance"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
