"""Amazon rows in every form they come in; each row that can't be used has its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.amazon_rows import (
    MAX_TITLE_CHARACTERS,
    Dropped,
    Interaction,
    Titled,
    read_interactions,
    read_titles,
)
from harness.errors import DataError
from tests.data.synthetic_reviews import review, write_rows, write_text

ROW_2018 = {
    "overall": 4.0,
    "reviewTime": "09 4, 2015",
    "unixReviewTime": 1441324800,
    "reviewerID": "A1",
    "asin": "0000013714",
    "reviewText": "two\nlines",
    "vote": "1,024",
}


def one_interaction(tmp_path: Path, row: Any) -> Interaction | Dropped:
    (found,) = read_interactions(write_text(tmp_path / "reviews.json", json.dumps(row) + "\n"))
    return found


def one_title(tmp_path: Path, row: dict[str, Any]) -> Titled | Dropped:
    (found,) = read_titles(write_text(tmp_path / "meta.json", json.dumps(row) + "\n"))
    return found


def test_2018_review(tmp_path: Path) -> None:
    found = one_interaction(tmp_path, ROW_2018)
    assert isinstance(found, Interaction)
    assert (found.user, found.item, found.time, found.rating) == ("A1", "0000013714", 1441324800000, 4.0)


def test_2023_review_goes_by_its_parent(tmp_path: Path) -> None:
    row = {"rating": 2, "asin": "B1", "parent_asin": "B2", "user_id": "AE_1", "timestamp": 1588687728923}
    found = one_interaction(tmp_path, row)
    assert isinstance(found, Interaction)
    assert (found.user, found.item, found.time, found.rating) == ("AE_1", "B2", 1588687728923, 2.0)


def test_unpadded_date_stands_in_for_the_time(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW_2018.items() if key != "unixReviewTime"}
    found = one_interaction(tmp_path, row)
    assert isinstance(found, Interaction)
    assert found.time == 1441324800000


@pytest.mark.parametrize("date", ["2015-09-04", "13 4, 2015", "02 30, 2015", "", None, 20150904])
def test_no_time(tmp_path: Path, date: object) -> None:
    found = one_interaction(tmp_path, ROW_2018 | {"unixReviewTime": None, "reviewTime": date})
    assert isinstance(found, Interaction)
    assert found.time is None


@pytest.mark.parametrize("time", [0, -1, "yesterday", True, float("nan"), 1e30])
def test_time_that_is_none(tmp_path: Path, time: object) -> None:
    found = one_interaction(tmp_path, review("u", "i", 1) | {"timestamp": time})
    assert isinstance(found, Interaction)
    assert found.time is None


@pytest.mark.parametrize("rating", [None, 0, 5.5, -1, "five", True, float("nan"), [5], "1e999"])
def test_no_rating(tmp_path: Path, rating: object) -> None:
    found = one_interaction(tmp_path, review("u", "i", 1) | {"rating": rating})
    assert isinstance(found, Interaction)
    assert found.rating is None


def test_rating_as_text(tmp_path: Path) -> None:
    found = one_interaction(tmp_path, review("u", "i", 1) | {"rating": "4.0"})
    assert isinstance(found, Interaction)
    assert found.rating == 4.0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"asin": "B", "overall": 5}, "no user id"),
        (ROW_2018 | {"reviewerID": 7}, "no user id"),
        (ROW_2018 | {"reviewerID": "\ud800"}, "no user id"),
        ({"reviewerID": "A", "overall": 5}, "no item id"),
        (ROW_2018 | {"asin": 13714}, "no item id"),
        (ROW_2018 | {"asin": "  "}, "no item id"),
        ([ROW_2018, ROW_2018], None),
        ("text", None),
    ],
)
def test_row_that_is_none(tmp_path: Path, row: Any, reason: str | None) -> None:
    if reason:
        assert one_interaction(tmp_path, row) == Dropped(reason)
    else:
        file = write_text(tmp_path / "r.json", json.dumps(ROW_2018) + "\n" + json.dumps(row) + "\n")
        assert list(read_interactions(file))[1] == Dropped("not a JSON object")


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("Women&#39;s &quot;Slim&quot; T&amp;T", 'Women\'s "Slim" T&T'),
        (" two\nlines\t here ", "two lines here"),
        ("漢字 – Ã© mojibake 👗", "漢字 – Ã© mojibake 👗"),
        ("Ring <3 for her", "Ring <3 for her"),
        ("x" * 933, "x" * (MAX_TITLE_CHARACTERS - 1) + "…"),
        ("\ud83d broken emoji", "? broken emoji"),
    ],
)
def test_title_is_kept(tmp_path: Path, title: str, kept: str) -> None:
    found = one_title(tmp_path, {"asin": "B1", "title": title})
    assert found == Titled("B1", kept, cut=len(title) > MAX_TITLE_CHARACTERS)


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        (None, "no title"),
        ("", "no title"),
        (" \n", "no title"),
        ("--- !", "no title"),
        (["Coat"], "no title"),
        ("var aPageStart = (new Date()).getTime();", "title is a scrap of the page"),
        ('<span class="a-size-medium">Coat</span>', "title is a scrap of the page"),
        ("Coat<br/>warm", "title is a scrap of the page"),
        ('(function(f) {var _np=(window.P._namespace("x"))', "title is a scrap of the page"),
        (".a-box { color: red; }", "title is a scrap of the page"),
    ],
)
def test_title_is_dropped(tmp_path: Path, title: object, reason: str) -> None:
    assert one_title(tmp_path, {"asin": "B1", "title": title}) == Dropped(reason)


def test_title_key_absent(tmp_path: Path) -> None:
    assert one_title(tmp_path, {"asin": "B1"}) == Dropped("no title")


def test_python_literal_lines(tmp_path: Path) -> None:
    rows = [
        {
            "asin": "B1",
            "title": 'Men\'s "best" coat',
            "price": None,
            "related": {"also": ["B2"]},
            "new": True,
        },
        {"asin": "B2", "title": 'It\'s a "hat" \\d', "price": "$1.50 - $2.75"},
    ]
    file = write_text(
        tmp_path / "meta.json.gz", "".join(f"{row!r}\n" for row in rows) + "{'asin': __import__}\n"
    )
    assert list(read_titles(file)) == [
        Titled("B1", 'Men\'s "best" coat', cut=False),
        Titled("B2", 'It\'s a "hat" \\d', cut=False),
        Dropped("not JSON"),
    ]


FORMS = (
    "lines.jsonl",
    "lines.json.gz",
    "one.json",
    "pretty.json.gz",
    "table.csv",
    "bom.jsonl",
    "plain_named.gz",
)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_rows(form: str, tmp_path: Path) -> None:
    rows = [
        review(f"u{number}", f"0{number}", 1000 + number, 1 + number % 5, text='a "b",\nc é')
        for number in range(40)
    ]
    path = tmp_path / form
    if form in ("one.json", "pretty.json.gz"):
        write_text(path, json.dumps(rows, indent=2 if "pretty" in form else None))
    elif form == "table.csv":
        lines = ["user_id,parent_asin,rating,timestamp,text"]
        lines += [
            f'{r["user_id"]},{r["parent_asin"]},{r["rating"]},{r["timestamp"]},"a ""b"",\nc é"' for r in rows
        ]
        write_text(path, "\r\n".join(lines))
    elif form == "bom.jsonl":
        write_text(path, "\ufeff" + "".join(json.dumps(row) + "\r\n" for row in rows))
    elif form == "plain_named.gz":
        path.write_bytes(write_rows(tmp_path / "plain.jsonl", rows).read_bytes())
    else:
        write_rows(path, rows)
    found = list(read_interactions(path))
    assert all(isinstance(row, Interaction) for row in found)
    assert [(r.user, r.item, r.time, r.rating) for r in found if isinstance(r, Interaction)] == [
        (r["user_id"], r["parent_asin"], r["timestamp"], r["rating"]) for r in rows
    ]
    assert len({r.fingerprint for r in found if isinstance(r, Interaction)}) == len(rows)


def test_array_elements_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [review("ü" * size, "i]},{", 1, text='[]{},\\"') for size in range(1, 40)]
    expected = [(row["user_id"], row["parent_asin"]) for row in rows]
    for chunk in (1, 7, 64):
        monkeypatch.setattr("harness.data.amazon_rows.CHUNK_BYTES", chunk)
        file = write_text(tmp_path / "a.json", json.dumps([*rows, 12345, "x"], ensure_ascii=False))
        found = list(read_interactions(file))
        assert [(r.user, r.item) for r in found if isinstance(r, Interaction)] == expected
        assert found[-2:] == [Dropped("not a JSON object")] * 2


@pytest.mark.parametrize("end", ["", ",", ', {"user_id": ', ", nonsense]"])
def test_array_that_is_cut_off(tmp_path: Path, end: str) -> None:
    file = write_text(tmp_path / "a.json", json.dumps([review("u", "i", 1)])[:-1] + end)
    with pytest.raises(DataError, match="cut off or damaged"):
        list(read_interactions(file))


def test_lines_that_are_none_are_counted(tmp_path: Path) -> None:
    good = json.dumps(review("u", "i", 1))
    file = tmp_path / "r.jsonl"
    file.write_bytes(f"{good}\n\nnot json\n{good[:-5]}\n".encode() + b'{"user_id": "\xff"}\n' + good.encode())
    found = list(read_interactions(file))
    assert [row.reason for row in found if isinstance(row, Dropped)] == ["not JSON", "not JSON", "not UTF-8"]
    assert len(found) == 5
    assert found[0] == found[-1]


def test_csv_rows_of_wrong_width(tmp_path: Path) -> None:
    file = write_text(
        tmp_path / "r.csv", "user_id,item_id,rating,timestamp\nu,i,5,1500000000\nu,i,5\nu,i,5,1,2\n"
    )
    found = list(read_interactions(file))
    assert found[1:] == [Dropped("wrong number of columns")] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "Git LFS pointer"),
        (b"", "empty"),
        (b"AXYZ,B123,5.0,1400000000\n", "neither JSON lines"),
        (b"hello\n", "neither JSON lines"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b\x08\x00garbage", "gzip"),
    ],
)
def test_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "reviews.jsonl.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_interactions(file))


def test_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(read_interactions(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="directory"):
        list(read_interactions(tmp_path))
