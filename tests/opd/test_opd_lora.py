"""LoRA trains an adapter on a base that stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.opd.config import LoRA
from tests.checkpoints.opd_family import family_config
from tests.opd.opd_runs import Family, log, train

pytest.importorskip("torch")
pytestmark = pytest.mark.model


def test_lora_trains_an_adapter_on_an_untouched_base(family: Family, tmp_path: Path) -> None:
    from harness.engines import EngineConfig, open_engine
    from harness.engines.checkpoint import is_adapter

    config = family_config(family, tmp_path / "run", lora=LoRA(rank=2), ratio="student/base")
    run = train(config)
    assert is_adapter(str(run.checkpoint))
    lines = log(run.out)
    assert lines[0]["ratio"]["q0"] == lines[0]["ratio"]["q100"] == 1.0
    assert lines[-1]["ratio"]["q0"] != 1.0
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(run.checkpoint)))
    engine.start()
    engine.close()
    whole = train(family_config(family, tmp_path / "whole", ratio="student/base"))
    # The base without its adapter is the base: same rollouts, same advantage before the first step.
    assert lines[0]["advantage"] == log(whole.out)[0]["advantage"]


def test_lora_with_equal_policies_stays_at_zero(family: Family, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run = train(family_config(family, tmp_path / "run", teacher=str(family["base"]), lora=LoRA(rank=2)))
    adapter = load_file(run.checkpoint / "adapter_model.safetensors")
    assert all(float(one.abs().max()) == 0 for name, one in adapter.items() if "lora_B" in name)


@pytest.mark.parametrize("lora", [{"rank": 0}, {"alpha": 0.0}, {"alpha": float("nan")}])
def test_an_adapter_that_cannot_learn_is_refused(lora: dict[str, float]) -> None:
    with pytest.raises(HarnessError, match=f"`{next(iter(lora))}="):
        LoRA(**lora)
