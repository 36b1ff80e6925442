"""`forecast(config)`: draw from the extrapolated target over a grid of λ, and say where its format falls."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from harness import files
from harness.cliff import CliffResult
from harness.engines.target_engine import TargetEngine
from harness.errors import DataError, HarnessError, RunMismatchError
from harness.evaluate import evaluate
from harness.forecast.ahead import AheadLog, done_with
from harness.forecast.breaks import breaks_of, first_below
from harness.forecast.config import ForecastConfig
from harness.forecast.notes import TEACHER, gain_of, notes_of
from harness.forecast.students import place_student, require_students
from harness.metrics.columns import TaskTable
from harness.metrics.match import MATCH
from harness.metrics.table import CONTRACT, MATCH_OF_ALL, QUALITY, QUALITY_OF_ALL, sample_metrics
from harness.progress import OnProgress, ignore
from harness.runs import Run, source_of
from harness.runs.columns import read_columns
from harness.runs.directory import read_manifest
from harness.runs.forecast_record import FORECAST, Forecast, Point, Star, read_forecast
from harness.stats import Estimate
from harness.stats.falling import FallingCurve, LargestLevel, falling_curve, shared_rate

_CONFIDENCE = 0.95
_CLOSE = 1.1
"""Ratio of two neighbouring λ below which a fall between them is located well enough."""


MeasureStar = Callable[[ForecastConfig, float, OnProgress], CliffResult]
"""λ* at a clip strength, on rollouts of the base (`ForecastConfig.of_base`)."""


def forecast(
    config: ForecastConfig, on_progress: OnProgress = ignore, measure: MeasureStar | None = None
) -> Forecast:
    """Draw from π_λ for each λ and write `forecast.json`; the same call goes on where it stopped.

    Each λ is an ordinary run. All draw with the same seeds, so that what differs between them is λ.

    Args:
        config: teacher, base, λ, data.
        on_progress: told where the job stands, λ by λ.
        measure: estimates λ*, where `clip` is given.

    Raises:
        HarnessError: nothing was run, or a model can't be used; the message says why.
        IncompleteError: it stopped half-way.
    """
    config.require_taken()
    with closing(TargetEngine(config.at(config.first_lambdas[0]).engine)) as engine:
        checkpoints = _require_own(config, engine)
        require_students(config, engine)
        drawn = _draw(config, engine, on_progress)
        curve = _curve(config, drawn)
        points, largest = _points(config, drawn, curve), _largest(config, curve)
        if config.students:
            engine.start()
        students = tuple(
            place_student(config, number, engine, tuple(points.values()), on_progress)
            for number in range(len(config.students))
        )
    star = None
    if config.clip is not None and measure is not None:
        star = Star.of(measure(config, config.clip, on_progress))
    below = first_below(points, config.bar)
    found = Forecast(
        config.teacher,
        config.base,
        config.plausible,
        config.bar,
        tuple(points.values()),
        largest,
        students,
        gain=gain_of(
            {lam: one.quality for lam, one in drawn.items() if one.quality is not None},
            intervals=config.intervals - sum(lam <= TEACHER for lam in drawn),
        ),
        notes=notes_of(
            tuple(points.values()),
            largest,
            config.bar,
            rising=curve is not None and curve.rising,
            intervals=config.intervals,
        ),
        checkpoints=checkpoints,
        lambda_star=star,
        breaks=None if below is None else breaks_of(below, drawn[below.lam].run),
    )
    text = json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n"
    with files.resumable(config.out):
        files.write_text(config.out / FORECAST, text)
    done_with(config.out)
    return found


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What one λ gave."""

    run: Run
    point: Point
    validity: TaskTable
    quality: TaskTable | None

    @property
    def hits(self) -> list[int]:
        return [round(one) for one in self.validity.total.tolist()]

    @property
    def tries(self) -> list[int]:
        return [int(one) for one in self.validity.count.tolist()]


def _require_own(config: ForecastConfig, engine: TargetEngine) -> dict[str, str | None]:
    """Digests of teacher and base; a folder with the forecast of another pair is refused.

    Raises:
        HarnessError: the two are one.
        RunMismatchError: it holds one.
        DataError: its `forecast.json` can't be read.
    """
    told = engine.info().options
    own = {role: told[f"{role}_sha256"] for role in ("teacher", "base")}
    if own["teacher"] == own["base"]:
        raise HarnessError(
            f"{config.teacher} and {config.base} are the same weights, so every λ is the teacher; give the "
            "checkpoint that students start from as `base=`"
        )
    try:
        there = read_forecast(config.out)
    except FileNotFoundError:
        return own
    if dict(there.checkpoints) != own:
        raise RunMismatchError(
            f"{config.out} holds the forecast of another pair ({there.teacher} and {there.base}); choose "
            "another `out=`"
        )
    if there.plausible != config.plausible:
        raise RunMismatchError(
            f"{config.out} holds the forecast of this pair with `plausible={there.plausible:g}`, and "
            f"{config.plausible:g} is asked for; choose another `out=`"
        )
    return own


