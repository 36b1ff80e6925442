"""What a sweep is: arms of λ grids × seeds, how every run is evaluated, and when it counts as collapsed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from harness.data.choice import DataName, Limit, PromptConfig, Split
from harness.engines.config import Plausible, TrustRemoteCode
from harness.engines.limits import MaxTokens
from harness.errors import HarnessError, words_of
from harness.evaluate.config import EvalConfig, Temperature
from harness.opd.config import Aggregation, Clip, ClipSides, OPDConfig, Ratio, RatioGradient, Staleness
from harness.opd.optimisation import Precision
from harness.settings import Count, Level, Natural, Positive, Seed, Settings, Share
from harness.yaml_files import UnreadableYamlError, read_yaml

FACTORS = ("clip", "learning_rate", "steps", "staleness", "updates_per_rollout", "plausible")
"""What arms may differ in, beside their grids of λ."""


class SweepArm(Settings):
    """Runs that differ in λ and seed alone; settings of the same names mean what they mean in `OPDConfig`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Part of folder names."""
    lambdas: Annotated[tuple[Positive, ...], Field(min_length=2)]
    """The grid of λ, ascending."""
    clip: Clip
    plausible: Plausible = 0.0
    learning_rate: Positive = 5e-4
    steps: Count = 120
    staleness: Staleness = "fixed"
    """`fixed` draws rollouts once per seed, and all runs of that seed share them; `fresh` draws them from the
    student as it goes."""
    updates_per_rollout: Count = 1
    stage: int = 0
    """Arms of a lower stage run first, for all seeds."""

    @field_validator("lambdas")
    @classmethod
    def _ascending(cls, lambdas: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in itertools.pairwise(lambdas)):
            raise ValueError("the grid of λ must ascend, each value once")
        return lambdas


class SweepTraining(Settings):
    """What all runs have in common; every field means what it means in `OPDConfig`."""

    data: DataName = "fashion-mini"
    split: Split = "train"
    limit: Limit = None
    batch_size: Count = 64
    rollout_batch: Count | None = None
    samples: Count = 1
    warmup_steps: Natural = 0
    final_fraction: Share = 1.0
    ratio: Ratio = "student/behaviour"
    clip_sides: ClipSides = "two"
    ratio_gradient: RatioGradient = "detached"
    aggregation: Aggregation = "token"
    max_tokens: MaxTokens = None
    checkpoint_every: Natural = 0
    log_every: Count = 10
    device: str = "auto"
    precision: Precision = "auto"
    trust_remote_code: TrustRemoteCode = False

    @model_serializer(mode="wrap")
    def _as_before(self, as_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Unsaid where it is off, so that plans of before it was a setting keep their hash."""
        said: dict[str, Any] = as_dict(self)
        return {name: value for name, value in said.items() if value or name != "trust_remote_code"}


class SweepEvaluation(Settings):
    """How each trained student is evaluated; every field means what it means in `EvalConfig`."""

    data: DataName = "fashion-mini"
    split: Split = "validation"
    limit: Limit = 128
    temperature: Temperature = 0.0
    seed: Seed = 0
    engine: Literal["hf", "vllm"] = "hf"
    """What draws the answers."""


class SweepAnalysisSettings(Settings):
    """What is called a collapse, an onset and flat; fixed before the first run."""

    collapse_fraction: Level = 0.5
    """A run has collapsed when its strict parse validity at the end lies below this share of the base's. A
    run that stopped because its loss was no number any more has collapsed too."""
    confidence: Level = 0.95
    """Level of all intervals."""
    draws: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap draws of seeds."""
    bootstrap_seed: int = 0
    """Decides them."""
    ndcg_margin: Level = 0.05
    """Largest change of NDCG@1 on parsed outputs that still counts as flat."""
    ndcg_alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Level of the equivalence tests."""
    least_parsed: Count = 20
    """Parsed outputs a run needs for its NDCG@1 to be used."""


class SweepPlan(Settings):
    """A sweep before it is run."""

    teacher: str
    """Checkpoint of π_T."""
    base: str
    """Checkpoint of π_B, from which every student starts."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    """Of tasks, rollouts and minibatch order, the same for every arm and λ."""
    arms: Annotated[tuple[SweepArm, ...], Field(min_length=1)]
    """At least one; the first is the one that others are compared with."""
    training: SweepTraining = SweepTraining()
    """What the runs have in common."""
    evaluation: SweepEvaluation = SweepEvaluation()
    """What each is evaluated on."""
    analysis: SweepAnalysisSettings = SweepAnalysisSettings()
    """What its numbers will be called."""
    prompting: PromptConfig | None = None
    """How tasks are asked, in training and evaluation alike: `prompt`, `system`, `chat_template_kwargs`."""
    keep_checkpoints: bool = False
    """Keep the students; without, a student is deleted once it is evaluated."""

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

    @model_serializer(mode="wrap")
    def _as_before(self, as_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Unsaid where it is the usual prompt, so that plans stay equal to earlier ones."""
        said: dict[str, Any] = as_dict(self)
        return {name: value for name, value in said.items() if value is not None or name != "prompting"}

    def asked(self) -> dict[str, PromptConfig]:
        """The setting that says how tasks are asked, where the plan says it."""
        return {} if self.prompting is None else {"prompting": self.prompting}


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
    try:
        content = read_yaml(path)
    except (OSError, UnreadableYamlError) as error:
        raise HarnessError(f"{path} can't be read as a sweep plan: {words_of(error)}") from error
    return parse_plan(content, str(path))


def parse_plan(content: object, source: str) -> SweepPlan:
    """A plan from plain dicts and lists.

    Raises:
        HarnessError: the first thing in it that is wrong.
    """
    plan = SweepPlan.read(content, source)
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
    arm = plan.arm(run.arm)
    own = arm.model_dump(include=set(FACTORS))
    shared = plan.training.model_dump(exclude=set() if arm.staleness == "fixed" else {"rollout_batch"})
    these = {"teacher": plan.teacher, "base": plan.base, "lam": run.lam, "seed": run.seed}
    return OPDConfig.flat(shared | own | these | {"out": out, "rollouts": rollouts} | plan.asked())


def evaluation_config(plan: SweepPlan, checkpoint: str, out: Path) -> EvalConfig:
    """The evaluation of one checkpoint, the same for students, base and teacher."""
    ours = {"ckpt": checkpoint, "out": out, "trust_remote_code": plan.training.trust_remote_code}
    return EvalConfig.flat(plan.evaluation.model_dump() | ours | plan.asked())
