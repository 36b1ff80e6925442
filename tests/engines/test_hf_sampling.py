from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

torch = pytest.importorskip("torch")

from harness.engines.hf_sampling import AnswerLimits, SeededSampler, draw, nucleus  # noqa: E402

pytestmark = pytest.mark.model
DRAWS = 20_000
# A false alarm once in a million runs of the suite.
SIGNIFICANCE = 1e-6


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp((logits - logits.max()) / temperature)
    return weights / weights.sum()


def nucleus_oracle(probabilities: np.ndarray, top_p: float) -> np.ndarray:
    """The definition, one token at a time: take the likeliest until their mass reaches top_p."""
    kept = np.zeros_like(probabilities)
    mass = 0.0
    for token in np.argsort(-probabilities, kind="stable"):
        if mass >= top_p:
            break
        kept[token] = probabilities[token]
        mass += probabilities[token]
    return kept


@given(
    st.lists(st.floats(-8, 8), min_size=1, max_size=30),
    st.sampled_from([0.05, 0.3, 0.5, 0.9, 0.999, 1.0]),
)
def test_nucleus_is_the_smallest_set_with_the_mass(logits: list[float], top_p: float) -> None:
    probabilities = softmax(np.array(logits), 1.0)
    # Where the mass meets top_p to the last bit, either answer is right.
    assume(np.abs(np.cumsum(np.sort(probabilities)[::-1]) - top_p).min() > 1e-12 or top_p == 1.0)
    kept = nucleus(torch.from_numpy(probabilities[None]), top_p)[0].numpy()
    assert np.allclose(kept, nucleus_oracle(probabilities, top_p), atol=0)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.7, 0.9), (1.0, 0.5)])
def test_the_sampler_draws_the_right_distribution(temperature: float, top_p: float) -> None:
    logits = np.array([2.0, 1.5, 0.0, -0.3, -1.0, -2.5, 1.0, -4.0])
    expected = nucleus_oracle(softmax(logits, temperature), top_p)
    expected /= expected.sum()
    sampler = SeededSampler(range(DRAWS), 2, temperature, top_p)
    rows = torch.tensor(logits, dtype=torch.float32).expand(DRAWS, -1)
    for _ in range(2):
        drawn = sampler(None, rows).argmax(-1).numpy()
        counts = np.bincount(drawn, minlength=len(logits))
        assert counts[expected == 0].sum() == 0
        possible = expected > 0
        test = stats.chisquare(counts[possible], expected[possible] * DRAWS)
        assert test.pvalue > SIGNIFICANCE


def test_steps_of_one_row_are_independent() -> None:
    sampler = SeededSampler(range(DRAWS), 2, 1.0, 1.0)
    rows = torch.zeros(DRAWS, 3)
    first, second = (sampler(None, rows).argmax(-1).numpy() for _ in range(2))
    table = np.zeros((3, 3))
    np.add.at(table, (first, second), 1)
    assert stats.chi2_contingency(table).pvalue > SIGNIFICANCE


def test_a_row_draws_the_same_whoever_its_neighbours_are() -> None:
    logits = torch.randn(5, 50, generator=torch.Generator().manual_seed(3))
    together = SeededSampler([11, 12, 13, 14, 15], 1, 1.0, 0.95)(None, logits).argmax(-1)
    alone = [SeededSampler([11 + i], 1, 1.0, 0.95)(None, logits[i : i + 1]).argmax(-1) for i in range(5)]
    assert together.tolist() == [int(one) for one in alone]


@pytest.mark.parametrize("uniform", [0.0, 0.5, float(np.nextafter(1.0, 0.0))])
def test_impossible_tokens_are_never_drawn(uniform: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    token = int(draw(logits, torch.tensor([uniform], dtype=torch.float64), 1.0, 1.0)[0])
    assert token == (1 if uniform < 0.5 else 3)


def test_tiny_temperatures_are_greedy() -> None:
    logits = torch.randn(20, 100, generator=torch.Generator().manual_seed(0))
    drawn = SeededSampler(range(20), 1, 1e-4, 1.0)(None, logits).argmax(-1)
    assert drawn.tolist() == logits.argmax(-1).tolist()


def test_each_row_has_its_own_limit() -> None:
    limits = AnswerLimits(prompt_length=3, limits=[1, 2, 5])
    assert limits(torch.zeros(3, 5), None).tolist() == [True, True, False]
