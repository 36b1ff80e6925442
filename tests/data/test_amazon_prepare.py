"""Tasks from reviews: against a slow definition, in any row order, in bounded memory, or refused."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tracemalloc
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from harness.data.amazon import prepare_amazon_fashion
from harness.data.amazon_index import MAX_ROWS_PER_USER
from harness.data.amazon_report import PreparationReport, UnfitDataError
from harness.data.amazon_tasks import AmazonSettings
from harness.data.loading import load_tasks
from harness.data.locate import splits_in
from harness.data.tasks import RankingTask
from harness.errors import DataError
from tests.data.synthetic_reviews import items, random_reviews, review, write_rows

FEW = AmazonSettings(min_tasks=1)


def prepare(
    folder: Path, reviews: list[dict[str, Any]], meta: list[dict[str, Any]], settings: AmazonSettings = FEW
) -> tuple[PreparationReport, dict[str, RankingTask]]:
    """Run on given rows; the tasks by held-out user are not known, so by task id."""
    report = prepare_amazon_fashion(
        write_rows(folder / "reviews.jsonl", reviews),
        write_rows(folder / "meta.jsonl.gz", meta),
        folder / "out",
        settings,
        overwrite=True,
    )
    tasks = [task for split in splits_in(folder / "out") for task in load_tasks(folder / "out", split).tasks]
    return report, {task.task_id: task for task in tasks}


def normal_users(count: int = 10) -> list[dict[str, Any]]:
    """Users with four items each, in order of time, all rated 3…5."""
    return [
        review(f"normal{user}", f"B{user * 4 + place:04d}", 1000 + place + user, 3 + (user + place) % 3)
        for user in range(count)
        for place in range(4)
    ]


def slow_definition(
    reviews: list[dict[str, Any]], titles: dict[str, str], settings: AmazonSettings
) -> dict[tuple[str, ...], tuple[str, float, list[str]]]:
    """(history ids) → (held-out id, label, titles of the history), straight from the documentation."""
    of_user: dict[str, dict[str, tuple[int, float]]] = defaultdict(dict)
    for row in sorted(reviews, key=lambda row: (row["timestamp"], row["rating"])):
        of_user[row["user_id"]].setdefault(row["parent_asin"], (row["timestamp"], row["rating"]))
    expected = {}
    for rows in of_user.values():
        usable = sorted((time, item, rating) for item, (time, rating) in rows.items() if item in titles)
        if len(usable) < settings.min_history + 1 or usable[-1][0] == usable[-2][0]:
            continue
        label = {5.0: 3.0, 4.0: 2.0, 3.0: 1.0}.get(usable[-1][2])
        if label:
            history = [item for _, item, _ in usable[:-1]][-settings.max_history :]
            expected[tuple(history)] = (usable[-1][1], label, [titles[item] for item in history])
    return expected


@pytest.mark.parametrize("seed", [0, 1])
def test_same_tasks_as_the_slow_definition(tmp_path: Path, seed: int) -> None:
    reviews, meta = random_reviews(400, 150, seed), items(120)
    settings = AmazonSettings(k=5, seed=seed, min_history=2, max_history=4, min_tasks=1)
    report, tasks = prepare(tmp_path, reviews, meta, settings)
    titles = {row["parent_asin"]: row["title"] for row in meta}
    expected = slow_definition(reviews, titles, settings)
    assert len(tasks) == len(expected) == sum(report.tasks.values()) > 50
    reviewed = defaultdict(set)
    for row in reviews:
        reviewed[row["user_id"]].add(row["parent_asin"])
    for task in tasks.values():
        held_out, label, history_titles = expected[tuple(item.item_id for item in task.history)]
        assert [item.title for item in task.history] == history_titles
        labels = {item.item_id: value for item, value in zip(task.candidates, task.relevance, strict=True)}
        assert labels.pop(held_out) == label
        assert set(labels.values()) == {0.0}
        assert len(labels) == 4
        history = {item.item_id for item in task.history}
        owners = [seen for seen in reviewed.values() if history | {held_out} <= seen]
        assert any(not seen & labels.keys() for seen in owners)
        assert all(item.title == titles[item.item_id] for item in task.candidates)


def test_counts_add_up(tmp_path: Path) -> None:
    reviews = random_reviews(300, 150, 3)
    reviews += [
        {"user_id": "broken"},
        reviews[0],
        reviews[5] | {"rating": None},
        reviews[7] | {"timestamp": None},
    ]
    report, tasks = prepare(tmp_path, reviews, [*items(120), *items(3), {"parent_asin": "B0200"}])
    assert report.reviews.read == len(reviews) == report.reviews.kept + sum(report.reviews.dropped.values())
    assert report.metadata.read == 124 == report.metadata.kept + sum(report.metadata.dropped.values())
    assert report.metadata.dropped == {"another row of the same item": 3, "no title": 1}
    assert report.reviews.dropped["no item id"] == 1
    assert report.reviews.dropped["no rating from 1 to 5"] == 1
    assert report.reviews.dropped["no time"] == 1
    assert report.reviews.dropped["exact duplicate"] >= 1
    assert report.users == 300 == len(tasks) + sum(report.users_dropped.values())
    assert sum(report.ratings.values()) == report.reviews.kept
    assert sum(report.labels.values()) == sum(report.tasks.values()) == len(tasks)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_row_order_changes_nothing(tmp_path: Path) -> None:
    reviews, meta = (
        random_reviews(200, 100, 4),
        items(100) + [r | {"title": r["title"] + "!"} for r in items(50)],
    )
    prepare(tmp_path, reviews, meta)
    first = files_in(tmp_path / "out")
    random.Random(0).shuffle(reviews)
    random.Random(1).shuffle(meta)
    prepare(tmp_path, reviews, meta)
    assert files_in(tmp_path / "out") == first


def test_seed_changes_negatives_not_splits(tmp_path: Path) -> None:
    reviews, meta = random_reviews(300, 100, 5), items(100)
    _, one = prepare(tmp_path, reviews, meta, AmazonSettings(seed=1, min_tasks=1))
    train = {task.task_id for task in load_tasks(tmp_path / "out", "train").tasks}
    _, two = prepare(tmp_path, reviews, meta, AmazonSettings(seed=2, min_tasks=1))
    assert {task.task_id for task in load_tasks(tmp_path / "out", "train").tasks} == train
    assert one.keys() == two.keys()
    assert [task.history for task in one.values()] == [two[task_id].history for task_id in one]
    assert [task.candidates for task in one.values()] != [two[task_id].candidates for task_id in one]


def test_positions_and_splits_are_drawn_evenly(tmp_path: Path) -> None:
    reviews, meta = random_reviews(6000, 400, 6), items(400)
    settings = AmazonSettings(k=4, validation_share=0.2, test_share=0.3, min_tasks=1)
    report, tasks = prepare(tmp_path, reviews, meta, settings)
    places = [int(np.argmax(task.relevance)) for task in tasks.values()]
    assert chisquare(np.bincount(places, minlength=4)).pvalue > 1e-4
    counts = [report.tasks[split] for split in ("train", "validation", "test")]
    assert chisquare(counts, [share * len(tasks) for share in (0.5, 0.2, 0.3)]).pvalue > 1e-4


def test_user_dropped_when_the_last_time_is_shared(tmp_path: Path) -> None:
    tied = [review("tied", f"B{place:04d}", min(1000 + place, 1004), 5) for place in range(6)]
    report, _ = prepare(tmp_path, normal_users() + tied, items(60))
    assert report.users_dropped == {"last review shares its time with another": 1}


def test_equal_times_in_the_history_are_counted(tmp_path: Path) -> None:
    days = {"B0005": 1000, "B0003": 1000, "B0004": 999, "B0009": 1001}
    reviews = [review("u", item, day, 5) for item, day in days.items()]
    report, tasks = prepare(tmp_path, normal_users() + reviews, items(60))
    assert report.tied_histories == 1
    assert ["B0004", "B0003", "B0005"] in [[item.item_id for item in task.history] for task in tasks.values()]


def test_held_out_rating_below_three_gives_no_task(tmp_path: Path) -> None:
    low = [review("low", f"B{place:04d}", 1000 + place, 5 if place < 4 else 2) for place in range(5)]
    report, _ = prepare(tmp_path, normal_users() + low, items(60))
    assert report.users_dropped == {"held-out rating below 3": 1}


def test_duplicates_and_repeats_have_their_reasons(tmp_path: Path) -> None:
    first = review("u", "B0001", 1000, 2)
    reviews = [first, first, review("u", "B0001", 1005, 5), review("u", "B0001", 1000, 4)]
    reviews += [review("u", f"B{place:04d}", 1000 + place, 5) for place in range(2, 6)]
    report, tasks = prepare(tmp_path, normal_users() + reviews, items(60))
    assert report.reviews.dropped == {"exact duplicate": 1, "repeated user–item pair": 2}
    histories = [[item.item_id for item in task.history] for task in tasks.values()]
    assert ["B0001", "B0002", "B0003", "B0004"] in histories


def test_negatives_are_never_known_to_the_user(tmp_path: Path) -> None:
    """What the user has reviewed in rows that can't be used is no negative either: three items are left."""
    reviews = normal_users()
    reviews += [review("u", f"B01{place:02d}", 1000 + place, 5) for place in range(4)]
    reviews += [review("u", f"B{place:04d}", 1000, 5) | {"rating": None} for place in range(40)]
    meta = items(40) + [{"parent_asin": f"B01{place:02d}", "title": f"Other {place}"} for place in range(7)]
    _, tasks = prepare(tmp_path, reviews, meta, AmazonSettings(k=4, min_tasks=1))
    (task,) = [task for task in tasks.values() if task.history[0].item_id == "B0100"]
    assert {item.item_id for item in task.candidates} == {"B0103", "B0104", "B0105", "B0106"}


