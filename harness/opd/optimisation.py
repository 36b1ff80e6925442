"""How weights are moved, and what one step of it did; no torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from harness.engines.config import TrustRemoteCode
from harness.settings import Count, Level, Natural, Positive, Settings, Share

Precision = Literal["auto", "float32", "mixed", "bfloat16"]


class Optimisation(Settings, title="Optimisation"):
    """AdamW under a linear warm-up and a cosine."""

    steps: Count
    """Optimizer steps."""
    batch_size: Count = 64
    """Sequences a step."""
    learning_rate: Positive
    """Peak learning rate."""
    micro_batch_size: Count | None = None
    """Sequences a forward pass, all of a step by default; saves memory, changes rounding only."""
    warmup_steps: Natural = 0
    """Steps from 0 to the peak rate."""
    final_fraction: Share = 0.0
    """Of the peak rate, where the cosine ends; 1 is a constant rate."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    """On matrices, not on norms and biases."""
    beta2: Level = 0.98
    """Decay of AdamW's second moment; the first moment's is 0.9."""
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients longer than this are scaled down to it."""
    seed: Natural = 0
    """Of the data order, and of dropout where a model has it."""

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * warm * (self.final_fraction + (1.0 - self.final_fraction) * cosine)


class Placement(Settings, title="Placement"):
    """Where and in which precision a model is trained."""

    device: str = "auto"
    """`auto`, or a torch device such as `cpu` or `cuda:1`."""
    precision: Precision = "auto"
    """`mixed` computes in bfloat16 on float32 weights; `bfloat16` keeps weights and optimizer state in it
    too; `auto` is float32 on a CPU, else mixed."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    trust_remote_code: TrustRemoteCode = False


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """What one optimizer step did.

    Attributes:
        step: counted from 1.
        loss: weighted mean over its targets, in nats, before the update.
        learning_rate: of this step.
        gradient_norm: before clipping.
        input_tokens: tokens read, padding left out.
        target_tokens: targets of weight > 0.
        seconds: wall-clock time of the step.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    input_tokens: int
    target_tokens: int
    seconds: float
