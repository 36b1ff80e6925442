"""Whole runs on tiny checkpoints: invariants, sharing rollouts, divergence, bad input, LoRA."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import (
    DataError,
    EngineUnavailableError,
    HarnessError,
    IncompleteError,
    RunMismatchError,
)
from harness.measure.clip_source import read_clip
from harness.opd.config import LoRA, OPDConfig, opd_optimisation
from tests.checkpoints.opd_family import BATCH, family_config

torch = pytest.importorskip("torch")
from harness.opd.loop.update import DivergenceError  # noqa: E402

pytestmark = pytest.mark.model

Family = dict[str, Path]
# Rounds of more than one step, so that their rollouts grow stale.
UPDATES: dict[str, dict[str, Any]] = {"fixed": {}, "fresh": {"updates_per_rollout": 2}}


def train(config: OPDConfig) -> Any:
    from harness.opd.loop.job import train_opd

    return train_opd(config)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def manifest(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text())


@pytest.mark.parametrize("staleness", ["fixed", "fresh"])
def test_equal_policies_leave_the_student_as_it_is(family: Family, tmp_path: Path, staleness: Any) -> None:
    config = family_config(
        family, tmp_path / "run", teacher=str(family["base"]), staleness=staleness, **UPDATES[staleness]
    )
    run = train(config)
    assert all(line["advantage"]["q0"] == line["advantage"]["q100"] == 0 for line in log(run.out))
    assert same_weights(run.checkpoint, family["base"])


def plain_distillation(family: Family, out: Path) -> dict[str, Any]:
    """On-policy distillation as one would write it, on the rollouts another run drew: no λ, no base."""
    from transformers import AutoModelForCausalLM

    rows = [json.loads(line) for line in (out / "rollouts" / "rollouts.jsonl").read_text().splitlines()]
    student = AutoModelForCausalLM.from_pretrained(family["base"], dtype=torch.float32).train()
    behaviour, teacher = (
        AutoModelForCausalLM.from_pretrained(family[name], dtype=torch.float32)
        for name in ("base", "teacher")
    )
    decays = [[p for p in student.parameters() if (p.ndim >= 2) is wide] for wide in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": part, "weight_decay": 0.0} for part in decays], lr=5e-4, betas=(0.9, 0.98), fused=True
    )
    ids = torch.zeros(BATCH, max(len(one["prompt_ids"]) + len(one["token_ids"]) for one in rows) - 1).long()
    read, place, target = [], [], []
    for row, one in enumerate(rows):
        sequence = [*one["prompt_ids"], *one["token_ids"]][:-1]
        ids[row, : len(sequence)] = torch.tensor(sequence)
        for number, token in enumerate(one["token_ids"]):
            read.append(row)
            place.append(len(one["prompt_ids"]) - 1 + number)
            target.append(token)

    def logprobs(model: Any) -> Any:
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[read, place]
        every = torch.log_softmax(model.lm_head(hidden), dim=-1)
        return every.gather(-1, torch.tensor(target).unsqueeze(-1)).squeeze(-1)

    with torch.no_grad():
        old, goal = logprobs(behaviour), logprobs(teacher)
    for _ in range(4):
        new = logprobs(student)
        reward = goal - new.detach()
        (-(torch.exp(new - old) * reward) * torch.full((len(target),), 1.0 / len(target))).sum().backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {name: one.detach() for name, one in student.named_parameters()}


def test_lambda_one_trains_the_weights_of_plain_distillation_bit_for_bit(
    family: Family, tmp_path: Path
) -> None:
    config = family_config(
        family,
        tmp_path / "run",
        lam=1.0,
        clip=None,
        samples=1,
        rollout_batch=BATCH,
        optimisation=opd_optimisation(steps=4, batch_size=BATCH, learning_rate=5e-4),
    )
    run = train(config)
    expected = plain_distillation(family, run.out)
    found = weights(run.checkpoint)
    assert all(torch.equal(found[name], one) for name, one in expected.items() if name in found)
    assert set(found) <= set(expected) | {"lm_head.weight"}
    assert not same_weights(run.checkpoint, family["base"])


@pytest.mark.parametrize("ratio", ["student/behaviour", "student/base"])
@pytest.mark.parametrize("staleness", ["fixed", "fresh"])
def test_the_ratio_begins_at_one(family: Family, tmp_path: Path, ratio: Any, staleness: Any) -> None:
    config = family_config(family, tmp_path / "run", ratio=ratio, staleness=staleness, **UPDATES[staleness])
    lines = log(train(config).out)
    assert lines[0]["ratio"]["q0"] == lines[0]["ratio"]["q100"] == 1.0
    assert lines[0]["clipped"] == 0.0
    assert lines[3]["ratio"]["q0"] < 1.0 < lines[3]["ratio"]["q100"]


def test_a_run_records_what_made_it(family: Family, tmp_path: Path) -> None:
    run = train(family_config(family, tmp_path / "run", aggregation="sequence", guard="warn"))
    record = manifest(run.out)
    assert (record["kind"], record["status"], record["lambda"], record["step"]) == ("opd", "complete", 1.2, 6)
    assert record["options"]["aggregation"] == "sequence"
    assert set(record["checkpoints"]) == {"teacher", "base", "student"}
    assert read_clip(run.out)[0].c == 1.5
    assert read_clip(run.out)[1] == ()
    assert not (run.out / "state").exists()
    lines = log(run.out)
    assert [line["step"] for line in lines] == list(range(1, 7))
    first = lines[0]
    assert first["tokens"] > 0
    assert first["entropy_structural"] is not None
    assert 0 < first["p"] < 1
    assert first["lambda_star"] > 1
    assert set(first["roles"]) >= {"open", "key"}
    assert all(0 <= one["q"] <= 1 for one in first["roles"].values())
    assert first["roles"]["open"]["q"] == pytest.approx(first["roles"]["open"]["b"], rel=1e-4)
    assert first["guard_limit"] is not None


def test_a_trained_checkpoint_loads_in_the_engine(family: Family, tmp_path: Path) -> None:
    from harness.engines import EngineConfig, open_engine
    from harness.engines.tokenizer import ChatTokenizer

    run = train(family_config(family, tmp_path / "run"))
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(run.checkpoint)))
    engine.start()
    engine.close()
    assert ChatTokenizer(run.checkpoint).sha256 == ChatTokenizer(family["base"]).sha256


def test_runs_share_stored_rollouts(family: Family, tmp_path: Path) -> None:
    """The same weights as from rollouts of one's own, and neither teacher nor base needed any more."""
    from harness.opd.loop.job import prepare_rollouts

    alone = family_config(family, tmp_path / "alone")
    stored = prepare_rollouts(alone, tmp_path / "stored")
    own = train(alone)
    assert same_weights(
        train(replace(alone, out=tmp_path / "shared", rollouts=stored)).checkpoint, own.checkpoint
    )
    from_run = replace(alone, out=tmp_path / "from-run", rollouts=own.out / "rollouts")
    assert same_weights(train(from_run).checkpoint, own.checkpoint)
    other = train(replace(alone, out=tmp_path / "other", rollouts=stored, lam=2.0))
    assert not same_weights(other.checkpoint, own.checkpoint)


