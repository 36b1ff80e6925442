"""The dataset row: one listwise ranking task."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from pydantic_core import PydanticCustomError

from harness.contract import Contract, Terms
from harness.errors import DataError

MIN_CANDIDATES = 2
MAX_CANDIDATES = 64
MAX_RELEVANCE = 100.0
"""Largest label: gains are 2**relevance − 1 and must stay ordinary numbers."""

VisibleText = Annotated[str, Field(min_length=1, pattern=r"\S")]
Label = Annotated[FiniteFloat, Field(ge=0, le=MAX_RELEVANCE)]


class Item(BaseModel):
    """One catalogue item as the model sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: VisibleText
    title: VisibleText
    attributes: dict[str, str] = Field(default_factory=dict)


class RankingTask(BaseModel):
    """Rank K candidates for a user with this history.

    Attributes:
        task_id: unique in its file.
        history: what the user chose before, oldest first; may be empty.
        candidates: the K items to rank, 2 ≤ K ≤ 64, their ids distinct; number i in a ranking is
            `candidates[i - 1]`.
        relevance: one graded label per candidate, finite, 0 ≤ label ≤ 100.
        meta: anything else; carried along, never interpreted.
        crc32: checksum of the row where it comes from a run's `tasks.jsonl`; no part of the task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: VisibleText
    history: tuple[Item, ...] = ()
    candidates: tuple[Item, ...] = Field(min_length=MIN_CANDIDATES, max_length=MAX_CANDIDATES)
    relevance: tuple[Label, ...]
    meta: dict[str, Any] = Field(default_factory=dict)
    crc32: str | None = Field(default=None, exclude=True, repr=False)

    @property
    def k(self) -> int:
        """Number of candidates."""
        return len(self.candidates)

    @model_validator(mode="after")
    def _one_label_per_candidate(self) -> RankingTask:
        if len(self.relevance) != len(self.candidates):
            raise PydanticCustomError(
                "label_count",
                "has {labels} labels for {candidates} candidates",
                {"field": "relevance", "labels": len(self.relevance), "candidates": len(self.candidates)},
            )
        return self

    @model_validator(mode="after")
    def _distinct_candidates(self) -> RankingTask:
        item_id, count = Counter(item.item_id for item in self.candidates).most_common(1)[0]
        if count > 1:
            ids = [item.item_id for item in self.candidates]
            second = ids.index(item_id, ids.index(item_id) + 1)
            raise PydanticCustomError(
                "duplicate_candidate",
                "is the id of {count} candidates",
                {"field": f"candidates[{second}].item_id", "count": count},
            )
        return self


def terms_of(task: RankingTask, contract: Contract) -> Terms:
    """What an answer to a task is held to.

    Raises:
        DataError: the contract can't be kept by an answer to this task.
    """
    item_ids = tuple(item.item_id for item in task.candidates) if contract.ids == "item_id" else ()
    try:
        return Terms(contract, task.k, item_ids)
    except ValueError as error:
        raise DataError(f"task {task.task_id}: {error}") from error
