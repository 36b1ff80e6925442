"""Everything an on-policy distillation run is told; no torch here.

What the paper (Li et al., arXiv 2605.08737) leaves open is a named option, and every option goes into the
run's manifest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.contract import DEFAULT, Contract
from harness.errors import HarnessError
from harness.opd.optimisation import Optimisation, Placement

Ratio = Literal["student/behaviour", "student/base", "student/teacher"]
ClipSides = Literal["two", "upper"]
RatioGradient = Literal["detached", "differentiated", "truncated"]
Aggregation = Literal["token", "sequence"]
Staleness = Literal["fresh", "fixed"]
BehaviourEngine = Literal["hf", "vllm"]
Guard = Literal["off", "warn", "enforce"]


def opd_optimisation(
    steps: int = 120,
    batch_size: int = 64,
    learning_rate: float = 5e-4,
    *,
    micro_batch_size: int | None = None,
    warmup_steps: int = 0,
    final_fraction: float = 1.0,
    seed: int = 0,
) -> Optimisation:
    """AdamW as distillation wants it: a constant rate, and no weight decay.

    Decay would move a student that has nothing to learn (A = 0), and with it the fixed point.

    Args:
        steps: optimizer steps.
        batch_size: rollouts a step.
        learning_rate: its peak.
        micro_batch_size: rollouts a forward pass, None for all of a step at once.
        warmup_steps: steps from 0 to the peak.
        final_fraction: of the peak, where the cosine ends; 1 is a constant rate.
        seed: of the order of minibatches, and of dropout where a model has it.
    """
    return Optimisation(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        micro_batch_size=micro_batch_size,
        warmup_steps=warmup_steps,
        final_fraction=final_fraction,
        weight_decay=0.0,
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class LoRA:
    """Train a low-rank adapter (Hu et al., arXiv 2106.09685) instead of all weights.

    Attributes:
        rank: of the update matrices, ≥ 1.
        alpha: > 0; the update is scaled by alpha / rank.
        targets: names of the adapted layers, as peft takes them.

    Raises:
        HarnessError: a rank or scale with which nothing would be learnt.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"

    def __post_init__(self) -> None:
        """Refuse an adapter that can't learn."""
        if not (self.rank >= 1 and 0 < self.alpha < math.inf):
            raise HarnessError(
                f"LoRA needs a rank ≥ 1 and a finite alpha above 0, not {self.rank} and {self.alpha}"
            )


