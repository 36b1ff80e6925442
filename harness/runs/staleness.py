"""Whether a verdict still holds of a run: the digests it was made from, against those there are now."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.metrics.table import CLIFF_PREFIXES, JUDGE_PREFIXES
from harness.runs.directory import CLIFF, JUDGE_LOG, MANIFEST, METRICS, SAMPLES, TASKS
from harness.runs.gate_record import GateRecord, GateResult
from harness.runs.loading import Run
from harness.runs.source import Source, source_of


def stale_reasons(run: Run, record: GateRecord, now: Source | None = None) -> tuple[str, ...]:
    """Why a gate's record no longer holds of a run, one clause each; empty where it does.

    What its rules didn't ask about may change: a run that is judged afterwards keeps a verdict on its format.

    Args:
        run: a stored run.
        record: of the gate.
        now: digests of the run's files as they are; None makes them.

    Raises:
        DataError: a file of the run can't be read.
    """
    result = record.result
    if result.source is None:
        return ("it was made by a version that kept no digests of what it judged",)
    names = {rule.metric for rule in result.rules}
    now = source_of(run.path, run.manifest) if now is None else now
    reasons = list(changes(result.source, now, names, run.path))
    if not reasons and result.read_sha256 != digest_entries(run, names) and not _came_later(run, result, now):
        gone = not (run.path / METRICS).exists()
        reasons.append(f"{METRICS} {'is gone' if gone else 'says something else of what its rules name'}")
    return (*reasons, *_of_baseline(run, result, names))


def _came_later(run: Run, result: GateResult, now: Source) -> bool:
    """Whether the gate found no metrics and those there are now were made of what it judged."""
    if result.read_sha256 != _digest({}) or run.source is None:
        return False
    return not drawn_changes(run.source, now, run.path) and run.source.samples_sha256 == now.samples_sha256


def baseline_unchecked(run: Run, record: GateRecord) -> str | None:
    """What stands beside a verdict whose baseline isn't there to check it by; None where it is, or has none.

    A run is often reported where its baseline isn't; what was compared with it is still true, as far as
    anyone can see.
    """
    path = _baseline_of(run, record.result)
    if path is None or (path / MANIFEST).exists():
        return None
    return f"its baseline isn't at {record.result.baseline_run} any more, so not checked"


def changes(then: Source, now: Source, metrics: Iterable[str], path: Path) -> tuple[str, ...]:
    """What of a run changed that these metrics rest on, one clause each.

    Args:
        then: the run as it was.
        now: as it is.
        metrics: names of the metrics.
        path: of the run.
    """
    names = tuple(metrics)
    found = list(drawn_changes(then, now, path))
    if then.drawn_sha256 == now.drawn_sha256 and then.samples_sha256 != now.samples_sha256:
        found.append("the samples were scored anew")
    if any(name.startswith(JUDGE_PREFIXES) for name in names) and then.judge_sha256 != now.judge_sha256:
        found.append(_replaced(JUDGE_LOG, "judgements", now.judge_sha256))
    if any(name.startswith(CLIFF_PREFIXES) for name in names) and then.cliff_sha256 != now.cliff_sha256:
        found.append(_replaced(CLIFF, "measurements", now.cliff_sha256))
    return tuple(found)


def drawn_changes(then: Source, now: Source, path: Path) -> tuple[str, ...]:
    """What changed of what a run asked and what the engine said, one clause each; see `changes`."""
    found = []
    if then.identity_sha256 != now.identity_sha256:
        found.append(f"{MANIFEST} asks something else now")
    if then.tasks_sha256 != now.tasks_sha256:
        found.append(_rows_changed(TASKS, "tasks", then.tasks, now.tasks, path))
    if then.drawn_sha256 != now.drawn_sha256:
        found.append(_rows_changed(SAMPLES, "samples", then.samples, now.samples, path))
    return tuple(found)


def digest_entries(run: Run, names: Iterable[str]) -> str:
    """Digest of those of a run's stored metrics that are named."""
    rows = {name: asdict(run.metrics[name]) for name in sorted(names) if name in run.metrics}
    return _digest(rows)


def _digest(rows: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _replaced(name: str, content: str, now: str | None) -> str:
    return f"{name} is gone" if now is None else f"{name} holds other {content} now"


def _rows_changed(name: str, rows: str, then: int, now: int, path: Path) -> str:
    if not (path / name).exists():
        return f"{name} is gone"
    if then != now:
        return f"it was made of {then} {rows}, the run has {now} now"
    return f"{name} holds other {rows} now"


def _of_baseline(run: Run, result: GateResult, names: set[str]) -> tuple[str, ...]:
    path = _baseline_of(run, result)
    if path is None or result.baseline_source is None or not (path / MANIFEST).exists():
        return ()
    try:
        now = source_of(path)
    except DataError as error:
        return (f"its baseline can't be read ({error})",)
    return tuple(f"of its baseline, {one}" for one in changes(result.baseline_source, now, names, path))


def _baseline_of(run: Run, result: GateResult) -> Path | None:
    if result.baseline_run is None:
        return None
    return Path(os.path.normpath(run.path.resolve() / result.baseline_run))