def test_negatives_have_other_titles(tmp_path: Path) -> None:
    meta = items(60)
    for row in meta[40:]:
        row["title"] = "TITLE OF item 3"
    _, tasks = prepare(tmp_path, normal_users(), meta)
    for task in tasks.values():
        titles = [item.title.casefold() for item in (*task.history, *task.candidates)]
        assert len(set(titles)) == len(titles)


def test_too_small_a_catalogue(tmp_path: Path) -> None:
    with pytest.raises(UnfitDataError, match="10 too few items to draw negatives from"):
        prepare(tmp_path, normal_users(), items(40), AmazonSettings(k=64, min_tasks=1))


def test_a_robot_is_not_held_in_memory(tmp_path: Path) -> None:
    robot = [review("robot", f"B{place:06d}", 1000 + place, 5) for place in range(MAX_ROWS_PER_USER + 1)]
    report, _ = prepare(tmp_path, normal_users() + robot, items(60))
    assert report.reviews.dropped == {"user has too many reviews": len(robot)}
    assert sum(report.tasks.values()) == 10


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: row | {"timestamp": 1000}, r"10 of 10 users have one time"),
        (lambda row: row | {"timestamp": None}, r"no review has a time.*\(40 rows\)"),
        (lambda row: row | {"rating": None}, r"no review has a rating \(40 rows\)"),
        (lambda row: row | {"rating": 5}, r"all 40 ratings are 5"),
        (lambda row: row | {"rating": 3 + len(row["user_id"]) % 2}, r"10 of 10 users rate everything alike"),
        (
            lambda row: row | {"parent_asin": f"B{int(row['parent_asin'][1:]) % 4:04d}"},
            r"10 of 10 users share the same set of items",
        ),
        (lambda row: row | {"parent_asin": "X" + row["parent_asin"]}, r"do the two files belong together"),
        (lambda row: row | {"user_id": row["parent_asin"]}, r"only 0 tasks of 40 users, at least 5"),
    ],
)
def test_refusals_give_reason_and_numbers(tmp_path: Path, change: Any, reason: str) -> None:
    reviews = [change(row) for row in normal_users()]
    with pytest.raises(UnfitDataError, match=reason) as caught:
        prepare(tmp_path, reviews, items(60), AmazonSettings(min_tasks=5))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert caught.value.report.reviews.read == 40
    assert not (tmp_path / "out").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"reviews.jsonl", "meta.jsonl.gz"}


