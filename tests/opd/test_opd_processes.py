"""The loop on two CPU processes, each with the whole student or with a part of it: the log of one process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from tests.checkpoints.opd_family import write_forecast
from tests.forked import Forked
from tests.opd.fsdp_on_cpu import main_under_fsdp

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

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


def fsdp(version: int) -> dict[str, str]:
    return {
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


def start_two(
    command: list[str],
    folder: Path,
    settings: dict[str, str],
    run: Callable[[list[str]], int] = main,
) -> list[Forked]:
    """Two processes of one job, as a launcher starts them; what they say lies in the folder."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **settings}
    return [
        Forked(command, folder / rank, environment={"RANK": rank, "LOCAL_RANK": rank, **job}, run=run)
        for rank in ("0", "1")
    ]


def finish_two(*arguments: Any, code: int = 0) -> list[str]:
    """What both said, once they have ended."""
    ranks = start_two(*arguments)
    codes = [one.wait() for one in ranks]
    said = [one.said.read_text() for one in ranks]
    assert codes == [code, code], said
    return said


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
    assert main(opd(family, out)) == 0
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


def test_a_student_shared_out_by_fsdp_trains_like_a_whole_one(
    family: Family, tmp_path: Path, alone: Path
) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", ON_CPU]
    finish([*launch, *opd(family, tmp_path / "parts")], environment(**fsdp(1)))
    require_alike(tmp_path / "parts", alone)
    require_same_weights(tmp_path / "parts", alone)


def test_killed_under_fsdp_it_goes_on_to_the_same_log(family: Family, tmp_path: Path, alone: Path) -> None:
    """The second kind of FSDP, which ends as a whole student does in spite of the kill."""
    out = tmp_path / "parts"
    command = opd(family, out, "--resume")
    ranks = start_two(command, tmp_path / "killed", fsdp(2), main_under_fsdp)
    while ranks[0].poll() is None and not (out / "state" / "step-00000002").is_dir():
        time.sleep(0.001)
    for one in ranks:
        one.send_signal(signal.SIGKILL)
    assert [one.wait() for one in ranks] == [-signal.SIGKILL] * 2
    finish_two(command, tmp_path / "again", fsdp(2), main_under_fsdp)
    assert len(json.loads((out / "manifest.json").read_text())["sessions"]) == 2
    require_alike(out, alone)
    require_same_weights(out, alone)


def test_an_adapter_is_trained_and_saved_under_fsdp(family: Family, tmp_path: Path) -> None:
    lora = ("--lora-rank", "2", "--ratio", "student/base")
    assert main(opd(family, tmp_path / "one", *lora)) == 0
    finish_two(opd(family, tmp_path / "parts", *lora), tmp_path / "said", fsdp(2), main_under_fsdp)
    require_alike(tmp_path / "parts", tmp_path / "one")
    require_same_weights(tmp_path / "parts", tmp_path / "one")


def test_the_guard_stops_all_processes_alike(family: Family, tmp_path: Path) -> None:
    """A student that a rate far too high throws out of the contract; two processes that see half each."""
    options = ["--lambda", "8", "--steps", "16", "--batch-size", "16", "--lr", "2e-2", "--warmup-steps", "16"]
    options += ["--rollout-batch", "32", "--samples", "2", "--max-tokens", "24", "--checkpoint-every", "2"]
    options += ["--guard", "stop", "--log-every", "100", "--student", str(family["teacher"]), "--resume"]
    places = [f"--{name}={family[name]}" for name in ("teacher", "base", "forecast")]
    command = [
        "train",
        "opd",
        *places,
        "--data",
        str(family["rows"]),
        "--out",
        str(tmp_path / "run"),
        *options,
    ]
    on_cpu = {"ACCELERATE_USE_CPU": "true"}
    first = finish_two(command, tmp_path / "first", on_cpu, code=3)
    record = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (record["status"], record["stopped"]["by"]) == ("stopped", "validity")
    assert 0 < record["stopped"]["last_good_step"] < record["stopped"]["step"] < 16
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").exists()
    assert [record["stopped"]["words"] in said for said in first] == [True, True]
    again = finish_two(command, tmp_path / "again", on_cpu, code=3)
    assert [record["stopped"]["words"] in said for said in again] == [True, True]
