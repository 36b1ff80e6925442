"""Every kind of bad row is named by its line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.rows import BadRow, read_rows
from harness.data.tasks import RankingTask

CASES = json.loads((Path(__file__).parents[1] / "cases" / "task_rows.json").read_text(encoding="utf-8"))


def good_row(k: int = 3) -> dict[str, Any]:
    return {
        "task_id": "a",
        "candidates": [{"item_id": f"i{number}", "title": f"title {number}"} for number in range(k)],
        "relevance": [1] * k,
    }


def line_of(case: dict[str, Any]) -> str:
    if "line" in case:
        return str(case["line"])
    if "repeat" in case:
        text, times = case["repeat"]
        return '{"meta": ' + text * times
    row = good_row(case.get("candidates", 3)) | case.get("set", {})
    if "without" in case:
        del row[case["without"]]
    if "candidate" in case:
        place, candidate = case["candidate"]
        row["candidates"][place] = candidate
    line = json.dumps(row)
    if "raw_label" in case:
        line = line.replace("[1, 1, 1]", f"[{case['raw_label']}, 1, 1]")
    if "append" in case:
        line = line[:-1] + case["append"]
    return line


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_bad_row(case: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    after = good_row() | {"task_id": "after"}
    file.write_text(f"{json.dumps(good_row())}\n\n{line_of(case)}\n{json.dumps(after)}\n", encoding="utf-8")
    first, bad, last = read_rows(file)
    assert isinstance(first, RankingTask)
    assert isinstance(last, RankingTask)
    assert isinstance(bad, tuple)
    problem = bad[0]
    assert (problem.line, problem.field) == (3, case["field"])
    assert case["message"] in problem.message
    assert "\n" not in str(problem)
    assert len(str(problem)) < 300


def test_every_problem_of_a_row_is_named(tmp_path: Path) -> None:
    row = good_row() | {"relevance": [-1, 0, 0], "extra": 1}
    row["candidates"][1] = {"item_id": "i1"}
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps(row))
    (bad,) = read_rows(file)
    assert isinstance(bad, tuple)
    assert {problem.field for problem in bad} == {"relevance[0]", "extra", "candidates[1].title"}


def test_a_list_is_not_called_short_for_its_bad_members(tmp_path: Path) -> None:
    row = good_row(2)
    for candidate in row["candidates"]:
        candidate["item_id"] = 7
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps(row))
    (bad,) = read_rows(file)
    assert isinstance(bad, tuple)
    assert [problem.field for problem in bad] == ["candidates[0].item_id", "candidates[1].item_id"]


def test_what_is_allowed(tmp_path: Path) -> None:
    rows = [
        good_row(2),
        good_row(64) | {"task_id": "most"},
        good_row() | {"task_id": "history", "history": [{"item_id": "i0", "title": "also a candidate"}]},
        good_row() | {"task_id": "labels", "relevance": [0, 0.5, 100]},
        good_row()
        | {"task_id": "same titles", "candidates": [{"item_id": str(n), "title": "t"} for n in range(3)]},
        good_row() | {"task_id": "ids are text \u2028 '\"", "meta": {"a": [None, {"b": 1.5}]}},
    ]
    file = tmp_path / "tasks.jsonl"
    file.write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    tasks = list(read_rows(file))
    assert [task.task_id for task in tasks if isinstance(task, RankingTask)] == [
        row["task_id"] for row in rows
    ]
    assert [task.k for task in tasks if isinstance(task, RankingTask)] == [2, 64, 3, 3, 3, 3]


def test_duplicate_task_id_names_both_lines(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    row = json.dumps(good_row())
    file.write_text(f"{row}\n{row}\n\n{row}\n")
    assert list(read_rows(file))[1:] == [
        (BadRow(2, "task_id", '"a" is also that of line 1'),),
        (BadRow(4, "task_id", '"a" is also that of line 1'),),
    ]


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    row = json.dumps(good_row() | {"task_id": "café"}, ensure_ascii=False)
    file.write_bytes(row.encode("utf-8") + b"\n" + row.encode("latin-1"))
    task, bad = read_rows(file)
    assert isinstance(task, RankingTask)
    assert isinstance(bad, tuple)
    assert bad[0].line == 2
    assert "UTF-8" in bad[0].message


def test_a_line_without_end_is_dropped_not_held(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    with file.open("wb") as stream:
        stream.write(b'{"task_id": "')
        for _ in range(40):
            stream.write(b"x" * 2**20)
        stream.write(b'"}\n' + json.dumps(good_row()).encode())
    bad, task = read_rows(file)
    assert isinstance(bad, tuple)
    assert "16 MiB" in bad[0].message
    assert isinstance(task, RankingTask)
