"""Weights that are NaN or infinite, found while their file is read for its hash anyway."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.engines.weights import BITS, read_safetensors
from harness.errors import EngineUnavailableError

# Unsigned type, and the bits of the exponent: all of them set means infinite or NaN.
EXPONENTS: dict[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
WIDEST = 8
# Numbers at a time: few enough to stay in a core's cache.
BLOCK = 1 << 16


class FiniteScan:
    """Looks at the bytes of one safetensors file as they pass by.

    Only tensors whose names end in `weight` are looked at: buffers may hold infinities (masks).
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            EngineUnavailableError: it is damaged.
        """
        self._path = path
        self._place = 0
        self._carried = b""
        self._left = sorted(
            (tensor.start, tensor.start + tensor.elements * BITS[tensor.dtype] // 8, tensor.dtype, name)
            for name, tensor in read_safetensors(path).items()
            if tensor.start is not None and tensor.dtype in EXPONENTS and name.endswith("weight")
        )[::-1]

    def look(self, chunk: bytes) -> None:
        """Look at the next bytes of the file.

        Raises:
            EngineUnavailableError: naming the first weight that is NaN or infinite.
        """
        # Numbers that lay across the seam are looked at whole.
        seen, begin = self._carried + chunk, self._place - len(self._carried)
        self._place += len(chunk)
        self._carried = seen[-WIDEST:]
        while self._left:
            first, last, dtype, name = self._left[-1]
            width = BITS[dtype] // 8
            low, high = max(first, begin), min(last, self._place)
            # From the tensor's own beginning on, whole numbers only.
            low += -(low - first) % width
            high -= (high - first) % width
            if high > low:
                self._require_finite(seen[low - begin : high - begin], dtype, name)
            if last > self._place:
                return
            self._left.pop()

    def _require_finite(self, data: bytes, dtype: str, name: str) -> None:
        kind, exponent = EXPONENTS[dtype]
        bits, mask = np.frombuffer(data, kind), np.array(exponent, kind)
        masked = np.empty(min(BLOCK, bits.size), kind)
        for start in range(0, bits.size, BLOCK):
            part = bits[start : start + BLOCK]
            if int(np.bitwise_and(part, mask, out=masked[: part.size]).max()) == exponent:
                raise EngineUnavailableError(
                    f"{self._path}: {name} holds weights that are not numbers (NaN or infinite), so the "
                    "logits are not numbers either; take an earlier checkpoint, or train again"
                )
