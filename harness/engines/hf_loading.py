"""Loading a causal model with transformers, whose own report of what it loaded is heeded."""

from __future__ import annotations

import os
from typing import Any

from harness.engines.checkpoint import Checkpoint
from harness.engines.weight_needs import quantisation, without_place
from harness.engines.weight_sets import INDEX, SINGLE, find_weights
from harness.engines.weights import counted, listed
from harness.errors import EngineUnavailableError, words_of


def load_causal_model(checkpoint: Checkpoint, dtype: Any, trust_remote_code: bool) -> Any:
    """The causal model in a checkpoint's folder, on the CPU.

    Args:
        checkpoint: a whole model.
        dtype: of torch, or `auto`.
        trust_remote_code: whether code that comes with the checkpoint may be run.

    Raises:
        EngineUnavailableError: transformers can't load it, or reports weights it had to make up or leave out.
    """
    import transformers

    weights = find_weights(checkpoint.path)
    own_name = "transformers_weights" in checkpoint.config
    if weights.index is None and not own_name and weights.files[0].name not in SINGLE.values():
        raise EngineUnavailableError(
            f"transformers can't load {checkpoint.name}: {listed(one.name for one in weights.files)} and no "
            f"{SINGLE[weights.files[0].suffix]}{INDEX} that says what lies where; fetch it too, or save again"
        )
    if not os.environ.get("HARNESS_DEBUG"):
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            str(checkpoint.path),
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        # Constructors of models fail with anything, some with no more than a word.
        said = words_of(error, 300)
        raise EngineUnavailableError(
            f"transformers can't load {checkpoint.name}: {type(error).__name__}: {said}"
        ) from error
    _heed(checkpoint, report)
    return model


def _heed(checkpoint: Checkpoint, report: dict[str, Any]) -> None:
    """The second line of defence, behind `require_whole`: what the real load found.

    Raises:
        EngineUnavailableError: weights that were drawn at random or left out.
    """
    # Loaders of quantised weights count the parts they unpack as unexpected.
    packed = quantisation(checkpoint.config) is not None
    wrong = {
        "missing": sorted(report.get("missing_keys") or ()),
        "unexpected": () if packed else without_place(report.get("unexpected_keys") or ()),
        "misshapen": sorted(str(one[0]) for one in report.get("mismatched_keys") or ()),
    }
    if not any(wrong.values()):
        return
    said = "; ".join(
        f"{counted(len(names), kind + ' tensor')} ({listed(names)})" for kind, names in wrong.items() if names
    )
    raise EngineUnavailableError(
        f"transformers could not load all of {checkpoint.name}: {said}; save the model again with "
        "save_pretrained, its config.json beside it"
    )