def test_metadata_without_titles(tmp_path: Path) -> None:
    meta = [row | {"title": "<b>var x = 1</b>"} for row in items(60)]
    with pytest.raises(UnfitDataError, match="none of 60 metadata rows has a usable one"):
        prepare(tmp_path, normal_users(), meta)


def test_good_data_with_some_ties_are_not_refused(tmp_path: Path) -> None:
    same_time = [review(f"tied{n}", f"B{n + place:04d}", 1000, 5) for n in range(9) for place in range(4)]
    report, _ = prepare(tmp_path, normal_users() + same_time, items(60))
    assert (report.users_with_history, report.users_with_one_time) == (19, 9)


def test_existing_splits_are_safe(tmp_path: Path) -> None:
    prepare(tmp_path, normal_users(), items(60))
    before = files_in(tmp_path / "out")
    reviews, meta = tmp_path / "reviews.jsonl", tmp_path / "meta.jsonl.gz"
    with pytest.raises(DataError, match="`overwrite=True`"):
        prepare_amazon_fashion(reviews, meta, tmp_path / "out", AmazonSettings(seed=9, min_tasks=1))
    with pytest.raises(UnfitDataError):
        prepare_amazon_fashion(reviews, meta, tmp_path / "out", AmazonSettings(min_tasks=99), overwrite=True)
    assert files_in(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["reviews", "meta"])
