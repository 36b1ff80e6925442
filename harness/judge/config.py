"""Everything a `harness judge` is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from harness.judge.client import ClientName
from harness.judge.cost import Price
from harness.judge.rubric import Rubric
from harness.judge.store import default_store
from harness.retrying import RetryPolicy


class JudgeConfig(BaseModel):
    """One judging of one run.

    Attributes:
        run: directory of a complete run.
        rubric: what is asked, of whom.
        pairwise: another run on the same tasks, to judge side by side in place of grading.
        labels: CSV of people's scores to compare the judge with.
        repeats: times each ranking is judged (each pair, in both orders), the candidates presented in
            another order each time.
        seed: of the presentation, of the order in which tasks are judged, and of the jitter of retries.
        limit: judge only so many tasks, drawn at random; the same ones for every run on these tasks.
        max_requests: most HTTP requests for this run and rubric, over all sessions.
        max_cost: most US dollars, likewise.
        price: of the model, where the list lacks it.
        concurrency: most requests at once.
        timeout: seconds to wait for an answer.
        client: which Gemini library.
        endpoint: base URL in place of Google's.
        ask_again: also ask the questions that were under way when a session was killed, which may have been
            paid for; else they stay unscored, `in_doubt`.
        store: sqlite file of answers and requests.
        attempts: most times one question is sent; each may be charged.
        retry: the pauses in between, and when a silent service is given up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    run: Path
    rubric: Rubric
    pairwise: Path | None = None
    labels: Path | None = None
    repeats: Annotated[int, Field(ge=1, le=100)] = 2
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    limit: Annotated[int, Field(ge=1)] | None = None
    max_requests: Annotated[int, Field(ge=0)] | None = None
    max_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    price: Price | None = None
    concurrency: Annotated[int, Field(ge=1, le=256)] = 64
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    client: ClientName = "auto"
    endpoint: str | None = None
    ask_again: bool = False
    store: Path = Field(default_factory=default_store)
    attempts: Annotated[int, Field(ge=1)] = 8
    retry: RetryPolicy = RetryPolicy()

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