def _draw(config: ForecastConfig, engine: TargetEngine, on_progress: OnProgress) -> dict[float, _Drawn]:
    """A run for each λ of the grid, and then for those that refine it."""
    drawn: dict[float, _Drawn] = {}
    with AheadLog(config.out) as ahead:
        waiting = list(config.first_lambdas)
        while waiting:
            lam = waiting.pop(0)
            evaluation = config.at(lam)
            engine.choose(evaluation.engine, [one for one in waiting if not _is_drawn(config, one)], ahead)
            drawn[lam] = _read(config, lam, evaluate(evaluation, on_progress, engine=engine))
            if not waiting and not config.lambdas:
                crossing = _largest(config, _curve(config, drawn)).estimate
                waiting = next_lambda(sorted(drawn), crossing, config.points)
    return drawn


def _is_drawn(config: ForecastConfig, lam: float) -> bool:
    folder = config.at(lam).out
    assert folder is not None, "each λ has a folder of its own"
    try:
        return read_manifest(folder).status == "complete"
    except DataError:
        # None yet, or one that its evaluation will refuse.
        return False


def _points(
    config: ForecastConfig, drawn: Mapping[float, _Drawn], curve: FallingCurve | None
) -> dict[float, Point]:
    """The points by ascending λ, each with its place on the curve."""
    found, together = {}, f"holds for {config.intervals} λ together"
    for lam in sorted(drawn):
        one = drawn[lam]
        if curve is not None and lam >= TEACHER:
            at = int(np.searchsorted(curve.levels, lam))
            method = (
                "each λ's own, as validity is shown to rise" if curve.rising else "isotonic from λ = 1 on"
            )
            numbers = (float(curve.fit[at]), float(curve.low[at]), float(curve.high[at]))
            place = Estimate(sum(one.tries), *numbers, f"{method}; {together}")
        else:
            own = shared_rate(one.hits, one.tries, _CONFIDENCE, config.intervals)
            place = replace(own, method=f"{own.method}; {together}")
        found[lam] = replace(one.point, curve=place)
    return found


def _read(config: ForecastConfig, lam: float, run: Run) -> _Drawn:
    rates = {
        name.removeprefix("failure_rate."): one.estimate
        for name, one in run.metrics.items()
        if name.startswith("failure_rate.") and one.estimate
    }
    point = Point(
        lam=lam,
        run=str(run.path.relative_to(config.out)),
        parse_validity=run.stored(CONTRACT),
        ndcg_at_1_parsed=run.metrics.get(QUALITY),
        ndcg_at_1_all=run.metrics.get(QUALITY_OF_ALL),
        failure_codes=dict(sorted(rates.items(), key=lambda one: (-one[1], one[0]))),
        source=source_of(run.path, run.manifest).drawn_sha256,
        match_exact=run.metrics.get(MATCH),
        match_exact_all=run.metrics.get(MATCH_OF_ALL),
    )
    quality = next((name for name in (QUALITY_OF_ALL, MATCH_OF_ALL) if name in run.metrics), None)
    columns = read_columns(run, [CONTRACT] if quality is None else [CONTRACT, quality])
    tables = {name: columns.by_task(sample_metrics()[name]) for name in (CONTRACT, quality) if name}
    return _Drawn(run, point, tables[CONTRACT], tables.get(quality or ""))


def _curve(config: ForecastConfig, drawn: Mapping[float, _Drawn]) -> FallingCurve | None:
    """Below λ = 1 validity may rise from the base's to the teacher's: the fall is looked for from 1 on."""
    levels = [lam for lam in sorted(drawn) if lam >= TEACHER]
    if not levels:
        return None
    return falling_curve(
        levels,
        [drawn[lam].hits for lam in levels],
        [drawn[lam].tries for lam in levels],
        _CONFIDENCE,
        others=config.intervals - len(levels),
    )


def _largest(config: ForecastConfig, curve: FallingCurve | None) -> LargestLevel:
    if curve is None:
        return LargestLevel(None, None, None, "no λ of 1 or more was drawn")
    return curve.largest(config.bar)


def next_lambda(drawn: Sequence[float], crossing: float | None, most: int) -> list[float]:
    """One more λ where the curve crosses the bar, as long as its neighbours there are far apart.

    Args:
        drawn: λ so far, ascending.
        crossing: where the curve crosses the bar, from 1 on; None where it doesn't.
        most: λ that may be drawn in all.
    """
    if crossing is None or len(drawn) >= most:
        return []
    below = max(lam for lam in drawn if lam <= crossing)
    above = min((lam for lam in drawn if lam > crossing), default=crossing)
    return [] if above / below <= _CLOSE else [round(math.sqrt(below * above), 2)]
