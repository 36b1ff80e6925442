"""`harness train`: what it prints, writes, and refuses in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]


def opd(family: dict[str, Path], out: Path, *more: str) -> list[str]:
    made = ["train", "opd", "--teacher", str(family["teacher"]), "--base", str(family["base"])]
    made += ["--data", str(family["rows"]), "--lambda", "1.1", "--out", str(out), "--steps", "2"]
    return [*made, "--batch-size", "8", "--lr", "1e-4", "--max-tokens", "12", *more]


def test_opd_prints_where_the_checkpoint_is(
    family: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(opd(family, tmp_path / "run", "--clip", "5", "--json", "--lora-rank", "2")) == 0
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert said["step"] == 2
    assert (Path(said["checkpoint"]) / "adapter_config.json").is_file()
    assert "c never binds" in said["warnings"][0]
    assert "warning: rollouts are fresh" in captured.err
    assert "distilling: 2/2" in captured.err
    options = json.loads((tmp_path / "run" / "manifest.json").read_text())["options"]
    assert options["lora"]["rank"] == 2
    assert options["optimisation"]["weight_decay"] == 0.0


def test_sft_trains_a_checkpoint(
    family: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "sft", "--ckpt", str(family["untrained"]), "--data", str(family["rows"])]
    assert (
        main([*command, "--steps", "2", "--lr", "1e-3", "--batch-size", "4", "--out", str(tmp_path / "s")])
        == 0
    )
    assert str(tmp_path / "s") in capsys.readouterr().out
    assert (tmp_path / "s" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--lambda", "0"), "λ must be finite and above 0"),
        (("--clip", "1"), "c must be finite and above 1"),
        (("--teacher", "nowhere/at-all"), "nowhere/at-all"),
        (("--guard", "warn"), "the guard needs a clip"),
        (("--rollouts", "somewhere", "--staleness", "fixed"), "no folder of stored rollouts"),
        (("--data", "no-such-data"), "no-such-data"),
    ],
)
def test_bad_input_is_one_line(
    family: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    message: str,
) -> None:
    assert main(opd(family, tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("harness: error: ")
    assert message in error


def test_two_processes_train_like_one(family: dict[str, Path], tmp_path: Path) -> None:
    """The same run under `accelerate launch` with two CPU processes: equal up to rounding."""
    options = (
        "--clip",
        "5",
        "--staleness",
        "fixed",
        "--rollout-batch",
        "16",
        "--samples",
        "2",
        "--seed",
        "3",
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-m", "harness"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--main_process_port", "0", "-m", "harness"]
    for how, name in ((python, "one"), (launch, "two")):
        command = [*how, *opd(family, tmp_path / name, *options)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "train.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [line["step"] for line in two] == [1, 2]
    for mine, theirs in zip(one, two, strict=True):
        assert theirs["tokens"] == mine["tokens"]
        assert theirs["parse_validity"] == mine["parse_validity"]
        for name in ("loss", "reverse_kl", "gradient_norm", "lambda_star", "entropy_structural"):
            assert theirs[name] == pytest.approx(mine[name], rel=1e-3), name
