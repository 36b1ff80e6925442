"""Files that hold nothing, without end: refused in a line instead of read to the end."""

import gzip
import random
from pathlib import Path

import pytest

from harness.data import opening
from harness.data.amazon_rows import Dropped, read_interactions, read_titles
from harness.data.loading import load_tasks
from harness.data.opening import MAX_RATIO, open_source
from harness.errors import DataError

USEFUL = b'{"user_id": "u", "parent_asin": "a", "rating": 5, "timestamp": 1}\n'
MEBIBYTE = 1024 * 1024


def packed(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 9))
    return path


@pytest.mark.parametrize(
    "row", [b"{}" + b" " * 40 + b"\n", b"\n", b" \n", b"x", b'{"task_id": "a"}\n'], ids=repr
)
def test_what_unpacks_out_of_all_proportion_is_refused(tmp_path: Path, row: bytes) -> None:
    bomb = packed(tmp_path / "bomb.jsonl.gz", USEFUL + row * (4 * MEBIBYTE // len(row)))
    assert bomb.stat().st_size * MAX_RATIO < 4 * MEBIBYTE
    for read in (lambda: list(read_interactions(bomb)), lambda: list(read_titles(bomb))):
        with pytest.raises(DataError, match=r"bomb.jsonl.gz: .*(unpack|blank lines)"):
            read()
    with pytest.raises(DataError, match=r"bomb\.jsonl\.gz: "):
        load_tasks(str(bomb))


def test_rows_pack_well_and_are_read(tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = [USEFUL.replace(b'"u"', b'"u%d"' % draw.randrange(10**9)) for _ in range(60_000)]
    path = packed(tmp_path / "reviews.jsonl.gz", b"".join(rows))
    assert sum(not isinstance(row, Dropped) for row in read_interactions(path)) == 60_000


def test_what_is_unpacked_can_be_read_from_the_start_again(tmp_path: Path) -> None:
    path = packed(tmp_path / "file.gz", bytes(range(256)) * 3000)
    with open_source(path) as source:
        start = source.stream.read(1000)
        source.stream.seek(0)
        assert source.stream.read() == path_bytes(path)
        assert start == path_bytes(path)[:1000]
        assert source.position() == path.stat().st_size


def path_bytes(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def test_lines_that_hold_nothing_end_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("opening", "amazon_rows"):
        monkeypatch.setattr(f"harness.data.{module}.MAX_IDLE_LINES", 50)
    assert opening.MAX_IDLE_LINES == 50
    path = tmp_path / "reviews.jsonl"
    for filler, said in ((b"\n", "blank lines"), (b"{}\n", "rows that can't be used .the last: no user id")):
        path.write_bytes((USEFUL + filler * 50) * 3)
        assert sum(not isinstance(row, Dropped) for row in read_interactions(path)) == 3
        path.write_bytes(USEFUL + filler * 51)
        with pytest.raises(DataError, match=f"reviews.jsonl: 50 {said}"):
            list(read_interactions(path))
