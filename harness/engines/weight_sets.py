"""Which files of a folder are its weights: one set that every loader takes, or none.

transformers takes the first that is there of model.safetensors, model.safetensors.index.json,
pytorch_model.bin and pytorch_model.bin.index.json (`_get_resolved_checkpoint_files`, 5.19). vLLM takes every
*.safetensors, or those the index names where there is one, else every *.bin (`DefaultModelLoader`, 0.32). A
folder in which the two differ holds two models under one name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engines.folder_kinds import visible
from harness.engines.weights import FETCH_AGAIN, StoredTensor, counted, listed, stored_tensors, tensor_of
from harness.errors import EngineUnavailableError, words_of

SINGLE = {".safetensors": "model.safetensors", ".bin": "pytorch_model.bin"}
INDEX = ".index.json"
# Mistral's own format, which lies beside the other in its repositories.
OWN_FORMAT = "consolidated"
ADAPTER = "adapter_model"
# Numbers of a tensor that are compared where a folder has the weights in two formats.
COMPARED_BYTES = 1 << 20
KEEP_ONE = "move one of them away"


@dataclass(frozen=True, slots=True)
class WeightSet:
    """The weights of a folder.

    Attributes:
        files: that loaders read, in order of their names.
        index: the index that names them, None for a single file.
        beside: other weight files, which no loader reads.
    """

    files: tuple[Path, ...]
    index: Path | None = None
    beside: tuple[Path, ...] = ()


def find_weights(folder: Path) -> WeightSet:
    """The one set of weights in a folder; empty where there is none.

    Raises:
        EngineUnavailableError: two sets, an index that can't be read, or files it names that aren't there.
    """
    first = _of_kind(folder, ".safetensors")
    if not first.files:
        return _of_kind(folder, ".bin")
    # Nobody reads these, whole or not: downloads of safetensors bring the index of a .bin set along.
    return WeightSet(first.files, first.index, (*first.beside, *_candidates(folder, ".bin")))


def _candidates(folder: Path, suffix: str) -> list[Path]:
    pattern = f"*{suffix}" if suffix == ".safetensors" else f"pytorch_model*{suffix}"
    found = (file for file in visible(folder, pattern) if file.is_file())
    return [file for file in found if not file.name.startswith(ADAPTER)]


def _of_kind(folder: Path, suffix: str) -> WeightSet:
    named = folder / SINGLE[suffix]
    every = _candidates(folder, suffix)
    own = [file for file in every if file.name.startswith(OWN_FORMAT)]
    usual = [file for file in every if file not in own]
    index = named.with_name(named.name + INDEX)
    if not index.is_file():
        if named in usual:
            return _single(named, [file for file in usual if file != named], own)
        return WeightSet(tuple(usual or own), None, tuple(own if usual else ()))
    files = named_by(index)
    if named in usual and named not in files:
        raise EngineUnavailableError(
            f"{folder} holds two sets of weights, {named.name} and the {counted(len(files), 'file')} that "
            f"{index.name} names: transformers reads the one, vLLM the other; {KEEP_ONE}"
        )
    if absent := [file.name for file in files if not file.is_file()]:
        raise EngineUnavailableError(
            f"{folder} is incomplete: {index.name} names {listed(absent)}; {FETCH_AGAIN}"
        )
    left = [file for file in usual if file not in files]
    shards = [file.name for file in left if _is_shard(file, named)]
    if shards:
        raise EngineUnavailableError(
            f"{folder} holds {listed(shards)}, which {index.name} doesn't name: left over from another save, "
            f"or the index is; {KEEP_ONE}"
        )
    return WeightSet(tuple(files), index, (*left, *own))


def _is_shard(file: Path, named: Path) -> bool:
    """Whether a file is a shard of the set that `named` would be in one; variants have names of their own."""
    return re.fullmatch(rf"{re.escape(named.stem)}-\d{{5}}-of-\d{{5}}", file.stem) is not None


def _single(named: Path, others: Sequence[Path], own: Sequence[Path]) -> WeightSet:
    if shards := [file.name for file in others if _is_shard(file, named)]:
        raise EngineUnavailableError(
            f"{named.parent} holds two sets of weights, {named.name} and {listed(shards)}: transformers "
            f"reads the first, vLLM all of them; {KEEP_ONE}"
        )
    return WeightSet((named,), None, (*others, *own))


def named_by(index: Path) -> list[Path]:
    """The files that an index names, in order of their names.

    Raises:
        EngineUnavailableError: it can't be read, or names something outside its folder.
    """
    files = set(weight_map(index).values())
    if strange := sorted(file for file in files if Path(file).name != file):
        raise EngineUnavailableError(
            f"{index} names {listed(strange)}, outside its own folder; put the shards beside it"
        )
    return [index.parent / file for file in sorted(files)]


def weight_map(index: Path) -> dict[str, str]:
    """Tensor name → file name, as an index has it.

    Raises:
        EngineUnavailableError: it isn't one.
    """
    try:
        read: Any = json.loads(index.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise EngineUnavailableError(f"{index} can't be read as JSON: {words_of(error)}") from error
    placed = read.get("weight_map") if isinstance(read, dict) else None
    if not isinstance(placed, dict) or not placed or not all(isinstance(one, str) for one in placed.values()):
        raise EngineUnavailableError(
            f"{index} isn't an index of weights: it has no `weight_map` of names and files; {FETCH_AGAIN}"
        )
    return placed


def read_weights(weights: WeightSet) -> dict[str, StoredTensor]:
    """What a set holds, held against its index.

    Raises:
        EngineUnavailableError: a damaged file, a tensor that is stored twice, or an index that names a tensor
            in a file which lacks it.
    """
    found = stored_tensors(weights.files)
    if weights.index is not None:
        placed = weight_map(weights.index)
        wrong = [name for name, file in placed.items() if name not in found or found[name].file.name != file]
        if wrong:
            raise EngineUnavailableError(
                f"{weights.index} disagrees with the files: {counted(len(wrong), 'tensor')} it names not in "
                f"the file it says, first {listed(wrong)}; {FETCH_AGAIN}"
            )
    return found


def as_vllm_reads(weights: WeightSet) -> dict[str, str]:
    """Arguments that make vLLM read the same files as transformers; none where it does anyway.

    Raises:
        EngineUnavailableError: nothing does.
    """
    beside = [file for file in weights.beside if file.suffix == weights.files[0].suffix]
    if weights.index is None and (twice := _first_that_repeats(weights.files, beside)):
        raise EngineUnavailableError(
            f"{twice.parent} holds two sets of weights, {weights.files[0].name} and {twice.name}, of which "
            f"vLLM would read both; {KEEP_ONE}, or use `engine=hf`"
        )
    own = any(file.name.startswith(OWN_FORMAT) for file in beside)
    return {"load_format": "hf", "config_format": "hf"} if own else {}


def _first_that_repeats(files: Sequence[Path], beside: Sequence[Path]) -> Path | None:
    """The first file that holds tensors of the set again, or is Mistral's, which vLLM takes before it."""
    held = stored_tensors(files).keys() if beside else frozenset()
    return next(
        (one for one in beside if one.name.startswith(OWN_FORMAT) or held & stored_tensors([one]).keys()),
        None,
    )


