"""λ reached in training: right where rollouts are the student's own, and without a trace in the weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.opd.config import LoRA, opd_optimisation
from tests.checkpoints.opd_family import BATCH, family_config
from tests.opd.opd_runs import Family, log, same_weights, train

pytest.importorskip("torch")
pytestmark = pytest.mark.model

PLACE = ("lambda_reached", "off_the_line", "reached")
FIVE = opd_optimisation(steps=5, batch_size=BATCH, learning_rate=5e-3)


def test_a_student_is_placed_as_a_round_with_a_reading_begins(family: Family, tmp_path: Path) -> None:
    """Rounds of four steps: the second begins with step 5, and holds the reading of step 6 or of none."""
    common = {
        "student": str(family["teacher"]),
        "optimisation": FIVE,
        "staleness": "fresh",
        "updates_per_rollout": 2,
    }
    placed = log(train(family_config(family, tmp_path / "placed", **common, log_every=5)).out)
    alone = log(train(family_config(family, tmp_path / "alone", **common, log_every=100)).out)
    # It starts from the teacher.
    assert placed[0]["lambda_reached"]["estimate"] == pytest.approx(1.0, abs=1e-4)
    assert placed[0]["off_the_line"]["estimate"] == pytest.approx(0.0, abs=1e-6)
    assert placed[0]["lambda_reached"]["n"] == BATCH
    assert placed[0]["reached"].startswith("on the line and short of λ = 1.2: λ reached 1.00")
    assert [[row[name] is not None for name in PLACE] for row in placed[1:4]] == [[False] * 3] * 3
    assert placed[4]["off_the_line"]["estimate"] > 1e-5
    assert alone[4]["reached"] is None
    assert same_weights(tmp_path / "placed" / "checkpoint", tmp_path / "alone" / "checkpoint")


def test_the_base_of_an_adapter_is_the_model_below_it(family: Family, tmp_path: Path) -> None:
    run = train(
        family_config(
            family,
            tmp_path / "run",
            lora=LoRA(rank=2),
            optimisation=opd_optimisation(steps=2, batch_size=BATCH, learning_rate=2e-2),
            staleness="fresh",
            rollout_batch=BATCH,
            log_every=1,
        )
    )
    first, second = log(run.out)
    assert first["lambda_reached"]["estimate"] == pytest.approx(0.0, abs=1e-4)
    assert first["reached"].startswith("it has hardly left its base")
    assert second["off_the_line"]["estimate"] > 1e-4


def test_fixed_rollouts_place_nobody(family: Family, tmp_path: Path) -> None:
    optimisation = opd_optimisation(steps=2, batch_size=BATCH)
    rows = log(train(family_config(family, tmp_path / "run", optimisation=optimisation)).out)
    assert rows[0]["reached"] == ("not placed on the line: the rollouts are fixed, and not the student's own")
    assert (rows[0]["lambda_reached"], rows[1]["reached"]) == (None, None)
