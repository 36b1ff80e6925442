"""Everything a `harness cliff` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.cliff import Calibration
from harness.engines.class_masses import DEFAULT_TOP_K
from harness.engines.config import EngineConfig
from harness.evaluate.config import EvalConfig

ModelRole = Literal["teacher", "base", "student"]


class CliffConfig(BaseModel):
    """One estimate of λ*.

    Attributes:
        evaluation: data, contract, limit, samples and seed of the rollouts, where they are kept, and how
            models are loaded; its checkpoint, temperature and top_p are set by the job.
        teacher: checkpoint of π_T.
        base: checkpoint of π_B, the warm start.
        student: checkpoint of π_S; rollouts come from it, from the base without one.
        teacher_urls: servers of the teacher, for the openai engine.
        base_urls: servers of the base.
        student_urls: servers of the student.
        lam: λ of the run, > 0.
        clip: clip strength c, > 1.
        clip_from: training configuration or run folder to read c from.
        clip_key: the key in it that holds c, where several could.
        ratios: logged importance ratios to estimate c from.
        ratio_column: the column of `ratios` that holds them.
        calibration: the one the verdict uses.
        grid: spacing of λ the user cares about.
        confidence: level of all intervals.
        resamples: bootstrap resamples.
        top_k: tokens a position that vllm and openai engines are asked for first.
        max_top_k: most they are asked for where the first leave the masses too uncertain; None is
            `harness.measure.scoring.MAX_TOP_K` of the engine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluation: EvalConfig
    teacher: str
    base: str
    student: str | None = None
    teacher_urls: tuple[str, ...] = ()
    base_urls: tuple[str, ...] = ()
    student_urls: tuple[str, ...] = ()
    lam: float
    clip: float | None = None
    clip_from: Path | None = None
    clip_key: str | None = None
    ratios: Path | None = None
    ratio_column: str | None = None
    calibration: Calibration = "role"
    grid: Annotated[float, Field(gt=0)] = 0.05
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 2000
    top_k: Annotated[int, Field(ge=1)] = DEFAULT_TOP_K
    max_top_k: Annotated[int, Field(ge=1)] | None = None

    def models(self) -> dict[ModelRole, EngineConfig]:
        """How each model is loaded; the student only where there is one."""
        found: dict[ModelRole, EngineConfig] = {
            "teacher": self._engine(self.teacher, self.teacher_urls),
            "base": self._engine(self.base, self.base_urls),
        }
        if self.student is not None:
            found["student"] = self._engine(self.student, self.student_urls)
        return found

    @property
    def rollout_role(self) -> ModelRole:
        """Which model the rollouts come from."""
        return "base" if self.student is None else "student"

    def rollout_evaluation(self) -> EvalConfig:
        """The evaluation that draws the rollouts: one completion at T = 1, top_p = 1, unconstrained."""
        changes = {
            "engine": self.models()[self.rollout_role],
            "temperature": 1.0,
            "top_p": 1.0,
            "constrained": False,
        }
        return self.evaluation.model_copy(update=changes)

    def _engine(self, ckpt: str, urls: tuple[str, ...]) -> EngineConfig:
        changes = {"ckpt": ckpt, "base_urls": urls, "replay": None}
        return self.evaluation.engine.model_copy(update=changes)
