"""Training: the loss against a slow reference, the same weights again, and a model that answers and stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.contract import DEFAULT, parse
from harness.data.conversations import conversations
from harness.data.fashion_mini import generate_tasks
from harness.data.writing import write_tasks
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import EngineUnavailableError, HarnessError
from harness.opd.optimisation import Optimisation
from harness.opd.sft.examples import completion_example, ideal_ranking
from harness.progress import Progress
from tools.zoo.recipe import family_tokenizer
from tools.zoo.tiny import write_untrained_checkpoint

pytestmark = pytest.mark.model

TASKS = 8
FEW_STEPS = Optimisation(steps=3, batch_size=4, learning_rate=1e-3, warmup_steps=2, seed=5)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained_checkpoint(
        tmp_path_factory.mktemp("sft") / "start", "small", family_tokenizer(), 0
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_tasks(path, generate_tasks("train", TASKS, seed=8, k=3))
    return path


def train(start: Path, rows: Path, out: Path, optimisation: Optimisation) -> Path:
    from harness.opd.config import SFTConfig
    from harness.opd.sft.job import train_sft

    return train_sft(
        SFTConfig(checkpoint=str(start), out=out, optimisation=optimisation, data=str(rows), split=None)
    )


def models() -> dict[str, Any]:
    """Rotary and learned absolute positions: padding must not matter to either."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    qwen = Qwen3Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        initializer_range=0.2,
    )
    gpt2 = GPT2Config(
        vocab_size=50,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=64,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
    )
    return {"qwen3": Qwen3ForCausalLM(qwen), "gpt2": GPT2LMHeadModel(gpt2)}


@pytest.mark.parametrize("name", ["qwen3", "gpt2"])
def test_loss_and_gradient_equal_a_slow_reference(name: str) -> None:
    """One unpadded sequence at a time, full logits, −log softmax written out in float64."""
    import torch

    from harness.opd.sft.batching import collate
    from harness.opd.sft.training import weighted_nll

    model = models()[name]
    rng = torch.Generator().manual_seed(1)
    pairs = [
        (
            torch.randint(1, 50, (prompt,), generator=rng).tolist(),
            torch.randint(1, 50, (completion,), generator=rng).tolist(),
        )
        for prompt, completion in [(7, 5), (12, 1), (1, 9), (10, 5)]
    ]
    loss = weighted_nll(model, collate([completion_example(p, c) for p, c in pairs]))
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()

    expected = torch.zeros((), dtype=torch.float64)
    for prompt, completion in pairs:
        logits = model(torch.tensor([prompt + completion])).logits[0].double()
        for place, token in enumerate(completion, len(prompt) - 1):
            odds = torch.exp(logits[place] - logits[place].max())
            expected = expected - torch.log(odds[token] / odds.sum())
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for parameter, value in model.named_parameters():
        assert torch.allclose(gradients[parameter], value.grad, rtol=1e-3, atol=1e-5), parameter


def test_no_logits_at_prompt_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from harness.opd.sft.batching import collate
    from harness.opd.sft.training import weighted_nll

    model = models()["qwen3"]
    seen = []
    model.lm_head.register_forward_hook(lambda _m, _i, output: seen.append(tuple(output.shape)))
    weighted_nll(model, collate([completion_example([1] * 40, [2, 3, 4]), completion_example([1] * 38, [5])]))
    # Positions 39, 40, 41 of the first and 37 of the second, of 42.
    assert seen == [(2, 4, 50)]
    assert torch.is_grad_enabled()


def test_micro_batches_add_up_to_the_batch(start: Path, rows: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    whole = train(start, rows, tmp_path / "whole", FEW_STEPS)
    parts = train(start, rows, tmp_path / "parts", FEW_STEPS.changed(micro_batch_size=1))
    losses = [
        [json.loads(line)["loss"] for line in (folder / "train.jsonl").read_text().splitlines()]
        for folder in (whole, parts)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    first, second = load_file(whole / "model.safetensors"), load_file(parts / "model.safetensors")
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-3


def test_same_config_same_weights_other_seed_other_weights(start: Path, rows: Path, tmp_path: Path) -> None:
    weights = [
        (train(start, rows, tmp_path / str(i), optimisation) / "model.safetensors").read_bytes()
        for i, optimisation in enumerate([FEW_STEPS, FEW_STEPS, FEW_STEPS.changed(seed=6)])
    ]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_a_trained_model_answers_as_taught_and_stops(start: Path, rows: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    heard: list[Progress] = []
    from harness.opd.config import SFTConfig
    from harness.opd.sft.job import train_sft

    optimisation = Optimisation(steps=120, batch_size=TASKS, learning_rate=3e-3, warmup_steps=10)
    out = train_sft(
        SFTConfig(
            checkpoint=str(start), out=tmp_path / "out", optimisation=optimisation, data=str(rows), split=None
        ),
        heard.append,
    )
    assert [(progress.done, progress.total) for progress in heard] == [(i, 120) for i in range(1, 121)]
    chat = ChatTokenizer(out)
    assert chat.sha256 == ChatTokenizer(start).sha256
    assert chat.chat_template_sha256 == ChatTokenizer(start).chat_template_sha256
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    for task in generate_tasks("train", TASKS, seed=8, k=3):
        prompt = torch.tensor(chat.encode(conversations([task], DEFAULT)))
        ids = model.generate(prompt, max_new_tokens=30, do_sample=False)[0, prompt.shape[1] :].tolist()
        assert ids[-1] == chat.eos_token_id
        assert parse(chat.decode(ids), 3).ranking == ideal_ranking(task.relevance)


def test_the_record_says_what_made_it(start: Path, rows: Path, tmp_path: Path) -> None:
    out = train(start, rows, tmp_path / "out", FEW_STEPS)
    record = json.loads((out / "train.json").read_text())
    assert record["tasks"] == TASKS
    assert record["optimisation"] == FEW_STEPS.model_dump()
    steps = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert [step["learning_rate"] for step in steps] == [FEW_STEPS.rate(i) for i in range(3)]
    assert record["last_step"] == steps[-1]


def test_divergence_leaves_no_checkpoint(start: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"training diverged at step 2 .*lower the learning rate"):
        train(start, rows, tmp_path / "out", FEW_STEPS.changed(learning_rate=1e38, warmup_steps=0))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(start: Path, rows: Path) -> None:
    before = sorted(start.iterdir())
    with pytest.raises(HarnessError, match="exists"):
        train(start, rows, start, FEW_STEPS)
    assert sorted(start.iterdir()) == before


def test_a_missing_checkpoint_is_named(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="nowhere"):
        train(tmp_path / "nowhere", rows, tmp_path / "out", FEW_STEPS)


def test_the_rate_rises_then_falls() -> None:
    schedule = Optimisation(steps=100, batch_size=1, learning_rate=2.0, warmup_steps=10, final_fraction=0.1)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) <= 2.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.2, abs=0.01)
