"""Whether the class that a config.json names writes text from left to right, as its author saved it.

transformers makes a causal model of any checkpoint that shares a config with one: of a masked language model,
of a classifier, of an encoder. What it then writes is noise in the checkpoint's name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import EngineUnavailableError

# Mappings of transformers whose classes write text, beside that of causal models.
_WRITES = ("IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM", "SEQ_TO_SEQ_CAUSAL_LM")
# Those whose classes do something else; a class that stands in both sorts writes.
_ELSE = {
    "MASKED_LM": "a masked language model",
    "SEQUENCE_CLASSIFICATION": "a classifier or reward model",
    "TOKEN_CLASSIFICATION": "a classifier of tokens",
    "QUESTION_ANSWERING": "a model that marks answers",
    "MULTIPLE_CHOICE": "a classifier of choices",
    "NEXT_SENTENCE_PREDICTION": "a classifier of sentences",
}
# For classes that only come with their checkpoint.
_ENDINGS = {
    "ForMaskedLM": "a masked language model",
    "ForSequenceClassification": "a classifier or reward model",
    "ForTokenClassification": "a classifier of tokens",
    "ForQuestionAnswering": "a model that marks answers",
    "ForMultipleChoice": "a classifier of choices",
    "ForNextSentencePrediction": "a classifier of sentences",
    "ForPreTraining": "a model with the heads of its pretraining",
    "ForRewardModel": "a reward model",
    "ForProcessRewardModel": "a reward model",
    "RewardModel": "a reward model",
    "ForEmbedding": "an embedding model",
    "EmbeddingModel": "an embedding model",
}


_EITHER = ("CAUSAL", "MASKED")


def require_causal(config: Any, folder: Path) -> None:
    """Refuse a config that names a class which doesn't write text from left to right.

    Names that transformers doesn't know are judged by their endings alone, and pass where those say nothing;
    so does a config that names none.

    Args:
        config: of transformers.
        folder: where it is from.

    Raises:
        EngineUnavailableError: naming the class.
    """
    for name in getattr(config, "architectures", None) or ():
        if (what := _what_else(config, str(name))) is not None:
            raise EngineUnavailableError(
                f"{folder}/config.json: `architectures` says {name}, {what}, which isn't a causal language "
                "model; name the checkpoint of one"
            )


def _what_else(config: Any, name: str) -> str | None:
    """What a class is that doesn't write text, None for one that does or of which nothing is known."""
    if name in _names("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"):
        return None
    if any(name in _names(f"MODEL_FOR_{kind}_MAPPING_NAMES") for kind in _WRITES):
        # Models of speech and images stand in all three, whose text part is mostly causal.
        return "an encoder with a decoder" if getattr(config, "is_encoder_decoder", False) else None
    for kind, what in _ELSE.items():
        if name in _names(f"MODEL_FOR_{kind}_MAPPING_NAMES"):
            return what
    if name in _names("MODEL_MAPPING_NAMES"):
        # Where such a type has a head to be had, the weights say whether it is there: tied, it needs none.
        return None if _has_causal_class(config) else "a model without a language model's head"
    return next((what for ending, what in _ENDINGS.items() if name.endswith(ending)), None)


def _has_causal_class(config: Any) -> bool:
    from transformers.models.auto import modeling_auto

    causal, masked = (getattr(modeling_auto, f"MODEL_FOR_{kind}_LM_MAPPING_NAMES", {}) for kind in _EITHER)
    return config.model_type in causal and config.model_type not in masked


def _names(mapping: str) -> set[str]:
    from transformers.models.auto import modeling_auto

    found: set[str] = set()
    # A model type may have several classes.
    for one in getattr(modeling_auto, mapping, {}).values():
        found.update((one,) if isinstance(one, str) else one)
    return found


def require_one_way(model: Any, folder: Path) -> None:
    """Refuse a model that, as its config has it, sees the tokens that come after.

    Args:
        model: of transformers, as it was made for writing text.
        folder: where its config is from.

    Raises:
        EngineUnavailableError: an encoder that isn't set up as a decoder.
    """
    from transformers.models.auto import modeling_auto

    config = model.config
    encodes = config.model_type in getattr(modeling_auto, "MODEL_FOR_MASKED_LM_MAPPING_NAMES", {})
    text = config.get_text_config(decoder=True)
    why = None
    # XLM has a name of its own for it.
    if encodes and not (getattr(config, "is_decoder", False) or getattr(config, "causal", False)):
        why = "`is_decoder` isn't true"
    elif getattr(text, "is_causal", None) is False:
        why = "`is_causal` is false"
    elif (both := getattr(text, "use_bidirectional_attention", None)) in (True, "all"):
        # Other values are of images alone.
        why = f"`use_bidirectional_attention` is {json.dumps(both)}"
    if why is not None:
        raise EngineUnavailableError(
            f"{folder}/config.json describes a {config.model_type} model that reads in both directions "
            f"({why}), which isn't a causal language model; name the checkpoint of one"
        )
