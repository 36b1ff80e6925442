"""What weight files hold, name by name, from their headers alone: no tensor's data is read."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import EngineUnavailableError, words_of

# A header longer than this is not a safetensors file (the format's own limit is 100 MB).
MAX_HEADER_BYTES = 100_000_000
HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output)\.weight$")
EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings)\.weight$")
PROBES = 256
PROBE_BYTES = 4096
FETCH_AGAIN = "fetch or save the checkpoint again"
# Bits an element takes, by the names that the safetensors format gives its dtypes.
BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
PLAIN_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""The dtypes that hold weights as they are; anything else needs scales, or isn't a weight."""
FROM_TORCH = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "complex64": "C64",
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a weight file.

    Attributes:
        shape: its sides; empty for a scalar.
        dtype: as the safetensors format names it (F32, BF16, I64 …), whatever the file's own format.
        file: where it lies.
        start: where in the file its bytes begin, None where that isn't known.
    """

    shape: tuple[int, ...]
    dtype: str
    file: Path
    start: int | None = None

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def stored_tensors(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """The tensors of all these files by name: safetensors, or torch's .bin (for which torch is imported).

    Raises:
        EngineUnavailableError: a file that is damaged or truncated, or a name that two files hold.
    """
    found: dict[str, StoredTensor] = {}
    for file in files:
        tensors = read_safetensors(file) if file.suffix == ".safetensors" else read_torch(file)
        if twice := sorted(found.keys() & tensors.keys()):
            raise EngineUnavailableError(
                f"{file.parent} holds {counted(len(twice), 'tensor')} twice ({listed(twice)}), in "
                f"{found[twice[0]].file.name} and {file.name}; keep the files of one save"
            )
        found |= tensors
    return found


def read_safetensors(file: Path) -> dict[str, StoredTensor]:
    """The tensors that a safetensors file's header names, held against the file's size.

    Raises:
        EngineUnavailableError: damaged, truncated, or not a safetensors file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER_BYTES + 1
        if length > MAX_HEADER_BYTES:
            raise EngineUnavailableError(f"{file} is not a safetensors file; {FETCH_AGAIN}")
        header = stream.read(length)
    if len(header) < length:
        raise EngineUnavailableError(
            f"{file} is truncated: it ends inside its safetensors header; {FETCH_AGAIN}"
        )
    try:
        entries = json.loads(header, object_pairs_hook=_once)
        found, end = _entries(entries, file, 8 + length)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EngineUnavailableError(f"{file} has a damaged safetensors header; {FETCH_AGAIN}") from error
    if size != (wanted := 8 + length + end):
        state = "is truncated" if size < wanted else "is longer than its header says"
        raise EngineUnavailableError(f"{file} {state}: {size} bytes, not {wanted}; {FETCH_AGAIN}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _entries(entries: Mapping[str, Any], file: Path, data: int) -> tuple[dict[str, StoredTensor], int]:
    """Tensors by name, and where the data end."""
    found, places = {}, []
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
        if any(not isinstance(side, int) or side < 0 for side in shape):
            raise ValueError(f"{name} has no shape")
        tensor = StoredTensor(shape, str(entry["dtype"]), file, data + begin)
        if (end - begin) * 8 != tensor.elements * BITS[tensor.dtype]:
            raise ValueError(f"{name} takes other bytes than its shape")
        found[name] = tensor
        places.append((begin, end))
    last = 0
    for begin, end in sorted(places):
        if begin != last:
            raise ValueError("tensors overlap or leave a gap")
        last = end
    return found, last


def same_numbers(one: str, other: str, stored: Mapping[str, StoredTensor]) -> bool:
    """Whether two stored tensors hold the same, told by up to `PROBES` pieces spread over them."""
    first, second = stored[one], stored[other]
    if first.shape != second.shape:
        return False
    if first.dtype != second.dtype or first.start is None or second.start is None:
        return _same_values(one, other, stored)
    size = first.elements * BITS[first.dtype] // 8
    with first.file.open("rb") as mine, second.file.open("rb") as theirs:
        for place in range(0, size, max(PROBE_BYTES, size // PROBES)):
            length = min(PROBE_BYTES, size - place)
            mine.seek(first.start + place)
            theirs.seek(second.start + place)
            if mine.read(length) != theirs.read(length):
                return False
    return True


def tied_twice(stored: Mapping[str, StoredTensor]) -> list[str]:
    """Heads that hold the numbers of the embedding, which is stored as well."""
    heads = [name for name in stored if HEAD.search(name)]
    embeddings = [name for name in stored if EMBEDDING.search(name)]
    return [
        head
        for head in heads
        if any(
            stored[head].dtype == stored[one].dtype and same_numbers(head, one, stored) for one in embeddings
        )
    ]


def _same_values(one: str, other: str, stored: Mapping[str, StoredTensor]) -> bool:
    rows = []
    for name in (one, other):
        tensor = tensor_of(name, stored[name])
        rows.append(tensor[:: max(1, len(tensor) // PROBES)])
    first, second = rows
    coarser = first if first.dtype.itemsize <= second.dtype.itemsize else second
    return bool((first.to(coarser.dtype) == second.to(coarser.dtype)).all())


def tensor_of(name: str, stored: StoredTensor) -> Any:
    """A tensor mapped into memory, so that only what is looked at is read.

    Raises:
        EngineUnavailableError: the file can't be read.
    """
    if stored.file.suffix != ".safetensors":
        return torch_state(stored.file, "cpu")[name]
    from safetensors import safe_open

    with safe_open(str(stored.file), framework="pt") as opened:
        return opened.get_tensor(name)


def read_torch(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a file that torch pickled, read without their data and without running code in it.

    Raises:
        EngineUnavailableError: torch isn't installed or can't read it.
    """
    state = torch_state(file, "meta")
    return {
        name: StoredTensor(
            tuple(tensor.shape),
            FROM_TORCH.get(name_of := str(tensor.dtype).removeprefix("torch."), name_of),
            file,
        )
        for name, tensor in state.items()
    }


def torch_state(file: Path, device: str) -> dict[str, Any]:
    """Name → tensor of a file that torch pickled; mapped into memory, so only what is looked at is read.

    Raises:
        EngineUnavailableError: torch isn't installed or can't read it.
    """
    try:
        import torch
    except ImportError as error:
        raise EngineUnavailableError(f"{file} needs torch to be read; run: pip install torch") from error
    try:
        try:
            state = torch.load(file, map_location=device, weights_only=True, mmap=True)
        except RuntimeError:
            # Files of before torch 1.6 can't be mapped.
            state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:
        # A pickle can fail with anything.
        said = words_of(error, 160)
        raise EngineUnavailableError(
            f"{file} is truncated, damaged or not a file of weights ({said}); {FETCH_AGAIN}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(one, torch.Tensor) for one in state.values()):
        raise EngineUnavailableError(
            f"{file} doesn't hold tensors by name; save the model's state dict, or use save_pretrained"
        )
    return {str(name): tensor for name, tensor in state.items()}


def listed(names: Iterable[str], most: int = 3) -> str:
    """`a, b, c and 7 more`."""
    every = list(names)
    first = ", ".join(every[:most])
    return first if len(every) <= most else f"{first} and {len(every) - most} more"


def counted(number: int, noun: str) -> str:
    """`1 tensor`, `2 tensors`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def of_another_shape(tensors: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> str:
    """`2 of another shape (first NAME: [3, 4], needed [4, 4])`.

    Args:
        tensors: name → (stored shape, needed shape), one at least.
    """
    first, (has, wants) = next(iter(tensors.items()))
    return f"{len(tensors)} of another shape (first {first}: {list(has)}, needed {list(wants)})"
