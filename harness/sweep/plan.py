"""What a sweep is: arms of λ grids × seeds, how every run is evaluated, and when it counts as collapsed."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.engines.config import EngineConfig
from harness.errors import HarnessError
from harness.evaluate.config import EvalConfig
from harness.opd.config import (
    Aggregation,
    ClipSides,
    OPDConfig,
    Ratio,
    RatioGradient,
    Staleness,
    opd_optimisation,
)
from harness.opd.optimisation import Placement, Precision

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SweepArm(_Settings):
    """Runs that differ in λ and seed alone.

    Attributes:
        name: part of folder names.
        lambdas: the grid of λ, ascending.
        clip: clip strength c > 1, None for no clip.
        learning_rate: peak learning rate.
        steps: optimizer steps, the budget.
        staleness: `fixed` draws rollouts once per seed, and all runs of that seed share them; `fresh` draws
            them from the student as it goes.
        updates_per_rollout: optimizer steps each rollout takes part in, with fresh ones.
        stage: arms of a lower stage run first, for all seeds.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    lambdas: Annotated[tuple[Positive, ...], Field(min_length=2)]
    clip: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None
    learning_rate: Positive = 5e-4
    steps: Annotated[int, Field(ge=1)] = 120
    staleness: Staleness = "fixed"
    updates_per_rollout: Annotated[int, Field(ge=1)] = 1
    stage: int = 0

    @field_validator("lambdas")
    @classmethod
    def _ascending(cls, lambdas: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in itertools.pairwise(lambdas)):
            raise ValueError("the grid of λ must ascend, each value once")
        return lambdas


class SweepTraining(_Settings):
    """What all runs have in common; every field means what it means in `OPDConfig`."""

    data: str = "fashion-mini"
    split: str | None = "train"
    limit: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 64
    rollout_batch: Annotated[int, Field(ge=1)] | None = None
    samples: Annotated[int, Field(ge=1)] = 1
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    ratio: Ratio = "student/behaviour"
    clip_sides: ClipSides = "two"
    ratio_gradient: RatioGradient = "detached"
    aggregation: Aggregation = "token"
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    checkpoint_every: Annotated[int, Field(ge=0)] = 0
    log_every: Annotated[int, Field(ge=1)] = 10
    device: str = "auto"
    precision: Precision = "auto"


