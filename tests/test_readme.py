"""The README keeps its word: its shell blocks run, its Python runs, its links and commands exist.

The two set-up commands (`console` blocks) are `.ci/run`'s to run: they build environments.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for name, content in found if name == language]


def section_of(heading: str) -> str:
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's Python finds its checkpoint."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "my-checkpoint").symlink_to(ROOT / "harness" / "zoo" / "listopd")
    return folder


def run(folder: Path, command: list[str], codes: set[int]) -> str:
    assert command[0] == "harness"
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode in codes, done.stderr
    return done.stdout


def test_ci_installs_and_tests_with_its_commands() -> None:
    setup = blocks("console")[1]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    install, tests = re.findall(r"-c \S+ -e \S+|python -m pytest.*", setup)
    assert install in ci
    assert tests in ci


@pytest.mark.model
def test_gating_as_the_readme_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its policy and its commands as they stand, with the checkpoints that it offers, to the codes it names.

    Nothing is added but the engine, since `auto` takes vLLM where the tests have it.
    """
    section = section_of("Gate a checkpoint in CI")
    offered = {name: member for member, name in re.findall(r"`(zoo:\w+)`\s+for\s+`(\./\S+?)`", section)}
    code, margin, other_margin, other_code = re.search(  # type: ignore[union-attr]
        r"exit code (\d)[^.]*\. With a margin of (\S+) in place of (\S+) it is\s+\w+, exit code (\d)", section
    ).groups()
    (policy,) = blocks("yaml", section)
    commands, planning = blocks("sh", section)
    (tmp_path / "gate.yaml").write_text(policy)
    *evaluations, gate = commands.splitlines()
    used = set()
    monkeypatch.chdir(tmp_path)
    for line in evaluations:
        program, *words = [offered.get(word, word) for word in line.split()]
        used.update(line.split())
        # In this process, which has the model library already.
        assert (program, main([*words, "--engine", "hf"])) == ("harness", 0)
    assert offered.keys() <= used
    run(tmp_path, gate.split(), {int(code)})
    assert (tmp_path / "gate.xml").exists()
    decided = json.loads((tmp_path / "runs" / "student" / "gate.json").read_text())
    assert {rule["verdict"] for rule in decided["rules"]} == {decided["verdict"]} == {"pass"}
    unparsed, answers = re.search(r"(\d+) of the student's (\d+) answers", section).groups()  # type: ignore[union-attr]
    metrics = json.loads((tmp_path / "runs" / "student" / "metrics.json").read_text())
    strict = metrics["parse_validity.strict"]
    assert (strict["n"], round(strict["n"] * (1 - strict["estimate"]))) == (int(answers), int(unparsed))
    assert "parse_validity.strict >= 0.95" in run(tmp_path, planning.split(), {0})
    (tmp_path / "gate.yaml").write_text(policy.replace(f"baseline - {other_margin}", f"baseline - {margin}"))
    run(tmp_path, [*gate.split(), "--no-record"], {int(other_code)})


def test_init_writes_what_the_readme_says(tmp_path: Path) -> None:
    """Each form of rule that the README's policy has stands in the example."""
    run(tmp_path, ["harness", "gate", "--init"], {0})
    example = (tmp_path / "gate.yaml").read_text()
    assert yaml.safe_load(example)["rules"]
    (policy,) = blocks("yaml", section_of("Gate a checkpoint in CI"))
    for rule in yaml.safe_load(policy)["rules"]:
        assert rule.split(" - ")[0].split(" 0.")[0] in example, rule


@pytest.mark.model
def test_a_prompt_and_a_contract_as_the_readme_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = section_of("Your own prompt, contract and data")
    for text in blocks("yaml", section):
        (tmp_path / re.match(r"# (\S+):", text)[1]).write_text(text)  # type: ignore[index]
    monkeypatch.chdir(tmp_path)
    (commands,) = blocks("sh", section)
    for line in commands.splitlines():
        program, *words = line.replace("./student", "zoo:listopd").replace("--limit 32", "--limit 2").split()
        assert (program, main([*words, *(["--engine", "hf"] if words[0] == "eval" else [])])) == (
            "harness",
            0,
        )
    assert '{"results": [{"id": ' in capsys.readouterr().out


@pytest.mark.model
def test_the_python_example_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks("python")
    monkeypatch.chdir(workplace)
    monkeypatch.syspath_prepend(str(ROOT))
    exec(compile(example, "README.md", "exec"), {})


def test_its_table_names_the_commands_there_are() -> None:
    import click

    from harness.cli import cli

    table = README.split("## Commands")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `harness (\w+)", table, re.MULTILINE)) == set(
        cli.list_commands(click.Context(cli))
    )


def test_its_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*/README.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_its_figures_have_a_command() -> None:
    """Each row of the table of costs names a script of benchmarks/."""
    table = README.split("## Costs")[1].split("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("|")][2:]
    assert rows
    for row in rows:
        scripts = re.findall(r"benchmarks/(\w+\.py)", row) or re.findall(r"\| (same) \|", row)
        assert scripts, row
        assert all(script == "same" or (ROOT / "benchmarks" / script).exists() for script in scripts), row
