"""Logits and weights that aren't numbers stop the run: they say nothing of how a model answers."""

from __future__ import annotations

from typing import Any

from harness.errors import EngineUnavailableError

NOT_NUMBERS = "the logits are not numbers (NaN or infinite)"
WHAT_TO_DO = (
    "its weights aren't numbers either, or too large for the dtype they are computed in; compute in float32, "
    "or take an earlier checkpoint"
)


class NotNumbersError(EngineUnavailableError):
    """NaN or infinity where a model's logits or weights should be."""


def named(model: Any) -> str:
    """The folder a transformers model came from, or its class."""
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return str(name) or type(model).__name__


def require_numbers(logits: Any, name: str) -> None:
    """Refuse rows of logits that no distribution can be made of.

    Args:
        logits: [..., vocabulary] tensor; −∞ for tokens that can't be drawn is a number here, unless all are.
        name: the checkpoint they come from.

    Raises:
        NotNumbersError: NaN or +∞ somewhere, or −∞ everywhere in a row.
    """
    # The largest of a row shows all three: one pass, one number a row.
    if not bool(logits.amax(dim=-1).isfinite().all()):
        raise NotNumbersError(f"{name}: {NOT_NUMBERS}: {WHAT_TO_DO}")


class OnlyNumbers:
    """Logits processor that changes nothing and stops at logits that aren't numbers."""

    def __init__(self, name: str) -> None:
        """`name` is the checkpoint the error names."""
        self._name = name

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The same [rows, vocabulary] scores."""
        require_numbers(scores, self._name)
        return scores


def require_finite_weights(model: Any, name: str) -> None:
    """Refuse a model with NaN or infinite weights, before it is saved as if nothing were wrong.

    Raises:
        NotNumbersError: naming the first such parameter.
    """
    for parameter, values in model.named_parameters():
        if not bool(values.isfinite().all()):
            raise NotNumbersError(
                f"{name}: weights that aren't numbers ({parameter} is NaN or infinite), so it isn't saved; "
                "lower the learning rate"
            )
