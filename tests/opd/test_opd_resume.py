"""Stopped and gone on with: the same weights and the same log as a run that was never stopped."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.errors import Interrupted, RunMismatchError
from harness.opd.config import LoRA, OPDConfig, opd_optimisation
from harness.progress import Progress
from tests.checkpoints.opd_family import BATCH, family_config, write_forecast
from tests.forked import Forked

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
STEPS = 9
# Depend on the clock, not on the run.
TIMES = ("seconds", "tokens_per_second")

KINDS: dict[str, dict[str, Any]] = {
    "fixed": {"staleness": "fixed"},
    # Rounds of four steps and states every three: most states lie inside a round.
    "fresh": {"staleness": "fresh", "updates_per_rollout": 2, "guard": "forecast", "lam": 9.0},
}


@pytest.fixture(scope="module")
def family(family: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return family | {"forecast": write_forecast(family, tmp_path_factory.mktemp("forecast") / "f")}


def config(family: dict[str, Path], out: Path, kind: str) -> OPDConfig:
    more = {"forecast": family["forecast"]} if kind == "fresh" else {}
    return family_config(
        family,
        out,
        optimisation=opd_optimisation(steps=STEPS, batch_size=BATCH, learning_rate=5e-4),
        checkpoint_every=3,
        **KINDS[kind] | more,
    )


def readings(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def same(one: Path, other: Path) -> bool:
    files = [folder / "checkpoint" / "model.safetensors" for folder in (one, other)]
    return files[0].read_bytes() == files[1].read_bytes() and readings(one) == readings(other)


@pytest.fixture(scope="module", params=KINDS)
def undisturbed(
    request: pytest.FixtureRequest, family: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    from harness.opd.loop.job import train_opd

    kind = str(request.param)
    return kind, train_opd(config(family, tmp_path_factory.mktemp("calm") / kind, kind)).out


@pytest.mark.parametrize("stop_at", [1, 6, 8])
def test_an_interrupted_run_ends_like_an_undisturbed_one(
    family: dict[str, Path], tmp_path: Path, undisturbed: tuple[str, Path], stop_at: int
) -> None:
    from harness.opd.loop.job import train_opd

    def interrupt(progress: Progress) -> None:
        if progress.stage == "distilling" and progress.done == stop_at:
            raise KeyboardInterrupt

    kind, calm = undisturbed
    broken = config(family, tmp_path / "broken", kind)
    with pytest.raises(Interrupted, match="`resume=True`"):
        train_opd(broken, interrupt)
    assert json.loads((broken.out / "manifest.json").read_text())["status"] == "incomplete"
    resumed: list[Progress] = []
    run = train_opd(broken.changed(resume=True), resumed.append)
    assert same(calm, broken.out)
    assert run.step == STEPS
    # It went on from the last state, not from the beginning; a step is told of before its state is saved.
    first = min(one.done for one in resumed if one.stage == "distilling")
    assert first == (stop_at - 1) // 3 * 3 + 1


def test_an_interrupted_adapter_ends_like_an_undisturbed_one(family: dict[str, Path], tmp_path: Path) -> None:
    from harness.opd.loop.job import train_opd

    def interrupt(progress: Progress) -> None:
        if progress.stage == "distilling" and progress.done == 5:
            raise KeyboardInterrupt

    calm, broken = (
        config(family, tmp_path / name, "fresh").changed(lora=LoRA(rank=2)) for name in ("calm", "broken")
    )
    train_opd(calm)
    with pytest.raises(Interrupted, match="`resume=True`"):
        train_opd(broken, interrupt)
    train_opd(broken.changed(resume=True))
    files = [one.out / "checkpoint" / "adapter_model.safetensors" for one in (calm, broken)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert readings(calm.out) == readings(broken.out)


def command(given: OPDConfig) -> list[str]:
    made = ["train", "opd", "--resume", "--json"]
    made += ["--teacher", given.teacher, "--base", given.base, "--out", str(given.out), "--data", given.data]
    made += ["--lambda", "9", "--clip", "1.5", "--samples", "2", "--max-tokens", "24"]
    made += ["--guard", "forecast", "--forecast", str(given.forecast)]
    made += ["--steps", str(STEPS), "--batch-size", str(BATCH), "--lr", "5e-4", "--rollout-batch", "16"]
    return [*made, "--updates-per-rollout", "2", "--checkpoint-every", "3", "--log-every", "2"]


def lines(out: Path) -> int:
    log = out / "train.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def test_killed_runs_end_like_an_undisturbed_one(
    family: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL twice: between two states, and again later; polls, since the moment is the child's to reach."""
    calm, killed = (config(family, tmp_path / name, "fresh") for name in ("calm", "killed"))
    assert main(command(calm)) == 0
    for until in (4, 7):
        process = Forked(command(killed), tmp_path / "said")
        while process.poll() is None and lines(killed.out) < until:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        # What a dying machine may leave behind: part of a line.
        with (killed.out / "train.jsonl").open("ab") as file:
            file.write(b'{"step": 9')
    capsys.readouterr()
    assert main(command(killed)) == 0
    assert json.loads(capsys.readouterr().out)["step"] == STEPS
    assert same(calm.out, killed.out)
    assert len(json.loads((killed.out / "manifest.json").read_text())["sessions"]) == 3


def test_two_processes_do_not_share_a_run(family: dict[str, Path], tmp_path: Path) -> None:
    from filelock import FileLock

    from harness.opd.loop.job import train_opd

    run = config(family, tmp_path / "run", "fixed")
    run.out.mkdir()
    with (
        FileLock(run.out / ".lock"),
        pytest.raises(RunMismatchError, match="is being written by another process"),
    ):
        train_opd(run.changed(resume=True))


def test_a_run_killed_between_checkpoint_and_manifest_is_finished(
    family: dict[str, Path], tmp_path: Path, undisturbed: tuple[str, Path]
) -> None:
    import shutil

    from harness.opd.loop.job import train_opd

    kind, calm = undisturbed
    late = config(family, tmp_path / "late", kind)
    train_opd(late)
    record = json.loads((late.out / "manifest.json").read_text())
    (late.out / "manifest.json").write_text(json.dumps(record | {"status": "running"}))
    (late.out / "checkpoint" / "stale").touch()
    shutil.rmtree(late.out / "rollouts", ignore_errors=True)
    train_opd(late.changed(resume=True))
    assert same(calm, late.out)
    assert not (late.out / "checkpoint" / "stale").exists()


def test_a_run_killed_before_its_first_state_begins_anew(family: dict[str, Path], tmp_path: Path) -> None:
    from harness.opd.loop.job import train_opd

    calm = config(family, tmp_path / "calm", "fixed")
    train_opd(calm)
    early = config(family, tmp_path / "early", "fixed")
    early.out.mkdir()
    (early.out / ".lock").touch()
    (early.out / ".draft-0123456789abcdef").write_text("{")  # of the manifest: killed while it was written
    train_opd(early.changed(resume=True))
    assert same(calm.out, early.out)
