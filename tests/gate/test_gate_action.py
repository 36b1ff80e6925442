"""The GitHub Action's script, run as a runner runs it, and the snippets of the documentation."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import main
from harness.gate import load_policy
from harness.runs import Run
from tests.gate.gate_runs import answers, make_run

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
DOCUMENTATION = (ROOT / "docs" / "gating.md").read_text()
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("action"), answers(198)(200, 1))


def act(folder: Path, **inputs: str) -> tuple[int, str, str]:
    """Run the step `gate`; returns its exit code, its outputs and what it printed."""
    script = next(step["run"] for step in STEPS if step.get("id") == "gate")
    command = folder / "bin" / "harness"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m harness "$@"\n')
    command.chmod(0o755)
    given = {name: spec.get("default", "") for name, spec in ACTION["inputs"].items()} | inputs
    variables = {f"GATE_{name.upper()}": value for name, value in given.items() if "-" not in name}
    environment = (
        os.environ
        | variables
        | {
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        }
    )
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (folder / "output").read_text().strip(), done.stdout + done.stderr


def test_a_passing_run(run: Run, tmp_path: Path) -> None:
    code, output, shown = act(tmp_path, run=str(run.path))
    assert (code, output) == (0, "exit-code=0")
    assert "gate: PASS" in shown
    assert (tmp_path / "gate-junit.xml").exists()
    assert "harness gate" in (tmp_path / "summary.md").read_text()


def test_a_failing_run_with_a_policy_and_arguments(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "the policy.yaml"
    policy.write_text("rules: ['parse_validity.strict <= baseline - 0.5']\n")
    code, output, shown = act(
        tmp_path,
        run=str(run.path),
        policy=str(policy),
        baseline=str(run.path),
        arguments="--json\n--no-record\n",
    )
    assert (code, output) == (1, "exit-code=1")
    assert '"verdict": "fail"' in shown


@pytest.mark.parametrize("text", ["$(touch pwned)", "`touch pwned`", '"; touch pwned; "', "--help", "-x"])
def test_an_input_is_never_a_command(tmp_path: Path, text: str) -> None:
    code, output, shown = act(tmp_path, run=text)
    assert (code, output) == (2, "exit-code=2")
    assert "isn't a run" in shown
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("arguments", ["--help", "--init", "--plan\n--tasks\n100", "--policy", "--"])
def test_what_judges_nothing_is_no_pass(run: Run, tmp_path: Path, arguments: str) -> None:
    (tmp_path / "gate-junit.xml").write_text("a pass of yesterday")
    code, output, shown = act(
        tmp_path, run="" if "--plan" in arguments else str(run.path), arguments=arguments
    )
    assert (code, output) == (2, "exit-code=2")
    assert "harness: error:" in shown or "Error:" in shown
    junit = tmp_path / "gate-junit.xml"
    assert not junit.exists() or "<error" in junit.read_text()


def test_inputs_reach_scripts_as_variables_only() -> None:
    for step in STEPS:
        assert "${{" not in step.get("run", "")
        assert "run" not in step or step["shell"] == "bash"
        for name, value in step.get("env", {}).items():
            assert value == f"${{{{ inputs.{name.removeprefix('GATE_').lower()} }}}}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENTATION, flags=re.DOTALL)


def test_yaml_in_the_documentation_can_be_read(tmp_path: Path) -> None:
    documents = [yaml.safe_load(block) for block in blocks("yaml")]
    policies = [block for block, one in zip(blocks("yaml"), documents, strict=True) if "rules" in one]
    assert policies
    for number, text in enumerate(policies):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        load_policy(path)
    used = [
        step.get("with", {})
        for one in documents
        for job in one.get("jobs", {}).values()
        for step in job["steps"]
        if step.get("uses") == "./.harness"
    ]
    assert any(used)
    for inputs in used:
        assert inputs.keys() <= ACTION["inputs"].keys()


def test_python_in_the_documentation_runs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("student", "teacher"):
        (tmp_path / "runs" / name).symlink_to(run.path)
    (tmp_path / "gate.yaml").write_text("rules:\n  - parse_validity.strict >= 0.9\n")
    [example] = blocks("python")
    scope: dict[str, Any] = {}
    exec(compile(example, "docs/gating.md", "exec"), scope)
    scope["test_checkpoint_ships"]()


def test_commands_in_the_documentation_exist() -> None:
    """Every option that is named there is one of `harness gate --help`."""
    from harness.cli.gate import gate

    known = {option for parameter in gate.params for option in parameter.opts}
    named = {
        option
        for line in "\n".join(blocks("sh")).splitlines()
        if "harness gate" in line
        for option in re.findall(r"(?<!\S)--[a-z-]+", line)
    }
    assert named
    assert named <= known
    assert main(["gate", "--help"]) == 0
