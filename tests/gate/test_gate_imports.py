"""Gating a stored run loads no model library, no data frame, and of SciPy the special functions alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gate.gate_runs import answers, make_run

HEAVY = {
    "torch",
    "vllm",
    "transformers",
    "tokenizers",
    "pandas",
    "scipy.stats",
    "scipy.optimize",
    "scipy.sparse",
    "sklearn",
    "httpx",
    "google.genai",
    "google.generativeai",
}


def loaded_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_the_package_is_light() -> None:
    assert not loaded_by("from harness import gate; gate.check") & (HEAVY | {"scipy"})


@pytest.mark.parametrize("rules", [["parse_validity.strict >= 0.5"], ["ndcg_at_1.parsed >= baseline - 0.5"]])
def test_a_stored_run_needs_no_heavy_library(tmp_path: Path, rules: list[str]) -> None:
    run = make_run(tmp_path, answers(90)(100, 1))
    policy = tmp_path / "gate.yaml"
    policy.write_text("rules:\n" + "".join(f"  - {rule}\n" for rule in rules))
    arguments = ["gate", str(run.path), "--policy", str(policy), "--baseline", str(run.path)]
    arguments += ["--junit", str(tmp_path / "j.xml"), "--summary", str(tmp_path / "s.md")]
    loaded = loaded_by(f"from harness.cli import main\nassert main({arguments!r}) == 0")
    assert not loaded & HEAVY
    assert "harness.engines.config" not in loaded
    assert "harness.evaluate" not in loaded