@dataclass(frozen=True, slots=True)
class OPDConfig:
    """One on-policy distillation with reward extrapolation.

    Attributes:
        teacher: checkpoint of π_T, folder or hub id.
        base: checkpoint of π_B, the warm start.
        out: run directory: `manifest.json`, `train.jsonl`, `checkpoint/`.
        lam: λ > 0; 1 is plain distillation.
        clip: clip strength c > 1; None leaves the importance ratio unclipped.
        student: checkpoint that π_S starts from; None is the base.
        data: a bundled dataset's name, a `.jsonl` file or a folder of splits; only its prompts are used.
        split: which split of a named dataset or folder.
        limit: use only the first tasks.
        contract: the output format asked for.
        optimisation: how weights are moved; `batch_size` counts rollouts a step. See `opd_optimisation`.
        placement: device and precision.
        ratio: which two policies form the importance ratio r; `behaviour` is the one that drew the rollouts.
        clip_sides: `two` clips r to [1/c, c], `upper` to [0, c].
        ratio_gradient: `detached`: weight r·A, no gradient from tokens whose r lies outside the clip
            region. `differentiated`: PPO's and GRPO's min(r·A, clip(r)·A). `truncated`: weight clip(r)·A,
            gradient from every token (CISPO).
        aggregation: `token` averages over all tokens of a step; `sequence` over each rollout's tokens first,
            then over rollouts.
        staleness: `fresh` draws new rollouts from the student after every round of
            `updates_per_rollout · rollout_batch / batch_size` steps; `fixed` draws once, before the first.
        updates_per_rollout: optimizer steps each rollout takes part in before a fresh round; 1 with `fixed`,
            where the number of steps and the pool decide.
        rollout_batch: rollouts of a round, a multiple of `batch_size`; the pool with `fixed`. None is
            `batch_size`.
        samples: rollouts per prompt, a divisor of `rollout_batch`.
        rollouts: folder of stored rollouts (`RUN/rollouts`, or from `prepare_rollouts`) to use instead of
            drawing; only with `fixed`. Its scores under teacher and base are used if those are the same.
        behaviour_engine: what draws rollouts, always at T = 1, top_p = 1: `hf` uses the student in memory;
            `vllm` saves its weights and starts an engine on them each round, tens of seconds every time.
        max_tokens: most completion tokens; None is 64 + 8 K of the largest K.
        lora: train an adapter, with π_B as the same model without it; None trains all weights.
        guard: estimate λ* from the rollouts and, where λ is above (1 − `guard_epsilon`) times its lower
            bound, do nothing (`off`), say so (`warn`), or train at that bound (`enforce`).
        guard_epsilon: safety margin in [0, 1).
        guard_confidence: two-sided level of the interval the lower bound belongs to.
        checkpoint_every: steps between saved states; 0 saves none before the end.
        log_every: steps between the costly readings (the student's class masses, from the first step on);
            everything else is logged each step.
        seed: of the choice of tasks and of the rollouts; `optimisation.seed` is the one of minibatch order.
        resume: go on with the run in `out`, which must be of the same configuration.
    """

    teacher: str
    base: str
    out: Path
    lam: float
    clip: float | None
    student: str | None = None
    data: str = "fashion-mini"
    split: str | None = "train"
    limit: int | None = None
    contract: Contract = DEFAULT
    optimisation: Optimisation = field(default_factory=opd_optimisation)
    placement: Placement = field(default_factory=Placement)
    ratio: Ratio = "student/behaviour"
    clip_sides: ClipSides = "two"
    ratio_gradient: RatioGradient = "detached"
    aggregation: Aggregation = "token"
    staleness: Staleness = "fresh"
    updates_per_rollout: int = 1
    rollout_batch: int | None = None
    samples: int = 1
    rollouts: Path | None = None
    behaviour_engine: BehaviourEngine = "hf"
    max_tokens: int | None = None
    lora: LoRA | None = None
    guard: Guard = "off"
    guard_epsilon: float = 0.05
    guard_confidence: float = 0.95
    checkpoint_every: int = 50
    log_every: int = 10
    seed: int = 0
    resume: bool = False

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

    @property
    def clip_can_bind(self) -> bool:
        """Whether some ratio can differ from 1 before the step that uses it."""
        on_policy = self.ratio == "student/behaviour" and self.steps_per_round == 1
        return self.clip is not None and not on_policy

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises:
            HarnessError: the message names the first thing that is wrong.
        """
        for wrong, message in self._problems():
            if wrong:
                raise HarnessError(message)

    def _problems(self) -> list[tuple[bool, str]]:
        batch, pool = self.optimisation.batch_size, self.pool
        clip = self.clip
        return [
            (
                not (math.isfinite(self.lam) and self.lam > 0),
                f"λ must be finite and above 0, not {self.lam}; give --lambda",
            ),
            (
                clip is not None and not (math.isfinite(clip) and clip > 1),
                f"the clip strength c must be finite and above 1, not {clip}; leave --clip out for none",
            ),
            (
                pool % batch != 0,
                f"{pool} rollouts a round don't fill batches of {batch}; choose a multiple",
            ),
            (
                self.samples < 1 or pool % self.samples != 0,
                f"{self.samples} samples a prompt don't divide {pool} rollouts a round; choose a divisor",
            ),
            (self.updates_per_rollout < 1, "updates per rollout must be at least 1"),
            (
                self.updates_per_rollout > 1 and self.staleness == "fixed",
                "updates per rollout go with fresh rollouts; with fixed ones --rollout-batch decides",
            ),
            (
                self.rollouts is not None and self.staleness != "fixed",
                'stored rollouts are fixed; set staleness to "fixed" or leave them out',
            ),
            (
                self.lora is not None and self.student not in (None, self.base),
                "with LoRA the base is the student without its adapter; leave the student checkpoint out",
            ),
            (
                self.guard != "off" and clip is None,
                "the guard needs a clip strength, for without one there is no λ*; give --clip",
            ),
            (not 0 <= self.guard_epsilon < 1, "guard epsilon must lie in [0, 1)"),
            (not 0 < self.guard_confidence < 1, "guard confidence must lie in (0, 1)"),
            (self.checkpoint_every < 0 or self.log_every < 1, "checkpoint_every must be ≥ 0, log_every ≥ 1"),
            (self.max_tokens is not None and self.max_tokens < 1, "max tokens must be at least 1"),
        ]


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
