"""Everything an on-policy distillation run is told; no torch here.

What the paper (Li et al., arXiv 2605.08737) leaves open is a named option, and every option goes into the
run's manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.cliff import switch
from harness.contract import DEFAULT
from harness.data.choice import NO_REASONING, ContractChoice, DataName, Limit, PromptConfig, Split
from harness.engines.config import Plausible
from harness.engines.limits import MaxTokens
from harness.opd.optimisation import Optimisation, Placement
from harness.settings import Count, Group, Level, Natural, Positive, Settings

_LOSS, _ROLLOUTS, _GUARD = Group("Loss"), Group("Rollouts"), Group("Guard")

Clip = Annotated[float | None, Field(gt=1, allow_inf_nan=False)]
Ratio = Annotated[switch.Ratio, _LOSS]
ClipSides = Annotated[switch.ClipSides, _LOSS]
RatioGradient = Annotated[switch.RatioGradient, _LOSS]
Aggregation = Annotated[Literal["token", "sequence"], _LOSS]
Staleness = Annotated[switch.Staleness, _ROLLOUTS]
BehaviourEngine = Annotated[Literal["hf", "vllm"], _ROLLOUTS]
Guard = Annotated[Literal["off", "warn", "enforce", "forecast", "stop"], _GUARD]
_OF_EDGE, _OF_FORECAST = ("warn", "enforce"), ("forecast", "stop")


def opd_optimisation(**changes: Any) -> Optimisation:
    """AdamW as distillation wants it: a constant rate, and no weight decay.

    Decay would move a student that has nothing to learn (A = 0), and with it the fixed point.

    Args:
        **changes: fields of `Optimisation` in place of 120 steps of 64 rollouts at 5e-4.

    Raises:
        HarnessError: as `Optimisation`.
    """
    own = {"steps": 120, "learning_rate": 5e-4, "final_fraction": 1.0, "weight_decay": 0.0}
    return Optimisation(**own | changes)


def _reasons(prompting: PromptConfig) -> bool:
    return prompting.reasoning_end not in (None, NO_REASONING)


_FROM_THE_FIRST = (
    "training takes an answer to begin with its first token; leave `reasoning_end=` out, and thinking off"
)


class LoRA(Settings, title="LoRA"):
    """Train a low-rank adapter (Hu et al., arXiv 2106.09685) instead of all weights."""

    rank: Count = 8
    """Train a LoRA adapter of this rank instead of all weights."""
    alpha: Positive = 16.0
    """The adapter is scaled by this over its rank; 16 by default."""
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Names of the adapted layers, as peft takes them."""


class SFTConfig(Settings, title="Training"):
    """One supervised training run."""

    checkpoint: str
    """Checkpoint folder, hub id or zoo:NAME to start from."""
    out: Path
    """Checkpoint folder to write; must not exist yet."""
    optimisation: Optimisation
    data: DataName = "fashion-mini"
    split: Split = "train"
    limit: Limit = None
    contract: ContractChoice = DEFAULT
    prompting: PromptConfig = PromptConfig()
    answers: Path | None = None
    """File of the answers to teach, as `harness eval --replay` reads them; all must keep the contract.
    Without it the ideal ranking, or what a task has as `expected`."""
    placement: Placement = Placement()

    @model_validator(mode="after")
    def _no_reasoning(self) -> SFTConfig:
        if _reasons(self.prompting):
            raise ValueError(_FROM_THE_FIRST)
        return self


