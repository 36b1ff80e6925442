"""What the harness and a vLLM child process say to each other over their pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a replica is started with.

    Attributes:
        llm_arguments: for `vllm.LLM`.
        device: wanted device type, None for whatever vLLM finds.
        replica: 0-based number of this replica.
        replicas: how many there are.
        adapter: folder of a LoRA adapter that every request goes through, None for the model as it is.
    """

    llm_arguments: dict[str, Any]
    device: str | None
    replica: int
    replicas: int
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One completion to draw; `schema` is JSON text."""

    index: int
    prompt_ids: tuple[int, ...]
    seed: int
    schema: str | None


@dataclass(frozen=True, slots=True)
class GenerateCall:
    """Draw completions."""

    jobs: tuple[Job, ...]
    temperature: float
    top_p: float
    max_tokens: int
    stop_token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """One completion to score."""

    index: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScoreCall:
    """Score completions, with the `top_k` most likely tokens at each position."""

    jobs: tuple[ScoreJob, ...]
    top_k: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""

    context_length: int
    version: str
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """One completion is drawn."""

    index: int
    token_ids: tuple[int, ...]
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Scored:
    """One completion is scored; rows as in `TokenScores`."""

    index: int
    logprobs: list[float]
    top_ids: list[list[int]]
    top_logprobs: list[list[float]]


@dataclass(frozen=True, slots=True)
class Done:
    """A call is over."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Loading or a call failed; `dead` when the replica can't go on."""

    message: str
    dead: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """Give up the running call, if any, and answer `Stopped`."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What follows belongs to later calls."""
