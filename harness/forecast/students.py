"""Where trained checkpoints lie on the line of the targets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from harness.engines.hf_engine import HfEngine
from harness.engines.target_engine import TargetEngine
from harness.errors import DataError, HarnessError
from harness.evaluate import evaluate
from harness.forecast.config import ForecastConfig
from harness.metrics.match import MATCH
from harness.metrics.table import CONTRACT, QUALITY
from harness.progress import OnProgress
from harness.rollouts import rollouts_of_run
from harness.rollouts.placing import Trio, place
from harness.runs.directory import read_manifest
from harness.runs.forecast_record import Point, Student


def require_students(config: ForecastConfig, pair: TargetEngine) -> None:
    """Refuse a student that can't be placed, before anything is drawn.

    Args:
        config: of the forecast.
        pair: teacher and base.

    Raises:
        HarnessError: it can't be used, or has another vocabulary than the teacher.
    """
    for number, name in enumerate(config.students):
        if HfEngine(config.of_student(number, config.out).engine).vocabulary() != pair.vocabulary():
            raise HarnessError(
                f"{name} has another vocabulary than {config.teacher}, so it has no place on their line; "
                "leave it out"
            )


def place_student(
    config: ForecastConfig,
    number: int,
    pair: TargetEngine,
    points: Sequence[Point],
    on_progress: OnProgress,
) -> Student:
    """Draw a student's rollouts and measure λ reached on them.

    Args:
        config: of the forecast.
        number: which of its students.
        pair: teacher and base, loaded.
        points: of the forecast.
        on_progress: told where the job stands.

    Raises:
        HarnessError: nothing drawn.
        IncompleteError: it stopped half-way.
    """
    evaluation = config.of_student(number, _folder(config.out, config.students[number]))
    with closing(HfEngine(evaluation.engine)) as engine:
        run = evaluate(evaluation, on_progress, engine=engine)
        rollouts = rollouts_of_run(run, engine.encode)
        engine.start()
        trio = Trio(engine.model, pair.model, pair.base_model)
        reached = place(
            rollouts,
            lambda: trio,
            plausible=config.plausible,
            seed=config.evaluation.seed,
            on_progress=on_progress,
        )
    return Student(
        checkpoint=config.students[number],
        run=str(run.path.relative_to(config.out)),
        parse_validity=run.stored(CONTRACT),
        ndcg_at_1_parsed=run.metrics.get(QUALITY),
        lambda_reached=reached.lambda_reached,
        off_the_line=reached.off_the_line,
        along_the_line=reached.along_the_line,
        forecast_there=_interpolated(points, reached.lambda_reached.estimate),
        match_exact=run.metrics.get(MATCH),
    )


def _folder(out: Path, student: str) -> Path:
    """Where an earlier call drew this student's rollouts, else the first folder that is free.

    Other students may have been asked for then, and theirs stay where they are.
    """
    for number in itertools.count(1):
        folder = out / f"student-{number}"
        try:
            if read_manifest(folder).engine.checkpoint == student:
                break
        except DataError:
            # None yet, or one that its evaluation will refuse.
            break
    return folder


def _interpolated(points: Sequence[Point], lam: float | None) -> float | None:
    """Parse validity at a λ from that of its neighbours."""
    drawn = np.array([point.lam for point in points])
    rates = np.array([point.parse_validity.estimate or 0.0 for point in points])
    if lam is None or not len(drawn) or not drawn[0] <= round(lam, 3) <= drawn[-1]:
        return None
    return float(np.interp(lam, drawn, rates))
