"""Whole runs on tiny checkpoints: invariants, what is recorded, the guard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.measure.clip_source import read_clip
from harness.opd.config import opd_optimisation
from tests.checkpoints.opd_family import BATCH, family_config
from tests.opd.opd_runs import Family, log, manifest, same_weights, train, weights

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.model
# Rounds of more than one step, so that their rollouts grow stale.
UPDATES: dict[str, dict[str, Any]] = {"fixed": {}, "fresh": {"updates_per_rollout": 2}}


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


def test_the_mask_of_plausible_tokens_is_the_teachers(family: Family, tmp_path: Path) -> None:
    """At λ = 1 it changes no bit; above, A is what the teacher's own distributions say it is."""
    plain = train(family_config(family, tmp_path / "plain", lam=1.0))
    masked = train(family_config(family, tmp_path / "masked", lam=1.0, plausible=0.3))
    assert same_weights(plain.checkpoint, masked.checkpoint)
    run = train(
        family_config(
            family, tmp_path / "run", lam=3.0, clip=None, plausible=0.3, samples=1, rollout_batch=BATCH
        )
    )
    assert log(run.out)[0]["advantage"]["mean"] == pytest.approx(first_advantage(family, run.out), abs=1e-5)


def first_advantage(family: Family, out: Path) -> float:
    """Mean of A over the first minibatch at λ = 3 and α = 0.3; the student is the base yet."""
    from transformers import AutoModelForCausalLM

    teacher, base = (
        AutoModelForCausalLM.from_pretrained(family[name], dtype=torch.float32)
        for name in ("teacher", "base")
    )
    rows = [json.loads(line) for line in (out / "rollouts" / "rollouts.jsonl").read_text().splitlines()]
    found = []
    for one in rows:
        ids = torch.tensor([[*one["prompt_ids"], *one["token_ids"]]])
        last = len(one["prompt_ids"]) - 1
        with torch.no_grad():
            of_teacher, of_base = (
                torch.log_softmax(model(ids).logits[0, last:-1].float(), -1).double()
                for model in (teacher, base)
            )
        rising = of_teacher.exp() >= 0.3 * of_teacher.exp().amax(-1, keepdim=True)
        every = (of_teacher - of_base) * (1.0 + 2.0 * rising)
        found.append(every[range(len(one["token_ids"])), one["token_ids"]])
    return float(torch.cat(found).mean())


def test_students_are_kept_on_the_way(family: Family, tmp_path: Path) -> None:
    """Each is what a shorter run ends with, the rate being constant."""
    run = train(family_config(family, tmp_path / "run", keep_every=2))
    kept = sorted(run.out.glob("checkpoint-*"))
    assert [one.name for one in kept] == ["checkpoint-2", "checkpoint-4"]
    short = opd_optimisation(steps=4, batch_size=BATCH, learning_rate=5e-4)
    assert same_weights(
        kept[1], train(family_config(family, tmp_path / "short", optimisation=short)).checkpoint
    )


@pytest.mark.parametrize("ratio", ["student/behaviour", "student/base"])
@pytest.mark.parametrize("staleness", ["fixed", "fresh"])
def test_the_ratio_begins_at_one(family: Family, tmp_path: Path, ratio: Any, staleness: Any) -> None:
    config = family_config(family, tmp_path / "run", ratio=ratio, staleness=staleness, **UPDATES[staleness])
    lines = log(train(config).out)
    assert lines[0]["ratio"]["q0"] == lines[0]["ratio"]["q100"] == 1.0
    assert lines[0]["clipped"] == 0.0
    assert lines[3]["ratio"]["q0"] < 1.0 < lines[3]["ratio"]["q100"]


def test_a_run_records_what_made_it(family: Family, tmp_path: Path) -> None:
    run = train(
        family_config(family, tmp_path / "run", aggregation="sequence", guard="warn", ratio="student/teacher")
    )
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
    common = {"lam": 3.0, "guard_epsilon": 0.1, "limit": None, "ratio": "student/teacher"}
    free = train(family_config(family, tmp_path / "off", **common))
    warned = train(family_config(family, tmp_path / "warn", guard="warn", **common))
    held = train(family_config(family, tmp_path / "enforce", guard="enforce", **common))
    assert same_weights(free.checkpoint, warned.checkpoint)
    assert free.warnings == ()
    assert "above the guard's limit" in warned.warnings[0]
    limit = log(held.out)[0]["guard_limit"]
    assert limit < 3.0
    assert held.lam == pytest.approx(limit)
    exact = train(family_config(family, tmp_path / "exact", **common).changed(lam=held.lam))
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


def test_a_guard_without_an_edge_says_so_once_and_changes_nothing(family: Family, tmp_path: Path) -> None:
    """Fresh rollouts: the ratio is to the student itself."""
    common = {"lam": 3.0, "staleness": "fresh", "rollout_batch": BATCH, "limit": None}
    common |= {"optimisation": opd_optimisation(steps=2, batch_size=BATCH, learning_rate=5e-4)}
    free = train(family_config(family, tmp_path / "off", **common))
    held = train(family_config(family, tmp_path / "enforce", guard="enforce", **common))
    assert same_weights(free.checkpoint, held.checkpoint)
    said = [one for one in held.warnings if one.startswith("the λ guard:")]
    assert len(said) == 1
    assert "nothing switches" in said[0]
    assert held.lam == 3.0
