"""Whether a checkpoint's files hold the model that its config describes: all of it, and nothing else.

What is needed is asked of transformers itself: its own class is made on torch's meta device, and its own
loader is handed the stored names and shapes without data. So whatever transformers renames, fuses, ties or
ignores counts as it would in the real load, and nothing is read but headers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.engines.checkpoint import Checkpoint
from harness.engines.config import hf_missing
from harness.engines.weight_needs import QUANTISED, Fit, Needs, NotAskedError, quantisation
from harness.engines.weight_sets import OWN_FORMAT, find_weights, read_weights, require_same_in_bin
from harness.engines.weights import (
    PLAIN_FLOATS,
    StoredTensor,
    counted,
    listed,
    of_another_shape,
    same_numbers,
)
from harness.errors import EngineUnavailableError

# What wrappers put before every name, and what is to be saved instead.
WRAPPERS = {
    "_orig_mod.": "saved from a compiled model; save the inner model (`model._orig_mod`)",
    "module.": "saved from a wrapped model; save the inner model (`model.module`)",
    "_fsdp_wrapped_module.": "saved from an FSDP wrapper; gather the full state dict of the inner model",
    "base_model.model.": "saved from a peft model; merge the adapter (`merge_and_unload`) and save again",
    "_forward_module.": "saved from a DeepSpeed or Lightning wrapper; save the inner model",
    "policy.": "saved with what trained it around it; save the inner model",
    "pretrained_model.": "saved with a value head around it; save the inner model (`model.pretrained_model`)",
}
EXPERT = re.compile(r"(.*experts\.)(\d+)\.(.+)")
UNMERGED = "saved with an adapter inside; merge it (`merge_and_unload`) and save again"
SAVE_AGAIN = "save the model again with save_pretrained, its config.json beside it"


@dataclass(frozen=True, slots=True)
class WeightCheck:
    """What was held against what.

    Attributes:
        against: transformers' class whose parameters the files hold, None where it wasn't asked.
        unchecked: what wasn't checked and why, None where all was.
        unread: weight files beside those, which no engine reads.
        embeddings: token ids the model has embeddings for, None where that isn't known.
    """

    against: str | None
    unchecked: str | None = None
    unread: tuple[str, ...] = ()
    embeddings: int | None = None

    def __str__(self) -> str:
        """For a manifest."""
        fits = f"names, shapes and dtypes as {self.against} needs them" if self.against else ""
        unchecked = f"not checked: {self.unchecked}" if self.unchecked else ""
        unread = f"not read: {listed(self.unread)}" if self.unread else ""
        return "; ".join(part for part in (fits, unchecked, unread) if part)


def require_whole(checkpoint: Checkpoint, trust_remote_code: bool = False) -> WeightCheck:
    """Refuse a checkpoint whose files don't hold the model that its config describes; reads headers only.

    Args:
        checkpoint: of an adapter, the model below it is checked.
        trust_remote_code: whether code that comes with the checkpoint may be run to know what it needs.

    Returns:
        What was checked.

    Raises:
        EngineUnavailableError: missing, unexpected, misshapen or doubled tensors, integers where floats
            belong, damaged files, two sets of weights.
    """
    if checkpoint.base is not None:
        return require_whole(checkpoint.base, trust_remote_code)
    return _checked(checkpoint.name, checkpoint.path, _stamp(checkpoint.path), trust_remote_code)


def embeddings_of(checkpoint: Checkpoint, trust_remote_code: bool = False) -> int | None:
    """How many token ids a checkpoint has embeddings for, None where nothing says it.

    Raises:
        EngineUnavailableError: as `require_whole`.
    """
    found = require_whole(checkpoint, trust_remote_code).embeddings
    return (checkpoint.base or checkpoint).vocabulary if found is None else found


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file of the folder does."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return tuple((file.name, (of := file.stat()).st_size, of.st_mtime_ns) for file in files)


@lru_cache(maxsize=16)
def _checked(name: str, folder: Path, stamp: object, trust_remote_code: bool) -> WeightCheck:
    weights = find_weights(folder)
    stored = read_weights(weights)
    require_same_in_bin(weights, stored)
    unread = tuple(file.name for file in weights.beside)
    if all(file.name.startswith(OWN_FORMAT) for file in weights.files):
        return WeightCheck(None, "weights in Mistral's own format", unread)
    if missing := hf_missing():
        return WeightCheck(None, f"what the architecture needs ({missing} isn't installed)", unread)
    _refuse_wrapped(name, stored)
    quantised = quantisation(json.loads((folder / "config.json").read_bytes()))
    try:
        needs = Needs(folder, trust_remote_code)
        fit = needs.fit(stored)
        if quantised:
            fit = _unpacked(fit, needs, stored)
        _require_fit(name, needs, fit, stored)
        if not quantised:
            _require_floats(name, needs, stored)
    except NotAskedError as error:
        return WeightCheck(None, f"what the architecture needs ({error})", unread)
    _require_once(name, needs, stored)
    _require_tied_alike(name, needs, stored)
    packed = f"shapes and extra tensors of layers quantised by {quantised}" if quantised else None
    return WeightCheck(needs.model, packed, unread, needs.embeddings)


def _refuse_wrapped(name: str, stored: Mapping[str, StoredTensor]) -> None:
    for prefix, saved in WRAPPERS.items():
        wrapped = [one for one in stored if one.startswith(prefix)]
        if wrapped and len(wrapped) * 2 > len(stored):
            raise EngineUnavailableError(
                f"{name}: {len(wrapped)} of {len(stored)} stored tensors begin with `{prefix}` "
                f"({listed(wrapped)}): {saved}"
            )


def _unpacked(fit: Fit, needs: Needs, stored: Mapping[str, StoredTensor]) -> Fit:
    """What is wrong with a quantised checkpoint for certain: modules without tensors, and the reverse.

    Raises:
        NotAskedError: transformers' loader stopped at them.
    """
    if fit.trouble:
        raise NotAskedError(f"transformers can't join its packed tensors: {fit.trouble[:120]}")
    modules = {_parent(one) for one in needs.names}
    above = {module for one in modules for module in _upwards(one)}
    held = {module for one in fit.unexpected for module in _upwards(_parent(one))}
    return Fit(
        {one: floats for one, floats in fit.missing.items() if _parent(one) not in held},
        tuple(
            one
            for one in fit.unexpected
            if _parent(one) not in above and not modules & set(_upwards(_parent(one)))
        ),
        {
            one: shapes
            for one, shapes in fit.misshapen.items()
            if one in stored and stored[one].dtype in PLAIN_FLOATS
        },
    )


def _upwards(module: str) -> list[str]:
    """A module and all that hold it."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _odd_experts(stored: Mapping[str, StoredTensor]) -> str:
    """Which experts' tensors can't be joined, of which transformers doesn't say the names."""
    layers: dict[str, dict[str, dict[str, StoredTensor]]] = {}
    for name, tensor in stored.items():
        if found := EXPERT.fullmatch(name):
            layers.setdefault(found[1], {}).setdefault(found[3], {})[found[2]] = tensor
    for layer, parts in layers.items():
        numbers = {number for experts in parts.values() for number in experts}
        for part, experts in parts.items():
            if absent := sorted(numbers - experts.keys(), key=int):
                return f"missing ({listed(f'{layer}{number}.{part}' for number in absent)})"
            shapes = [tensor.shape for tensor in experts.values()]
            for number, tensor in experts.items():
                if shapes.count(tensor.shape) * 2 < len(shapes):
                    return f"of another shape than its like ({layer}{number}.{part}: {list(tensor.shape)})"
    return ""


