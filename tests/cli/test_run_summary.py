"""The tables of `harness eval`: nothing that changes an n is left unsaid."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.runs import load
from tests.resealing import change_document


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


def write_case(folder: Path, answers: list[str]) -> list[str]:
    """A dataset of two candidates a task with stored answers, and the command that evaluates them."""
    candidates = [{"item_id": "a", "title": "A"}, {"item_id": "b", "title": "B"}]
    tasks, outputs = folder / "tasks.jsonl", folder / "outputs.jsonl"
    with tasks.open("w") as rows, outputs.open("w") as texts:
        for number, text in enumerate(answers):
            row = {"task_id": f"t{number}", "history": [], "candidates": candidates, "relevance": [1, 0]}
            rows.write(json.dumps(row) + "\n")
            texts.write(json.dumps({"task_id": f"t{number}", "text": text}) + "\n")
    return ["eval", "--replay", str(outputs), "--data", str(tasks), "--out", str(folder / "run")]


def test_a_killed_run_that_is_rescored_says_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate, run = write_case(tmp_path, ["no", *['{"ranking": [1, 2]}'] * 5]), tmp_path / "run"
    assert main(evaluate) == 0
    assert "incomplete" not in capsys.readouterr().out

    def killed_behind_its_fourth_sample(manifest: dict[str, Any]) -> None:
        manifest.update(status="running", finished=None)
        manifest["sessions"][0].update(status="running", finished=None, generated=1)

    change_document(run / "manifest.json", killed_behind_its_fourth_sample)
    (run / "metrics.json").unlink()
    lines = (run / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (run / "samples.jsonl").write_bytes(b"".join(lines[:4]))

    assert main(["rescore", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "4 of 6 samples: incomplete, go on with the same harness eval" in " ".join(shown.split())
    assert "\n4 samples, 1 of them killed, " in shown
    before = (run / "manifest.json").read_bytes()
    assert main(["rescore", str(run)]) == 0
    assert (run / "manifest.json").read_bytes() == before
    assert main(["gate", str(run), "--no-record"]) == 3
    assert main(evaluate) == 0
    assert [(one.status, one.generated) for one in load(run).manifest.sessions] == [
        ("killed", 4),
        ("complete", 2),
    ]


def test_an_answer_is_shown_in_its_own_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(write_case(tmp_path, ["推荐\u3000第\n1 е\u202e"])) == 0
    assert r"'推荐\u3000第\n1 е\u202e'" in capsys.readouterr().out
