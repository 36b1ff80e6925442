"""A template's fault ends every command with 2 and one line, and a live gate with a JUnit file."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main
from harness.engines.zoo import resolved
from tests.checkpoints.template_folders import CASES, template_of, with_template

pytestmark = pytest.mark.model

SAMPLE = ("wants a system message", "drops the message", "several without a default")


@pytest.mark.parametrize("why", SAMPLE)
def test_commands_end_with_2(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    [case] = [case for case in CASES if case["why"] == why]
    ckpt = str(with_template(resolved("zoo:listopd"), tmp_path / "ckpt", template_of(case)))
    train = ["train", "sft", "--ckpt", ckpt, "--out", "sft", "--steps", "1", "--lr", "1e-4"]
    gate = ["gate", "--engine", "hf", "--ckpt", ckpt, "--max-tasks", "2", "--junit", "junit.xml"]
    for command in (["eval", "--engine", "hf", "--ckpt", ckpt, "--limit", "2"], train, gate):
        assert main(command) == 2
        [line] = [one for one in capsys.readouterr().err.splitlines() if "error:" in one]
        assert "chat template" in line
    assert "<error" in (tmp_path / "junit.xml").read_text()
