"""`harness --help` and `import harness` stay light."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

FORBIDDEN = ("torch", "vllm", "transformers", "pandas", "sklearn", "scipy", "jsonschema")


def loaded_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    ["import harness", "import harness.cli\nharness.cli.main(['--help'])"],
    ids=["import", "help"],
)
def test_no_heavy_module_is_loaded(code: str) -> None:
    assert not loaded_by(code) & set(FORBIDDEN)


def test_recorded_outputs_are_scored_without_a_model_library(tmp_path: Path) -> None:
    data = Path(__file__).parents[2] / "datasets" / "fashion-mini" / "test.jsonl"
    with data.open(encoding="utf-8") as lines:
        tasks = [json.loads(next(lines))["task_id"] for _ in range(3)]
    outputs = tmp_path / "outputs.jsonl"
    outputs.write_text("".join(json.dumps({"task_id": task, "text": "no"}) + "\n" for task in tasks))
    arguments = ["eval", "--replay", str(outputs), "--data", str(data), "--limit", "3"]
    arguments += ["--out", str(tmp_path / "run")]
    loaded = loaded_by(f"from harness.cli import main\nassert main({arguments!r}) == 0")
    assert not loaded & {"torch", "vllm", "transformers", "sklearn", "scipy.stats", "scipy.optimize"}


@pytest.mark.parametrize(
    "command", ["eval", "forecast", "rescore", "cliff", "judge", "gate", "report", "data", "doctor"]
)
def test_every_help_ends_with_an_example(command: str) -> None:
    from harness.cli import cli

    done = CliRunner().invoke(cli, [command, "--help"])
    assert done.exit_code == 0
    assert "Example: harness" in done.stdout


def test_every_command_has_a_help_page() -> None:
    from harness.cli import cli

    done = subprocess.run(
        [sys.executable, "-m", "harness", "--help"], capture_output=True, text=True, check=True
    )
    for name in cli.list_commands(None):  # type: ignore[arg-type]
        assert f"  {name} " in done.stdout
