"""Prompts are compared wherever runs are: a live gate, a run gone on with, a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.data.tasks import as_user
from harness.errors import RunMismatchError
from harness.evaluate import evaluate, job
from harness.gate.live import LiveOptions
from harness.report.comparison import compare_runs
from harness.report.decision import decide_run
from harness.report.reading import read_runs
from harness.rollouts import Prompt, make_prompts
from harness.runs.comparability import compare_prompts
from tests.gate.gate_runs import config, write_tasks
from tests.gate.live_runs import live, outputs

TASKS = 400
RULE = "parse_validity.strict >= baseline - 0.5"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("prompts")
    data = write_tasks(folder / "tasks.jsonl", TASKS)
    answered = outputs(folder, 395)
    evaluate(config(data, answered, folder / "baseline"))
    return {"data": data, "answered": answered, "folder": folder}


@pytest.fixture
def other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on three tasks are asked in other words."""

    def made(*arguments: Any, **named: Any) -> Sequence[Prompt]:
        prompts = make_prompts(*arguments, **named)
        return [*(replace(one, messages=as_user(f"Today: {one.text}")) for one in prompts[:3]), *prompts[3:]]

    monkeypatch.setattr(job, "make_prompts", made)


def baseline(asked: dict[str, Path]) -> Any:
    from harness.runs import load

    return load(asked["folder"] / "baseline")


def test_a_live_gate_refuses_a_baseline_that_was_asked_otherwise(
    asked: dict[str, Path], tmp_path: Path, other_words: None
) -> None:
    run = tmp_path / "run"
    with pytest.raises(RunMismatchError, match=f"3 of {TASKS} tasks were asked by other prompts"):
        live(asked["data"], asked["answered"], run, RULE, baseline=baseline(asked))
    assert not (run / "samples.jsonl").exists() or not (run / "samples.jsonl").read_bytes()
    options = LiveOptions(common=True)
    result, _ = live(asked["data"], asked["answered"], run, RULE, baseline=baseline(asked), options=options)
    assert any("other prompts" in note for note in result.notes)


def test_a_live_gate_takes_one_that_was_asked_alike(asked: dict[str, Path], tmp_path: Path) -> None:
    result, _ = live(asked["data"], asked["answered"], tmp_path / "run", RULE, baseline=baseline(asked))
    assert result.verdict == "pass"
    assert not any("prompts" in note for note in result.notes)


def test_a_run_of_other_prompts_is_not_gone_on_with(
    asked: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = config(asked["data"], asked["answered"], tmp_path / "run", limit=20)
    evaluate(wanted)
    request.getfixturevalue("other_words")
    with pytest.raises(RunMismatchError, match="3 of 20 tasks were asked by other prompts") as caught:
        evaluate(wanted)
    assert "`out=`" in str(caught.value)


def test_a_report_says_so_in_its_sentence(asked: dict[str, Path], tmp_path: Path, other_words: None) -> None:
    evaluate(config(asked["data"], asked["answered"], tmp_path / "run"))
    mine, theirs = read_runs([tmp_path / "run", asked["folder"] / "baseline"])
    comparison = compare_runs([mine, theirs], theirs, 0.02)[mine.name]
    said = f"3 of {TASKS} tasks were asked by other prompts"
    assert any(said in caution for caution in comparison.cautions)
    assert "asked by other prompts" in decide_run(mine, theirs, comparison, margin=0.02).sentence


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"chat_template_sha256": "x"}, "other chat templates"),
        ({"options": {"chat_template_arguments": {"enable_thinking": True}}}, "chat_template_arguments"),
        ({"options": {"named_tokens": {"bos_token": "<s>"}}}, "named_tokens"),
        ({"options": {"content_format": "parts"}}, "content_format string → parts"),
        ({}, "the manifests agree"),
    ],
)
def test_what_made_them_differ_is_named(asked: dict[str, Path], changes: dict[str, Any], why: str) -> None:
    manifest = baseline(asked).manifest
    usual = {
        "chat_template_arguments": {"enable_thinking": False},
        "named_tokens": {"bos_token": "<b>"},
        "content_format": "string",
    }
    known = {"tokenizer_sha256": "t", "chat_template_sha256": "c", "options": usual}
    mine, theirs = (
        manifest.model_copy(update={"engine": manifest.engine.model_copy(update=engine)})
        for engine in (known | changes | {"options": usual | changes.get("options", {})}, known)
    )
    found = compare_prompts(mine, theirs, {"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3.0, "c": 4.0})
    assert (found.differing, found.shared) == (1, 2)
    assert why in found.why
    same = compare_prompts(mine, theirs, {"a": 1.0}, {"a": 1.0})
    assert same.said is None
    assert same.shared == 1
