"""The loss: A by hand, its gradient by finite differences, and the fixed point and cliff it leads to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cliff import fixed_point, lambda_star
from harness.engines.target_draw import target_scores
from tests.examples import examples

torch = pytest.importorskip("torch")
from harness.opd.loop.loss import Objective, TokenLogprobs, advantage, token_terms, token_weights  # noqa: E402

pytestmark = pytest.mark.model

GRADIENTS = ("detached", "differentiated", "truncated")
logprob = st.floats(-8.0, -1e-4)


def doubles(*values: float) -> Any:
    return torch.tensor(values, dtype=torch.float64)


def four(student: float, teacher: float, base: float, reference: float) -> TokenLogprobs:
    return TokenLogprobs(
        doubles(student).requires_grad_(), doubles(teacher), doubles(base), doubles(reference)
    )


@given(s=logprob, t=logprob, b=logprob, lam=st.floats(0.1, 5.0))
def test_advantage_is_the_paper_s(s: float, t: float, b: float, lam: float) -> None:
    found = float(advantage(four(s, t, b, s), lam)[0])
    assert math.isclose(found, lam * t - s - (lam - 1) * b, rel_tol=1e-12, abs_tol=1e-12)


@given(x=logprob, lam=st.floats(0.1, 5.0))
def test_equal_policies_have_no_advantage_in_float32(x: float, lam: float) -> None:
    one = torch.tensor([x])
    assert float(advantage(TokenLogprobs(one, one, one, one), lam)[0]) == 0.0


@given(
    seed=st.integers(0, 10_000), gradient=st.sampled_from(GRADIENTS), plausible=st.sampled_from((0.0, 0.1))
)
def test_lambda_one_is_plain_distillation_to_the_last_bit(seed: int, gradient: Any, plausible: float) -> None:
    """Plain on-policy distillation, written down without λ, base, or this module: ∇ of −Σ w r (t − s)."""
    rng = np.random.default_rng(seed)
    values = [torch.from_numpy(rng.normal(-2, 1.5, 64).astype(np.float32)) for _ in range(4)]
    weights = torch.from_numpy(rng.random(64).astype(np.float32))
    student, teacher, base, behaviour = values

    ours = student.clone().requires_grad_()
    terms = token_terms(
        TokenLogprobs(ours, teacher, base, behaviour, likeliest=teacher.clamp(min=-0.7)),
        Objective(1.0, None, "two", gradient, plausible),
    )
    (terms.loss * weights).sum().backward()

    plain = student.clone().requires_grad_()
    reward = teacher - plain.detach()
    ratio = torch.exp(plain - behaviour)
    if gradient == "truncated":
        loss = -(ratio.detach() * reward * (1.0 + plain - plain.detach()))
    else:
        loss = -(ratio * reward)
    (loss * weights).sum().backward()
    assert torch.equal(ours.grad, plain.grad)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("sides", ["two", "upper"])
@given(seed=st.integers(0, 10_000), plausible=st.sampled_from((0.0, 0.3)))
@examples(30)
def test_gradient_against_finite_differences(gradient: str, sides: Any, seed: int, plausible: float) -> None:
    """Through a softmax, in float64, A held fixed as the objective has it."""
    rng = np.random.default_rng(seed)
    tokens, vocabulary, clip, lam = 5, 7, 1.6, 1.4
    logits = rng.normal(size=(tokens, vocabulary))
    sampled = rng.integers(vocabulary, size=tokens)
    teacher, base, reference = rng.normal(-2, 1, (3, tokens))
    weights = rng.random(tokens)

    def student(z: Any) -> Any:
        return (z - np.log(np.exp(z).sum(-1, keepdims=True)))[np.arange(tokens), sampled]

    start = student(logits)
    likeliest = teacher + rng.exponential(1.0, tokens)
    extrapolated = np.exp(teacher) >= plausible * np.exp(likeliest)
    a = teacher - start + (lam - 1) * np.where(extrapolated, teacher - base, 0.0)
    low, high = (1 / clip if sides == "two" else 0.0), clip
    start_ratio = np.exp(start - reference)
    if np.any(np.abs(np.log(start_ratio[:, None] / [max(low, 1e-9), high])) < 1e-4):
        return  # on a corner, where there is no derivative

    def value(z: Any) -> float:
        ratio = np.exp(student(z) - reference)
        clipped = np.clip(ratio, low, high)
        if gradient == "detached":
            gain = clipped * a
        elif gradient == "differentiated":
            gain = np.minimum(ratio * a, clipped * a)
        else:
            gain = np.clip(start_ratio, low, high) * a * student(z)
        return float(-(weights * gain).sum())

    z = torch.tensor(logits, requires_grad=True)
    picked = torch.log_softmax(z, -1)[torch.arange(tokens), torch.tensor(sampled)]
    terms = token_terms(
        TokenLogprobs(picked, *(torch.tensor(one) for one in (teacher, base, reference, likeliest))),
        Objective(lam, clip, sides, gradient, plausible),  # type: ignore[arg-type]
    )
    (terms.loss * torch.tensor(weights)).sum().backward()
    step = 1e-6
    for place in np.ndindex(tokens, vocabulary):
        bump = np.zeros_like(logits)
        bump[place] = step
        slope = (value(logits + bump) - value(logits - bump)) / (2 * step)
        assert float(z.grad[place]) == pytest.approx(slope, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(
    ("gradient", "sides", "r", "a", "moves"),
    [
        ("detached", "two", 3.0, 1.0, False),
        ("detached", "two", 3.0, -1.0, False),
        ("detached", "two", 0.2, 1.0, False),
        ("detached", "upper", 0.2, 1.0, True),
        ("detached", "two", 1.9, 1.0, True),
        ("differentiated", "two", 3.0, 1.0, False),
        ("differentiated", "two", 3.0, -1.0, True),
        ("differentiated", "two", 0.2, 1.0, True),
        ("differentiated", "two", 0.2, -1.0, False),
        ("truncated", "two", 3.0, 1.0, True),
        ("truncated", "two", 0.2, 1.0, True),
    ],
)
def test_which_tokens_learn_outside_the_clip_region(
    gradient: Any, sides: Any, r: float, a: float, moves: bool
) -> None:
    student = math.log(0.3)
    logprobs = four(student, student + a, student + a, student - math.log(r))
    terms = token_terms(logprobs, Objective(1.0, 2.0, sides, gradient))
    terms.loss.sum().backward()
    assert (float(logprobs.student.grad[0]) != 0) is moves
    assert bool(terms.clipped[0]) is (r > 2 or (r < 0.5 and sides == "two"))


def settle(p: float, b: float, c: float, lam: float, steps: int = 200) -> tuple[float, bool]:
    """A Bernoulli policy in the loss's own hands: both outcomes, weighted as policy p draws them.

    Natural gradient steps (the plain ones crawl at q near 1), from q = p. Returns the log-odds of q, and
    whether they still rise.
    """
    z = doubles(math.log(p / (1 - p))).requires_grad_()
    log_p, log_b = (torch.log(doubles(x, 1 - x)) for x in (p, b))
    weights = doubles(p, 1 - p)
    moved = 0.0
    for _ in range(steps):
        z.grad = None
        log_q = torch.cat([torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)])
        terms = token_terms(TokenLogprobs(log_q, log_p, log_b, log_p), Objective(lam, c))
        (terms.loss * weights).sum().backward()
        fisher = torch.sigmoid(z) * torch.sigmoid(-z)
        move = -0.2 * z.grad / fisher
        moved = float(move.detach())
        with torch.no_grad():
            z += move
    return float(z.detach()), moved > 1e-3


@given(p=st.floats(0.6, 0.99), b=st.floats(0.2, 0.55), c=st.floats(1.3, 6.0))
@examples(25)
def test_a_bernoulli_student_settles_at_the_fixed_point_and_turns_at_lambda_star(
    p: float, b: float, c: float
) -> None:
    """FACTS: logit q_λ = λ·logit p − (λ−1)·logit b below λ*; above, the tail's restoring term is off."""
    star = float(lambda_star(p, b, c))
    below, above = 1 + 0.95 * (star - 1), 1 + 1.05 * (star - 1)
    settled, rising = settle(p, b, c, below)
    q = float(fixed_point(below, p, b))
    assert settled == pytest.approx(math.log(q / (1 - q)), rel=1e-6)
    assert not rising
    left, still_rising = settle(p, b, c, above)
    assert left > math.log((c - 1 + p) / (1 - p))
    # The mode's own advantage, λ log p − log q − (λ−1) log b, may yet stop it short of 1.
    stop = above * math.log(p) - (above - 1) * math.log(b)
    if stop > 1e-3:
        assert still_rising
    elif stop < -1e-3:
        assert left < stop - math.log(-math.expm1(stop)) + 1e-6


