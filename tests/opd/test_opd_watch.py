"""The guard on what is measured: what it takes of a forecast, what it holds, and how a run ends by it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.cliff.reached import Reached
from harness.errors import HarnessError, Interrupted, RunMismatchError
from harness.opd.config import OPDConfig, opd_optimisation
from harness.opd.forecast_limit import ForecastLimit, read_limit
from harness.progress import Progress
from harness.stats import Estimate
from tests.checkpoints.opd_family import family_config, write_forecast
from tests.opd.opd_runs import Family, log, manifest, same_weights, train

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def forecast(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_forecast(family, tmp_path_factory.mktemp("forecast") / "f")


def breaking(family: Family, forecast: Path, out: Path, **changes: Any) -> OPDConfig:
    """A student that begins as the teacher, and that a rate far too high throws out of the contract."""
    settings: dict[str, Any] = {
        "student": str(family["teacher"]),
        "lam": 8.0,
        "clip": None,
        "staleness": "fresh",
        "rollout_batch": 32,
        "guard": "stop",
        "forecast": forecast,
        "optimisation": opd_optimisation(steps=16, batch_size=16, learning_rate=2e-2, warmup_steps=16),
        "checkpoint_every": 2,
        "keep_every": 2,
        "log_every": 100,
    }
    return family_config(family, out, **settings | changes)


def readings(out: Path) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if "second" not in name} for row in log(out)]


def test_a_fall_ends_the_run_at_its_last_good_student_and_so_does_going_on(
    family: Family, forecast: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.opd.loop.watch import StoppedByGuardError

    calm, broken = (breaking(family, forecast, tmp_path / name) for name in ("calm", "broken"))
    with pytest.raises(StoppedByGuardError, match=r"validity of its rollouts fell below 0\.2") as caught:
        train(calm)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    record, lines = manifest(calm.out), log(calm.out)
    stopped = record["stopped"]
    assert (record["status"], stopped["by"]) == ("stopped", "validity")
    assert stopped["words"] == str(caught.value)
    assert 0 < stopped["last_good_step"] < stopped["step"] == len(lines) < 16
    # Each is the student that the loop itself kept there.
    good = calm.out / f"checkpoint-{stopped['last_good_step']}"
    assert same_weights(calm.out / "checkpoint", good)
    last = next(row for row in lines if row["step"] == stopped["last_good_step"] + 1)
    assert last["parse_validity"] >= (last["guard_kept"] or 0.0)
    assert not same_weights(calm.out / "checkpoint", calm.out / f"checkpoint-{stopped['step']}")
    assert not (calm.out / "state").exists()

    def interrupt(progress: Progress) -> None:
        if progress.stage == "distilling" and progress.done == stopped["step"] - 1:
            raise KeyboardInterrupt

    from harness.opd.loop.job import train_opd

    with pytest.raises(Interrupted):
        train_opd(broken, interrupt)
    with pytest.raises(StoppedByGuardError):
        train(broken.changed(resume=True))
    assert readings(broken.out) == readings(calm.out)
    assert manifest(broken.out)["stopped"]["last_good_step"] == stopped["last_good_step"]
    assert same_weights(broken.out / "checkpoint", calm.out / "checkpoint")

    # It doesn't silently go on, asked by the command neither.
    before = (calm.out / "train.jsonl").read_bytes()
    assert main(command(calm)) == 3
    assert stopped["words"] in capsys.readouterr().err
    assert (calm.out / "train.jsonl").read_bytes() == before


def command(config: OPDConfig) -> list[str]:
    """What goes on with that very run."""
    made = ["train", "opd", "--teacher", config.teacher, "--base", config.base, "--out", str(config.out)]
    made += ["--student", str(config.student), "--lambda", "8", "--data", config.data, "--resume"]
    made += ["--guard", "stop", "--forecast", str(config.forecast), "--steps", "16", "--batch-size", "16"]
    made += ["--lr", "2e-2", "--warmup-steps", "16", "--rollout-batch", "32", "--samples", "2"]
    return [*made, "--max-tokens", "24", "--checkpoint-every", "2", "--log-every", "100"]


def test_lambda_is_held_at_the_forecasts_limit(family: Family, forecast: Path, tmp_path: Path) -> None:
    """The weights are those of a run at that λ, and fixed rollouts are said to show nothing."""
    common: dict[str, Any] = {"guard": "forecast", "forecast": forecast}
    held = train(family_config(family, tmp_path / "held", lam=9.0, **common))
    plain = train(family_config(family, tmp_path / "plain", lam=8.0))
    assert same_weights(held.checkpoint, plain.checkpoint)
    assert held.lam == 8.0
    assert "λ = 9 is beyond the forecast" in held.warnings[0]
    assert "λ is held there" in held.warnings[0]
    assert "fixed rollouts show nothing" in held.warnings[1]
    first = log(held.out)[0]
    assert (first["lam"], first["guard_limit"], first["guard_exceeded"]) == (8.0, 8.0, True)
    assert manifest(held.out)["forecast"]["limit"] == 8.0
    assert log(plain.out)[0]["guard_evidence"] is None


def changed(forecast: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(forecast, folder)
    told = json.loads((folder / "forecast.json").read_text())
    change(told)
    (folder / "forecast.json").write_text(json.dumps(told))
    return folder


def largest(low: float | None) -> Callable[[dict[str, Any]], None]:
    return lambda told: told["largest_lambda"].update(low=low)


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another teacher": (lambda told: told["checkpoints"].update(teacher="0" * 64), "is of another teacher"),
    "no digests": (lambda told: told.pop("checkpoints"), "without a digest of its teacher"),
    "another mask": (lambda told: told.update(plausible=0.1), "plausible = 0.1 and the run of 0"),
    "nothing shown": (largest(None), "shows no λ of 1 or more that keeps the contract in 20%"),
    "none of its points": (largest(2.5), "none of its points"),
    "misshapen": (lambda told: told.pop("bar"), "can't be read as a forecast"),
    "other answers": (
        lambda told: told["points"][0].update(source="0" * 64),
        "isn't what forecast.json was made",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_forecast_that_says_nothing_of_this_run_is_refused(
    family: Family, forecast: Path, tmp_path: Path, name: str
) -> None:
    change, message = REFUSED[name]
    other = changed(forecast, tmp_path / "f", change)
    with pytest.raises(HarnessError, match=message) as caught:
        train(family_config(family, tmp_path / "run", guard="forecast", forecast=other))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_forecast_drawn_otherwise_than_rollouts_is_refused(forecast: Path, tmp_path: Path) -> None:
    from harness.contract import DEFAULT, Contract

    told = json.loads((forecast / "forecast.json").read_text())
    of = {**told["checkpoints"], "plausible": 0.0}
    found = read_limit(forecast, contract=DEFAULT, **of)
    assert (found.bar, found.limit, found.at_the_end) == (0.2, 8.0, True)
    with pytest.raises(RunMismatchError, match="another contract"):
        read_limit(forecast, contract=Contract(ranking="$.order"), **of)
    (tmp_path / "forecast.json").write_text("{")
    with pytest.raises(HarnessError, match="can't be read as a forecast"):
        read_limit(tmp_path, contract=DEFAULT, **of)
    with pytest.raises(HarnessError, match=r"forecast\.json is a file; give the folder of a forecast"):
        read_limit(tmp_path / "forecast.json", contract=DEFAULT, **of)


def reached(low: float | None, value: float | None = 2.0, beyond: float | None = None) -> Reached:
    return Reached(
        Estimate(8, value, low, None if low is None else low + 1.0, "planted"),
        Estimate(8, 0.1, 0.0, 0.2, "planted"),
        Estimate(8, 0.9, 0.8, 1.0, "planted"),
        100,
        beyond,
    )


def test_lambda_reached_stops_at_two_readings_in_a_row(tmp_path: Path) -> None:
    from harness.opd.loop.watch import ForecastGuard

    config = OPDConfig(
        teacher="t", base="b", out=tmp_path, lam=3.0, guard="stop", forecast=tmp_path, checkpoint_every=0
    )
    limit = ForecastLimit(0.95, 1.5, False, "")
    watch = ForecastGuard(config, limit)
    assert watch.held().lam == 3.0
    assert watch.notes()[0].endswith("λ stays as it is")
    assert "read from 4 tasks a round" in ForecastGuard(config.changed(samples=16), limit).notes()[1]
    assert watch.place(reached(1.6)) is None
    assert watch.place(reached(1.4)) is None
    assert watch.place(reached(1.6)) is None
    watch.save(tmp_path / "watch.json")
    again = ForecastGuard(config, limit)
    again.restore(tmp_path / "watch.json")
    for one in (watch, again):
        stop = one.place(reached(1.6))
        assert stop is not None
        assert stop.by == "lambda_reached"
        assert "2 [1.6, 2.6] lies past the forecast's limit of 1.5" in stop.words
    # Beyond all that is looked at, at the far end: past; without an interval: nothing is shown.
    for given, stops in ((reached(None, None, beyond=12.0), True), (reached(None), False)):
        other = ForecastGuard(config, limit)
        other.place(given)
        assert (other.place(given) is not None) is stops
    assert ForecastGuard(config.changed(guard="forecast"), limit).held().lam == 1.5
    assert math.isclose(ForecastGuard(config.changed(lam=1.2), limit).held().lam, 1.2)
