"""The dataset row: one listwise ranking task."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

MIN_CANDIDATES = 2
MAX_CANDIDATES = 64


class Item(BaseModel):
    """One catalogue item as the model sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: str = Field(min_length=1)
    title: str = Field(min_length=1)
    attributes: dict[str, str] = Field(default_factory=dict)


class RankingTask(BaseModel):
    """Rank K candidates for a user with this history.

    Attributes:
        task_id: unique in its file.
        history: what the user chose before, oldest first; may be empty.
        candidates: the K items to rank, 2 ≤ K ≤ 64; number i in a ranking is `candidates[i - 1]`.
        relevance: one graded label per candidate, finite and ≥ 0.
        meta: anything else; carried along, never interpreted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str = Field(min_length=1)
    history: tuple[Item, ...] = ()
    candidates: tuple[Item, ...] = Field(min_length=MIN_CANDIDATES, max_length=MAX_CANDIDATES)
    relevance: tuple[Annotated[FiniteFloat, Field(ge=0)], ...]
    meta: dict[str, Any] = Field(default_factory=dict)

    @property
    def k(self) -> int:
        """Number of candidates."""
        return len(self.candidates)

    @model_validator(mode="after")
    def _one_label_per_candidate(self) -> RankingTask:
        if len(self.relevance) != len(self.candidates):
            raise ValueError(
                f"relevance has {len(self.relevance)} labels for {len(self.candidates)} candidates"
            )
        return self
