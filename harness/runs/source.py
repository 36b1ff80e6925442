"""What a run's derived files were made from, as digests: a derived file never outranks its source."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from harness.files import whole_lines
from harness.runs.directory import CLIFF, JUDGE_LOG, REJUDGE, SAMPLES, TASKS, read_manifest
from harness.runs.manifest import Manifest
from harness.runs.seals import sealed_lines

_DIGEST = 16
"""Bytes of a line's SHA-256 that go into that of all lines."""
SOURCE = "source"
"""Under what name a derived file keeps it."""
BELONGS_TO = "belongs_to"
"""Under what name `cliff.json` says, in its source, which run it was written into."""
_SCORED = b',"parse":{"tier":'
"""What begins the part of a sample's line that rescoring makes anew; no JSON string can hold it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Identity and size of the files of a run that everything else about it is derived from.

    Samples count as a set: in which order they finished changes no number. A file that isn't there counts as
    an empty one.

    Attributes:
        identity_sha256: of the manifest's fields that decide what a sample says.
        tasks: rows of `tasks.jsonl`.
        tasks_sha256: of `tasks.jsonl`.
        samples: whole lines of `samples.jsonl`.
        samples_sha256: of these lines in sorted order.
        drawn_sha256: likewise, of what the engine said alone: the part of a line that rescoring keeps.
        judge_sha256: of `judge.jsonl`; None where the run was never judged.
        cliff_sha256: of `cliff.json`; None where the cliff wasn't measured.
    """

    identity_sha256: str
    tasks: int
    tasks_sha256: str
    samples: int
    samples_sha256: str
    drawn_sha256: str
    judge_sha256: str | None = None
    cliff_sha256: str | None = None


def source_of(path: Path, manifest: Manifest | None = None) -> Source:
    """Digest the files of a run; milliseconds for a thousand samples.

    Args:
        path: the run directory.
        manifest: of the run; None reads it.

    Raises:
        DataError: not a run, or a file of it can't be read.
    """
    samples = _digest_samples(path / SAMPLES)
    tasks, tasks_sha256 = _digest_rows(path / TASKS)
    return Source(
        identity_sha256=identity_of(read_manifest(path) if manifest is None else manifest),
        tasks=tasks,
        tasks_sha256=tasks_sha256,
        samples=samples.lines,
        samples_sha256=samples.all,
        drawn_sha256=samples.drawn,
        judge_sha256=_digest_rows(path / JUDGE_LOG)[1] if (path / JUDGE_LOG).exists() else None,
        cliff_sha256=_digest_rows(path / CLIFF)[1] if (path / CLIFF).exists() else None,
    )


def identity_of(manifest: Manifest) -> str:
    """Digest of a manifest's fields that decide what a sample says."""
    return hashlib.sha256(json.dumps(manifest.identity(), sort_keys=True).encode()).hexdigest()


def owner_of(manifest: Manifest) -> dict[str, str | None]:
    """What `cliff.json` says of the run that it was written into, see `BELONGS_TO`."""
    return {
        "identity_sha256": identity_of(manifest),
        "checkpoint": manifest.engine.checkpoint,
        "weights_sha256": manifest.engine.weights_sha256,
        "dataset_sha256": manifest.dataset.sha256,
    }


def from_run(run: Path, other: Path) -> str:
    """Path of another run, from a run's directory: both may be moved together."""
    return os.path.relpath(other.resolve(), run.resolve())


def read_source(content: Any) -> Source:
    """What `asdict` made of a source.

    Raises:
        ValueError: it is something else.
    """
    return _SOURCE.validate_python(content)


def judged_sha256(path: Path) -> str:
    """Digest of what a run's judgements say, in any order and whatever their checksums.

    Raises:
        DataError: a line isn't what was written.
    """
    lines = (
        sealed_lines(path / JUDGE_LOG, required=False, remedy=REJUDGE) if (path / JUDGE_LOG).exists() else ()
    )
    digests = sorted(hashlib.sha256(row.rstrip()).digest() for _, row in lines)
    return hashlib.sha256(b"".join(digests)).hexdigest()


@dataclass(frozen=True, slots=True)
class _Samples:
    lines: int
    all: str
    drawn: str


def _digest_samples(path: Path) -> _Samples:
    whole, drawn, count = bytearray(), bytearray(), 0
    for _, line in whole_lines(path) if path.exists() else ():
        cut = line.find(_SCORED)
        running = hashlib.sha256(line[:cut] if cut >= 0 else line)
        drawn += running.digest()[:_DIGEST]
        if cut >= 0:
            running.update(line[cut:])
        whole += running.digest()[:_DIGEST]
        count += 1
    return _Samples(count, _digest_set(whole), _digest_set(drawn))


def _digest_set(digests: bytearray) -> str:
    """Of fixed-width digests in whatever order; a million of them take few bytes each."""
    return hashlib.sha256(np.sort(np.frombuffer(digests, dtype=f"S{_DIGEST}")).tobytes()).hexdigest()


def _digest_rows(path: Path) -> tuple[int, str]:
    """Number of whole lines and digest of them; a torn last line belongs to nobody yet."""
    running, count = hashlib.sha256(), 0
    for _, line in whole_lines(path) if path.exists() else ():
        running.update(line)
        count += 1
    return count, running.hexdigest()


_SOURCE: TypeAdapter[Source] = TypeAdapter(Source)
