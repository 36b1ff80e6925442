"""From one user's reviews to one ranking task: leave-last-out by time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from harness.data.amazon_index import Review, UserReviews
from harness.data.tasks import MAX_CANDIDATES, MIN_CANDIDATES, Item, RankingTask
from harness.errors import DataError
from harness.settings import Count, Natural, Settings

RELEVANCE_OF_RATING = {5: 3, 4: 2, 3: 1}
"""Rating of the held-out item (its whole part) → its label; 1 and 2 give no task. Negatives have 0."""
DRAWS_PER_NEGATIVE = 100
"""A catalogue in which so many draws in a row hit nothing new is too small for this user."""


class AmazonSettings(Settings, title="Tasks"):
    """How tasks are made of reviews."""

    refusal = DataError

    k: Annotated[int, Field(ge=MIN_CANDIDATES, le=MAX_CANDIDATES)] = 8
    """Candidates a task: the held-out item and k − 1 negatives."""
    seed: Natural = 0
    """Of the negatives and of the order of candidates."""
    min_history: Count = 3
    """Fewest items before the held-out one."""
    max_history: Count = 10
    """Only the latest so many are kept."""
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of users in validation."""
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of users in test; the rest is train."""
    min_tasks: Count = 100
    """Refuse the data if they give fewer."""

    @model_validator(mode="after")
    def _fits_together(self) -> AmazonSettings:
        if self.max_history < self.min_history:
            raise ValueError(
                f"`max_history={self.max_history}` must be at least `min_history={self.min_history}`"
            )
        if self.validation_share + self.test_share >= 1:
            raise ValueError("`validation_share=` and `test_share=` must be together below 1")
        return self


@dataclass(frozen=True, slots=True)
class UsableReviews:
    """What of a user's reviews can be used.

    Attributes:
        reviews: one an item, rated, timed and titled, oldest first; at equal times by item id.
        untitled: the same but for the title.
        dropped: reason → number of rows.
    """

    reviews: tuple[Review, ...]
    untitled: tuple[Review, ...]
    dropped: Counter[str]


def usable_reviews(user: UserReviews) -> UsableReviews:
    """Sort out a user's rows; each row that isn't kept is counted under one reason.

    Of several reviews of one item the earliest counts, at equal times the lowest rating.
    """
    dropped: Counter[str] = Counter()
    if user.rows > len(user.reviews):
        dropped["user has too many reviews"] = user.rows
    fingerprints: set[int] = set()
    items: set[str] = set()
    titled, untitled = [], []
    for review in user.reviews:
        if review.fingerprint in fingerprints:
            dropped["exact duplicate"] += 1
        elif review.rating is None:
            dropped["no rating from 1 to 5"] += 1
        elif review.time is None:
            dropped["no time"] += 1
        elif review.item in items:
            dropped["repeated user–item pair"] += 1
        elif review.catalogue_number is None:
            dropped["item has no usable title"] += 1
            untitled.append(review)
            items.add(review.item)
        else:
            titled.append(review)
            items.add(review.item)
        fingerprints.add(review.fingerprint)
    return UsableReviews(tuple(titled), tuple(untitled), dropped)


def make_task(
    user: UserReviews,
    reviews: Sequence[Review],
    settings: AmazonSettings,
    catalogue_size: int,
    find_item: Callable[[int], tuple[str, str]],
) -> RankingTask | str:
    """Make a user's task, or say why there is none.

    Args:
        user: with all their reviews: nothing a user has reviewed becomes a negative.
        reviews: the usable ones, oldest first.
        settings: how to make it.
        catalogue_size: number of items that negatives are drawn from, uniformly.
        find_item: gives id and title of the catalogue's item 1…catalogue_size.

    Returns:
        The task; it depends on the user, the settings and the catalogue alone. Or the reason.
    """
    if len(reviews) <= settings.min_history:
        return "too few usable reviews"
    held_out = reviews[-1]
    if held_out.time is None or held_out.time == reviews[-2].time:
        return "last review shares its time with another"
    label = RELEVANCE_OF_RATING.get(int(held_out.rating or 0), 0)
    if label == 0:
        return "held-out rating below 3"
    history = [_item(review, find_item) for review in reviews[:-1][-settings.max_history :]]
    positive = _item(held_out, find_item)
    rng = np.random.default_rng([settings.seed, user.user_hash])
    negatives = _draw_negatives(
        settings.k - 1,
        rng,
        catalogue_size,
        find_item,
        seen={review.item for review in user.reviews},
        titles={item.title.casefold() for item in (*history, positive)},
    )
    if negatives is None:
        return "too few items to draw negatives from"
    candidates = [positive, *negatives]
    order = rng.permutation(settings.k)
    return RankingTask(
        task_id=f"amazon-fashion-{user.user_hash:016x}",
        history=tuple(history),
        candidates=tuple(candidates[place] for place in order),
        relevance=tuple(float(label) if place == 0 else 0.0 for place in order),
        meta={
            "held_out_rating": held_out.rating,
            "held_out_date": datetime.fromtimestamp(held_out.time / 1000, UTC).date().isoformat(),
        },
    )


def split_of(user: UserReviews, settings: AmazonSettings) -> str:
    """Split of a user: by the id's hash alone, so that no seed moves a user from one to another."""
    place = user.user_hash % 10_000 / 10_000
    if place < settings.test_share:
        return "test"
    return "validation" if place < settings.test_share + settings.validation_share else "train"


def _item(review: Review, find_item: Callable[[int], tuple[str, str]]) -> Item:
    item_id, title = find_item(review.catalogue_number or 0)
    return Item(item_id=item_id, title=title)


def _draw_negatives(
    count: int,
    rng: np.random.Generator,
    catalogue_size: int,
    find_item: Callable[[int], tuple[str, str]],
    *,
    seen: set[str],
    titles: set[str],
) -> list[Item] | None:
    """Draw items the user hasn't seen whose titles differ from each other and from those given."""
    negatives: list[Item] = []
    for _ in range(count * DRAWS_PER_NEGATIVE):
        item_id, title = find_item(int(rng.integers(1, catalogue_size + 1)))
        # The same title twice would give one of two equal candidates the other's label.
        if item_id in seen or title.casefold() in titles:
            continue
        seen.add(item_id)
        titles.add(title.casefold())
        negatives.append(Item(item_id=item_id, title=title))
        if len(negatives) == count:
            return negatives
    return None
