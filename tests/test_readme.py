"""The README keeps its word: its shell blocks run, its Python runs, its links and commands exist.

The two set-up commands (`console` blocks) are `.ci/run`'s to run: they build environments.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's names mean something: the zoo's checkpoints, and a baseline's run."""
    folder = tmp_path_factory.mktemp("readme")
    zoo = ROOT / "harness" / "zoo"
    for name, member in (
        ("student", "listopd"),
        ("my-checkpoint", "listopd"),
        ("teacher", "teacher"),
        ("base", "base"),
    ):
        (folder / name).symlink_to(zoo / member)
    run(folder, ["harness", "eval", "--ckpt", "zoo:large", "--out", "runs/8b-sft", "--engine", "hf"], {0})
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
def test_gating_as_the_readme_has_it(workplace: Path) -> None:
    """Its commands in order, with its own policy in place of the example that `--init` writes."""
    (policy,) = blocks("yaml")
    for block in blocks("sh"):
        for line in block.splitlines():
            command = line.split("#")[0].split()
            if "eval" in command:
                command += ["--engine", "hf"]
            run(workplace, command, {0} if "gate" not in command or "--init" in command else {0, 1, 4})
            if "--init" in command:
                assert yaml.safe_load((workplace / "gate.yaml").read_text())["rules"]
                (workplace / "gate.yaml").write_text(policy)
    assert (workplace / "gate.xml").exists()
    assert (workplace / "runs" / "student" / "cliff.json").exists()


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
