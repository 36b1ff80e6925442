"""Checkpoints gated for one release, counted: the more are tried, the likelier a bad one passes by luck.

Twenty checkpoints that all lie just below the bar, each gated at alpha = 0.05 on 256 tasks: one of them
passes with probability .41. So alpha for passing is spent over the stream: the nth checkpoint has
alpha / (n(n+1)), which adds up to alpha however many there are, or alpha / N each where the policy plans N of
them (alpha-spending; Foster & Stine, "α-investing", JRSS B 70, 2008; Tian & Ramdas, "Online control of the
familywise error rate", Statistical Methods in Medical Research 30, 2021).

The promise: the chance that any checkpoint of the stream passes although it breaks the policy is at most
alpha.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from harness import files
from harness.errors import DataError
from harness.gate.expression import PolicyError
from harness.gate.policy import Policy
from harness.runs.gate_record import Look, StreamPlace, Verdict
from harness.runs.manifest import Manifest, now


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a stream: a checkpoint's place is taken, or a gate on it has ended.

    Attributes:
        place: of the checkpoint, from 1.
        candidate: digest of what it is known by.
        checkpoint: its name, for people.
        alpha: of the policy, before sharing.
        checkpoints: planned by the policy; None where any number may come.
        verdict: None where the place is only taken.
        written: when.
        run: directory of the run that was gated.
        look: at that run; None where the place is only taken.
    """

    place: int
    candidate: str
    checkpoint: str
    alpha: float
    checkpoints: int | None
    verdict: Verdict | None
    written: str
    run: str
    look: Look | None = None


def share_of(place: int, planned: int | None) -> float:
    """Share of alpha of the nth checkpoint, n from 1; all of them together have at most 1."""
    if planned is None:
        return 1.0 / (place * (place + 1))
    return 1.0 / planned if place <= planned else 0.0


class Stream:
    """A stream of checkpoints, kept as a file of JSON lines that only grows.

    Args:
        path: the file, made when absent.
        policy: by which all its checkpoints are gated.
    """

    def __init__(self, path: Path, policy: Policy) -> None:
        self.path, self._policy = path, policy

    def take(self, manifest: Manifest, run: Path) -> StreamPlace:
        """Take the next place, or the one that the checkpoint has already.

        Raises:
            DataError: the file can't be read, or lacks lines.
            PolicyError: the stream began with another alpha or number of checkpoints, or no place is left.
            HarnessError: it can't be written.
        """
        with self._lock():
            place = self.place_of(manifest)
            if candidate_of(manifest) not in {one.candidate for one in read_stream(self.path)}:
                self._append(place.place, manifest, run, None)
        return place

    def place_of(self, manifest: Manifest | None) -> StreamPlace:
        """The place that a checkpoint has or would take; None is one that isn't there yet. Takes none.

        Raises:
            DataError: the file can't be read, or lacks lines.
            PolicyError: the stream began with another alpha or number of checkpoints, or no place is left.
        """
        entries, planned = read_stream(self.path), self._policy.checkpoints
        _require_alike(self.path, entries, self._policy)
        known = {one.candidate: one.place for one in entries}
        own = None if manifest is None else known.get(candidate_of(manifest))
        place = len(known) + 1 if own is None else own
        if planned is not None and place > planned:
            raise PolicyError(
                f"{self.path} has its {planned} checkpoints already; a further one can't be gated in this "
                "stream"
            )
        return StreamPlace(str(self.path), place, share_of(place, planned))

    def looks_elsewhere(self, manifest: Manifest, run: Path) -> tuple[Look, ...]:
        """Looks at the same checkpoint in other run directories, which share its part of alpha.

        A test that may be looked at any time has begun anew here, so there it counts like any other look.

        Raises:
            DataError: the file can't be read, or lacks lines.
        """
        candidate, here = candidate_of(manifest), str(run.resolve())
        return tuple(
            replace(one.look, kind="fixed")
            for one in read_stream(self.path)
            if one.look is not None and one.candidate == candidate and one.run != here
        )

    def note(self, place: StreamPlace, manifest: Manifest, run: Path, look: Look) -> None:
        """Write down what became of a checkpoint.

        Raises:
            HarnessError: the file can't be written.
        """
        with self._lock():
            self._append(place.place, manifest, run, look)

    def _append(self, place: int, manifest: Manifest, run: Path, look: Look | None) -> None:
        policy = self._policy
        entry = Entry(
            place=place,
            candidate=candidate_of(manifest),
            checkpoint=manifest.engine.checkpoint,
            alpha=policy.alpha,
            checkpoints=policy.checkpoints,
            verdict=None if look is None else look.verdict,
            written=now(),
            run=str(run.resolve()),
            look=look,
        )
        with self._writing(), files.LineLog(self.path) as log:
            log.append(json.dumps(asdict(entry)).encode() + b"\n")

    def _lock(self) -> AbstractContextManager[object]:
        with self._writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return files.lock(self.path.with_name(f"{self.path.name}.lock"), wait=True)

    def _writing(self) -> AbstractContextManager[None]:
        return files.output(self.path, "choose another `stream=FILE`")


def read_stream(path: Path) -> list[Entry]:
    """The entries of a stream; none where there is no file yet.

    Raises:
        DataError: the file, or a line of it, can't be read: nobody knows then how many were tried.
    """
    entries: list[Entry] = []
    if not path.exists():
        return entries
    for number, line in files.whole_lines(path):
        try:
            entries.append(_ENTRY.validate_json(line))
        except ValueError as error:
            raise DataError(
                f"{path}:{number}: no entry of a stream ({str(error).splitlines()[0]}); restore the file, so "
                "that the checkpoints tried so far are counted"
            ) from error
    places: dict[int, str] = {}
    for one in entries:
        if places.setdefault(one.place, one.candidate) != one.candidate:
            raise DataError(
                f"{path} gives place {one.place} to two checkpoints (two files merged?); write one after the "
                "other, each with a place of its own"
            )
    if sorted(places) != list(range(1, len(places) + 1)):
        raise DataError(f"{path} lacks the lines of some checkpoints; restore it, so that all are counted")
    return entries


def candidate_of(manifest: Manifest) -> str:
    """What a checkpoint is known by: evaluated alike it is the same, however many tasks were drawn.

    Where its weights can't be seen each run is a checkpoint of its own: a name says nothing.
    """
    identity = manifest.identity()
    if manifest.engine.weights_sha256 is None:
        identity["started"] = manifest.started
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()


def _require_alike(path: Path, entries: Sequence[Entry], policy: Policy) -> None:
    for one in entries:
        if (one.alpha, one.checkpoints) != (policy.alpha, policy.checkpoints):
            planned = "any number of" if one.checkpoints is None else one.checkpoints
            raise PolicyError(
                f"{path} was begun with alpha = {one.alpha:g} for {planned} checkpoints, which the policy no "
                "longer says; keep to it or begin another stream"
            )


_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
