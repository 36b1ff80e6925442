"""Whether a run's derived files are what its sources give; where they aren't, nothing is said of the run."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.files import read_whole
from harness.metrics.table import LATER, WITHHELD
from harness.runs.columns import incomplete, lost, read_columns
from harness.runs.directory import CLIFF, GATE, JUDGE_LOG, MANIFEST, METRICS, REJUDGE, read_manifest
from harness.runs.loading import Run
from harness.runs.seals import opened_document, sealed_lines
from harness.runs.source import BELONGS_TO, SOURCE, Source, owner_of, read_source, source_of
from harness.runs.staleness import changes, drawn_changes
from harness.stats import Estimate


class StaleCliffError(DataError):
    """A `cliff.json` that was measured on other rollouts than there are. Exit code 2."""


class ForeignCliffError(DataError):
    """A `cliff.json` that belongs to another run. Exit code 2."""


def require_sound(run: Run, metrics: Iterable[str] | None = None) -> Source:
    """Refuse a run whose `metrics.json` was made from other files than lie beside it.

    Milliseconds for a thousand samples. A run without metrics has nothing to refuse; one of an older version
    doesn't say what its metrics were made from.

    Args:
        run: a stored run.
        metrics: those that matter; None for all that it has.

    Returns:
        Digests of its files as they are.

    Raises:
        DataError: it was; the message names what changed, and the line where one was damaged or doubled.
        IncompleteError: a run that was complete lacks samples; the message names some.
    """
    now = source_of(run.path, run.manifest)
    if run.source is None:
        return now
    found = changes(run.source, now, run.metrics if metrics is None else metrics, run.path)
    if not found:
        return now
    for _ in run.tasks():
        pass
    if (run.path / JUDGE_LOG).exists():
        for _ in sealed_lines(run.path / JUDGE_LOG, required=False, remedy=REJUDGE):
            pass
    columns = read_columns(run, ())
    if lost(run, columns).any() and run.manifest.status == "complete":
        raise incomplete(run, columns)
    raise DataError(
        f"{METRICS} of {run.path} isn't what its files give: {'; '.join(found)}; "
        f"`harness rescore {run.path}` makes it anew from what there is"
    )


def require_given(run: Run, found: Mapping[str, Estimate], names: Collection[str]) -> None:
    """Refuse stored metrics that their sources don't give.

    Args:
        run: a stored run.
        found: what the sources give, computed now.
        names: the metrics to compare. Of a run of an older version only n and estimate are, and only what it
            has: intervals may be made otherwise today.

    Raises:
        DataError: one differs; the message names it.
    """
    whole = run.source is not None
    for name in names:
        stored, given = run.metrics.get(name), found.get(name)
        if stored is None and (not whole or _came_later(name, given)):
            continue
        if stored is None or given is None or not _equal(run.stored(name), given, whole=whole):
            raise run.stale(name)


def _came_later(name: str, given: Estimate | None) -> bool:
    """Whether a run of an older version may lack a metric; none of those held withheld answers."""
    return name in LATER and (name != WITHHELD or (given is not None and not given.estimate))


def read_cliff(path: Path) -> dict[str, Any]:
    """The content of a run's `cliff.json`.

    Raises:
        FileNotFoundError: there is none.
        OSError: it can't be read.
        ValueError: it isn't what was written.
        StaleCliffError: it was measured on other rollouts than there are.
        ForeignCliffError: it is that of another run.
    """
    content, has_seal = opened_document(read_whole(path / CLIFF))
    if SOURCE not in content:
        return content
    if not has_seal:
        raise ValueError("it has no seal: it was changed by hand, or damaged")
    _require_own(path, content)
    made_from, rollouts = read_source(content[SOURCE]), path / str(content[SOURCE]["run"])
    if found := _rollouts_changed(made_from, rollouts):
        raise _stale(path, "; ".join(found))
    return content


def read_gate(path: Path) -> dict[str, Any]:
    """The content of a run's `gate.json`.

    Raises:
        FileNotFoundError: there is none.
        OSError: it can't be read.
        ValueError: it isn't what was written.
    """
    content, has_seal = opened_document(read_whole(path / GATE))
    if not has_seal and content.get(SOURCE) is not None:
        raise ValueError("it has no seal: it was changed by hand, or damaged")
    return content


def has_source(path: Path) -> bool:
    """Whether a run's `cliff.json`, which is there, says what it was made from; an older version's doesn't.

    One that can't be read doesn't either, but isn't taken for an older version's.
    """
    try:
        return SOURCE in json.loads((path / CLIFF).read_bytes())
    except (OSError, ValueError, TypeError):
        return True


def cliff_metrics(path: Path) -> dict[str, Estimate]:
    """The metrics that a run's `cliff.json` gives; none where there is no such file.

    Raises:
        DataError: it can't be read.
    """
    from harness.cliff.placement import read_measured

    try:
        return dict(read_measured(read_cliff(path)).metrics())
    except FileNotFoundError:
        return {}
    except (StaleCliffError, ForeignCliffError):
        raise
    except (OSError, ValueError, KeyError, TypeError, DataError) as error:
        raise unreadable_cliff(path, error) from error


def unreadable_cliff(path: Path, error: Exception) -> DataError:
    """The error that says that a run's `cliff.json` can't be read."""
    reason = repr(error) if isinstance(error, KeyError) else str(error).splitlines()[0]
    return DataError(f"{path / CLIFF} can't be read ({reason}); measure it again with `harness cliff`")


def _require_own(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse what was written into a run of another checkpoint or dataset, or one that was asked otherwise.

    A file written before it named its run says only which weights drew the rollouts.
    """
    mine, owner = owner_of(read_manifest(path)), content[SOURCE].get(BELONGS_TO)
    if owner is None:
        owner = mine | (_drawer(content) if mine["weights_sha256"] is not None else {})
    weights = owner["weights_sha256"], mine["weights_sha256"]
    name = "checkpoint" if None in weights else "weights_sha256"
    for told in (name, "dataset_sha256"):
        if owner[told] != mine[told]:
            of = f"{owner['checkpoint']}{'' if told == name else ' on another dataset'}"
            raise ForeignCliffError(
                f"{CLIFF} of {path} is that of another run: it is about {of}, {MANIFEST} here is about "
                f"{mine['checkpoint']}; measure this one with `harness cliff`, or remove the file"
            )
    if owner["identity_sha256"] != mine["identity_sha256"]:
        raise _stale(path, f"{MANIFEST} asks something else now")


