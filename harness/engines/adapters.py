"""Whether a peft adapter is what its config says and fits the model below it; told from headers alone.

What an adapter's files must hold is asked of peft itself: it puts the adapter's config on the base's class on
torch's meta device, and the names and shapes of the result are held against the stored ones. So whatever peft
renames, shares or leaves out counts as it would in the real load. Without this peft draws what is missing
anew and leaves what it doesn't know lying, and the base answers in the adapter's name.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.engines.checkpoint import ADAPTER_CONFIG, Checkpoint, read_json
from harness.engines.weight_needs import Needs, NotAskedError, quietly
from harness.engines.weights import (
    BITS,
    FROM_TORCH,
    PLAIN_FLOATS,
    StoredTensor,
    counted,
    listed,
    of_another_shape,
    stored_tensors,
)
from harness.engines.whole import WRAPPERS
from harness.errors import EngineUnavailableError, words_of

WEIGHT_FILES = ("adapter_model.safetensors", "adapter_model.bin")
NAME = "default"
"""What peft calls the one adapter of a model."""
# Kinds that only change what a module computes, so that they answer like a model into which they are merged.
# Others put virtual tokens before the prompt, or want more than token ids.
KINDS = ("LORA", "ADALORA", "IA3", "LOHA", "LOKR", "OFT", "BOFT", "VERA", "LN_TUNING", "HRA")
_MERGE = "`harness merge {folder} --out DIR`"
_SAVE_AGAIN = "save it again with peft's save_pretrained"
_ZEROS = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that was held against its base.

    Attributes:
        kind: peft's name of it, such as LORA.
        rank: the largest of its ranks, None where the kind has none.
        named_base: the base that its config names.
        notes: what a reader of its numbers should know, a line each.
    """

    kind: str
    rank: int | None
    named_base: str | None
    notes: tuple[str, ...] = ()

    def record(self, base: Checkpoint) -> dict[str, Any]:
        """What a manifest says of it; `base` is hashed."""
        return {
            "kind": self.kind,
            "rank": self.rank,
            "base": base.name,
            "base_sha256": base.sha256,
            "base_revision": base.revision,
            "base_named_by_adapter": self.named_base,
        }


@dataclass(slots=True)
class _Misfit:
    """How stored tensors and what peft needs differ; all names as the file has them."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)


def require_adapter(checkpoint: Checkpoint, trust_remote_code: bool = False) -> Adapter | None:
    """Refuse an adapter that peft wouldn't apply to its base wholly and as it was trained.

    Args:
        checkpoint: None comes back for a whole model.
        trust_remote_code: whether code that comes with the base may be run to know its modules.

    Raises:
        EngineUnavailableError: peft isn't installed, a config without what decides the adapter's size and
            scale, a kind that isn't supported, tensors missing, unexpected or of another shape.
    """
    if checkpoint.base is None:
        return None
    files = tuple((file, file.stat().st_mtime_ns) for file in sorted(checkpoint.path.glob("adapter_*")))
    return _checked(checkpoint, files, trust_remote_code)


@lru_cache(maxsize=16)
def _checked(checkpoint: Checkpoint, stamp: object, trust_remote_code: bool) -> Adapter:
    folder, base = checkpoint.path, checkpoint.base
    assert base is not None
    config = read_config(folder)
    stored = read_adapter(folder)
    settings = _settings(folder, config)
    misfit = _misfit(checkpoint, settings, stored, trust_remote_code)
    if misfit:
        raise EngineUnavailableError(_refusal(checkpoint, base, misfit, len(stored)))
    named = config.get("base_model_name_or_path")
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    return Adapter(
        kind=str(config["peft_type"]),
        rank=max((rank for rank in ranks if isinstance(rank, int)), default=None),
        named_base=None if named is None else str(named),
        notes=tuple(_notes(checkpoint, base, config, settings, stored)),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """An adapter's config, with what decides its size and scale.

    Raises:
        EngineUnavailableError: it can't be read, or lacks something that peft would guess.
    """
    file = folder / ADAPTER_CONFIG
    config = read_json(file)
    kind = config.get("peft_type")
    if kind is None:
        raise EngineUnavailableError(f"{file} names no peft_type; {_SAVE_AGAIN}")
    if kind not in KINDS:
        raise EngineUnavailableError(
            f"{folder} is an adapter of kind {kind}, which isn't supported; those of kind "
            f"{', '.join(KINDS)} are"
        )
    if kind == "LORA":
        _require_number(file, config, "r", whole=True)
        _require_number(file, config, "lora_alpha")
    if not config.get("target_modules") and not config.get("target_parameters") and kind == "LORA":
        raise EngineUnavailableError(f"{file} names no target_modules; {_SAVE_AGAIN}")
    return config


def _require_number(file: Path, config: Mapping[str, Any], name: str, whole: bool = False) -> None:
    """peft guesses a rank of 8 and an alpha of 8 where the file says none."""
    value = config.get(name)
    if value is None:
        raise EngineUnavailableError(f"{file} has no `{name}`, which peft would guess; {_SAVE_AGAIN}")
    right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right or not math.isfinite(value) or value == 0 or (whole and value < 0):
        kind = "a number of 1 or more" if whole else "a number other than 0"
        raise EngineUnavailableError(f"{file}: `{name}` is {json.dumps(value)}, not {kind}; {_SAVE_AGAIN}")


def read_adapter(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of an adapter's weight file, by name; peft takes safetensors where both kinds are there.

    Raises:
        EngineUnavailableError: there is none, it is damaged or holds nothing.
    """
    file = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if file is None:
        raise EngineUnavailableError(
            f"{folder} has {ADAPTER_CONFIG} but no {' or '.join(WEIGHT_FILES)}; save the adapter again"
        )
    stored = stored_tensors([file])
    if not stored:
        raise EngineUnavailableError(f"{file} holds no tensor; save the adapter again")
    odd = next((name for name, tensor in stored.items() if tensor.dtype not in PLAIN_FLOATS), None)
    if odd is not None:
        raise EngineUnavailableError(
            f"{file} holds no plain floating-point numbers in {odd} ({stored[odd].dtype}); {_SAVE_AGAIN}"
        )
    return stored


