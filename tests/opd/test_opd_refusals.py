"""What a run refuses, and what stops it: settings, checkpoints, divergence, a full disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import EngineUnavailableError, HarnessError, IncompleteError, RunMismatchError
from harness.opd.config import LoRA, opd_optimisation
from tests.checkpoints.opd_family import BATCH, family_config
from tests.opd.opd_runs import Family, manifest, same_weights, train, weights

torch = pytest.importorskip("torch")
from harness.opd.loop.update import DivergenceError  # noqa: E402

pytestmark = pytest.mark.model


def test_divergence_stops_and_keeps_finite_weights(family: Family, tmp_path: Path) -> None:
    config = family_config(
        family,
        tmp_path / "run",
        optimisation=opd_optimisation(steps=6, batch_size=BATCH, learning_rate=1e30),
        checkpoint_every=1,
    )
    with pytest.raises(DivergenceError, match="diverged at step") as caught:
        train(config)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert manifest(config.out)["status"] == "failed"
    assert list((config.out / "state").iterdir())
    kept = weights(config.out / "checkpoint")
    assert all(torch.isfinite(one).all() for one in kept.values())


BAD = [
    ({"lam": 0.0}, "`lam=0.0` should be greater than 0"),
    ({"lam": float("nan")}, "`lam=nan` should be a finite number"),
    ({"lam": float("inf")}, "`lam=inf` should be a finite number"),
    ({"clip": 1.0}, "`clip=1.0` should be greater than 1"),
    ({"rollout_batch": 12}, "choose a multiple"),
    ({"samples": 3}, "choose a divisor"),
    ({"staleness": "fresh", "rollouts": Path("x")}, "stored rollouts are fixed"),
    ({"lora": LoRA(), "student": "elsewhere"}, "leave `student=` out"),
    ({"clip": None, "guard": "warn"}, "needs a clip strength"),
    ({"guard": "forecast"}, "give its folder as `forecast="),
    ({"forecast": Path("x")}, "goes with `guard=forecast`"),
    ({"forecast": Path("x"), "guard": "enforce"}, "goes with `guard=forecast`"),
    ({"forecast": Path("x"), "guard": "stop"}, "watches fresh rollouts"),
    ({"plausible": 0.1, "guard": "warn"}, "of extrapolation everywhere"),
    ({"plausible": 1.5}, "plausible"),
    ({"guard_epsilon": 1.0}, "`guard_epsilon="),
    ({"guard_confidence": 1.0}, "`guard_confidence="),
    ({"checkpoint_every": -1}, "`checkpoint_every="),
    ({"log_every": 0}, "`log_every="),
    ({"max_tokens": 0}, "`max_tokens="),
    ({"updates_per_rollout": 2}, "goes with fresh rollouts"),
    ({"rolouts": Path("x")}, "no setting `rolouts`; did you mean rollouts"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_cannot_be_meant_is_refused(
    family: Family, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        family_config(family, tmp_path / "run", **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": 0.0},
        {"weight_decay": float("nan")},
        {"final_fraction": float("nan")},
        {"final_fraction": 2.0},
        {"steps": 0},
        {"micro_batch_size": 0},
        {"max_gradient_norm": float("nan")},
    ],
)
def test_weights_are_not_moved_by_what_is_no_number(changes: dict[str, Any]) -> None:
    with pytest.raises(HarnessError):
        opd_optimisation().changed(**changes)


@pytest.mark.parametrize("checkpoint_every", [1, 0])
def test_where_nothing_more_can_be_written_it_stops_and_goes_on_later(
    family: Family, tmp_path: Path, checkpoint_every: int
) -> None:
    """Files may not grow as large as a model: states fail first, and without them the checkpoint."""
    import resource

    config = family_config(family, tmp_path / "run", checkpoint_every=checkpoint_every)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(IncompleteError, match=r"stopped by the file system .* `resume=True`") as caught:
            train(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, DivergenceError)
    assert manifest(config.out)["status"] == "failed"
    run = train(config.changed(resume=True))
    assert same_weights(run.checkpoint, train(family_config(family, tmp_path / "calm")).checkpoint)


def test_another_vocabulary_is_refused(family: Family, tmp_path: Path, tiny_qwen3: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="different vocabularies"):
        train(family_config(family, tmp_path / "run", teacher=str(tiny_qwen3)))
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_gone_on_with_only_if_asked_and_equal(family: Family, tmp_path: Path) -> None:
    config = family_config(family, tmp_path / "run")
    run = train(config)
    with pytest.raises(HarnessError, match="`resume=True`"):
        train(config)
    assert train(config.changed(resume=True)) == run
    with pytest.raises(RunMismatchError, match="another configuration"):
        train(config.changed(resume=True, lam=1.3))
    # Earlier versions wrote no word of what they hadn't.
    told = manifest(run.out)
    del told["options"]["plausible"]
    (run.out / "manifest.json").write_text(json.dumps(told))
    assert train(config.changed(resume=True)) == run
    with pytest.raises(RunMismatchError, match="plausible"):
        train(config.changed(resume=True, plausible=0.1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(HarnessError, match="holds no training run"):
        train(config.changed(out=tmp_path / "mine", resume=True))


def test_prompts_that_fill_the_context_are_refused(family: Family, tmp_path: Path) -> None:
    import shutil

    short = tmp_path / "short"
    shutil.copytree(family["base"], short)
    settings = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 32}))
    with pytest.raises(HarnessError, match="leaves no room for an answer"):
        train(family_config(family, tmp_path / "run", base=str(short)))


@pytest.mark.parametrize("role", ["teacher", "base", "student"])
def test_an_adapter_is_to_be_merged_first_wherever_its_base_is(
    role: str, family: Family, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/not/here"}))
    with pytest.raises(EngineUnavailableError, match=f"`harness merge {adapter} --out DIR`"):
        train(family_config(family, tmp_path / "run", **{role: str(adapter)}))
