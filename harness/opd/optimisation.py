"""How weights are moved, and what one step of it did; no torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "float32", "mixed", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Optimisation:
    """AdamW under a linear warm-up and a cosine.

    Attributes:
        steps: optimizer steps, ≥ 1.
        batch_size: sequences a step.
        learning_rate: its peak.
        micro_batch_size: sequences a forward pass, None for all of a step at once; saves memory, changes
            rounding only.
        warmup_steps: steps from 0 to the peak.
        final_fraction: of the peak, where the cosine ends.
        weight_decay: on matrices, not on norms and biases.
        beta2: decay of AdamW's second moment; the first moment's is 0.9.
        max_gradient_norm: gradients longer than this are scaled down to it.
        seed: of the data order, and of dropout where a model has it.
    """

    steps: int
    batch_size: int
    learning_rate: float
    micro_batch_size: int | None = None
    warmup_steps: int = 0
    final_fraction: float = 0.0
    weight_decay: float = 0.01
    beta2: float = 0.98
    max_gradient_norm: float = 1.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * warm * (self.final_fraction + (1.0 - self.final_fraction) * cosine)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in which precision a model is trained.

    Attributes:
        device: `auto`, or a torch device such as `cpu` or `cuda:1`.
        precision: `float32`; `mixed` computes in bfloat16 on float32 weights; `bfloat16` keeps weights and
            optimizer state in it too; `auto` is float32 on a CPU, else mixed.
        gradient_checkpointing: compute activations twice instead of keeping them.
        trust_remote_code: run Python code that comes with the checkpoint.
    """

    device: str = "auto"
    precision: Precision = "auto"
    gradient_checkpointing: bool = False
    trust_remote_code: bool = False


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
