"""vLLM as the behaviour policy: the student's present weights, its own tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.engines.choose import vllm_platform
from harness.opd.config import opd_optimisation
from tests.checkpoints.opd_family import BATCH, family_config

pytestmark = [pytest.mark.model, pytest.mark.vllm]


def test_vllm_draws_from_the_weights_in_training(family: dict[str, Path], tmp_path: Path) -> None:
    """Its logprobs are the student's own, so that r = 1 before the first step in spite of vLLM's rounding."""
    if vllm_platform()[0] is None:
        pytest.skip("vLLM can't run here")
    from harness.opd.loop.job import train_opd

    run = train_opd(
        family_config(
            family,
            tmp_path / "run",
            behaviour_engine="vllm",
            staleness="fresh",
            rollout_batch=BATCH,
            updates_per_rollout=2,
            optimisation=opd_optimisation(steps=2, batch_size=BATCH, learning_rate=1e-3),
        )
    )
    lines = [json.loads(line) for line in (run.out / "train.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 1]
    assert lines[0]["ratio"]["q0"] == lines[0]["ratio"]["q100"] == 1.0
    assert lines[1]["ratio"]["q0"] < 1.0
    assert lines[0]["tokens"] > BATCH
