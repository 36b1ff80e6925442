"""The tables of `harness eval`: nothing that changes an n is left unsaid."""

import json
from pathlib import Path

import pytest

from harness.cli import main


def test_tasks_that_cannot_rank_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    candidates = [{"item_id": "a", "title": "A"}, {"item_id": "b", "title": "B"}]
    labels = [[1, 0], [0, 0], [2, 2], [0, 0]]
    tasks, outputs = tmp_path / "tasks.jsonl", tmp_path / "outputs.jsonl"
    with tasks.open("w") as rows, outputs.open("w") as texts:
        for number, relevance in enumerate(labels):
            row = {"task_id": f"t{number}", "history": [], "candidates": candidates, "relevance": relevance}
            rows.write(json.dumps(row) + "\n")
            texts.write(json.dumps({"task_id": f"t{number}", "text": '{"ranking": [1, 2]}'}) + "\n")
    evaluate = ["eval", "--replay", str(outputs), "--data", str(tasks), "--out"]
    assert main([*evaluate, str(tmp_path / "all")]) == 0
    shown = capsys.readouterr().out
    assert "2 of 4 tasks have no relevant candidate: left out of NDCG" in shown
    assert "3 of 4 tasks have the same label on every candidate: left out of NDCG" in shown
    assert main([*evaluate, str(tmp_path / "first"), "--limit", "1"]) == 0
    assert "left out" not in capsys.readouterr().out
