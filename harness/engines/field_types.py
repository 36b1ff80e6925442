"""What fields of a checkpoint's JSON files may hold; one of a wrong type is named with its file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.engines.weights import FROM_TORCH
from harness.errors import EngineUnavailableError

Fits = Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _list_of(fits: Fits) -> Fits:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _object_of(fits: Fits) -> Fits:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _any(value: Any) -> bool:
    return True


def _id(value: Any) -> bool:
    # Some write -1 for none.
    return _whole(value) and value >= -1


class Rule(NamedTuple):
    """What a field may hold: in words, a test of it, and rules for what is inside."""

    what: str
    fits: Fits
    inside: Mapping[str, Rule] | None = None


def _object(inside: Mapping[str, Rule] | None = None) -> Rule:
    return Rule("an object", lambda value: isinstance(value, dict), inside)


_WHOLE = Rule("a whole number", _whole)
_SIZE = Rule("a whole number above 0", lambda value: _whole(value) and value > 0)
_NUMBER = Rule("a number", _number)
_FINITE = Rule("a number above 0", lambda value: _number(value) and math.isfinite(value) and value > 0)
_TEXT = Rule("text", _text)
_BOOL = Rule("true or false", lambda value: isinstance(value, bool))
_TEXTS = Rule("a list of text", _list_of(_text))
_NAMES = Rule("text or a list of text", lambda value: _text(value) or _list_of(_text)(value))
_IDS = Rule("a token id or a list of them", lambda value: _id(value) or _list_of(_id)(value))
_DTYPES = frozenset({*FROM_TORCH, "auto", "half", "float", "double"})
_DTYPE = Rule("a dtype of torch", lambda value: _text(value) and value.removeprefix("torch.") in _DTYPES)
_ROPE = {
    "factor": _FINITE,
    "original_max_position_embeddings": _FINITE,
    "rope_theta": _FINITE,
    "rope_type": _TEXT,
    "type": _TEXT,
}
_MODEL = {
    "model_type": _TEXT,
    "eos_token_id": _IDS,
    "vocab_size": _SIZE,
    "max_position_embeddings": _SIZE,
    "n_positions": _SIZE,
    "max_seq_len": _SIZE,
    "seq_length": _SIZE,
    "max_sequence_length": _SIZE,
    "max_target_positions": _SIZE,
    "dtype": _DTYPE,
    "torch_dtype": _DTYPE,
    "tie_word_embeddings": _BOOL,
    "rope_parameters": _object(_ROPE),
    "rope_scaling": _object(_ROPE),
    "quantization_config": _object({"quant_method": _TEXT}),
}
FIELDS: Mapping[str, Mapping[str, Rule]] = {
    "config.json": {
        **_MODEL,
        "text_config": _object(_MODEL),
        "architectures": _TEXTS,
        "auto_map": _object(),
        "transformers_weights": _TEXT,
    },
    "generation_config.json": {"eos_token_id": _IDS},
    "tokenizer_config.json": {"model_max_length": _NUMBER, "tokenizer_class": _TEXT, "auto_map": _object()},
    "adapter_config.json": {
        "base_model_name_or_path": _TEXT,
        "revision": _TEXT,
        "peft_type": _TEXT,
        "r": _WHOLE,
        "lora_alpha": _NUMBER,
        # AdaLoRA's holds a list for each.
        "rank_pattern": Rule(
            "an object of whole numbers", _object_of(lambda one: _whole(one) or _list_of(_any)(one))
        ),
        "alpha_pattern": Rule("an object of numbers", _object_of(_number)),
        "target_modules": _NAMES,
        "target_parameters": _TEXTS,
        "modules_to_save": _TEXTS,
        "bias": _TEXT,
        "use_dora": _BOOL,
        "use_rslora": _BOOL,
        "fan_in_fan_out": _BOOL,
    },
}
"""By file name; null stands for an absent field everywhere."""


def require_types(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a field of a wrong type, which would stop what reads it far from its file, or be passed over.

    Args:
        path: a file; one of other names isn't looked at.
        content: what it holds.

    Raises:
        EngineUnavailableError: naming file, field and what it holds.
    """
    _require(path, "", content, FIELDS.get(path.name, {}))


def _require(path: Path, above: str, content: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    for name, rule in rules.items():
        value = content.get(name)
        if value is None:
            continue
        if not rule.fits(value):
            raise EngineUnavailableError(
                f"{path}: `{above}{name}` is {json.dumps(value)[:80]}, not {rule.what}; correct it, or fetch "
                "or save the checkpoint again"
            )
        if rule.inside is not None:
            _require(path, f"{above}{name}.", value, rule.inside)
