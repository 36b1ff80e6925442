"""The loop of supervised training: from a checkpoint and examples to a trained one, with a record a step."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from harness.engines.checkpoint import Checkpoint
from harness.engines.finite import NOT_NUMBERS, WHAT_TO_DO, NotNumbersError, named
from harness.errors import HarnessError
from harness.files import LineLog
from harness.opd.models.files import adamw, choose_device, load_model, numerics, save_model
from harness.opd.optimisation import Optimisation, Placement, TrainingStep
from harness.opd.sft.batching import Batch, BatchOrder, collate
from harness.opd.sft.examples import Example
from harness.progress import OnProgress, Progress, ignore

LOG = "train.jsonl"


def fit_checkpoint(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    optimisation: Optimisation,
    placement: Placement,
    folder: Path,
    on_progress: OnProgress = ignore,
    stage: str = "fine-tuning",
) -> TrainingStep:
    """Train a checkpoint on examples and save the result and a log of every step.

    Args:
        checkpoint: a whole model, no adapter.
        examples: at least one.
        optimisation: how the weights are moved.
        placement: where and in which precision.
        folder: exists; gets the files of the trained checkpoint and `train.jsonl`.
        on_progress: told after every step.
        stage: what it is told is being done.

    Returns:
        The last step.

    Raises:
        EngineUnavailableError: transformers can't load the checkpoint.
        HarnessError: the loss stopped being finite.
    """
    device = choose_device(placement.device)
    dtype, autocast = numerics(placement, device)
    model = load_model(checkpoint, placement, dtype).to(device).train()
    last: list[TrainingStep] = []
    with (
        LineLog(folder / LOG) as log,
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(optimisation.seed)

        def on_step(step: TrainingStep) -> None:
            log.append(f"{json.dumps(dataclasses.asdict(step))}\n".encode())
            last[:] = [step]
            note = f"loss {step.loss:.3f}"
            on_progress(Progress(stage, step.step, optimisation.steps, note=note))

        train(model, examples, optimisation, autocast=autocast, on_step=on_step)
    save_model(model, checkpoint, folder)
    return last[0]


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
        if step == 0 and not math.isfinite(loss):
            # Nothing was moved yet: the checkpoint is at fault, not the learning rate.
            raise NotNumbersError(f"{named(model)}: {NOT_NUMBERS}: {WHAT_TO_DO}")
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
