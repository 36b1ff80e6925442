"""Everything a `harness judge` is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

from harness.judge.client import ClientName
from harness.judge.cost import Price
from harness.judge.rubric import Rubric
from harness.judge.store import default_store
from harness.retrying import RetryPolicy
from harness.settings import Count, Seed, Settings


class JudgeConfig(Settings, title="Judge"):
    """One judging of one run."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    run: Path
    """Directory of a complete run."""
    rubric: Rubric
    """Rubric file, or the name of a bundled one."""
    pairwise: Path | None = None
    """Another run on the same tasks, to judge side by side in place of grading."""
    labels: Path | None = None
    """CSV of people's scores to compare the judge with: task_id, score."""
    repeats: Annotated[int, Field(ge=1, le=100)] = 2
    """Times each ranking is judged (each pair, in both orders), the candidates presented in another order
    each time."""
    seed: Seed = 0
    """Of the presentation, of the order in which tasks are judged, and of the jitter of retries."""
    limit: Count | None = None
    """Judge only so many tasks, drawn at random; the same ones for every run on these tasks."""
    max_requests: Annotated[int | None, Field(ge=0)] = None
    """Most HTTP requests for this run and rubric, over all sessions."""
    max_cost: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    """Most US dollars, likewise."""
    price: Price | None = None
    """US dollars per million tokens, in and out, where the list lacks the model."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 64
    """Most requests at once."""
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Seconds to wait for an answer."""
    client: ClientName = "auto"
    """Which Gemini library."""
    endpoint: str | None = None
    """Base URL in place of Google's."""
    ask_again: bool = False
    """Also ask the questions that may have been paid for without an answer: those under way when a session
    was killed, else unscored as `in_doubt`, and those of which only `empty` replies came."""
    store: Path = Field(default_factory=default_store)
    """Answers and ledger (sqlite)."""
    attempts: Count = 8
    """Most times one question is sent; each may be charged."""
    retry: RetryPolicy = RetryPolicy()
    """The pauses in between, and when a silent service is given up."""

    @field_validator("endpoint")
    @classmethod
    def _is_a_url(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be a URL such as https://proxy.example.org")
        if parts.username or parts.password or parts.query:
            raise ValueError("must not carry a user, a password or a query: it is stored with the answers")
        return endpoint.rstrip("/")


@dataclass(frozen=True, slots=True)
class JudgeProgress:
    """Where a judging stands.

    Attributes:
        stage: what it is doing, in a few words.
        done: judgements there are, with and without a score.
        total: judgements wanted.
        resumed: judgements that were there before this process began, or came from the cache.
        unscored: of those done, the ones without a score.
        cost: US dollars spent on this run and rubric so far; None when the price isn't known.
        in_flight: requests under way.
    """

    stage: str
    done: int = 0
    total: int = 0
    resumed: int = 0
    unscored: int = 0
    cost: float | None = None
    in_flight: int = 0


OnJudgeProgress = Callable[[JudgeProgress], None]


def ignore(_: JudgeProgress) -> None:
    """The listener of callers that don't care."""
