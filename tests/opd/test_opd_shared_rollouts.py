"""Rollouts stored by one run and trained on by another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import (
    DataError,
    HarnessError,
)
from tests.checkpoints.opd_family import BATCH, family_config
from tests.opd.opd_runs import Family, log, manifest, same_weights, train

pytest.importorskip("torch")
pytestmark = pytest.mark.model


def test_runs_share_stored_rollouts(family: Family, tmp_path: Path) -> None:
    """The same weights as from rollouts of one's own, and neither teacher nor base needed any more."""
    from harness.opd.loop.job import prepare_rollouts

    alone = family_config(family, tmp_path / "alone")
    stored = prepare_rollouts(alone, tmp_path / "stored")
    own = train(alone)
    assert same_weights(
        train(alone.changed(out=tmp_path / "shared", rollouts=stored)).checkpoint, own.checkpoint
    )
    from_run = alone.changed(out=tmp_path / "from-run", rollouts=own.out / "rollouts")
    assert same_weights(train(from_run).checkpoint, own.checkpoint)
    other = train(alone.changed(out=tmp_path / "other", rollouts=stored, lam=2.0))
    assert not same_weights(other.checkpoint, own.checkpoint)


def test_rollouts_stored_for_one_ratio_serve_another(family: Family, tmp_path: Path) -> None:
    from harness.opd.loop.job import prepare_rollouts

    config = family_config(family, tmp_path / "own")
    stored = prepare_rollouts(config.changed(ratio="student/base"), tmp_path / "stored")
    shared = train(config.changed(out=tmp_path / "shared", rollouts=stored))
    assert same_weights(shared.checkpoint, train(config).checkpoint)


def test_scores_without_the_likeliest_token_are_made_again_where_it_is_needed(
    family: Family, tmp_path: Path
) -> None:
    """So did earlier versions store them."""
    import numpy as np

    from harness.opd.loop.job import prepare_rollouts

    config = family_config(family, tmp_path / "own", plausible=0.3, lam=3.0)
    stored = prepare_rollouts(config, tmp_path / "stored")
    with np.load(stored / "scores.npz") as scores:
        kept = {name: scores[name] for name in scores.files if name != "teacher_likeliest"}
    np.savez(stored / "scores.npz", **kept)
    shared = train(config.changed(out=tmp_path / "shared", rollouts=stored))
    assert same_weights(shared.checkpoint, train(config).checkpoint)


def test_stored_rollouts_cut_otherwise_are_scored_again(family: Family, tmp_path: Path) -> None:
    config = family_config(family, tmp_path / "one")
    run = train(config)
    small = config.changed(
        out=tmp_path / "two",
        rollouts=run.out / "rollouts",
        optimisation=config.optimisation.changed(micro_batch_size=2),
    )
    again = train(small)
    assert log(again.out)[0]["ratio"]["q100"] == 1.0
    assert log(again.out)[0]["loss"] == pytest.approx(log(run.out)[0]["loss"], rel=1e-4)


def test_stored_rollouts_of_other_prompts_are_refused(family: Family, tmp_path: Path) -> None:
    from harness.contract import Contract

    run = train(family_config(family, tmp_path / "one"))
    other = family_config(
        family, tmp_path / "two", rollouts=run.out / "rollouts", contract=Contract(key="order")
    )
    with pytest.raises(HarnessError, match="of other prompts"):
        train(other)
    assert manifest(tmp_path / "two")["status"] == "failed"
    wrong_size = family_config(family, tmp_path / "three", rollouts=run.out / "rollouts", rollout_batch=BATCH)
    with pytest.raises(HarnessError, match="holds 16 rollouts and the run wants 8"):
        train(wrong_size)


def test_stored_scores_that_do_not_fit_are_refused(family: Family, tmp_path: Path) -> None:
    from harness.opd.loop.job import prepare_rollouts

    config = family_config(family, tmp_path / "run")
    stored = prepare_rollouts(config, tmp_path / "stored")
    rows = [json.loads(line) for line in (stored / "rollouts.jsonl").read_text().splitlines()]
    rows[0]["token_ids"] = rows[0]["token_ids"][:1]
    (stored / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="scores of other rollouts"):
        train(config.changed(rollouts=stored))
    torn = (stored / "scores.npz").read_bytes()[:2000]
    (stored / "scores.npz").write_bytes(torn)
    with pytest.raises(DataError, match="can't be read as stored scores"):
        train(config.changed(out=tmp_path / "other", rollouts=stored))
