"""How a format breaks: the commonest failures just past the fall, with answers that show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.contract.automaton import failing_place
from harness.masking import masked
from harness.plain_text import plain
from harness.runs import Run, Sample
from harness.runs.forecast_record import Break, Breaks, Example, Point

WAYS: Final = 3
"""Failure codes that are told of."""
EXAMPLES: Final = 2
_BEFORE, _AFTER = 60, 60
"""Characters shown on either side of the place where an answer fails."""


def first_below(points: Mapping[float, Point], bar: float) -> Point | None:
    """The smallest λ, from the teacher's on, at which the curve is below the bar; None where none is."""
    for lam in sorted(points):
        curve = points[lam].curve
        if lam >= 1.0 and curve is not None and curve.estimate is not None and curve.estimate < bar:
            return points[lam]
    return None


def breaks_of(point: Point, run: Run) -> Breaks:
    """The commonest failures of a run.

    Args:
        point: of the forecast.
        run: its run.

    Raises:
        DataError: a sample can't be read.
    """
    codes = list(point.failure_codes)[:WAYS]
    sizes = {task.task_id: task.k for task in run.tasks()}
    found: dict[str, list[tuple[tuple[str, int], Example]]] = {code: [] for code in codes}
    for sample in run.iter_samples():
        code = None if sample.parse is None else sample.parse.code
        if code in found:
            found[code].append((_place(sample), _example(run, sample, sizes[sample.task_id])))
    return Breaks(
        point.lam,
        tuple(
            Break(
                code,
                point.failure_codes[code],
                tuple(one for _, one in sorted(found[code], key=_order)[:EXAMPLES]),
            )
            for code in codes
        ),
    )


def _place(sample: Sample) -> tuple[str, int]:
    return sample.task_id, sample.sample_index


def _order(one: tuple[tuple[str, int], Example]) -> tuple[str, int]:
    """Whatever order samples finished in, the same ones are shown."""
    return one[0]


def _example(run: Run, sample: Sample, k: int) -> Example:
    # Masked whole: of a key that is cut in two, neither half is known for one.
    text = masked(sample.text)
    path = None if sample.parse is None else sample.parse.path
    place = failing_place(run.manifest.contract, text, k, path)
    middle = len(text) if place is None else place
    first, last = max(0, middle - _BEFORE), min(len(text), middle + _AFTER)
    shown = plain(text[first:last])
    message = "" if sample.parse is None else sample.parse.message or ""
    return Example(
        plain(sample.task_id),
        ("…" if first else "") + shown + ("…" if last < len(text) else ""),
        plain(message),
    )
