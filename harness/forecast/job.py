"""`forecast(config)`: draw from the extrapolated target over a grid of λ, and say where its format falls."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import closing

from harness import files
from harness.cliff import CliffResult
from harness.engines.target_engine import TargetEngine
from harness.evaluate import evaluate
from harness.forecast.config import ForecastConfig
from harness.forecast.notes import gain_of, notes_of
from harness.forecast.result import FORECAST, Forecast, Point, Star
from harness.forecast.students import place_student
from harness.metrics.columns import TaskTable
from harness.metrics.table import CONTRACT, QUALITY_OF_ALL, sample_metrics
from harness.progress import OnProgress, ignore
from harness.runs import Run, source_of
from harness.runs.columns import read_columns
from harness.stats.falling import LargestLevel, largest_level

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
    drawn: dict[float, tuple[Point, TaskTable, TaskTable]] = {}
    waiting = list(config.first_lambdas)
    with closing(TargetEngine(config.at(waiting[0]).engine)) as engine:
        while waiting:
            lam = waiting.pop(0)
            evaluation = config.at(lam)
            engine.choose(evaluation.engine)
            run = evaluate(evaluation, on_progress, engine=engine)
            drawn[lam] = _point(config, lam, run)
            if not waiting and not config.lambdas:
                waiting = next_lambda(sorted(drawn), _largest(drawn, config.bar).estimate, config.points)
        points = tuple(drawn[lam][0] for lam in sorted(drawn))
        if config.students:
            engine.start()
        students = tuple(
            place_student(config, number, engine, points, on_progress)
            for number in range(len(config.students))
        )
        told = engine.info().options
    star = None
    if config.clip is not None and measure is not None:
        star = Star.of(measure(config, config.clip, on_progress))
    largest = _largest(drawn, config.bar)
    found = Forecast(
        config.teacher,
        config.base,
        config.plausible,
        config.bar,
        points,
        largest,
        students,
        gain=gain_of({lam: quality for lam, (_, _, quality) in drawn.items()}),
        notes=notes_of(points, largest, config.bar),
        lambda_star=star,
        checkpoints={role: told[f"{role}_sha256"] for role in ("teacher", "base")},
    )
    text = json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n"
    with files.resumable(config.out):
        files.write_text(config.out / FORECAST, text)
    return found


def _point(config: ForecastConfig, lam: float, run: Run) -> tuple[Point, TaskTable, TaskTable]:
    rates = {
        name.removeprefix("failure_rate."): one.estimate
        for name, one in run.metrics.items()
        if name.startswith("failure_rate.") and one.estimate
    }
    point = Point(
        lam=lam,
        run=str(run.path.relative_to(config.out)),
        parse_validity=run.stored(CONTRACT),
        ndcg_at_1_parsed=run.stored("ndcg_at_1.parsed"),
        ndcg_at_1_all=run.stored("ndcg_at_1.all"),
        failure_codes=dict(sorted(rates.items(), key=lambda one: (-one[1], one[0]))),
        source=source_of(run.path, run.manifest).drawn_sha256,
    )
    columns = read_columns(run, [CONTRACT, QUALITY_OF_ALL])
    validity, quality = (columns.by_task(sample_metrics()[name]) for name in (CONTRACT, QUALITY_OF_ALL))
    return point, validity, quality


def _largest(drawn: dict[float, tuple[Point, TaskTable, TaskTable]], bar: float) -> LargestLevel:
    """Below λ = 1 validity may rise from the base's to the teacher's: the fall is looked for from 1 on."""
    levels = [lam for lam in sorted(drawn) if lam >= 1.0]
    if not levels:
        return LargestLevel(None, None, None, "no λ of 1 or more was drawn")
    tables = [drawn[lam][1] for lam in levels]
    return largest_level(
        levels,
        [table.total.round().astype(int).tolist() for table in tables],
        [table.count.tolist() for table in tables],
        bar,
    )


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
