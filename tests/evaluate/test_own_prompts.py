"""Evaluations with prompts of a user's own, and answers that begin with reasoning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.data.choice import PromptConfig
from harness.errors import RunMismatchError
from harness.evaluate import evaluate, rescore
from harness.report import ReportConfig, report
from tests.evaluate.test_evaluate_replay import config, data, write_lines

__all__ = ["data"]

PROMPT = "messages: [{role: user, content: 'Sort {{ k }}: {{ candidates[0].title }}. JSON.'}]\n"
RANKING = '{"ranking": [1, 2, 3]}'
TEXTS = {
    "a": (f"<think>\nno {RANKING} </think>\n{RANKING}", "stop"),
    "b": (f"<think> {RANKING}", "length"),
    "c": (RANKING, "stop"),
    "d": (f"<think> {RANKING}", "stop"),
}


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    rows = [{"task_id": name, "text": text, "finish_reason": why} for name, (text, why) in TEXTS.items()]
    return write_lines(tmp_path / "outputs.jsonl", [dict(row) for row in rows])


def test_reasoning_is_kept_apart_and_rescored_the_same(data: Path, recorded: Path, tmp_path: Path) -> None:
    thinking = PromptConfig(reasoning_end="</think>")
    run = evaluate(config(data, recorded, tmp_path / "run", prompting=thinking))
    samples = {one.task_id: one for one in run.iter_samples()}
    assert {name: one.reasoning + one.text for name, one in samples.items()} == {
        name: text for name, (text, _) in TEXTS.items()
    }
    assert {name: one.parse and (one.parse.tier, one.parse.code) for name, one in samples.items()} == {
        "a": ("strict", None),
        "b": ("none", "truncated"),
        "c": ("strict", None),
        "d": ("lenient", "extra_text"),
    }
    assert run.manifest.prompt.reasoning_end == "</think>"
    before = (run.path / "samples.jsonl").read_bytes(), (run.path / "metrics.json").read_bytes()
    rescore(run.path)
    assert ((run.path / "samples.jsonl").read_bytes(), (run.path / "metrics.json").read_bytes()) == before
    assert b"<summary>Reasoning</summary>" in report(ReportConfig(runs=(run.path,))).encoded
    # Without a mark all of it is the answer.
    bare = evaluate(config(data, recorded, tmp_path / "bare"))
    assert bare.metrics["parse_validity.strict"].estimate == 0.25


def test_a_run_goes_on_with_its_own_prompt_alone(data: Path, recorded: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(PROMPT)
    own = PromptConfig(prompt=file)
    first = evaluate(config(data, recorded, tmp_path / "run", prompting=own, limit=2))
    file.write_text("# the same\n" + PROMPT)
    grown = evaluate(config(data, recorded, tmp_path / "run", prompting=own))
    assert [first.manifest.tasks, grown.manifest.tasks] == [2, 4]
    assert grown.manifest.prompt.sha256 == own.record().sha256
    file.write_text(PROMPT.replace("Sort", "Order"))
    for prompting in (own, PromptConfig(), PromptConfig(system="x")):
        with pytest.raises(RunMismatchError, match="holds another run"):
            evaluate(config(data, recorded, tmp_path / "run", prompting=prompting))


def test_show(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(PROMPT.replace(" JSON.", ""))
    show = ["data", "show", "--data", str(data), "--prompt", str(file)]
    assert main([*show, "--task", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == "[user]\nSort 3: Thing 0.\n\n"
    assert "no turn says a word of the contract" in err
    assert main([*show, "--task", "b", "--system", "Be brief.", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["task_id"] == "b"
    assert [turn["role"] for turn in shown["messages"]] == ["system", "user"]
    for task, says in (("5", "has tasks 1 to 4"), ("0", "has tasks 1 to 4"), ("x", "there is no task 'x'")):
        assert main([*show, "--task", task]) == 2
        assert says in capsys.readouterr().err
