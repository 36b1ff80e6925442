"""Everything a `harness forecast` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from harness.engines import IN_MEMORY, OF_TWO
from harness.engines.config import BaseDevice, EngineConfig, Plausible, TargetConfig, TeacherDevice
from harness.engines.local_model import for_role, only_taken, require_taken
from harness.evaluate.config import EvalConfig
from harness.runs.forecast_record import OF_STAR
from harness.settings import Count, Level, NonNegative, Settings

GRID = (0.0, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


class ForecastConfig(Settings, title="Forecast"):
    """One forecast."""

    evaluation: EvalConfig
    """Data, limit, samples, sampling and seed of the draws; its engine and folder are set by the job."""
    teacher: str
    """Checkpoint of the teacher π_T, folder or hub id."""
    base: str
    """Checkpoint of the base π_B: the warm start that a student would begin from."""
    lambdas: tuple[NonNegative, ...] = ()
    """λ to draw at; by default a grid from 0 to 8, refined around the fall."""
    stored: tuple[Path, ...] = ()
    """Run of the base, the teacher or their target, drawn at T = 1: its answers are weighted instead of
    drawing new ones, a cheap first look near its own λ."""
    bar: Level = 0.95
    """Parse validity that λ may not fall below."""
    students: tuple[str, ...] = ()
    """Checkpoints to place on the line: λ reached, and how far off the line."""
    plausible: Plausible = 0.0
    teacher_device: TeacherDevice = None
    base_device: BaseDevice = None
    clip: Annotated[float | None, Field(gt=1, allow_inf_nan=False)] = None
    """Clip strength c of a run to come: λ* is measured beside, on rollouts of the base."""
    points: Count = 12
    """Most λ of a refined grid, beyond which the first ones are drawn all the same."""
    out: Path
    """Folder of the forecast: forecast.json, and a run for each λ."""

    @field_validator("lambdas")
    @classmethod
    def _ascending(cls, lambdas: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{lam:g}" for lam in lambdas}) < len(set(lambdas)):
            raise ValueError("two of them are alike in six digits, and would be one run")
        return tuple(sorted(set(lambdas)))

    def require_taken(self) -> None:
        """Refuse a revision or an adapter's base that no checkpoint takes.

        Raises:
            HarnessError: naming the setting.
        """
        require_taken(self.evaluation.engine, [self.teacher, self.base, *self.students])

    @property
    def first_lambdas(self) -> tuple[float, ...]:
        """The λ to begin with."""
        return self.lambdas or GRID

    @property
    def intervals(self) -> int:
        """How many intervals share the error: one for each λ that may be drawn, whatever is found there.

        Were it the number that was drawn, refining would take back what the first intervals promised.
        """
        return len(self.lambdas) or max(len(GRID), self.points)

    def of_student(self, number: int, out: Path) -> EvalConfig:
        """The rollouts of a student, at T = 1 from the model as it is."""
        told = {"engine": IN_MEMORY, "target": None}
        engine = for_role(self.evaluation.engine, self.students[number])
        changes = {"temperature": 1.0, "top_p": 1.0, "out": out}
        return self.evaluation.changed(engine=engine.changed(**told), **changes)

    @property
    def of_base(self) -> EvalConfig:
        """The rollouts of the base that λ* is measured on."""
        engine = self.evaluation.engine.changed(engine=IN_MEMORY, target=None, ckpt=None)
        changes = {"temperature": 1.0, "top_p": 1.0, "out": self.out / OF_STAR}
        return self.evaluation.changed(engine=engine, **changes)

    def at(self, lam: float) -> EvalConfig:
        """The evaluation of π_λ."""
        target = TargetConfig(
            teacher=self.teacher,
            base=self.base,
            lam=lam,
            plausible=self.plausible,
            teacher_device=self.teacher_device,
            base_device=self.base_device,
        )
        told: dict[str, Any] = {"engine": OF_TWO, "target": target, "ckpt": None}
        engine: EngineConfig = only_taken(self.evaluation.engine, [self.teacher, self.base]).changed(**told)
        return self.evaluation.changed(engine=engine, out=self.out / f"lambda-{lam:g}")