def test_rollouts_stored_for_one_ratio_serve_another(family: Family, tmp_path: Path) -> None:
    from harness.opd.loop.job import prepare_rollouts

    config = family_config(family, tmp_path / "own")
    stored = prepare_rollouts(replace(config, ratio="student/base"), tmp_path / "stored")
    shared = train(replace(config, out=tmp_path / "shared", rollouts=stored))
    assert same_weights(shared.checkpoint, train(config).checkpoint)


def test_stored_rollouts_cut_otherwise_are_scored_again(family: Family, tmp_path: Path) -> None:
    config = family_config(family, tmp_path / "one")
    run = train(config)
    small = replace(
        config,
        out=tmp_path / "two",
        rollouts=run.out / "rollouts",
        optimisation=replace(config.optimisation, micro_batch_size=2),
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


def test_every_rollout_trains_once_an_epoch(family: Family, tmp_path: Path) -> None:
    """With two minibatches a round and no repeats, four steps read each of 16 rollouts twice."""
    config = family_config(
        family,
        tmp_path / "run",
        optimisation=opd_optimisation(steps=4, batch_size=BATCH, learning_rate=1e-9),
    )
    lines = log(train(config).out)
    assert lines[0]["tokens"] + lines[1]["tokens"] == lines[2]["tokens"] + lines[3]["tokens"]
    rows = (tmp_path / "run" / "rollouts" / "rollouts.jsonl").read_text().splitlines()
    assert lines[0]["tokens"] + lines[1]["tokens"] == sum(len(json.loads(row)["token_ids"]) for row in rows)


def test_the_guard_holds_lambda_at_its_limit(family: Family, tmp_path: Path) -> None:
    common = {"lam": 3.0, "guard_epsilon": 0.1, "limit": None}
    free = train(family_config(family, tmp_path / "off", **common))
    warned = train(family_config(family, tmp_path / "warn", guard="warn", **common))
    held = train(family_config(family, tmp_path / "enforce", guard="enforce", **common))
    assert same_weights(free.checkpoint, warned.checkpoint)
    assert free.warnings == ()
    assert "above the guard's limit" in warned.warnings[0]
    limit = log(held.out)[0]["guard_limit"]
    assert limit < 3.0
    assert held.lam == pytest.approx(limit)
    exact = train(replace(family_config(family, tmp_path / "exact", **common), lam=held.lam))
    assert same_weights(exact.checkpoint, held.checkpoint)


def test_a_clip_that_never_binds_is_said(family: Family, tmp_path: Path) -> None:
    run = train(
        family_config(
            family,
            tmp_path / "run",
            staleness="fresh",
            rollout_batch=BATCH,
            optimisation=opd_optimisation(steps=2, batch_size=BATCH, learning_rate=1e-3),
        )
    )
    assert "c never binds" in run.warnings[0]
    assert manifest(run.out)["warnings"] == list(run.warnings)
    assert all(line["ratio"]["q0"] == line["ratio"]["q100"] == 1.0 for line in log(run.out))


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


BAD = [
    ({"lam": 0.0}, "λ must be finite and above 0"),
    ({"lam": float("nan")}, "λ must be finite and above 0"),
    ({"clip": 1.0}, "c must be finite and above 1"),
    ({"rollout_batch": 12}, "choose a multiple"),
    ({"samples": 3}, "choose a divisor"),
    ({"staleness": "fresh", "rollouts": Path("x")}, "stored rollouts are fixed"),
    ({"lora": LoRA(), "student": "elsewhere"}, "leave the student checkpoint out"),
    ({"clip": None, "guard": "warn"}, "the guard needs a clip"),
    ({"guard_epsilon": 1.0}, "epsilon"),
    ({"updates_per_rollout": 2}, "go with fresh rollouts"),
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
        replace(opd_optimisation(), **changes)


@pytest.mark.parametrize("lora", [(0, 16.0), (2, 0.0), (2, float("nan"))])
def test_an_adapter_that_cannot_learn_is_refused(lora: tuple[int, float]) -> None:
    with pytest.raises(HarnessError, match="LoRA needs"):
        LoRA(*lora)


def test_the_costly_readings_come_as_often_as_asked(family: Family, tmp_path: Path) -> None:
    """Also where every step has a round of its own."""
    config = family_config(family, tmp_path / "run", staleness="fresh", rollout_batch=BATCH, log_every=4)
    assert [line["roles"] is not None for line in log(train(config).out)] == [True] + 3 * [False] + [
        True,
        False,
    ]


def test_a_teacher_with_a_window_reads_every_rollout_apart(family: Family, tmp_path: Path) -> None:
    """Its attention can't be told to share prompts, whatever the student's can."""
    import shutil

    teacher = tmp_path / "teacher"
    shutil.copytree(family["teacher"], teacher)
    settings = json.loads((teacher / "config.json").read_text())
    layers = ["sliding_attention"] * settings["num_hidden_layers"]
    window = {"use_sliding_window": True, "sliding_window": 16, "layer_types": layers}
    (teacher / "config.json").write_text(json.dumps(settings | window))
    shared = train(family_config(family, tmp_path / "shared", teacher=str(teacher)))
    apart = family_config(
        family, tmp_path / "apart", teacher=str(teacher), samples=1, rollouts=shared.out / "rollouts"
    )
    expected = log(train(apart).out)[0]["advantage"]
    assert log(shared.out)[0]["advantage"] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_no_architecture_keeps_its_dropout() -> None:
    """OPT's layers hold their rates as plain numbers."""
    from transformers import OPTConfig, OPTForCausalLM

    from harness.opd.models.loading import without_dropout

    shape = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_attention_heads": 2}
    settings = OPTConfig(vocab_size=50, num_hidden_layers=2, dropout=0.5, layerdrop=0.5, **shape)
    model = OPTForCausalLM(settings).train()
    without_dropout(model)
    ids = torch.arange(10).unsqueeze(0)
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_stored_scores_that_do_not_fit_are_refused(family: Family, tmp_path: Path) -> None:
    from harness.opd.loop.job import prepare_rollouts

    config = family_config(family, tmp_path / "run")
    stored = prepare_rollouts(config, tmp_path / "stored")
    rows = [json.loads(line) for line in (stored / "rollouts.jsonl").read_text().splitlines()]
    rows[0]["token_ids"] = rows[0]["token_ids"][:1]
    (stored / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="scores of other rollouts"):
        train(replace(config, rollouts=stored))
    torn = (stored / "scores.npz").read_bytes()[:2000]
    (stored / "scores.npz").write_bytes(torn)
    with pytest.raises(DataError, match="can't be read as stored scores"):
        train(replace(config, out=tmp_path / "other", rollouts=stored))


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
        with pytest.raises(IncompleteError, match=r"stopped by the file system .* --resume") as caught:
            train(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, DivergenceError)
    assert manifest(config.out)["status"] == "failed"
    run = train(replace(config, resume=True))
    assert same_weights(run.checkpoint, train(family_config(family, tmp_path / "calm")).checkpoint)


def test_another_vocabulary_is_refused(family: Family, tmp_path: Path, tiny_qwen3: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="different vocabularies"):
        train(family_config(family, tmp_path / "run", teacher=str(tiny_qwen3)))
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_gone_on_with_only_if_asked_and_equal(family: Family, tmp_path: Path) -> None:
    config = family_config(family, tmp_path / "run")
    run = train(config)
    with pytest.raises(HarnessError, match="--resume"):
        train(config)
    assert train(replace(config, resume=True)) == run
    with pytest.raises(RunMismatchError, match="another configuration"):
        train(replace(config, resume=True, lam=1.3))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(HarnessError, match="holds no training run"):
        train(replace(config, out=tmp_path / "mine", resume=True))


def test_prompts_that_fill_the_context_are_refused(family: Family, tmp_path: Path) -> None:
    import shutil

    short = tmp_path / "short"
    shutil.copytree(family["base"], short)
    settings = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 32}))
    with pytest.raises(HarnessError, match="leaves no room for an answer"):
        train(family_config(family, tmp_path / "run", base=str(short)))
