"""What preparing Amazon reviews found, whether that can support ranking, and the data card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.data.amazon_tasks import RELEVANCE_OF_RATING, AmazonSettings
from harness.errors import DataError

MAX_TIED_SHARE = 0.5
"""Most users with a single time, or with the same items, that leave-last-out survives."""
MAX_CONSTANT_SHARE = 0.9
"""Most users who rate everything alike; about a quarter do in genuine 2023 data."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows of one file: read = kept + the sum of dropped.

    Attributes:
        read: rows that aren't blank.
        kept: rows that can be used.
        dropped: reason → rows.
    """

    read: int
    kept: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PreparationReport:
    """What was read, kept and made.

    Attributes:
        reviews: rows of the reviews file.
        metadata: rows of the metadata file.
        items: items with a usable title, from which negatives are drawn.
        titles_cut: titles that were cut to the longest length.
        users: users with at least one row.
        users_with_history: those with more than `min_history` different items, titled or not.
        users_with_one_time: of those, how many have a single time.
        users_with_same_items: of those, how many share the most common set of items.
        users_with_one_rating: of those, how many rate everything alike.
        ratings: rating → kept rows.
        users_dropped: reason → users without a task.
        tied_histories: histories in which equal times were put in order by item id.
        tasks: split → tasks.
        labels: label of the held-out item → tasks.
        peak_memory_mib: largest resident memory of the process so far, None where the system can't tell.
    """

    reviews: RowCounts
    metadata: RowCounts
    items: int
    titles_cut: int
    users: int
    users_with_history: int
    users_with_one_time: int
    users_with_same_items: int
    users_with_one_rating: int
    ratings: Mapping[float, int]
    users_dropped: Mapping[str, int]
    tied_histories: int
    tasks: Mapping[str, int]
    labels: Mapping[int, int]
    peak_memory_mib: float | None


class UnfitDataError(DataError):
    """Data that can't support ranking; `report` holds the numbers."""

    def __init__(self, message: str, report: PreparationReport) -> None:
        """Keep the report beside the message."""
        super().__init__(message)
        self.report = report


def reasons_to_refuse(report: PreparationReport, settings: AmazonSettings) -> tuple[str, ...]:
    """Every reason, with its numbers, why tasks made of these data would measure nothing."""
    reasons = []
    reviews, users = report.reviews, report.users_with_history
    if report.items == 0:
        reasons.append(f"no title: none of {report.metadata.read:,} metadata rows has a usable one")
    elif reviews.dropped.get("item has no usable title") and reviews.kept == 0:
        reasons.append(
            "no title: no reviewed item has one in the metadata; do the two files belong together?"
        )
    for reason, what in (("no time", "a time, so none is the last"), ("no rating from 1 to 5", "a rating")):
        if (
            reviews.dropped.get(reason)
            and reviews.kept + reviews.dropped.get("item has no usable title", 0) == 0
        ):
            reasons.append(f"no review has {what} ({reviews.dropped[reason]:,} rows)")
    for count, most, what in (
        (report.users_with_one_time, MAX_TIED_SHARE, "have one time for all their reviews: none is the last"),
        (report.users_with_same_items, MAX_TIED_SHARE, "share the same set of items"),
        (report.users_with_one_rating, MAX_CONSTANT_SHARE, "rate everything alike"),
    ):
        if users and count > most * users and count > 1:
            reasons.append(f"{count:,} of {users:,} users {what}")
    if len(report.ratings) == 1 and reviews.kept > 1:
        reasons.append(f"all {reviews.kept:,} ratings are {next(iter(report.ratings)):g}")
    tasks = sum(report.tasks.values())
    if tasks < settings.min_tasks:
        lost = ", ".join(f"{count:,} {reason}" for reason, count in _most_common(report.users_dropped))
        reasons.append(
            f"only {tasks:,} tasks of {report.users:,} users, at least {settings.min_tasks:,} are wanted"
            + (f" (users without: {lost})" if lost else "")
        )
    return tuple(reasons)


def render_card(report: PreparationReport, settings: AmazonSettings) -> str:
    """The data card, in Markdown; it holds nothing that differs between two equal preparations."""
    tables = "\n\n".join(
        f"### {title}\n\n| | |\n|---|---|\n" + "\n".join(f"| {name} | {count} |" for name, count in rows)
        for title, rows in report_tables(report).items()
    )
    labels = ", ".join(f"{rating} → {label}" for rating, label in RELEVANCE_OF_RATING.items())
    return CARD.format(settings=settings, labels=labels, tables=tables)


def report_tables(report: PreparationReport) -> dict[str, list[tuple[str, str]]]:
    """The report as titled two-column tables, for the card and for the terminal."""
    return {
        "Review rows": _row_table(report.reviews),
        "Metadata rows": [
            *_row_table(report.metadata),
            ("items with a usable title", f"{report.items:,}"),
            ("titles cut", f"{report.titles_cut:,}"),
        ],
        "Users": [
            ("users", f"{report.users:,}"),
            ("enough different items", f"{report.users_with_history:,}"),
            ("… of these with one time", f"{report.users_with_one_time:,}"),
            ("… with the most common set of items", f"{report.users_with_same_items:,}"),
            ("… with one rating for everything", f"{report.users_with_one_rating:,}"),
            *((f"no task: {reason}", f"{count:,}") for reason, count in _most_common(report.users_dropped)),
        ],
        "Tasks": [
            *((f"{split}", f"{count:,}") for split, count in report.tasks.items()),
            *((f"label {label}", f"{count:,}") for label, count in sorted(report.labels.items())),
            ("histories with equal times, put in order by item id", f"{report.tied_histories:,}"),
        ],
    }


def _row_table(rows: RowCounts) -> list[tuple[str, str]]:
    dropped = [(f"dropped: {reason}", f"{count:,}") for reason, count in _most_common(rows.dropped)]
    return [("read", f"{rows.read:,}"), ("kept", f"{rows.kept:,}"), *dropped]


def _most_common(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


CARD = """\
# Ranking tasks from Amazon reviews

Made by `harness data prepare amazon-fashion` with k = {settings.k}, seed = {settings.seed}, histories
of {settings.min_history}…{settings.max_history} items, {settings.validation_share:g} of the users in
`validation` and {settings.test_share:g} in `test`. The same files and settings give the same bytes, in
whatever order the rows came.

Leave-last-out by time: the user's last item is the one relevant candidate among {settings.k} in drawn
order; its label comes from the rating the user gave it ({labels}; a lower one gives no task). The other
candidates are drawn uniformly from all titled items the user hasn't reviewed; their label 0 means "not
known to be liked". The history is the user's earlier items, oldest first. Which split a user is in
depends on the hash of the user's id alone.

The Amazon Reviews data (2018: Ni, Li, McAuley, EMNLP 2019; 2023: Hou et al., arXiv 2403.03952) carry no
licence that allows redistribution: these files hold genuine titles and are for your own use.

## What was read and made

{tables}
"""
