"""The genuine Amazon rows beside the repository, where this machine has them; no row of them is in it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.contract import Contract
from harness.data.amazon import prepare_amazon_fashion
from harness.data.amazon_report import UnfitDataError
from harness.data.amazon_rows import MAX_TITLE_CHARACTERS, Interaction, Titled, read_interactions, read_titles
from harness.data.amazon_tasks import AmazonSettings
from harness.data.conversations import conversations
from harness.data.loading import load_tasks

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared")) / "data" / "amazon_fashion"
REVIEWS_2018 = SHARED / "reviews_2018_5core.jsonl.gz"
META_2023 = (
    SHARED / "meta_2023_sample500_random.jsonl.gz",
    SHARED / "meta_2023_sample500_stratified.jsonl.gz",
)
INTERACTIONS_2023 = (SHARED / "interactions_2023_train.csv.gz", SHARED / "interactions_2023_test.csv.gz")

pytestmark = pytest.mark.skipif(
    not REVIEWS_2018.exists(),
    reason=f"no genuine Amazon rows in {SHARED}; set HARNESS_SHARED to their folder",
)


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def titled_meta(path: Path) -> Path:
    """Made-up titles for the items of the 2018 reviews, which come without metadata."""
    asins = sorted({row["asin"] for row in lines(REVIEWS_2018)})
    rows = [{"asin": asin, "title": f"Made-up title {number}"} for number, asin in enumerate(asins)]
    path.write_text("".join(f"{row!r}\n" for row in rows))
    return path


def test_every_2018_row_is_read() -> None:
    rows = list(read_interactions(REVIEWS_2018))
    assert len(rows) == 3176
    for row in rows:
        assert isinstance(row, Interaction)
        assert row.rating is not None
        assert row.time is not None
    assert len(rows) - len({row.fingerprint for row in rows if isinstance(row, Interaction)}) == 68


def test_dates_agree_with_unix_times(tmp_path: Path) -> None:
    """The unpadded dates give the same times as the numbers do."""
    undated = tmp_path / "reviews.jsonl"
    rows = lines(REVIEWS_2018)
    undated.write_text(
        "".join(json.dumps({key: row[key] for key in row if key != "unixReviewTime"}) + "\n" for row in rows)
    )
    pairs = zip(read_interactions(REVIEWS_2018), read_interactions(undated), strict=True)
    for one, other in pairs:
        assert isinstance(one, Interaction)
        assert isinstance(other, Interaction)
        assert one.time == other.time


def test_2018_5core_is_refused_with_its_numbers(tmp_path: Path) -> None:
    """353 of 406 users share the same 8 items, nearly all have one time and one rating."""
    settings = AmazonSettings(min_history=1, min_tasks=1)
    with pytest.raises(UnfitDataError) as caught:
        prepare_amazon_fashion(REVIEWS_2018, titled_meta(tmp_path / "meta.json"), tmp_path / "out", settings)
    report, message = caught.value.report, str(caught.value)
    assert report.users == 406
    assert report.reviews.dropped == {"exact duplicate": 68, "repeated user–item pair": 134 - 68}
    assert report.reviews.kept == 3176 - 134
    assert report.users_with_same_items == 353
    assert "353 of 4" in message
    assert "have one time" in message
    assert "rate everything alike" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("copy", ["null ratings", "one array", "LFS pointer"])
def test_copies_of_2018(copy: str, tmp_path: Path) -> None:
    meta, path = titled_meta(tmp_path / "meta.json"), tmp_path / "copy.json.gz"
    rows = lines(REVIEWS_2018)
    if copy == "null ratings":
        path.write_bytes(
            gzip.compress("\n".join(json.dumps(row | {"overall": None}) for row in rows).encode())
        )
        expected = "no review has a rating"
    elif copy == "one array":
        path.write_bytes(gzip.compress(json.dumps(rows).encode()))
        expected = "353 of 374 users share the same set of items"
    else:
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 263564\n")
        expected = "Git LFS pointer"
    with pytest.raises(Exception, match=expected) as caught:
        prepare_amazon_fashion(path, meta, tmp_path / "out")
    assert getattr(caught.value, "exit_code", None) == 2


@pytest.mark.parametrize("path", META_2023, ids=["random", "stratified"])
def test_2023_titles(path: Path) -> None:
    rows = list(read_titles(path))
    assert len(rows) == 500
    for row, source in zip(rows, lines(path), strict=True):
        assert isinstance(row, Titled), source["title"]
        assert row.item == source["parent_asin"]
        assert row.cut == (len(" ".join(source["title"].split())) > MAX_TITLE_CHARACTERS)


def test_2023_interactions_without_times_are_refused(tmp_path: Path) -> None:
    for path in INTERACTIONS_2023:
        with pytest.raises(UnfitDataError, match="no review has a time, so none is the last"):
            prepare_amazon_fashion(path, META_2023[0], tmp_path / "out")


def test_genuine_ratings_with_times_make_tasks(tmp_path: Path) -> None:
    """Genuine users, items and ratings; the times are the rows' order and the titles made up."""
    with gzip.open(INTERACTIONS_2023[0], "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split(",") for line in file][1:]
    reviews, meta = tmp_path / "reviews.csv", tmp_path / "meta.jsonl"
    reviews.write_text(
        "user_id,item_id,rating,timestamp\n"
        + "".join(f"{row[0]},{row[1]},{row[2]},{10**12 + number}\n" for number, row in enumerate(rows))
    )
    items = sorted({row[1] for row in rows})
    meta.write_text(
        "".join(json.dumps({"parent_asin": item, "title": f"Item {item}"}) + "\n" for item in items)
    )
    report = prepare_amazon_fashion(reviews, meta, tmp_path / "out")
    assert report.reviews.read == 21_365
    assert sum(report.tasks.values()) > 1000
    # No person rates everything alike so often that ratings would say nothing: the limit leaves room.
    assert report.users_with_one_rating < 0.5 * report.users_with_history


def test_benchmark_tasks_with_genuine_titles(tmp_path: Path) -> None:
    script, out = ROOT / "benchmarks" / "genuine_titles.py", tmp_path / "genuine.jsonl"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), "--n", "64", "--out"]
    subprocess.run([*command, str(out)], check=True, capture_output=True, env=environment)
    tasks = load_tasks(out).tasks
    genuine = {row.title for path in META_2023 for row in read_titles(path) if isinstance(row, Titled)}
    assert len(tasks) == 64
    for task in tasks:
        assert task.k == 8
        assert {item.title for item in (*task.history, *task.candidates)} <= genuine
        assert max(task.relevance) > min(task.relevance)
        [[turn]] = conversations([task], Contract())
        assert turn.content.count("\n8. ") == 1
    inside = subprocess.run(
        [*command, str(ROOT / "datasets" / "g.jsonl")],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert inside.returncode == 2
    assert "inside the repository" in inside.stderr
    assert not (ROOT / "datasets" / "g.jsonl").exists()