@contextmanager
def _quiet_peft() -> Iterator[None]:
    with quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _settings(folder: Path, config: Mapping[str, Any]) -> Any:
    """The config as peft reads it."""
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise EngineUnavailableError(f"{folder} is a peft adapter; run: pip install peft") from error
    try:
        with _quiet_peft():
            settings = PeftConfig.from_pretrained(str(folder))
    except Exception as error:
        # Constructors of configs fail with anything.
        raise EngineUnavailableError(
            f"{folder}/{ADAPTER_CONFIG} isn't one that peft can read: {words_of(error, 240)}"
        ) from error
    if config["peft_type"] == "LORA":
        # Only how an adapter begins, which is no question of names; some ways read the base's weights.
        settings.init_lora_weights = True
    return settings


def _misfit(
    checkpoint: Checkpoint, settings: Any, stored: Mapping[str, StoredTensor], trust_remote_code: bool
) -> _Misfit:
    import torch
    from peft import get_peft_model, get_peft_model_state_dict

    base = checkpoint.base
    assert base is not None
    try:
        skeleton = Needs(base.path, trust_remote_code).skeleton
    except NotAskedError as error:
        raise EngineUnavailableError(
            f"{checkpoint.name} can't be held against its base {base.name}: {error}"
        ) from error
    try:
        with _quiet_peft():
            model = get_peft_model(skeleton, settings, NAME, low_cpu_mem_usage=True)
            needed = get_peft_model_state_dict(model, adapter_name=NAME, save_embedding_layers=False)
            everything = model.state_dict()
    except Exception as error:
        # Such as target modules of which the base has none; peft fails with errors of many kinds.
        raise EngineUnavailableError(
            f"{checkpoint.name} doesn't fit its base {base.name}: {words_of(error, 240)}; "
            f"give the base it was trained on as `adapter_base=`, or {_SAVE_AGAIN}"
        ) from error
    found = _Misfit(missing=[name for name in needed if name not in stored])
    for name, tensor in stored.items():
        # Beside the adapter a file may hold whole embeddings, by their names in the model.
        wanted = needed.get(name, everything.get(name))
        if wanted is None:
            found.unexpected.append(name)
        elif tuple(wanted.shape) != tensor.shape:
            found.misshapen[name] = (tensor.shape, tuple(wanted.shape))
    if found and not found.misshapen and _loads(model, stored, torch):
        return _Misfit()
    return found


def _loads(model: Any, stored: Mapping[str, StoredTensor], torch: Any) -> bool:
    """Whether peft's own loader, which knows names of earlier versions, finds a place for every tensor."""
    from peft import set_peft_model_state_dict

    dtypes = {name: getattr(torch, of, None) for of, name in FROM_TORCH.items()}
    state = {
        name: torch.empty(one.shape, dtype=dtypes.get(one.dtype) or torch.float32, device="meta")
        for name, one in stored.items()
    }
    names = set(model.state_dict())
    try:
        with _quiet_peft():
            told = set_peft_model_state_dict(model, state, adapter_name=NAME, low_cpu_mem_usage=True)
    except Exception:
        # It fails with errors of many kinds, and the names that differ say more than any of them.
        return False
    mine = [name for name in told.missing_keys if name in names and f".{NAME}" in name]
    return not told.unexpected_keys and not mine