class SweepEvaluation(_Settings):
    """How each trained student is evaluated; T = 0 is greedy decoding, the default of `harness eval`."""

    data: str = "fashion-mini"
    split: str | None = "validation"
    limit: Annotated[int, Field(ge=1)] | None = 128
    temperature: Annotated[float, Field(ge=0)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    engine: Literal["hf", "vllm"] = "hf"


class SweepAnalysisSettings(_Settings):
    """What is called a collapse, an onset and flat; fixed before the first run.

    Attributes:
        collapse_fraction: a run has collapsed when its strict parse validity at the end lies below this share
            of the base's. A run that stopped because its loss was no number any more has collapsed too.
        confidence: level of all intervals.
        draws: bootstrap draws of seeds.
        bootstrap_seed: decides them.
        ndcg_margin: largest change of NDCG@1 on parsed outputs that still counts as flat.
        ndcg_alpha: level of the equivalence tests.
        least_parsed: parsed outputs a run needs for its NDCG@1 to be used.
    """

    collapse_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    draws: Annotated[int, Field(ge=100)] = 2000
    bootstrap_seed: int = 0
    ndcg_margin: Annotated[float, Field(gt=0, lt=1)] = 0.05
    ndcg_alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    least_parsed: Annotated[int, Field(ge=1)] = 20


class SweepPlan(_Settings):
    """A sweep before it is run.

    Attributes:
        teacher: checkpoint of π_T.
        base: checkpoint of π_B, from which every student starts.
        seeds: of tasks, rollouts and minibatch order, the same for every arm and λ.
        arms: at least one; the first is the one that others are compared with.
        training: what the runs have in common.
        evaluation: what each is evaluated on.
        analysis: what its numbers will be called.
        keep_checkpoints: keep the students; without, a student is deleted once it is evaluated.
    """

    teacher: str
    base: str
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    arms: Annotated[tuple[SweepArm, ...], Field(min_length=1)]
    training: SweepTraining = SweepTraining()
    evaluation: SweepEvaluation = SweepEvaluation()
    analysis: SweepAnalysisSettings = SweepAnalysisSettings()
    keep_checkpoints: bool = False

    @model_validator(mode="after")
    def _runs_differ(self) -> SweepPlan:
        if len({arm.name for arm in self.arms}) < len(self.arms):
            raise ValueError("two arms have the same name")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds must be different and not negative")
        return self

    def arm(self, name: str) -> SweepArm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    def runs(self) -> Iterator[SweepRun]:
        """All runs in the order they are made: by stage, then seed by seed, so that a part is balanced."""
        for stage in sorted({arm.stage for arm in self.arms}):
            for seed in self.seeds:
                for arm in self.arms:
                    if arm.stage == stage:
                        yield from (SweepRun(arm.name, lam, seed) for lam in arm.lambdas)

    def sha256(self) -> str:
        """Hash of everything the plan says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run of a sweep."""

    arm: str
    lam: float
    seed: int

    @property
    def name(self) -> str:
        """Unique in its sweep, and a relative folder."""
        return f"{self.arm}/lambda-{self.lam!r}/seed-{self.seed}"


def read_plan(path: Path) -> SweepPlan:
    """The plan in a YAML (or JSON) file.

    Raises:
        HarnessError: it can't be read, or says something a sweep doesn't know.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HarnessError(f"{path} can't be read as a sweep plan: {' '.join(str(error).split())}") from error
    return parse_plan(content, str(path))


def parse_plan(content: object, source: str) -> SweepPlan:
    """A plan from plain dicts and lists.

    Raises:
        HarnessError: the first thing in it that is wrong.
    """
    try:
        plan = SweepPlan.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "plan"
        raise HarnessError(f"{source}: {where}: {first['msg']}") from error
    for run in plan.runs():
        training_config(plan, run, Path("unused"), None)
    return plan


def training_config(plan: SweepPlan, run: SweepRun, out: Path, rollouts: Path | None) -> OPDConfig:
    """The training of one run.

    Args:
        plan: the sweep.
        run: which of its runs.
        out: its run directory.
        rollouts: shared rollouts of its seed, None to draw them.

    Raises:
        HarnessError: the plan's options don't fit together.
    """
    arm, shared = plan.arm(run.arm), plan.training
    return OPDConfig(
        teacher=plan.teacher,
        base=plan.base,
        out=out,
        lam=run.lam,
        clip=arm.clip,
        data=shared.data,
        split=shared.split,
        limit=shared.limit,
        optimisation=opd_optimisation(
            arm.steps,
            shared.batch_size,
            arm.learning_rate,
            warmup_steps=shared.warmup_steps,
            final_fraction=shared.final_fraction,
            seed=run.seed,
        ),
        placement=Placement(device=shared.device, precision=shared.precision),
        ratio=shared.ratio,
        clip_sides=shared.clip_sides,
        ratio_gradient=shared.ratio_gradient,
        aggregation=shared.aggregation,
        staleness=arm.staleness,
        updates_per_rollout=arm.updates_per_rollout,
        rollout_batch=shared.rollout_batch if arm.staleness == "fixed" else None,
        samples=shared.samples,
        rollouts=rollouts,
        max_tokens=shared.max_tokens,
        checkpoint_every=shared.checkpoint_every,
        log_every=shared.log_every,
        seed=run.seed,
    )


def evaluation_config(plan: SweepPlan, checkpoint: str, out: Path) -> EvalConfig:
    """The evaluation of one checkpoint, the same for students, base and teacher."""
    settings = plan.evaluation
    return EvalConfig(
        engine=EngineConfig(engine=settings.engine, ckpt=checkpoint),
        data=settings.data,
        split=settings.split,
        limit=settings.limit,
        temperature=settings.temperature,
        seed=settings.seed,
        out=out,
    )
