"""What a long job tells its caller while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands.

    Attributes:
        stage: what it is doing, in a few words.
        done: finished units, of which `resumed` came from an earlier session.
        total: units in all, None while unknown.
        resumed: units that were there before this process began.
        note: a reading that changes as it goes, such as a loss.
    """

    stage: str
    done: int = 0
    total: int | None = None
    resumed: int = 0
    note: str = ""


OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """The listener of callers that don't care."""
