"""Writing tasks as JSON lines, the same bytes for the same tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from harness.data.tasks import Item, RankingTask, Task
from harness.files import replacing


def to_json_line(task: Task) -> str:
    """One row of a dataset file, newline included; empty optional fields are left out."""
    row = _ranking_row(task) if isinstance(task, RankingTask) else task.model_dump(exclude={"meta"})
    if task.meta:
        row["meta"] = task.meta
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _ranking_row(task: RankingTask) -> dict[str, object]:
    row: dict[str, object] = {
        "task_id": task.task_id,
        "history": [_item_row(item) for item in task.history],
        "candidates": [_item_row(item) for item in task.candidates],
        "relevance": [int(label) if label.is_integer() else label for label in task.relevance],
    }
    if task.messages is not None:
        row["messages"] = [message.model_dump() for message in task.messages]
    return row


def _item_row(item: Item) -> dict[str, object]:
    row: dict[str, object] = {"item_id": item.item_id, "title": item.title}
    if item.attributes:
        row["attributes"] = item.attributes
    return row


def write_tasks(path: Path, tasks: Iterable[Task]) -> int:
    """Write tasks to `path` in one step (a reader sees the old file or the whole new one).

    Returns:
        The number of tasks written.
    """
    count = 0
    with replacing(path) as file:
        for task in tasks:
            file.write(to_json_line(task).encode("utf-8"))
            count += 1
    return count
