"""How weights are moved, and what one step of it did; no torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from harness.errors import HarnessError

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

    Raises:
        HarnessError: a number outside its range.
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

    def __post_init__(self) -> None:
        """Refuse what can't be meant; NaN passes no comparison, so ranges are asked for as they should be."""
        for allowed, message in (
            (self.steps >= 1 and self.batch_size >= 1, "steps and batch size must be at least 1"),
            (
                self.micro_batch_size is None or self.micro_batch_size >= 1,
                "micro batches must hold at least 1",
            ),
            (self.warmup_steps >= 0, "warm-up steps must be at least 0"),
            (
                0 < self.learning_rate < math.inf,
                f"the learning rate must be finite and above 0, not {self.learning_rate}; give --lr",
            ),
            (0 <= self.final_fraction <= 1, f"final fraction must lie in [0, 1], not {self.final_fraction}"),
            (
                0 <= self.weight_decay < math.inf,
                f"weight decay must be finite and at least 0, not {self.weight_decay}",
            ),
            (0 < self.beta2 < 1, f"beta2 must lie in (0, 1), not {self.beta2}"),
            (self.max_gradient_norm > 0, f"gradients need a norm above 0, not {self.max_gradient_norm}"),
        ):
            if not allowed:
                raise HarnessError(message)

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
