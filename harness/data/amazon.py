"""Ranking tasks from the official Amazon Reviews files, in bounded memory.

Rows are streamed into an index on disk (`amazon_index`), then read back user by user.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from harness.data.amazon_index import ReviewIndex
from harness.data.amazon_report import (
    PreparationReport,
    RowCounts,
    UnfitDataError,
    reasons_to_refuse,
    render_card,
)
from harness.data.amazon_rows import Dropped, Interaction, Progress, Titled, read_interactions, read_titles
from harness.data.amazon_tasks import AmazonSettings, UsableReviews, make_task, split_of, usable_reviews
from harness.data.locate import SPLIT_ORDER
from harness.data.publishing import CARD_NAME, publish, require_free, working_folder
from harness.data.tasks import RankingTask
from harness.data.writing import to_json_line
from harness.files import replacing, write_text

Row = TypeVar("Row", Interaction, Titled)


def prepare_amazon_fashion(
    reviews: Path,
    meta: Path,
    out: Path,
    settings: AmazonSettings | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PreparationReport:
    """Turn official reviews and metadata files into `train`, `validation` and `test.jsonl` with a card.

    The result depends on the files' rows, not on their order, and on the settings.

    Args:
        reviews: 2018 or 2023 reviews: JSON lines, one JSON array or csv with a header; plain or gzip.
        meta: metadata of the same release, of which id and title are used; also Python-literal lines.
        out: folder for the splits (those with tasks) and the card; made if it isn't there.
        settings: how to make tasks.
        overwrite: whether to replace splits that are there already.
        progress: told what is being read, and how far.

    Returns:
        What was read, dropped and made.

    Raises:
        UnfitDataError: what was read can't support ranking; nothing is written. Its message gives every
            reason with numbers, its `report` all counts.
        DataError: a file can't be read, `out` holds splits already, or the disk is full.
    """
    settings = settings or AmazonSettings()
    require_free(out, overwrite=overwrite)
    with working_folder(out) as folder, closing(ReviewIndex(folder / "index.sqlite")) as index:
        counts = _Counts()
        items = index.add_catalogue(_counted(read_titles(meta, progress), counts.metadata))
        index.add_reviews(_counted(read_interactions(reviews, progress), counts.reviews))
        _write_splits(folder, index, items, settings, counts, progress)
        report = counts.report(items, index.largest_item_set())
        if reasons := reasons_to_refuse(report, settings):
            raise UnfitDataError(f"{reviews}: can't support ranking: {'; '.join(reasons)}", report)
        write_text(folder / CARD_NAME, render_card(report, settings))
        publish(folder, out)
    return report


@dataclass(slots=True)
class _Rows:
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    cut: int = 0

    def freeze(self) -> RowCounts:
        return RowCounts(self.read, self.read - self.dropped.total(), dict(sorted(self.dropped.items())))


@dataclass(slots=True)
class _Counts:
    """Counts as they grow; `report` freezes them."""

    reviews: _Rows = field(default_factory=_Rows)
    metadata: _Rows = field(default_factory=_Rows)
    users: int = 0
    users_with_history: int = 0
    users_with_one_time: int = 0
    users_with_one_rating: int = 0
    ratings: Counter[float] = field(default_factory=Counter)
    users_dropped: Counter[str] = field(default_factory=Counter)
    tied_histories: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)

    def add_user(self, usable: UsableReviews, has_history: bool) -> None:
        self.users += 1
        self.reviews.dropped.update(usable.dropped)
        self.ratings.update(review.rating for review in usable.reviews if review.rating is not None)
        if has_history:
            everything = (*usable.reviews, *usable.untitled)
            self.users_with_history += 1
            self.users_with_one_time += len({review.time for review in everything}) == 1
            self.users_with_one_rating += len({review.rating for review in everything}) == 1

    def add_task(self, task: RankingTask, usable: UsableReviews, split: str) -> None:
        times = [review.time for review in usable.reviews][:-1][-len(task.history) :]
        self.tied_histories += len(set(times)) < len(times)
        self.tasks[split] += 1
        self.labels[int(max(task.relevance))] += 1

    def report(self, items: int, users_with_same_items: int) -> PreparationReport:
        metadata = self.metadata
        duplicates = metadata.read - metadata.dropped.total() - items
        if duplicates:
            metadata.dropped["another row of the same item"] = duplicates
        return PreparationReport(
            reviews=self.reviews.freeze(),
            metadata=metadata.freeze(),
            items=items,
            titles_cut=metadata.cut,
            users=self.users,
            users_with_history=self.users_with_history,
            users_with_one_time=self.users_with_one_time,
            users_with_same_items=users_with_same_items,
            users_with_one_rating=self.users_with_one_rating,
            ratings=dict(sorted(self.ratings.items())),
            users_dropped=dict(sorted(self.users_dropped.items())),
            tied_histories=self.tied_histories,
            tasks={split: self.tasks[split] for split in SPLIT_ORDER},
            labels=dict(sorted(self.labels.items())),
            peak_memory_mib=peak_memory_mib(),
        )


def _counted(rows: Iterable[Row | Dropped], counts: _Rows) -> Iterator[Row]:
    for row in rows:
        counts.read += 1
        if isinstance(row, Dropped):
            counts.dropped[row.reason] += 1
        else:
            counts.cut += isinstance(row, Titled) and row.cut
            yield row


def _write_splits(
    folder: Path,
    index: ReviewIndex,
    items: int,
    settings: AmazonSettings,
    counts: _Counts,
    progress: Progress | None,
) -> None:
    rows, rows_done = counts.reviews.read - counts.reviews.dropped.total(), 0
    with ExitStack() as stack:
        files = {split: stack.enter_context(replacing(folder / f"{split}.jsonl")) for split in SPLIT_ORDER}
        for user in index.users():
            usable = usable_reviews(user)
            counts.add_user(usable, _note_history(index, usable, settings))
            outcome = make_task(user, usable.reviews, settings, items, index.item)
            if isinstance(outcome, RankingTask):
                split = split_of(user, settings)
                files[split].write(to_json_line(outcome).encode("utf-8"))
                counts.add_task(outcome, usable, split)
            else:
                counts.users_dropped[outcome] += 1
            rows_done += user.rows
            if progress and counts.users % 1000 == 0:
                progress("making tasks, reviews", rows_done, rows)
        if progress:
            progress("making tasks, reviews", rows, rows)


def _note_history(index: ReviewIndex, usable: UsableReviews, settings: AmazonSettings) -> bool:
    """Whether the user has enough different items; if so the index learns which."""
    everything = [review.item for review in (*usable.reviews, *usable.untitled)]
    if len(everything) <= settings.min_history:
        return False
    index.note_item_set(everything)
    return True


def peak_memory_mib() -> float | None:
    """Largest resident memory of this process so far, MiB; None on systems without `getrusage`."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
