"""Which runs a report is about: those named, and those that lie in folders named, such as a sweep's."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.report.text import one_line
from harness.runs.directory import MANIFEST, SAMPLES
from harness.runs.forecast_record import FORECAST, OF_STAR, read_forecast

_DEEPEST = 6
_LAMBDA = re.compile(r"lambda-(\d+(?:\.\d+)?)")
_PREREGISTERED = "prereg"
"""Folder of a sweep in which its lock drew rollouts and judged the teacher: none of its runs."""
_BASE = "base"
_AROUND = ("runs", "eval")
"""Folders that a sweep has around and in every run, so that they tell none from another."""


@dataclass(frozen=True, slots=True)
class Found:
    """A run to report on.

    Attributes:
        path: its directory.
        name: unique in the report.
        folder: the folder that was named in its place, None where it was named itself.
        lam: λ that its place in that folder says, None where it says none.
    """

    path: Path
    name: str
    folder: Path | None = None
    lam: float | None = None


def find_runs(paths: Sequence[Path]) -> list[Found]:
    """The runs named, and in place of a folder that is none the runs below it.

    Runs of a folder stand by λ, as its parts `lambda-…` say it, then by name, those without λ last. A run is
    named after its folder, with as many parents as tell it from the others; below a folder after the parts
    of its path that do. The base of a sweep and the teacher of a forecast, λ = 1, come last: the others are
    compared with it. Of a forecast's folder these are the runs that its `forecast.json` names.

    Raises:
        HarnessError: a run is named twice.
        DataError: a `forecast.json` that can't be read.
    """
    found: list[Found] = []
    for path in paths:
        below = [] if (path / MANIFEST).exists() else _below(path)
        found += below or [Found(path, "")]
    resolved = [one.path.expanduser().resolve() for one in found]
    for place in resolved:
        if resolved.count(place) > 1:
            raise HarnessError(f"{place} is named twice; a run can't be compared with itself")
    named = iter(_names([place for place, one in zip(resolved, found, strict=True) if not one.name]))
    names = [one.name or next(named) for one in found]
    if len(set(names)) < len(names):
        names = _names(resolved)
    return [
        Found(one.path, one_line(name), one.folder, one.lam) for one, name in zip(found, names, strict=True)
    ]


def _below(folder: Path) -> list[Found]:
    """The runs in a folder; a training run has no samples and isn't one."""
    runs, compared_with = [], folder / _BASE
    for place, inner, files in os.walk(folder):
        here = Path(place)
        if here == folder:
            inner[:] = [name for name in inner if name not in (_PREREGISTERED, OF_STAR)]
        if FORECAST in files:
            # What an earlier call drew, for another λ or student, is none of this forecast's.
            told = read_forecast(here)
            own = {*(one.run for one in told.points), *(one.run for one in told.students)}
            inner[:] = [name for name in inner if name in own]
            if here == folder and told.points:
                compared_with = folder / min(told.points, key=lambda one: abs(one.lam - 1.0)).run
        if MANIFEST in files:
            inner.clear()
            if SAMPLES in files:
                runs.append(here)
        elif len(here.relative_to(folder).parts) >= _DEEPEST:
            inner.clear()
    names = _told_apart([run.relative_to(folder).parts for run in runs])
    found = [Found(run, name, folder, _lambda(run, folder)) for run, name in zip(runs, names, strict=True)]
    return sorted(
        found,
        key=lambda one: (one.path == compared_with, one.lam is None, one.lam or 0.0, _natural(one.name)),
    )


def _told_apart(places: Sequence[tuple[str, ...]]) -> list[str]:
    """Paths without the parts that all of the same depth share."""
    inner = [tuple(part for part in parts if part not in _AROUND) or parts for parts in places]
    found = []
    for parts in inner:
        alike = [other for other in inner if len(other) == len(parts)]
        kept = [part for place, part in enumerate(parts) if len({other[place] for other in alike}) > 1]
        found.append("/".join(kept or parts))
    return found


def _lambda(run: Path, folder: Path) -> float | None:
    values = [
        float(match[1])
        for part in run.relative_to(folder).parts
        if (match := _LAMBDA.fullmatch(part)) is not None
    ]
    return values[-1] if values else None


def _natural(name: str) -> list[tuple[int, str]]:
    """An order in which `seed-10` comes after `seed-9`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names, with as many parents as tell them apart."""
    names: list[str] = []
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names