def require_same_in_bin(weights: WeightSet, stored: dict[str, StoredTensor]) -> None:
    """Refuse safetensors beside .bin files that hold another model.

    Loaders read the former, so the same weights in both formats do no harm. Names that only one format has
    (buffers, tied heads) aren't compared; of the others shapes, and the numbers of the smallest ones.

    Raises:
        EngineUnavailableError: they differ.
    """
    bins = [file for file in weights.beside if file.suffix == ".bin"]
    if not bins or weights.files[0].suffix != ".safetensors":
        return
    try:
        other = stored_tensors(bins)
    except EngineUnavailableError:
        return  # A Git LFS pointer, or one of two shards: nobody reads them.
    common = sorted(stored.keys() & other.keys(), key=lambda name: (stored[name].elements, name))
    differing = next((name for name in common if stored[name].shape != other[name].shape), None)
    if differing is None:
        differing = _first_difference([(stored[name], other[name], name) for name in common])
    if differing is not None:
        raise EngineUnavailableError(
            f"{weights.files[0].parent} holds two sets of weights, {weights.files[0].name} and "
            f"{bins[0].name}, which differ (first in {differing}); {KEEP_ONE}"
        )


def _first_difference(pairs: Sequence[tuple[StoredTensor, StoredTensor, str]]) -> str | None:
    import torch

    left = COMPARED_BYTES
    for one, other, name in pairs:
        left -= one.elements * 4
        if left < 0:
            return None
        mine, theirs = tensor_of(name, one), tensor_of(name, other)
        # The same numbers may be stored more coarsely in one of them.
        close = (
            torch.equal(mine, theirs)
            if mine.dtype == theirs.dtype
            else torch.allclose(mine.double(), theirs.double(), rtol=1e-2, atol=1e-6)
        )
        if not close:
            return name
    return None