def _require_fit(name: str, needs: Needs, fit: Fit, stored: Mapping[str, StoredTensor]) -> None:
    said = []
    if fit.missing:
        said.append(f"{counted(len(fit.missing), 'tensor')} missing ({listed(fit.missing)})")
    if fit.unexpected:
        said.append(f"{len(fit.unexpected)} that it has no place for ({listed(fit.unexpected)})")
    if fit.misshapen:
        said.append(of_another_shape(fit.misshapen))
    if fit.trouble:
        said.append(_odd_experts(stored) or f"transformers can't convert it: {fit.trouble[:200]}")
    if said:
        inside = any(".base_layer." in one or ".lora_" in one for one in fit.unexpected)
        raise EngineUnavailableError(
            f"{name} isn't the {needs.model} that its config.json describes: {'; '.join(said)}; "
            f"{UNMERGED if inside else SAVE_AGAIN}"
        )


def _require_floats(name: str, needs: Needs, stored: Mapping[str, StoredTensor]) -> None:
    odd = {one: tensor for one, tensor in stored.items() if tensor.dtype not in PLAIN_FLOATS}
    if not odd:
        return
    plain = needs.fit({one: tensor for one, tensor in stored.items() if one not in odd})
    without = [*(one for one, floats in plain.missing.items() if floats), *plain.misshapen]
    if without or plain.trouble:
        first = next(iter(odd))
        raise EngineUnavailableError(
            f"{name} holds no floating-point numbers where weights belong "
            f"(first {first}: {odd[first].dtype}) and its config.json has no {QUANTISED}; {SAVE_AGAIN}"
        )


def _require_once(name: str, needs: Needs, stored: Mapping[str, StoredTensor]) -> None:
    twice = [one for one in stored if needs.prefix and f"{needs.prefix}{one}" in stored]
    if twice:
        raise EngineUnavailableError(
            f"{name} holds {counted(len(twice), 'tensor')} twice, with and without `{needs.prefix}` "
            f"({listed(twice)}); {SAVE_AGAIN}"
        )


def _require_tied_alike(name: str, needs: Needs, stored: Mapping[str, StoredTensor]) -> None:
    for one, other in needs.tied.items():
        if one in stored and other in stored and not same_numbers(one, other, stored):
            raise EngineUnavailableError(
                f"{name}: config.json ties {one} to {other}, but the files hold other numbers for each, and "
                "loaders disagree about which to take; set `tie_word_embeddings` to false, or save it again"
            )
