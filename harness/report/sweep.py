"""Runs along λ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.report.reading import RunFacts

_LEAST_RUNS = 3
_NAMES = ("lam", "lambda")
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Band:
    """Where λ* is predicted to lie.

    Attributes:
        run: whose `cliff.json` says so.
        value: point estimate, None where there is none.
        low: lower end.
        high: upper end, None without one.
        others_differ: whether another run's interval is another.
    """

    run: str
    value: float | None
    low: float
    high: float | None
    others_differ: bool


@dataclass(frozen=True, slots=True)
class Sweep:
    """Runs in the order of their λ.

    Attributes:
        points: λ and run.
        left_out: names of runs without a λ.
        band: predicted λ*, None where no run has an interval.
    """

    points: tuple[tuple[float, RunFacts], ...]
    left_out: tuple[str, ...]
    band: Band | None


def find_sweep(runs: Sequence[RunFacts], given: Mapping[str, float], *, wanted: bool) -> Sweep | None:
    """The sweep that runs form, None where they form none.

    Args:
        runs: all runs of the report.
        given: λ by run name, where the user says so.
        wanted: whether one run with a λ is enough; else it takes three runs and two values.

    Raises:
        HarnessError: λ is given for a run that isn't there, or wanted and unknown.
    """
    unknown = sorted(given.keys() - {facts.name for facts in runs})
    if unknown:
        known = ", ".join(facts.name for facts in runs)
        raise HarnessError(f"λ is given for {unknown[0]!r}, which is no run of this report; runs: {known}")
    lambdas = [(given.get(facts.name, lambda_of(facts)), facts) for facts in runs]
    points = sorted(
        ((lam, facts) for lam, facts in lambdas if lam is not None),
        key=lambda point: (point[0], point[1].name),
    )
    left_out = tuple(facts.name for lam, facts in lambdas if lam is None)
    if wanted and not points:
        raise HarnessError(
            f"`x=lambda`: no run says its λ ({', '.join(left_out)}); give it as `lambdas=NAME=VALUE`"
        )
    if not wanted and (len(points) < _LEAST_RUNS or len({lam for lam, _ in points}) == 1):
        return None
    return Sweep(tuple(points), left_out, _band([facts for _, facts in points]))


def lambda_of(facts: RunFacts) -> float | None:
    """λ that a run's checkpoint was trained with, None where nothing says it.

    From `cliff.json`, else from the run's manifest, else from the manifest of the training run
    (`harness train opd`) that the checkpoint lies in, else from its place in a sweep's folder.
    """
    if facts.cliff is not None:
        return facts.cliff.lam
    if facts.place is not None and facts.place.lam is not None:
        return facts.place.lam
    manifest = facts.run.manifest
    for record in (manifest.config, manifest.engine.options):
        found = _number(record)
        if found is not None:
            return found
    trained = _trained_with(Path(manifest.engine.checkpoint))
    return facts.lam if trained is None else trained


def _trained_with(checkpoint: Path) -> float | None:
    try:
        record = json.loads((checkpoint.parent / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        # Moved, remote or made elsewhere: then nobody here knows its λ, which is no error.
        return None
    return _number(record) if isinstance(record, dict) and record.get("kind") == "opd" else None


def _number(record: Mapping[str, Any]) -> float | None:
    for name in _NAMES:
        value = record.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
    inner = record.get("training")
    return _number(inner) if isinstance(inner, Mapping) else None


def _band(runs: Sequence[RunFacts]) -> Band | None:
    found = [
        (facts.name, facts.cliff.lambda_star)
        for facts in runs
        if facts.cliff is not None and facts.cliff.lambda_star.low is not None
    ]
    if not found:
        return None
    name, star = found[0]
    assert star.low is not None
    differ = any((one.low, one.high) != (star.low, star.high) for _, one in found)
    return Band(name, star.value, star.low, star.high, differ)
