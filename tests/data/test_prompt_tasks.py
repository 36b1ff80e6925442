"""Rows that are prompts of their own: read, stored and read back as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.contract import Contract
from harness.data.rows import BadRow, read_rows
from harness.data.tasks import Message, PromptTask, RankingTask, terms_of
from harness.data.writing import write_tasks
from harness.errors import DataError
from harness.runs import RunDirectory
from harness.runs.directory import read_tasks
from tests.data.test_task_rows import good_row

PROMPTS = json.loads((Path(__file__).parents[1] / "cases" / "prompt_rows.json").read_text(encoding="utf-8"))
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Paris?"},
    {"role": "assistant", "content": '{"country": "France"}'},
    {"role": "user", "content": "Rome?"},
]
ROWS = (
    {"task_id": "bare", "prompt": "Rome?"},
    {"task_id": "turns", "messages": TURNS, "schema": {"type": "object"}, "expected": {"country": "Italy"}},
    {
        "task_id": "null",
        "prompt": "x",
        "expected": None,
        "schema": {"type": "null"},
        "meta": {"candidates": [1]},
    },
    good_row() | {"task_id": "ranked", "messages": TURNS},
    good_row() | {"task_id": "plain"},
)


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_both_kinds_survive_files_and_runs(tmp_path: Path) -> None:
    tasks = list(read_rows(written(tmp_path / "tasks.jsonl", *ROWS)))
    assert [type(task) for task in tasks] == [PromptTask] * 3 + [RankingTask] * 2
    bare, turns, null, ranked, _ = tasks
    assert isinstance(bare, PromptTask)
    assert isinstance(turns, PromptTask)
    assert isinstance(null, PromptTask)
    assert bare.conversation == (Message(role="user", content="Rome?"),)
    assert [message.model_dump() for message in turns.conversation] == TURNS
    assert (bare.has_expected, null.has_expected, null.expected) == (False, True, None)
    assert isinstance(ranked, RankingTask)
    assert ranked.messages == turns.messages
    write_tasks(tmp_path / "again.jsonl", tasks)  # type: ignore[arg-type]
    assert list(read_rows(tmp_path / "again.jsonl")) == tasks
    with RunDirectory(tmp_path / "run") as directory:
        directory.write_tasks(tasks)  # type: ignore[arg-type]
    stored = list(read_tasks(tmp_path / "run", sealed=True))
    assert stored == [task.model_copy(update={"crc32": None}) for task in tasks]  # type: ignore[union-attr]
    assert [one.has_expected for one in stored if isinstance(one, PromptTask)] == [False, True, True]
    row = json.loads((tmp_path / "run" / "tasks.jsonl").read_text().splitlines()[4])
    assert row.keys() == {"task_id", "history", "candidates", "relevance", "meta", "crc32"}, "as ever"


@pytest.mark.parametrize("case", PROMPTS, ids=lambda case: case["name"])
def test_a_bad_row_is_named(case: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(f"{json.dumps(ROWS[0])}\n{case['line']}\n", encoding="utf-8")
    _, bad = read_rows(file)
    assert isinstance(bad, tuple)
    assert (bad[0].line, bad[0].field) == (2, case["field"])
    assert isinstance(bad[0], BadRow)
    assert str(case["message"]) in bad[0].message


def test_terms(tmp_path: Path) -> None:
    row, listwise = Contract(kind="schema", schema="row"), Contract(ids="item_id")
    _, turns, null, ranked, _ = read_rows(written(tmp_path / "tasks.jsonl", *ROWS))
    assert isinstance(turns, PromptTask)
    assert isinstance(null, PromptTask)
    assert isinstance(ranked, RankingTask)
    assert terms_of(turns, row).schema == '{"type":"object"}'
    assert terms_of(null, row).schema == '{"type":"null"}'
    with pytest.raises(DataError, match="task null: `schema` no answer can keep it"):
        terms_of(null.model_copy(update={"schema_": False}), row)
    assert (terms_of(ranked, listwise).k, terms_of(ranked, listwise).item_ids) == (3, ("i0", "i1", "i2"))
    assert terms_of(ranked, Contract()).item_ids == ()
    assert hash(terms_of(ranked, listwise)) == hash(terms_of(ranked, listwise))
    with pytest.raises(DataError, match="no candidates to rank"):
        terms_of(turns, Contract())
    with pytest.raises(DataError, match="own schema"):
        terms_of(ranked, row)