class OPDConfig(Settings, title="Distillation"):
    """One on-policy distillation with reward extrapolation."""

    teacher: str
    """Checkpoint of π_T: folder, hub id or zoo:NAME."""
    base: str
    """Checkpoint of π_B, the warm start."""
    out: Path
    """Run directory: `manifest.json` (every setting), `train.jsonl` (a line a step), `checkpoint/`."""
    lam: Positive
    """λ; 1 is plain distillation."""
    clip: Clip = None
    """Clip strength c; without it the importance ratio isn't clipped."""
    plausible: Annotated[Plausible, _LOSS] = 0.0
    student: str | None = None
    """Checkpoint that π_S starts from; the base by default."""
    data: DataName = "fashion-mini"
    split: Split = "train"
    limit: Limit = None
    contract: ContractChoice = DEFAULT
    prompting: PromptConfig = PromptConfig()
    optimisation: Optimisation = Field(default_factory=opd_optimisation)
    placement: Placement = Placement()
    ratio: Ratio = "student/behaviour"
    """The two policies of the importance ratio r; `behaviour` drew the rollouts."""
    clip_sides: ClipSides = "two"
    """`two` clips r to [1/c, c], `upper` to [0, c]."""
    ratio_gradient: RatioGradient = "detached"
    """`detached`: weight r·A, no gradient from tokens whose r lies outside the clip region. `differentiated`:
    PPO's and GRPO's min(r·A, clip(r)·A). `truncated`: weight clip(r)·A, gradient from every token (CISPO)."""
    aggregation: Aggregation = "token"
    """`token` averages over all tokens of a step; `sequence` over each rollout's tokens first, then over
    rollouts."""
    staleness: Staleness = "fresh"
    """`fresh` draws new rollouts from the student after every round of `updates_per_rollout` ·
    `rollout_batch` / `batch_size` steps; `fixed` draws once, before the first."""
    updates_per_rollout: Annotated[Count, _ROLLOUTS] = 1
    """Optimizer steps each fresh rollout takes part in."""
    rollout_batch: Annotated[Count | None, _ROLLOUTS] = None
    """Rollouts of a round, a multiple of `batch_size` and by default the same; all there are where they are
    fixed."""
    samples: Annotated[Count, _ROLLOUTS] = 1
    """Rollouts per prompt, a divisor of those of a round."""
    rollouts: Annotated[Path | None, _ROLLOUTS] = None
    """Stored rollouts of another run (RUN/rollouts), where they are fixed, instead of drawing. Their scores
    under teacher and base are used if those are the same."""
    behaviour_engine: BehaviourEngine = "hf"
    """What draws rollouts, always at T = 1, top_p = 1: `hf` uses the student in memory; `vllm` is started
    anew on its saved weights each round, tens of seconds every time."""
    max_tokens: Annotated[MaxTokens, _ROLLOUTS] = None
    lora: LoRA | None = None
    guard: Guard = "off"
    """`forecast` holds λ at the largest that the forecast shows to keep its bar, and ends the run once its
    fresh rollouts' strict validity has surely fallen, or λ reached has passed that λ; `stop` ends it so, and
    leaves λ alone. `warn` and `enforce` go by the clip edge of the run's ratio instead: where λ is above
    (1 − `guard_epsilon`) times the lower bound of its λ*, they say so, or train at that bound."""
    forecast: Annotated[Path | None, _GUARD] = None
    """Folder of a harness forecast of the same teacher and base, for `guard=forecast` and `stop`."""
    guard_epsilon: Annotated[float, Field(ge=0, lt=1), _GUARD] = 0.05
    """Safety margin of `warn` and `enforce`."""
    guard_confidence: Annotated[Level, _GUARD] = 0.95
    """Two-sided level of the interval that the lower bound of λ* belongs to; what is left to 1 is the chance
    that `forecast` or `stop` ends a run whose validity keeps what it reached."""
    checkpoint_every: Natural = 50
    """Steps between saved states; 0 saves none before the end."""
    keep_every: Natural = 0
    """Steps between students that are kept as checkpoints of their own, `checkpoint-STEP/`; 0 keeps the last
    alone, in `checkpoint/`."""
    log_every: Count = 10
    """Steps between the costly readings (the student's class masses, from the first step on; and, of fresh
    rollouts, where it stands on the line of its teacher and base, as the round with such a step begins);
    everything else is logged each step."""
    seed: Natural = 0
    """Of the choice of tasks, of the rollouts and of the order of minibatches."""
    resume: bool = False
    """Go on with the run in `out`, which must be of the same configuration, to the same weights."""

    @property
    def pool(self) -> int:
        """Rollouts of a round."""
        return self.rollout_batch or self.optimisation.batch_size

    @property
    def steps_per_round(self) -> int:
        """Optimizer steps on one set of rollouts."""
        if self.staleness == "fixed":
            return self.optimisation.steps
        return self.updates_per_rollout * self.pool // self.optimisation.batch_size

    def placed_at(self, step: int) -> bool:
        """Whether λ reached is read before a step, counted from 0: as a round with a reading begins.

        Only then are the rollouts the student's own. Fixed ones never are.
        """
        within, count = step % self.steps_per_round, self.steps_per_round
        return self.staleness == "fresh" and within == 0 and -step % self.log_every < count

    @property
    def clip_can_bind(self) -> bool:
        """Whether some ratio can differ from 1 before the step that uses it."""
        on_policy = self.ratio == "student/behaviour" and self.steps_per_round == 1
        return self.clip is not None and not on_policy

    @model_validator(mode="after")
    def _fits_together(self) -> OPDConfig:
        batch, pool, fixed = self.optimisation.batch_size, self.pool, self.staleness == "fixed"
        for wrong, message in (
            (_reasons(self.prompting), _FROM_THE_FIRST),
            (pool % batch != 0, f"{pool} rollouts a round don't fill batches of {batch}; choose a multiple"),
            (
                pool % self.samples != 0,
                f"{self.samples} samples a prompt don't divide {pool} rollouts a round; choose a divisor",
            ),
            (
                self.updates_per_rollout > 1 and fixed,
                "`updates_per_rollout=` goes with fresh rollouts; with fixed ones `rollout_batch=` decides",
            ),
            (
                self.rollouts is not None and not fixed,
                "stored rollouts are fixed; set `staleness=fixed` or leave `rollouts=` out",
            ),
            (
                self.lora is not None and self.student not in (None, self.base),
                "with LoRA the base is the student without its adapter; leave `student=` out",
            ),
            (
                self.guard in _OF_EDGE and self.clip is None,
                f"`guard={self.guard}` needs a clip strength, for without one there is no λ*; give `clip=`, "
                "or a forecast and `guard=forecast`",
            ),
            (
                self.guard in _OF_EDGE and self.plausible > 0.0,
                f"the λ* of `guard={self.guard}` is of extrapolation everywhere; choose `guard=forecast`, or "
                "leave `guard=` or `plausible=` out",
            ),
            (
                self.guard in _OF_FORECAST and self.forecast is None,
                f"`guard={self.guard}` needs what `harness forecast` found for this teacher and base; give "
                "its folder as `forecast=`",
            ),
            (
                self.guard not in _OF_FORECAST and self.forecast is not None,
                "`forecast=` goes with `guard=forecast` or `stop`; choose one",
            ),
            (
                self.guard == "stop" and fixed,
                "`guard=stop` watches fresh rollouts, and these are fixed; set `staleness=fresh`, or "
                "`guard=forecast`, which holds λ",
            ),
        ):
            if wrong:
                raise ValueError(message)
        return self


@dataclass(frozen=True, slots=True)
class OPDRun:
    """A finished run.

    Attributes:
        out: the run directory.
        checkpoint: Hugging Face folder of the trained student (an adapter with LoRA).
        step: the last optimizer step, counted from 1.
        strict: share of the last round's rollouts that keep the contract; with fixed rollouts those of the
            policy that drew them, not of the trained student.
        lam: λ of the last step, which the guard may have lowered.
        warnings: what the user should know of the run, one line each.
    """

    out: Path
    checkpoint: Path
    step: int
    strict: float
    lam: float
    warnings: tuple[str, ...] = ()