@given(
    seed=st.integers(0, 10_000),
    lam=st.floats(0.3, 8.0),
    plausible=st.sampled_from((0.0, 0.01, 0.1, 0.5, 1.0)),
)
@examples(25)
def test_a_softmax_student_settles_at_what_the_target_engine_draws_from(
    seed: int, lam: float, plausible: float
) -> None:
    """Every token weighted as the student draws it, natural gradient steps from the base."""
    rng = np.random.default_rng(seed)
    p, b = rng.dirichlet(np.full(9, 0.5), 2) * 0.999 + 0.001 / 9
    log_p, log_b = torch.log(torch.tensor(p)), torch.log(torch.tensor(b))
    likeliest = log_p.amax().expand(9)
    z = log_b.clone().requires_grad_()
    for _ in range(120):
        z.grad = None
        log_q = torch.log_softmax(z, -1)
        q = log_q.detach().exp()
        terms = token_terms(
            TokenLogprobs(log_q, log_p, log_b, log_q.detach(), likeliest),
            Objective(lam, None, plausible=plausible),
        )
        (terms.loss * q).sum().backward()
        with torch.no_grad():
            z -= 0.3 * z.grad / q
    settled = torch.log_softmax(z.detach(), -1).exp().numpy()
    expected = p * np.where(p >= plausible * p.max(), p / b, 1.0) ** (lam - 1)
    assert settled == pytest.approx(expected / expected.sum(), rel=1e-6, abs=1e-12)
    drawn = target_scores(log_p[None], log_b[None], lam, plausible)
    assert settled == pytest.approx(torch.softmax(drawn[0], -1).numpy(), rel=1e-4, abs=1e-7)