def test_lfs_pointer_posing_as_data(tmp_path: Path, name: str) -> None:
    files = {
        "reviews": write_rows(tmp_path / "r.jsonl.gz", normal_users()),
        "meta": write_rows(tmp_path / "m.jsonl.gz", items(60)),
    }
    files[name].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n")
    with pytest.raises(DataError, match="Git LFS pointer"):
        prepare_amazon_fashion(files["reviews"], files["meta"], tmp_path / "out", FEW)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 1},
        {"k": 101},
        {"seed": -1},
        {"min_history": 0},
        {"max_history": 2},
        {"test_share": 0.6, "validation_share": 0.4},
        {"test_share": -0.1},
        {"min_tasks": 0},
        {"test_share": float("nan")},
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        AmazonSettings(**wrong)


def test_card_and_report(tmp_path: Path) -> None:
    report, _ = prepare(tmp_path, random_reviews(200, 80, 7), items(80))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"| read | {report.reviews.read:,} |" in card
    assert "no licence that allows redistribution" in " ".join(card.split())
    assert report.peak_memory_mib is None or report.peak_memory_mib > 1


def python_peak(folder: Path, users: int) -> int:
    """Peak of memory that Python itself holds; SQLite's cache is bounded by its own setting."""
    folder.mkdir()
    reviews = write_rows(folder / "r.jsonl.gz", random_reviews(users, users, 8))
    meta = write_rows(folder / "m.jsonl.gz", items(users))
    tracemalloc.start()
    try:
        prepare_amazon_fashion(reviews, meta, folder / "out", FEW)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    small, large = python_peak(tmp_path / "small", 500), python_peak(tmp_path / "large", 8000)
    # 37,500 more reviews and 7,500 more titles; holding even their ids alone would take over 3 MB.
    assert large - small < 1_000_000


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on file size stands in for a full disk: the index can't grow."""
    reviews = write_rows(tmp_path / "r.jsonl.gz", random_reviews(4000, 100, 9))
    meta = write_rows(tmp_path / "m.jsonl.gz", items(100))
    before = set(tmp_path.iterdir())
    code = (
        "import sys; from pathlib import Path; from harness.errors import DataError\n"
        "from harness.data.amazon import prepare_amazon_fashion\n"
        "try: prepare_amazon_fashion(*map(Path, sys.argv[1:]))\n"
        "except DataError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(reviews), str(meta), str(tmp_path / "out")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "can't be written" in done.stdout
    assert json.dumps(done.stdout.strip()).count("\\n") == 0
    assert set(tmp_path.iterdir()) == before
