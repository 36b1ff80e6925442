"""Numbers that aren't any are found in the bytes that pass by, wherever those are cut."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engines.weight_scan import FiniteScan
from harness.errors import EngineUnavailableError

FLOATS = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
ODD = (float("nan"), float("inf"), float("-inf"))


def written(path: Path, tensors: dict[str, tuple[str, bytes]]) -> bytes:
    """A safetensors file by hand."""
    entries, data = {}, b""
    for name, (dtype, content) in tensors.items():
        size = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "U8": 1}[dtype]
        where = [len(data), len(data) + len(content)]
        entries[name] = {"dtype": dtype, "shape": [len(content) // size], "data_offsets": where}
        data += content
    header = json.dumps(entries).encode()
    content = struct.pack("<Q", len(header)) + header + data
    path.write_bytes(content)
    return content


def finds(path: Path, content: bytes, step: int) -> bool:
    scan = FiniteScan(path)
    try:
        for start in range(0, len(content), step):
            scan.look(content[start : start + step])
    except EngineUnavailableError:
        return True
    return False


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(FLOATS)), st.integers(0, 9), st.integers(-1, 8), st.sampled_from(ODD)
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 64),
    st.integers(0, 3),
)
def test_found_wherever_the_chunks_are_cut(
    tmp_path_factory: pytest.TempPathFactory,
    tensors: list[tuple[str, int, int, float]],
    step: int,
    before: int,
) -> None:
    path = tmp_path_factory.mktemp("scan") / "x.safetensors"
    made, any_odd = {"lead": ("U8", b"\xff" * before)}, False
    for number, (dtype, size, place, odd) in enumerate(tensors):
        values = np.linspace(-3, 60000, size).astype(FLOATS[dtype])
        if 0 <= place < size:
            values[place] = odd
            any_odd = True
        made[f"{number}.weight"] = (dtype, values.tobytes())
    assert finds(path, written(path, made), step) is any_odd


def test_bfloat16_has_an_exponent_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    # 0x7F7F is the largest bfloat16 there is, 0x7F80 infinite, 0xFFC1 NaN; as float16 the first were NaN.
    for bits, odd in ((0x7F7F, False), (0x7F80, True), (0xFFC1, True)):
        content = written(path, {"a.weight": ("BF16", struct.pack("<3H", 0, bits, 1))})
        assert finds(path, content, 5) is odd


def test_buffers_may_be_infinite(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    content = written(path, {"attn.mask": ("F32", struct.pack("<2f", 0.0, float("-inf")))})
    assert not finds(path, content, 8)
