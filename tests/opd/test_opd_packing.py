"""Shared prompts, padding and blocks of the output layer change nothing about logprobs and gradients."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from harness.contract import DEFAULT, Terms  # noqa: E402
from harness.opd.models import policy as policy_module  # noqa: E402
from harness.opd.models.policy import Policy, shares_prompts  # noqa: E402
from harness.opd.rounds.packing import pack  # noqa: E402
from harness.rollouts import Rollout  # noqa: E402

pytestmark = pytest.mark.model

VOCABULARY = 50


def small(name: str, seed: int = 0, **changes: Any) -> Any:
    """Rotary and learned absolute positions, float64: what is compared is arithmetic, not rounding."""
    from transformers import GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    if name == "qwen3":
        return Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=VOCABULARY,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=16,
                initializer_range=0.2,
                **changes,
            )
        ).double()
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_layer=2,
            n_head=2,
            n_positions=64,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
            **changes,
        )
    ).double()


def some_rollouts(seed: int = 0) -> list[Rollout]:
    """Three prompts of different length; three, one and two completions; one of a single token."""
    generator = torch.Generator().manual_seed(seed)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, VOCABULARY, (length,), generator=generator).tolist())

    rollouts = []
    for task, (prompt_length, lengths) in enumerate([(5, (4, 1, 9)), (12, (3,)), (7, (6, 6))]):
        prompt = draw(prompt_length)
        rollouts += [
            Rollout(task, number, Terms(DEFAULT, 2), prompt, draw(length), "stop", False)
            for number, length in enumerate(lengths)
        ]
    return rollouts


def slow_logprobs(model: Any, rollouts: list[Rollout]) -> Any:
    """One unpadded sequence at a time, full logits."""
    parts = []
    for one in rollouts:
        ids = torch.tensor([[*one.prompt_ids, *one.token_ids]])
        logits = model(input_ids=ids, use_cache=False).logits[0]
        first = len(one.prompt_ids) - 1
        every = torch.log_softmax(logits.float(), -1)[first:-1]
        parts.append(every.gather(-1, torch.tensor(one.token_ids).unsqueeze(-1)).squeeze(-1))
    return torch.cat(parts)


@pytest.mark.parametrize("name", ["qwen3", "gpt2"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("block", [None, 3])
def test_logprobs_and_gradients_equal_a_slow_reference(
    name: str, share: bool, block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block is not None:
        monkeypatch.setattr(policy_module, "BLOCK_LOGITS", block * VOCABULARY)
    rollouts = some_rollouts()
    model, other = small(name), small(name)
    weights = torch.linspace(0.5, 2.0, sum(len(one.token_ids) for one in rollouts))

    slow = slow_logprobs(other, rollouts)
    (slow * weights).sum().backward()
    found = Policy(model)(pack(rollouts, share))
    (found.logprobs * weights).sum().backward()

    assert torch.allclose(found.logprobs, slow, atol=1e-5)
    for (key, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-4), key


def test_entropies_are_those_of_the_whole_distribution() -> None:
    rollouts = some_rollouts()
    model = small("qwen3")
    found = Policy(model)(pack(rollouts, True)).entropies
    expected = []
    for one in rollouts:
        ids = torch.tensor([[*one.prompt_ids, *one.token_ids]])
        every = torch.log_softmax(model(input_ids=ids).logits[0].float(), -1)
        expected.append(-(every.exp() * every).sum(-1)[len(one.prompt_ids) - 1 : -1])
    assert torch.allclose(found, torch.cat(expected), atol=1e-5)


def test_no_more_logits_than_a_block_ever_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of B·T·V = 3·19·50 logits, the output layer is asked for 4 rows at a time, in both directions."""
    monkeypatch.setattr(policy_module, "BLOCK_LOGITS", 4 * VOCABULARY)
    model = small("qwen3")
    policy = Policy(model)
    rows = []
    model.lm_head.register_forward_hook(lambda _, __, out: rows.append(out.numel() // VOCABULARY))
    policy(pack(some_rollouts(), True)).logprobs.sum().backward()
    assert max(rows) == 4
    assert sum(rows) == 2 * 29  # each block once forwards, and once again for its gradient


def test_shared_rows_hold_each_prompt_once() -> None:
    rollouts = some_rollouts()
    packed = pack(rollouts, True)
    assert packed.token_ids.shape[0] == 3
    assert packed.token_ids.shape[1] == max(5 + 3 + 0 + 8, 12 + 2, 7 + 5 + 5)
    assert pack(rollouts, False).mask is None


def test_a_model_with_a_window_of_its_own_is_found_out() -> None:
    rollouts = some_rollouts()
    plain = small("qwen3").float()
    assert shares_prompts(Policy(plain), pack(rollouts, False), pack(rollouts, True))
    windowed = small(
        "qwen3", use_sliding_window=True, sliding_window=3, layer_types=["sliding_attention"] * 2
    ).float()
    assert not shares_prompts(Policy(windowed), pack(rollouts, False), pack(rollouts, True))


def test_equal_models_read_the_same_bits_with_and_without_gradients() -> None:
    """What makes A exactly 0 between equal policies, though one is trained and the other frozen."""
    rollouts = some_rollouts()
    trained, frozen = small("qwen3").float().train(), small("qwen3").float().eval()
    frozen.requires_grad_(False)
    packed = pack(rollouts, True)
    with torch.no_grad():
        one = Policy(frozen)(packed).logprobs
    assert torch.equal(one, Policy(trained)(packed).logprobs.detach())
