"""Distillation held to a contract that the grammar engine reads."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("llguidance")

from harness.contract import Contract
from harness.rollouts import read_rollouts
from tests.checkpoints.opd_family import BATCH, family_config, opd_optimisation
from tests.opd.opd_runs import Family, log, train

pytestmark = pytest.mark.model

OWN = Contract(instruction="Rank all, as JSON.")
SAME = Contract(instruction=OWN.instruction, schema={"type": "object"})
"""Says what the default contract does, in words that only the grammar engine reads."""


def test_masses_rollouts_and_roles_go_by_the_contract(family: Family, tmp_path: Path) -> None:
    optimisation = opd_optimisation(steps=2, batch_size=BATCH, learning_rate=5e-4)
    lines = {}
    for name, contract in (("own", OWN), ("engine", SAME)):
        config = family_config(
            family, tmp_path / name, contract=contract, optimisation=optimisation, guard="warn", log_every=1
        )
        run = train(config)
        lines[name] = log(run.out)
        rollouts = read_rollouts(run.out / "rollouts" / "rollouts.jsonl", contract)
        assert all(one.terms.contract == contract for one in rollouts)
    for ours, theirs in zip(lines["own"], lines["engine"], strict=True):
        assert ours["roles"]
        assert theirs["roles"] == ours["roles"]