def test_the_cliff_needs_two_sides_and_gradients_that_stop() -> None:
    """With an upper clip alone, PPO's minimum or truncation the same student settles above λ* too."""
    p, b, c = 0.9, 0.5, 2.0
    lam = 1 + 1.2 * (float(lambda_star(p, b, c)) - 1)
    z = doubles(math.log(p / (1 - p)))
    for objective in (Objective(lam, c, "upper"), Objective(lam, c, "two", "differentiated")):
        free = z.clone().requires_grad_()
        log_p, log_b = (torch.log(doubles(x, 1 - x)) for x in (p, b))
        for _ in range(200):
            free.grad = None
            log_q = torch.cat([torch.nn.functional.logsigmoid(free), torch.nn.functional.logsigmoid(-free)])
            terms = token_terms(TokenLogprobs(log_q, log_p, log_b, log_p), objective)
            (terms.loss * doubles(p, 1 - p)).sum().backward()
            with torch.no_grad():
                free -= 0.2 * free.grad / (torch.sigmoid(free) * torch.sigmoid(-free))
        q = float(fixed_point(lam, p, b))
        assert float(free.detach()) == pytest.approx(math.log(q / (1 - q)), rel=1e-6)


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12), cut=st.integers(0, 12))
def test_weights_of_all_parts_of_a_step_add_up_to_one(lengths: list[int], cut: int) -> None:
    for aggregation in ("token", "sequence"):
        parts = [part for part in (lengths[:cut], lengths[cut:]) if part]
        whole = torch.cat([token_weights(part, aggregation, sum(lengths), len(lengths)) for part in parts])
        assert float(whole.double().sum()) == pytest.approx(1.0, abs=1e-5)


def test_aggregations_differ_as_they_should() -> None:
    assert token_weights([1, 3], "token", 4, 2).tolist() == [0.25] * 4
    assert token_weights([1, 3], "sequence", 4, 2).tolist() == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])


@pytest.mark.parametrize("gradient", ["detached", "differentiated", "truncated"])
def test_a_ratio_beyond_float32_gives_a_gradient_all_the_same(gradient: Any) -> None:
    """e^100 is infinite in float32, and 0 · ∞ is NaN; it is clipped like any other ratio outside."""

    def gradient_at(reference: float) -> Any:
        student = torch.tensor([-0.1], requires_grad=True)
        teacher, behind = torch.tensor([-0.05]), torch.tensor([reference])
        terms = token_terms(
            TokenLogprobs(student, teacher, behind, behind), Objective(1.0, 5.0, "two", gradient)
        )
        assert bool(terms.clipped)
        (found,) = torch.autograd.grad(terms.loss.sum(), student)
        return found

    assert torch.equal(gradient_at(-100.0), gradient_at(-20.0))
