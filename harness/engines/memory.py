"""Whether the weights of several checkpoints fit where they are to go, said before any of them is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.engines.checkpoint import Checkpoint
from harness.engines.weight_sets import find_weights
from harness.errors import EngineUnavailableError

_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}
_MEMINFO: Final = Path("/proc/meminfo")
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Need:
    """Weights to load.

    Attributes:
        name: of the checkpoint.
        size: in bytes.
        device: they go to.
    """

    name: str
    size: int
    device: str


def need_of(checkpoint: Checkpoint, dtype: str, device: str) -> Need:
    """What a checkpoint's weights take.

    Args:
        checkpoint: whole, or an adapter with its base.
        dtype: they are loaded in, or `auto` for that of the files.
        device: they go to.
    """
    whole = checkpoint.base or checkpoint
    size = sum(file.stat().st_size for file in find_weights(whole.path).files)
    stored = _BYTES.get(whole.dtype or "")
    wanted = _BYTES.get(dtype)
    if stored is not None and wanted is not None:
        size = size * wanted // stored
    return Need(checkpoint.name, size, device)


def free_bytes(device: str) -> int | None:
    """Memory that is free on a device; None where that can't be known."""
    if device == "cpu":
        try:
            rows = _MEMINFO.read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        found = next((row.split()[1] for row in rows if row.startswith("MemAvailable:")), None)
        return None if found is None else int(found) * 1024
    if not device.startswith("cuda"):
        return None
    import torch

    try:
        return int(torch.cuda.mem_get_info(device)[0])
    except (RuntimeError, AssertionError, ValueError):
        # No such device: loading says so.
        return None


def require_room(needs: Sequence[Need], free: Callable[[str], int | None] = free_bytes) -> None:
    """Refuse weights that don't fit, in words that say how much there is.

    Activations and caches come on top: what passes here may still run out of memory.

    Args:
        needs: of everything that is loaded.
        free: memory of a device, None where that isn't known.

    Raises:
        EngineUnavailableError: naming the device.
    """
    for device in dict.fromkeys(one.device for one in needs):
        there = free(device)
        here = [one for one in needs if one.device == device]
        if there is None or sum(one.size for one in here) <= there:
            continue
        listed = " and ".join(f"{one.name} ({one.size / _GIB:.1f} GiB)" for one in here)
        raise EngineUnavailableError(
            f"the weights of {listed} don't fit into the {there / _GIB:.1f} GiB that are free on {device}; "
            "give each a device of its own with `teacher_device=` and `base_device=`, or a smaller `dtype=`"
        )
