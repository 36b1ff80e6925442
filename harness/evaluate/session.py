"""What one process does for a run: its entry in the manifest, kept up to date, so that a kill loses none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.engines import Generation
from harness.runs import Sample
from harness.runs.manifest import Session, SessionStatus, now

NOTED_EVERY = 2.0
"""Seconds between two notes of how far a session is, at least; a kill loses no more than so much time."""
_NOTES_SHARE = 0.01
"""Most of a session's time that its notes may take: where a disk is slow they come less often."""

OnNote = Callable[[Session], object]


class SessionClock:
    """Samples, tokens and seconds of this process.

    Durations are by a clock that never steps; the times of day are the computer's, and end no earlier than
    they began.

    Args:
        load_seconds: of the model, None where it isn't loaded yet.
        note: keeps the entry; called now, and from time to time while samples are counted.
    """

    def __init__(self, load_seconds: float | None, note: OnNote) -> None:
        self._note = note
        self._started = now()
        self._load_seconds = load_seconds
        self.generated = 0
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._first = self._last = time.monotonic()
        self._due = 0.0
        self._take_note()

    def loaded(self, seconds: float) -> None:
        """The model is loaded; drawing begins."""
        self._load_seconds = seconds
        self._first = self._last = time.monotonic()
        self._take_note()

    def count(self, generation: Generation) -> None:
        """One more sample, which is in the run."""
        self.generated += 1
        self._prompt_tokens += generation.prompt_tokens or 0
        self._completion_tokens += generation.completion_tokens or 0
        self._last = time.monotonic()
        if self.generated == 1 or self._last >= self._due:
            self._take_note()

    def entry(self, status: SessionStatus = "running") -> Session:
        """The session as it is; with a `status` other than `running`, as it ended."""
        return Session(
            started=self._started,
            finished=None if status == "running" else max(now(), self._started),
            status=status,
            generated=self.generated,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            load_seconds=self._load_seconds,
            generate_seconds=round(self._last - self._first, 3) if self.generated else None,
        )

    def _take_note(self) -> None:
        began = time.monotonic()
        self._note(self.entry())
        ended = time.monotonic()
        self._due = ended + max(NOTED_EVERY, (ended - began) / _NOTES_SHARE)


@dataclass
class Tally:
    """What a run holds.

    Attributes:
        samples: their number.
        prompt_tokens: of all together, as far as they are known.
        completion_tokens: likewise.
    """

    samples: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, sample: Sample) -> None:
        """Count one more sample."""
        self.samples += 1
        self.prompt_tokens += sample.prompt_tokens or 0
        self.completion_tokens += sample.completion_tokens or 0


def settled(sessions: Sequence[Session], held: Tally, started: str) -> tuple[Session, ...]:
    """The sessions of a run that nobody is writing, those that were killed told to the token.

    Samples that no finished session counted were drawn by the one that was killed: every session settles the
    ones before it, so that there is one at most. Its seconds are those it noted last.

    Args:
        sessions: as the manifest has them.
        held: what the run holds.
        started: when the run began; of versions that noted a session only at its end, killed ones are added
            as one that began then.
    """
    ended = [one for one in sessions if one.status != "running"]
    rest = {
        "generated": held.samples - sum(one.generated for one in ended),
        "prompt_tokens": held.prompt_tokens - sum(one.prompt_tokens for one in ended),
        "completion_tokens": held.completion_tokens - sum(one.completion_tokens for one in ended),
    }
    killed = [one for one in sessions if one.status == "running"]
    if not killed and rest["generated"] > 0:
        killed = [Session(started=started)]
    if not killed:
        return tuple(ended)
    last = killed[-1]
    # Lines that were deleted since were drawn all the same, as far as it noted them.
    counts = {name: max(count, getattr(last, name), 0) for name, count in rest.items()}
    earlier = [one.model_copy(update={"status": "killed"}) for one in killed[:-1]]
    return (*ended, *earlier, last.model_copy(update={"status": "killed", **counts}))
