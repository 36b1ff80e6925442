"""Checksums of lines and documents: nothing that was changed passes, and what wasn't comes back."""

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.runs.seals import opened_document, opened_line, sealed_document, sealed_line, sealed_lines

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text().filter(lambda name: name != "seal"), JSON, min_size=1, max_size=4)
ROW = json.dumps({"key": "k1", "text": "a", "scores": {"ndcg": 1.0}}).encode()


@given(OBJECTS)
def test_a_line_comes_back(row: dict[str, Any]) -> None:
    text = json.dumps(row).encode()
    line = sealed_line(text)
    assert opened_line(line) == text
    assert json.loads(line)["crc32"] == f"{zlib.crc32(text[:-1]):08x}"


@given(OBJECTS, st.data())
def test_no_flipped_bit_leaves_a_line_as_it_was(row: dict[str, Any], data: st.DataObject) -> None:
    line = bytearray(sealed_line(json.dumps(row).encode()))
    line[data.draw(st.integers(0, len(line) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert passes(bytes(line)) is None


def passes(line: bytes) -> bytes | None:
    """What a line is taken for; None where it is refused or needs a file without checksums."""
    try:
        return opened_line(line)
    except ValueError:
        return None


@given(OBJECTS, st.integers(0, 4))
def test_a_document_comes_back_however_it_is_formatted(content: dict[str, Any], indent: int) -> None:
    text = sealed_document(content)
    assert opened_document(text.encode()) == (content, True)
    assert opened_document(json.dumps(json.loads(text), indent=indent or None).encode()) == (content, True)
    assert opened_document(json.dumps(content).encode()) == (content, False)


@given(OBJECTS, st.data())
def test_a_flipped_bit_of_a_document_is_noticed_or_changes_nothing(
    content: dict[str, Any], data: st.DataObject
) -> None:
    text = bytearray(sealed_document(content).encode())
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found, has_seal = opened_document(bytes(text))
    except ValueError:
        return
    # Without a seal it is refused wherever one is due.
    assert not has_seal or found == content


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(sealed_line(ROW) + sealed_line(ROW).replace(b'"a"', b'"b"') + sealed_line(ROW))
    with pytest.raises(DataError, match=r"samples\.jsonl:2: its checksum .* \(row of k1\); do this") as error:
        list(sealed_lines(path, required=True, remedy="do this"))
    assert "\n" not in str(error.value)


def test_lines_of_an_older_version_come_before_those_with_checksums(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    old, new = ROW + b"\n", sealed_line(ROW)
    path.write_bytes(old + old + new)
    assert [json.loads(row)["key"] for _, row in sealed_lines(path, required=False, remedy="")] == ["k1"] * 3
    with pytest.raises(DataError, match=":1: it has no checksum"):
        list(sealed_lines(path, required=True, remedy=""))
    path.write_bytes(old + new + old)
    with pytest.raises(DataError, match=":3: it has no checksum"):
        list(sealed_lines(path, required=False, remedy=""))
