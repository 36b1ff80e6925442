"""One whole checkpoint out of an adapter and its base, or out of shards: `harness merge`."""

from __future__ import annotations

import gc
import json
import shutil
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import __version__
from harness.engines.adapters import apply_adapter
from harness.engines.carried import carry_code, carry_over
from harness.engines.checkpoint import Checkpoint
from harness.engines.config import AdapterBase, EngineConfig, Revision, TrustRemoteCode
from harness.engines.hf_loading import load_causal_model
from harness.engines.local_model import LocalModel
from harness.engines.weight_sets import SINGLE, find_weights, read_weights
from harness.engines.weights import BITS, StoredTensor
from harness.engines.whole import require_whole
from harness.errors import EngineUnavailableError, HarnessError, words_of
from harness.files import new_folder, replacing, write_text
from harness.progress import OnProgress, Progress, ignore
from harness.settings import Settings

RECORD = "merge.json"
_WHOLE = SINGLE[".safetensors"]
_CHUNK = 1 << 22
# Tokens on which what was merged is held against what was merged from, and by how much the log probability of
# a token may differ, weighed by its probability: another order of additions, and in half precision roundings.
_PROBED = 24
_EXACT, _ROUNDED = 1e-3, 5e-2


class MergeConfig(Settings, title="Merge"):
    """One merge."""

    source: str
    """Folder, hub id or zoo:NAME of a peft adapter, or of a checkpoint in several safetensors files."""
    out: Path
    """Folder of the merged checkpoint; it must not exist."""
    revision: Revision = None
    adapter_base: AdapterBase = None
    trust_remote_code: TrustRemoteCode = False


@dataclass(frozen=True, slots=True)
class Merged:
    """What was made.

    Attributes:
        out: the whole checkpoint.
        source: what it was made of, as it was named.
        source_sha256: its hash; an adapter's covers its base.
        base: the base of an adapter, None for shards.
        kind: peft's name of an adapter's kind, None for shards.
        dtype: of the merged weights, as config.json says it.
        parameters: number of weights, None where they aren't counted.
        sha256: hash of the merged checkpoint, as manifests give it.
        notes: what else there is to say.
    """

    out: Path
    source: str
    source_sha256: str
    base: str | None
    kind: str | None
    dtype: str | None
    parameters: int | None
    sha256: str
    notes: tuple[str, ...] = ()


