"""The files of `datasets/fashion-mini`: its splits and its data card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from harness.data.fashion_mini import (
    BEST_RELEVANCE,
    BRANDS,
    CATEGORIES,
    COLOURS,
    DEFAULT_SEED,
    MATERIALS_PER_CATEGORY,
    ORNAMENTED_SHARE,
    ORNAMENTS,
    SHIPPED_ROWS,
    TASTE_SHARE,
    Split,
    generate_tasks,
)
from harness.data.tasks import RankingTask
from harness.data.writing import write_tasks
from harness.errors import DataError
from harness.files import output, write_text


@dataclass(frozen=True, slots=True)
class SplitStatistics:
    """What the data card says of a split.

    Attributes:
        tasks: number of tasks.
        k_min: smallest number of candidates.
        k_max: largest number of candidates.
        chance_ndcg_at_1: expected NDCG@1 of a ranking drawn uniformly: the mean over tasks of
            mean_i(2^rel_i − 1) / max_i(2^rel_i − 1).
        unique_best_share: share of tasks in which one candidate alone has the highest label.
        label_shares: label → share of candidates.
        title_characters: shortest, median and longest title.
        ornamented_share: share of titles with quotes, letters beyond ASCII or emoji.
    """

    tasks: int
    k_min: int
    k_max: int
    chance_ndcg_at_1: float
    unique_best_share: float
    label_shares: Mapping[int, float]
    title_characters: tuple[int, float, int]
    ornamented_share: float


def write_fashion_mini(
    out: Path, split: Split | None = None, n: int | None = None, seed: int = DEFAULT_SEED
) -> dict[Path, int]:
    """Write all splits at their shipped sizes with the data card, or one split of n tasks without it.

    Args:
        out: folder, made if it isn't there; files of the same names are replaced.
        split: write only this one.
        n: number of its tasks; its shipped size by default.
        seed: of the tasks.

    Returns:
        Each file written and its number of tasks (0 for the card).

    Raises:
        DataError: n without a split, or an argument out of its range.
        HarnessError: the folder can't be written.
    """
    if n is not None and split is None:
        raise DataError("a number of tasks needs a split: give `split=` with `n=`")
    wanted: dict[Split, int] = {split: SHIPPED_ROWS[split] if n is None else n} if split else SHIPPED_ROWS
    tasks = {name: generate_tasks(name, rows, seed) for name, rows in wanted.items()}
    with output(out, "choose another folder"):
        written = {
            out / f"{name}.jsonl": write_tasks(out / f"{name}.jsonl", made) for name, made in tasks.items()
        }
        if split is None:
            write_text(out / "README.md", render_card(tasks, seed))
            written[out / "README.md"] = 0
    return written


def split_statistics(tasks: Sequence[RankingTask]) -> SplitStatistics:
    """Measure a split with at least one task; each task must have a relevant candidate."""
    gains = [[2.0**label - 1.0 for label in task.relevance] for task in tasks]
    labels = Counter(int(label) for task in tasks for label in task.relevance)
    titles = [item.title for task in tasks for item in (*task.history, *task.candidates)]
    lengths = sorted(map(len, titles))
    return SplitStatistics(
        tasks=len(tasks),
        k_min=min(task.k for task in tasks),
        k_max=max(task.k for task in tasks),
        chance_ndcg_at_1=fmean(fmean(task_gains) / max(task_gains) for task_gains in gains),
        unique_best_share=fmean(task_gains.count(max(task_gains)) == 1 for task_gains in gains),
        label_shares={label: labels[label] / labels.total() for label in sorted(labels)},
        title_characters=(lengths[0], median(lengths), lengths[-1]),
        ornamented_share=fmean(any(ornament in title for ornament in ORNAMENTS) for title in titles),
    )


def render_card(splits: Mapping[Split, Sequence[RankingTask]], seed: int) -> str:
    """The data card, in Markdown."""
    rows = []
    for name, tasks in splits.items():
        measured = split_statistics(tasks)
        k = str(measured.k_min) if measured.k_min == measured.k_max else f"{measured.k_min}…{measured.k_max}"
        shares = " / ".join(f"{measured.label_shares.get(label, 0.0):.3f}" for label in range(4))
        shortest, middle, longest = measured.title_characters
        rows.append(
            f"| {name} | {measured.tasks:,} | {k} | {measured.chance_ndcg_at_1:.4f} "
            f"| {measured.unique_best_share:.0%} | {shares} | {shortest} / {middle:g} / {longest} "
            f"| {measured.ornamented_share:.1%} |"
        )
    kinds = len(CATEGORIES) * len(COLOURS) * len(BRANDS)
    return CARD.format(
        seed=seed,
        seed_option="" if seed == DEFAULT_SEED else f" --seed {seed}",
        statistics="\n".join([*STATISTICS_HEAD, *rows]),
        categories=", ".join(CATEGORIES),
        colours=", ".join(COLOURS),
        brands=", ".join(BRANDS),
        items=kinds * MATERIALS_PER_CATEGORY,
        kinds=kinds,
        ornamented=ORNAMENTED_SHARE,
        best_three=BEST_RELEVANCE[3],
        best_two=BEST_RELEVANCE[2],
        taste_share=TASTE_SHARE,
        neither_share=1 - 2 * TASTE_SHARE,
    )


STATISTICS_HEAD = (
    "| split | tasks | K | chance NDCG@1 | one best candidate | labels 0 / 1 / 2 / 3 "
    "| title characters min / median / max | ornamented titles |",
    "|---|---|---|---|---|---|---|---|",
)
CARD = """\
# fashion-mini

