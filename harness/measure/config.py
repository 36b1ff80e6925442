"""Everything a `harness cliff` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness.cliff import Calibration
from harness.cliff.switch import RatioTo
from harness.engines.class_masses import DEFAULT_TOP_K
from harness.engines.config import EngineConfig, Plausible
from harness.engines.local_model import for_role, require_taken
from harness.evaluate.config import EvalConfig
from harness.settings import Count, Level, Settings

ModelRole = Literal["teacher", "base", "student"]


class LineConfig(Settings, title="Line"):
    """One placing of a checkpoint on the line of its teacher and base."""

    evaluation: EvalConfig
    """Data, contract, limit, samples and seed of the rollouts, where they are kept, and how models are
    loaded; its checkpoint, temperature and top_p are set by the job."""
    teacher: str
    """Checkpoint of the teacher π_T, folder or hub id."""
    base: str
    """Checkpoint of the base π_B: the warm start the student began from."""
    student: str | None = None
    """Checkpoint of the student π_S; rollouts come from it, from the base without one."""
    teacher_urls: tuple[str, ...] = ()
    """Server of the teacher, for openai; several make a fleet."""
    base_urls: tuple[str, ...] = ()
    """Server of the base, likewise."""
    student_urls: tuple[str, ...] = ()
    """Server of the student, likewise."""
    plausible: Plausible = 0.0
    lam: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    """λ of the run, which λ reached is held against; the teacher's, 1, without it."""
    confidence: Level = 0.95
    """Level of all intervals."""

    def models(self) -> dict[ModelRole, EngineConfig]:
        """How each model is loaded; the student only where there is one.

        Raises:
            HarnessError: a revision or an adapter's base that none of them takes.
        """
        named = [name for name in (self.teacher, self.base, self.student) if name is not None]
        require_taken(self.evaluation.engine, named)
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
        changes = {"base_urls": urls, "replay": None}
        return for_role(self.evaluation.engine, ckpt).model_copy(update=changes)


class CliffConfig(LineConfig, title="Cliff"):
    """One estimate of λ*."""

    lam: float
    """λ of the run; an OPD run in `clip_from` says its own."""
    clip: float | None = None
    """Clip strength c of the run, above 1."""
    clip_from: Path | None = None
    """Training configuration (YAML or JSON; TRL, verl) or OPD run folder to read c from."""
    clip_key: str | None = None
    """Dotted key of c in `clip_from`, where several could be it."""
    ratios: Path | None = None
    """Logged importance ratios (.parquet or .jsonl) to estimate c from."""
    ratio_column: str | None = None
    """Column of `ratios`; names that begin with log hold log-ratios."""
    ratio_to: RatioTo | None = None
    """Policy that the run's importance ratio is taken to, which sets the edge: `teacher` is what λ* assumes
    and the default, `base` that of rollouts fixed at the base, `student` that of fresh ones, which has no
    edge; neither has `none`, a clip that leaves small ratios their gradient (PPO's minimum, a capped weight).
    An OPD run in `clip_from` says its own."""
    token_level: Literal["measure", "skip"] = "measure"
    """Whether the tail of the extrapolated target is measured too, token by token; with the engine hf alone,
    and with teacher and base in memory together."""
    calibration: Calibration = "role"
    """What counts as one event: a role's mean, its worst index, or the whole answer."""
    grid: Annotated[float, Field(gt=0)] = 0.05
    """Spacing of λ you care about: nearer to λ* than this, no more tasks are asked for to tell the side."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Of the bootstrap."""
    top_k: Count = DEFAULT_TOP_K
    """Tokens a position that vllm and openai are asked for first; hf is exact."""
    max_top_k: Count | None = None
    """Most tokens a position where the first leave the masses too uncertain; 1280 for vllm by default, no
    more than `top_k` for openai."""
