"""Log probabilities of completions under targets, against all sequences of a tiny vocabulary."""

import itertools

import numpy as np
import pytest

from harness.engines.base import ScoreRequest
from harness.engines.hf_weights import target_logprobs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.model

VOCABULARY, STEPS, PROMPT = 9, 3, (1, 2, 3)
LAMS = (0.0, 0.7, 1.0, 1.8)


@pytest.fixture(scope="module")
def pair():
    """Two models of nine tokens, far from uniform."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = transformers.Qwen3Config(
            vocab_size=VOCABULARY, num_key_value_heads=2, head_dim=8, initializer_range=0.6, **sizes
        )
        made.append(transformers.Qwen3ForCausalLM(config).eval())
    return made


def stepwise(pair, lam: float, plausible: float) -> dict[tuple[int, ...], np.ndarray]:
    """State → log π_λ of the next token in float64, from whole forward passes."""
    found = {}
    for length in range(STEPS):
        states = list(itertools.product(range(VOCABULARY), repeat=length))
        ids = torch.tensor([[*PROMPT, *state] for state in states])
        with torch.inference_mode():
            logs = [torch.log_softmax(model(ids).logits[:, -1].double(), -1).numpy() for model in pair]
        gain = logs[0] - logs[1]
        if plausible:
            gain[logs[0] < logs[0].max(-1, keepdims=True) + np.log(plausible)] = 0.0
        scores = logs[0] + (lam - 1.0) * gain
        scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
        found |= dict(zip(states, scores, strict=True))
    return found


@pytest.mark.parametrize("plausible", [0.0, 0.3])
def test_all_sequences_by_enumeration(pair, plausible: float) -> None:
    """To 1e-6; so weights from any λ to any other are exact, and carry any expectation over."""
    sequences = list(itertools.product(range(VOCABULARY), repeat=STEPS))
    requests = [ScoreRequest(str(number), PROMPT, one) for number, one in enumerate(sequences)]
    scored = dict(target_logprobs(*pair, requests, LAMS, plausible=plausible, batch_size=256))
    found = np.array([scored[one.key] for one in requests])
    probabilities = np.exp(found)
    for column, lam in enumerate(LAMS):
        steps = stepwise(pair, lam, plausible)
        exact = [sum(steps[one[:place]][token] for place, token in enumerate(one)) for one in sequences]
        assert np.abs(probabilities[:, column] - np.exp(exact)).max() < 1e-6
        assert probabilities[:, column].sum() == pytest.approx(1.0, abs=1e-5)
    valid = np.array([one[0] < one[1] for one in sequences])
    for start, end in itertools.permutations(range(len(LAMS)), 2):
        weights = np.exp(found[:, end] - found[:, start])
        carried = (probabilities[:, start] * weights * valid).sum()
        assert carried == pytest.approx((probabilities[:, end] * valid).sum(), abs=1e-6)