A synthetic fashion catalogue and listwise ranking tasks on it: given what a user chose before, rank K
items. Everything here was made by the project's own generator, `harness/data/fashion_mini.py`; no row,
name or title comes from any other data set. The brands are invented.

Made with seed {seed} by

    harness data generate fashion-mini{seed_option} --out datasets/fashion-mini

which writes the same bytes again, this card included. More tasks of a split, of which the first are these:

    harness data generate fashion-mini{seed_option} --split train --n 50000 --out DIR

## How a task is made

- An item is a category, a colour, a brand and a material: {items:,} items. The title reads `Navy linen
  shirt – Arden`; {ornamented:.0%} of the items carry an ornament that says nothing about relevance:
  quotes, accents, Chinese, Japanese or Korean words, emoji.
- A user's taste is one of the {kinds:,} combinations of category, colour and brand. No taste is in two
  splits, whatever the seed; so no task is.
- The history has 3 or 4 items. In each of the three attributes the taste's value occurs at least twice,
  any other at most once: the taste can be read off exactly, and NDCG@1 = 1 can be reached.
- The relevance of a candidate is the number of attributes it shares with the taste, 0…3. The best
  candidate shares three (probability {best_three}) or two ({best_two}); all others share fewer, so it
  is the only best one.
- A second taste of the same split, the decoy, differs from the first in all three attributes. One
  candidate is made from it as the best one is from the taste. In every other candidate each attribute
  has the taste's value with probability {taste_share}, the decoy's with {taste_share}, another with
  {neither_share:.1f}, drawn again until it is worse than both. Exchanging taste and decoy leaves the
  distribution of the candidates as it is: a ranker that doesn't read the history finds the best one at
  most half of the time.
- The order of the candidates is drawn uniformly. Item ids are numbered at random.

Values: {categories}; {colours}; {brands}.

## Fields

One JSON object a line.

| field | |
|---|---|
| `task_id` | `fashion-mini-<split>-<seed>-<number>` |
| `history` | items, oldest first: `item_id`, `title` |
| `candidates` | the K items to rank; number i in a ranking is the i-th |
| `relevance` | one label per candidate, 0…3 |
| `meta.taste` | category, colour and brand behind the labels; never shown to a model |

## Statistics

Chance NDCG@1 is that of a ranking drawn uniformly: the mean over tasks of mean(2^rel − 1) / max(2^rel −
1).

{statistics}

A bilinear model with one weight for each pair of a history word and a candidate word (3,600 weights), fitted
to `train` alone, reaches an NDCG@1 above 0.9 on `test`: the words of the titles carry the signal
(`tests/data/test_fashion_mini.py` fits it).

## Limits

Synthetic: it tests whether a checkpoint reads a history, ranks and keeps its output contract. It says
nothing about real users, real catalogues, or how a checkpoint would rank either; preferences here are
exact and depend on three words of a title. English nouns, one title pattern.

Licence: the same as the project's.
"""
