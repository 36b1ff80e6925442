"""Models of transformers from and to checkpoint folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from harness.engines.carried import carry_over
from harness.engines.checkpoint import Checkpoint
from harness.engines.finite import require_finite_weights
from harness.engines.hf_loading import load_causal_model
from harness.errors import EngineUnavailableError
from harness.opd.optimisation import Optimisation, Placement


def choose_device(wanted: str) -> torch.device:
    """The torch device that `Placement.device` means.

    Raises:
        EngineUnavailableError: torch knows no such device, or this machine has none.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise EngineUnavailableError(
            f"torch knows no device {wanted!r}; give `device=cpu`, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise EngineUnavailableError(
            f"torch sees {found} CUDA devices here, so not {wanted}; give another `device=`"
        )
    return device


def numerics(placement: Placement, device: torch.device) -> tuple[torch.dtype, bool]:
    """The dtype of the weights, and whether to compute in bfloat16 on them all the same."""
    precision = placement.precision
    if precision == "auto":
        precision = "float32" if device.type == "cpu" else "mixed"
    return (torch.bfloat16 if precision == "bfloat16" else torch.float32), precision == "mixed"


def load_model(checkpoint: Checkpoint, placement: Placement, dtype: torch.dtype) -> Any:
    """The causal model of a checkpoint, on the CPU.

    Raises:
        EngineUnavailableError: transformers can't load all of it.
    """
    model = load_causal_model(checkpoint, dtype, placement.trust_remote_code)
    if placement.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model


def save_model(model: Any, checkpoint: Checkpoint, folder: Path) -> None:
    """Write a trained model as a checkpoint like the one it began from.

    Args:
        model: of transformers; left in the checkpoint's dtype.
        checkpoint: gives dtype, tokenizer and chat template.
        folder: exists.

    Raises:
        NotNumbersError: weights that are NaN or infinite, or too large for the checkpoint's dtype.
    """
    # In the dtype it came in: a bfloat16 checkpoint trained in float32 would double in size.
    dtype = getattr(torch, checkpoint.dtype or "float32", torch.float32)
    # Some published generation configs don't pass transformers' own check on saving; theirs is copied below.
    model.generation_config = GenerationConfig()
    model.to(dtype)
    require_finite_weights(model, "the trained model")
    model.save_pretrained(folder)
    carry_over(checkpoint, folder)


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
