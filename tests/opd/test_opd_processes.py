"""The loop on two CPU processes, each with the whole student or with a part of it: the log of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints.opd_family import write_forecast

torch = pytest.importorskip("torch")
psutil = pytest.importorskip("psutil")

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
ON_CPU = str(Path(__file__).with_name("fsdp_on_cpu.py"))
Family = dict[str, Path]
# Rounds of four steps: the second is drawn from trained weights. The guard reads every process's rollouts,
# for their validity and for λ reached.
STEPS = 6
OPTIONS = [
    *("--lambda", "1.1", "--clip", "1.5", "--steps", str(STEPS), "--batch-size", "8", "--lr", "5e-4"),
    *("--max-tokens", "12", "--rollout-batch", "16", "--samples", "2", "--updates-per-rollout", "2"),
    *("--micro-batch-size", "2", "--checkpoint-every", "2", "--log-every", "2", "--seed", "3"),
    *("--guard", "stop", "--json"),
]
MULTIPLE = ("loss", "reverse_kl", "gradient_norm", "lambda_star", "entropy_structural", "entropy_other")
EQUAL = ("tokens", "parse_validity", "truncated", "round", "role", "guard_kept", "guard_evidence")


def opd(family: Family, out: Path, *more: str) -> list[str]:
    places = [
        "--teacher",
        str(family["teacher"]),
        "--base",
        str(family["base"]),
        "--data",
        str(family["rows"]),
        "--forecast",
        str(family["forecast"]),
    ]
    return ["train", "opd", *places, "--out", str(out), *OPTIONS, *more]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def fsdp(version: int) -> tuple[list[str], dict[str, str]]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", ON_CPU]
    settings = {
        "ACCELERATE_USE_FSDP": "true",
        "ACCELERATE_USE_CPU": "true",
        "FSDP_VERSION": str(version),
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
        "FSDP_RESHARD_AFTER_FORWARD": "FULL_SHARD" if version == 1 else "true",
        # Settings that people have, and under which weights would be noise, or stay where they are.
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
        "FSDP_USE_ORIG_PARAMS": "false",
    }
    return launch, environment(**settings)


def finish(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def require_alike(out: Path, other: Path) -> None:
    """Equal up to the order of sums."""
    assert [line["step"] for line in log(out)] == list(range(1, STEPS + 1))
    for mine, theirs in zip(log(out), log(other), strict=True):
        assert {name: mine[name] for name in EQUAL} == {name: theirs[name] for name in EQUAL}
        for name in MULTIPLE:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3), (mine["step"], name)
        assert mine["ratio"] == pytest.approx(theirs["ratio"], rel=1e-3)
        assert mine["clipped"] == pytest.approx(theirs["clipped"], abs=0.03)
        if theirs["roles"] is not None:
            assert mine["roles"]["open"] == pytest.approx(theirs["roles"]["open"], rel=1e-3)


def weights(out: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    file = next((out / "checkpoint").glob("*model.safetensors"))
    return load_file(file)


def require_same_weights(out: Path, other: Path) -> None:
    mine, theirs = weights(out), weights(other)
    assert mine.keys() == theirs.keys()
    # AdamW's first steps have the length of the rate whatever the gradient's: a sum of the other sign moves a
    # weight the other way. Far fewer than all of them, and never by more than the steps are long.
    gaps = torch.cat([(mine[name] - theirs[name]).abs().flatten() for name in mine])
    assert float(gaps.mean()) < 1e-5
    assert float(gaps.max()) < 2 * STEPS * 5e-4


@pytest.fixture(scope="module")
def family(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family | {"forecast": write_forecast(family, tmp_path_factory.mktemp("forecast") / "f")}


@pytest.fixture(scope="module")
def alone(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    finish([sys.executable, "-m", "harness", *opd(family, out)], environment())
    return out


def test_two_processes_train_like_one(family: Family, tmp_path: Path, alone: Path) -> None:
    """Under `accelerate launch` with a setting of its own for gradient accumulation, which isn't ours."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--main_process_port", "0"]
    launch += ["--gradient_accumulation_steps", "4", "-m", "harness"]
    said = finish([*launch, *opd(family, tmp_path / "two")], environment())
    assert json.loads(said)["step"] == STEPS
    require_alike(tmp_path / "two", alone)
    require_same_weights(tmp_path / "two", alone)


@pytest.mark.parametrize("version", [1, 2])
def test_a_student_shared_out_by_fsdp_trains_like_a_whole_one(
    family: Family, tmp_path: Path, alone: Path, version: int
) -> None:
    launch, env = fsdp(version)
    finish([*launch, *opd(family, tmp_path / "parts")], env)
    require_alike(tmp_path / "parts", alone)
    require_same_weights(tmp_path / "parts", alone)


def test_killed_under_fsdp_it_goes_on_to_the_same_log(family: Family, tmp_path: Path, alone: Path) -> None:
    launch, env = fsdp(2)
    out = tmp_path / "parts"
    command = [*launch, *opd(family, out, "--resume")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (out / "state" / "step-00000002").is_dir():
        time.sleep(0.001)
    for worker in psutil.Process(process.pid).children(recursive=True):
        worker.send_signal(signal.SIGKILL)
    assert process.wait() != 0
    finish(command, env)
    assert len(json.loads((out / "manifest.json").read_text())["sessions"]) == 2
    require_alike(out, alone)
    require_same_weights(out, alone)


def test_an_adapter_is_trained_and_saved_under_fsdp(family: Family, tmp_path: Path) -> None:
    lora = ("--lora-rank", "2", "--ratio", "student/base")
    finish([sys.executable, "-m", "harness", *opd(family, tmp_path / "one", *lora)], environment())
    launch, env = fsdp(2)
    finish([*launch, *opd(family, tmp_path / "parts", *lora)], env)
    require_alike(tmp_path / "parts", tmp_path / "one")
    require_same_weights(tmp_path / "parts", tmp_path / "one")
