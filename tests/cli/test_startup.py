"""`harness --help` and `import harness` stay light."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("command", ["eval", "rescore", "cliff", "judge", "gate", "report", "data", "doctor"])
def test_every_help_ends_with_an_example(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", command, "--help"], capture_output=True, text=True, check=True
    )
    assert "Example: harness" in done.stdout.strip().splitlines()[-1] or "Example: harness" in done.stdout


def test_every_command_has_a_help_page() -> None:
    from harness.cli import cli

    done = subprocess.run(
        [sys.executable, "-m", "harness", "--help"], capture_output=True, text=True, check=True
    )
    for name in cli.list_commands(None):  # type: ignore[arg-type]
        assert f"  {name} " in done.stdout