def _refusal(checkpoint: Checkpoint, base: Checkpoint, misfit: _Misfit, stored: int) -> str:
    said = []
    if misfit.unexpected:
        said.append(
            f"{len(misfit.unexpected)} of its {counted(stored, 'tensor')} belong to nothing there "
            f"({listed(misfit.unexpected, 2)})"
        )
    if misfit.missing:
        said.append(f"{counted(len(misfit.missing), 'tensor')} missing ({listed(misfit.missing, 2)})")
    if misfit.misshapen:
        said.append(of_another_shape(misfit.misshapen))
    return (
        f"{checkpoint.name} doesn't fit its base {base.name} as {ADAPTER_CONFIG} describes it: "
        f"{'; '.join(said)}; {_remedy(misfit)}"
    )


def _remedy(misfit: _Misfit) -> str:
    for prefix, saved in WRAPPERS.items():
        if any(f".{prefix}" in f".{name.removeprefix('base_model.model.')}" for name in misfit.unexpected):
            return saved
    if any("embed" in name or "lm_head" in name for name in misfit.misshapen):
        return "give the base with as many embeddings as it was trained on as `adapter_base=`"
    if misfit.misshapen and not (misfit.missing or misfit.unexpected):
        return f"give the base it was trained on as `adapter_base=`, or put its rank right: {_SAVE_AGAIN}"
    return f"give the base it was trained on as `adapter_base=`, or {_SAVE_AGAIN}"


def _notes(
    checkpoint: Checkpoint,
    base: Checkpoint,
    config: Mapping[str, Any],
    settings: Any,
    stored: Mapping[str, StoredTensor],
) -> Iterator[str]:
    named = config.get("base_model_name_or_path")
    if named and named != base.name:
        yield f"the adapter {checkpoint.name} names the base {named}; {base.name} was taken, as asked"
    unknown = [name for name, value in config.items() if value and not hasattr(settings, name)]
    if unknown:
        yield (
            f"{ADAPTER_CONFIG} of {checkpoint.name} says {listed(unknown)}, which the installed peft doesn't "
            "know and passes over"
        )
    if config["peft_type"] == "LORA" and not config.get("use_dora"):
        second = [one for name, one in stored.items() if "lora_B" in name or "lora_embedding_B" in name]
        if len(second) * 2 == len(stored) and all(_is_zero(one) for one in second):
            yield f"the adapter {checkpoint.name} is untrained (every lora_B is 0): it answers as its base"


def _is_zero(tensor: StoredTensor) -> bool:
    """Whether its bytes are all zero; False where they can't be read piece by piece."""
    if tensor.start is None:
        return False
    left = tensor.elements * BITS.get(tensor.dtype, 0) // 8
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        while left > 0:
            piece = stream.read(min(left, len(_ZEROS)))
            if not piece or piece != _ZEROS[: len(piece)]:
                return False
            left -= len(piece)
    return True


def merge_instead(folder: str | Path) -> str:
    """What to do with an adapter that something can't take."""
    return f"make it one model first: {_MERGE.format(folder=folder)}"


def apply_adapter(model: Any, checkpoint: Checkpoint) -> Any:
    """Put an adapter on its loaded base; peft says itself what it found.

    Args:
        model: of transformers, the checkpoint's base.
        checkpoint: an adapter.

    Raises:
        EngineUnavailableError: peft isn't installed, or left out a tensor.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise EngineUnavailableError(f"{checkpoint.name} is a peft adapter; run: pip install peft") from error
    with _quiet_peft():
        adapted = PeftModel.from_pretrained(model, str(checkpoint.path), adapter_name=NAME)
        # Once more, for what it tells: loading into the adapter that is there already changes nothing.
        told = adapted.load_adapter(str(checkpoint.path), adapter_name=NAME)
    lost = [*told.missing_keys, *told.unexpected_keys]
    if lost:
        raise EngineUnavailableError(
            f"peft doesn't apply {checkpoint.name} wholly: {counted(len(lost), 'tensor')} missing or of no "
            f"place ({listed(lost, 2)}); {_SAVE_AGAIN}"
        )
    return adapted