def merge(config: MergeConfig, on_progress: OnProgress = ignore) -> Merged:
    """Make one whole checkpoint; `config.out` appears in one step when it is complete and was read back.

    Raises:
        HarnessError: `out` exists or can't be written, or there is nothing to merge.
        EngineUnavailableError: an adapter or a base that can't be used, or what was merged doesn't speak like
            what it was merged from.
    """
    if config.out.exists():
        raise HarnessError(f"{config.out} exists; name another folder for the merged checkpoint")
    local = LocalModel(
        EngineConfig(
            ckpt=config.source,
            revision=config.revision,
            adapter_base=config.adapter_base,
            trust_remote_code=config.trust_remote_code,
        )
    )
    source = local.checkpoint
    try:
        with new_folder(config.out) as folder:
            if source.base is None:
                _join_shards(source, folder, on_progress)
            else:
                _merge_adapter(source, folder, config.trust_remote_code, on_progress)
            carry_over(source, folder)
            made = Checkpoint(str(config.out), folder)
            require_whole(made, config.trust_remote_code)
            merged = _merged(config, local, made)
            record = asdict(merged) | {"out": str(config.out), "harness": __version__}
            write_text(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise HarnessError(
            f"can't write {config.out}: {words_of(error)}; make room or choose another `out=`"
        ) from error
    return merged


def _merged(config: MergeConfig, local: LocalModel, made: Checkpoint) -> Merged:
    source, adapter = local.checkpoint, local.adapter
    return Merged(
        out=config.out,
        source=config.source,
        source_sha256=source.sha256,
        base=None if source.base is None else source.base.name,
        kind=None if adapter is None else adapter.kind,
        dtype=made.dtype,
        parameters=made.parameters,
        sha256=made.sha256,
        notes=() if adapter is None else adapter.notes,
    )


def _merge_adapter(source: Checkpoint, folder: Path, trust: bool, on_progress: OnProgress) -> None:
    import torch
    import transformers

    base = source.base
    assert base is not None
    if base.config.get("quantization_config"):
        raise EngineUnavailableError(
            f"{base.name}, the base of {source.name}, is quantised, and a merge would round the adapter "
            "away; give the base it was quantised from as `adapter_base=`"
        )
    on_progress(Progress("loading the base"))
    model = apply_adapter(load_causal_model(base, "auto", trust).eval(), source)
    _untie(model)
    spoken = _speak(model)
    on_progress(Progress("merging"))
    try:
        model = model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        # Of `safe_merge`: numbers that are none.
        raise EngineUnavailableError(
            f"{source.name} can't be merged into {base.name}: {words_of(error, 200)}"
        ) from error
    half = model.dtype != torch.float32
    # Some published generation configs don't pass transformers' check on saving; theirs is copied afterwards.
    model.generation_config = transformers.GenerationConfig()
    model.save_pretrained(folder)
    carry_code(base, folder)
    del model
    gc.collect()
    on_progress(Progress("reading it back"))
    merged = load_causal_model(Checkpoint(source.name, folder), "auto", trust).eval()
    _require_same(spoken, _speak(merged), half, source)


def _untie(model: Any) -> None:
    """Give a head that shares its weights with the embedding its own where an adapter changes one of the two.

    Merging would change both, and saving would keep one.
    """
    import torch

    whole = model.get_base_model()
    inner, outer = whole.get_input_embeddings(), whole.get_output_embeddings()
    changed = [one for one in (inner, outer) if one is not None and hasattr(one, "base_layer")]
    replaced = [one for one in (inner, outer) if one is not None and hasattr(one, "modules_to_save")]
    if not (changed or replaced) or outer is None:
        return
    weight = getattr(outer, "base_layer", getattr(outer, "original_module", outer))
    weight.weight = torch.nn.Parameter(weight.weight.detach().clone(), requires_grad=False)
    for config in (whole.config, getattr(whole.config, "text_config", None)):
        if config is not None and getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False


def _speak(model: Any) -> Any:
    """[tokens, vocabulary] log probabilities of a model on tokens spread over its vocabulary."""
    import torch

    size = int(model.config.get_text_config().vocab_size)
    tokens = torch.arange(_PROBED) * max(1, size // _PROBED) % size
    with torch.no_grad():
        logits = model(tokens[None].to(model.device)).logits[0]
    return torch.log_softmax(logits.double(), dim=-1)


def _require_same(before: Any, after: Any, half: bool, source: Checkpoint) -> None:
    off = float(((before - after).abs() * before.exp()).sum(dim=-1).max())
    if not off <= (_ROUNDED if half else _EXACT):
        raise EngineUnavailableError(
            f"what {source.name} was merged into doesn't speak like it (log probabilities off by {off:.2g} "
            "nats); evaluate the adapter with `engine=hf`"
        )


def _join_shards(source: Checkpoint, folder: Path, on_progress: OnProgress) -> None:
    weights = find_weights(source.path)
    if len(weights.files) < 2:
        raise HarnessError(
            f"{source.name} is a whole model in one file already; there is nothing to merge: an adapter or "
            "shards were expected"
        )
    if weights.files[0].suffix != ".safetensors":
        raise HarnessError(
            f"{source.name} has its shards in torch's own format, which isn't joined here; load the model "
            "with transformers and save_pretrained"
        )
    on_progress(Progress("joining the shards"))
    write_safetensors(folder / _WHOLE, read_weights(weights))
    shutil.copyfile(source.path / "config.json", folder / "config.json")
    carry_code(source, folder)


def write_safetensors(path: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Copy stored tensors into one file, byte for byte and without holding them in memory.

    Raises:
        EngineUnavailableError: one of a dtype whose size isn't known, or not stored as safetensors.
    """
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in BITS or tensor.start is None:
            raise EngineUnavailableError(f"{tensor.file} holds {name} as {tensor.dtype}: it can't be copied")
        size = tensor.elements * BITS[tensor.dtype] // 8
        entries[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    # The format wants the data to begin at a multiple of 8 bytes.
    header += b" " * (-len(header) % 8)
    with replacing(path) as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        for tensor in tensors.values():
            _copy(tensor, stream)


def _copy(tensor: StoredTensor, stream: Any) -> None:
    left = tensor.elements * BITS[tensor.dtype] // 8
    with tensor.file.open("rb") as source:
        source.seek(tensor.start or 0)
        while left > 0:
            piece = source.read(min(left, _CHUNK))
            if not piece:
                raise EngineUnavailableError(f"{tensor.file} ends too soon; fetch or save it again")
            stream.write(piece)
            left -= len(piece)
