"""The loop of supervised training: batches in, optimizer steps, one record a step out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from harness.errors import HarnessError
from harness.opd.batching import Batch, BatchOrder, collate
from harness.opd.examples import Example
from harness.opd.optimisation import Optimisation, TrainingStep


def weighted_nll(model: Any, batch: Batch) -> torch.Tensor:
    """Sum over a batch of weight · (−log probability of the target), in nats; a scalar.

    Logits exist at `batch.positions` only, never for a whole prompt, and the log-softmax is in float32
    whatever the model computes in.
    """
    logits = model(input_ids=batch.token_ids, logits_to_keep=batch.positions, use_cache=False).logits
    learnt = batch.weights > 0
    losses = functional.cross_entropy(logits[learnt].float(), batch.targets[learnt], reduction="none")
    return (losses * batch.weights[learnt]).sum()


def train(
    model: Any,
    examples: Sequence[Example],
    optimisation: Optimisation,
    *,
    autocast: bool = False,
    on_step: Callable[[TrainingStep], None],
) -> None:
    """Train a causal model in place.

    Args:
        model: a transformers causal model on its device, in training mode.
        examples: at least one.
        optimisation: how.
        autocast: compute in bfloat16 on weights that stay as they are.
        on_step: told after each step.

    Raises:
        HarnessError: the loss is no longer a finite number.
    """
    device = next(model.parameters()).device
    optimizer = adamw(model, optimisation, device)
    order = BatchOrder(
        [len(example.token_ids) for example in examples], optimisation.batch_size, optimisation.seed
    )
    for step in range(optimisation.steps):
        started = time.monotonic()
        rate = optimisation.rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = [examples[index] for index in order.step(step)]
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = _accumulate_gradient(model, chosen, optimisation.micro_batch_size, device)
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), optimisation.max_gradient_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise HarnessError(
                f"training diverged at step {step + 1} (loss {loss}, gradient norm {norm}); "
                "lower the learning rate"
            )
        optimizer.step()
        optimizer.zero_grad()
        on_step(
            TrainingStep(
                step=step + 1,
                loss=loss,
                learning_rate=rate,
                gradient_norm=norm,
                input_tokens=sum(len(example.token_ids) for example in chosen),
                target_tokens=sum(weight > 0 for example in chosen for weight in example.weights),
                seconds=round(time.monotonic() - started, 4),
            )
        )


def _accumulate_gradient(
    model: Any,
    examples: Sequence[Example],
    micro_batch_size: int | None,
    device: torch.device,
) -> float:
    """Backpropagate the weighted mean over all examples, however they are cut up; returns it."""
    total_weight = math.fsum(weight for example in examples for weight in example.weights)
    size = micro_batch_size or len(examples)
    loss = 0.0
    for start in range(0, len(examples), size):
        batch = _to_device(collate(examples[start : start + size]), device)
        part = weighted_nll(model, batch) / total_weight
        part.backward()
        loss += float(part.detach())
    return loss


def _to_device(batch: Batch, device: torch.device) -> Batch:
    return Batch(
        token_ids=batch.token_ids.to(device),
        positions=batch.positions.to(device),
        targets=batch.targets.to(device),
        weights=batch.weights.to(device),
    )


def adamw(model: Any, optimisation: Optimisation, device: torch.device) -> torch.optim.AdamW:
    """The optimizer of all weights that want a gradient."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": optimisation.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=optimisation.learning_rate,
        betas=(0.9, optimisation.beta2),
        fused=device.type in ("cpu", "cuda"),
    )
