"""Reviews and titles sorted on disk, so that preparing costs the same memory for any number of rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

from harness.data.amazon_rows import Interaction, Titled

CACHE_KIB = 32 * 1024
MAX_ROWS_PER_USER = 10_000
"""Nobody writes more reviews; an id that has them is shared, or a robot's."""


@dataclass(frozen=True, slots=True)
class Review:
    """A user's review, as the index keeps it.

    Attributes:
        item: id of the item.
        time: milliseconds since 1970, None when unknown.
        rating: 1…5, None when unknown.
        fingerprint: equal for exact duplicates of a row.
        catalogue_number: the item's place in the catalogue from 1, None when it has no usable title.
    """

    item: str
    time: int | None
    rating: float | None
    fingerprint: int
    catalogue_number: int | None


@dataclass(frozen=True, slots=True)
class UserReviews:
    """All reviews of one user.

    Attributes:
        user: the user's id.
        user_hash: unsigned 64-bit hash of the id.
        reviews: sorted by time, item, rating and fingerprint; empty when there are too many.
        rows: how many there are.
    """

    user: str
    user_hash: int
    reviews: tuple[Review, ...]
    rows: int


class ReviewIndex:
    """A temporary SQLite file with the reviews by user and the catalogue by number.

    Memory is bounded by SQLite's cache (32 MiB) and one user's reviews (at most 10,000). Sorting uses
    SQLite's temporary files; set `SQLITE_TMPDIR` where the usual place for those is small.
    """

    def __init__(self, file: Path) -> None:
        """Create the file."""
        self._database = sqlite3.connect(file, isolation_level=None)
        # A crash leaves nothing worth keeping, so nothing is journalled or synced.
        self._database.executescript(
            f"""
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
            PRAGMA cache_size = -{CACHE_KIB};
            CREATE TABLE review (user_hash INTEGER, user TEXT, time INTEGER, item TEXT, rating REAL,
                                 fingerprint INTEGER);
            CREATE TABLE titled (item TEXT, title TEXT);
            CREATE TABLE item_set (hash INTEGER);
            """
        )

    def close(self) -> None:
        """Close the file; the caller removes it."""
        self._database.close()

    def add_reviews(self, interactions: Iterable[Interaction]) -> None:
        """Store reviews, in any order."""
        with self._transaction():
            self._database.executemany(
                "INSERT INTO review VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (
                        _signed(hash_of_user(row.user)),
                        row.user,
                        row.time,
                        row.item,
                        row.rating,
                        row.fingerprint,
                    )
                    for row in interactions
                ),
            )

    def add_catalogue(self, titles: Iterable[Titled]) -> int:
        """Store the titles, in any order, and number the items by id; returns how many items there are.

        Of several titles of one item the first in code point order is kept, whatever the order of rows.
        """
        with self._transaction():
            self._database.executemany(
                "INSERT INTO titled VALUES (?, ?)", ((row.item, row.title) for row in titles)
            )
            self._database.execute(
                "CREATE TABLE catalogue AS "
                "SELECT item, MIN(title) AS title FROM titled GROUP BY item ORDER BY item"
            )
            self._database.execute("DROP TABLE titled")
            self._database.execute("CREATE UNIQUE INDEX catalogue_item ON catalogue (item)")
        count: int = self._database.execute("SELECT COUNT(*) FROM catalogue").fetchone()[0]
        return count

    def users(self) -> Iterator[UserReviews]:
        """Yield each user once, ordered by the hash of the id: the same order for any order of rows."""
        cursor = self._database.execute(
            """
            SELECT user_hash, user, review.item, time, rating, fingerprint, catalogue.rowid
            FROM review LEFT JOIN catalogue ON catalogue.item = review.item
            ORDER BY user_hash, user, time, review.item, rating, fingerprint
            """
        )
        for (user_hash, user), rows in groupby(cursor, key=itemgetter(0, 1)):
            reviews = tuple(Review(*row[2:]) for row in islice(rows, MAX_ROWS_PER_USER))
            too_many = sum(1 for _ in rows)
            yield UserReviews(user, user_hash % 2**64, () if too_many else reviews, len(reviews) + too_many)

    def item(self, catalogue_number: int) -> tuple[str, str]:
        """Id and title of an item of the catalogue, numbered from 1."""
        row: tuple[str, str] = self._database.execute(
            "SELECT item, title FROM catalogue WHERE rowid = ?", (catalogue_number,)
        ).fetchone()
        return row

    def note_item_set(self, items: Iterable[str]) -> None:
        """Remember which set of items a user has, for `largest_item_set`."""
        value = _hash64("\0".join(sorted(items)))
        self._database.execute("INSERT INTO item_set VALUES (?)", (_signed(value),))

    def largest_item_set(self) -> int:
        """Number of users that share the most common set of items."""
        row = self._database.execute(
            "SELECT COUNT(*) AS users FROM item_set GROUP BY hash ORDER BY users DESC LIMIT 1"
        ).fetchone()
        return row[0] if row else 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN")
        yield
        self._database.execute("COMMIT")


def hash_of_user(user: str) -> int:
    """Unsigned 64-bit hash of a user id, the same on every machine."""
    return _hash64(user)


def _hash64(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