def _drawer(content: Mapping[str, Any]) -> dict[str, Any]:
    drew = (content.get("rollouts") or {}).get("from")
    for model in content.get("models") or ():
        if drew in model["roles"] and model["weights_sha256"] is not None:
            return {name: model[name] for name in ("checkpoint", "weights_sha256")}
    return {}


def _stale(path: Path, why: str) -> StaleCliffError:
    return StaleCliffError(f"{CLIFF} of {path} is stale: {why}; measure it again, or remove it")


def _rollouts_changed(made_from: Source, rollouts: Path) -> tuple[str, ...]:
    # Rollouts that were drawn apart need not lie where the run is reported.
    if not (rollouts / MANIFEST).exists():
        return ()
    return drawn_changes(made_from, source_of(rollouts), rollouts)


def _equal(stored: Estimate, given: Estimate, *, whole: bool) -> bool:
    if stored.n != given.n or (whole and stored.method != given.method):
        return False
    pairs = zip(
        (stored.estimate, stored.low, stored.high), (given.estimate, given.low, given.high), strict=True
    )
    for one, other in list(pairs)[: 3 if whole else 1]:
        if one is None or other is None:
            if one is not other:
                return False
        # Sums of the same values, perhaps in another order.
        elif not math.isclose(one, other, rel_tol=0.0, abs_tol=1e-9):
            return False
    return True
