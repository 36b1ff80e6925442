"""Base-relative extrapolated advantage, importance ratio, clip: the objective on sampled tokens.

A = λ·log π_T − log π_S − (λ−1)·log π_B and r = π_S/π_reference, per token (Li et al., arXiv 2605.08737;
objective family of Yang et al., arXiv 2602.12125). Nothing is whitened: that would change what λ means.

Where extrapolation is masked, A = log π_T − log π_S + (λ−1)·1[π_T ≥ α·max π_T]·(log π_T − log π_B). It is
level at π ∝ π_T·(π_T/π_B)^((λ−1)·1[…]), which is what the engine `target` draws from with the same α: an
implausible token keeps the odds that the teacher gives it against every other implausible one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from harness.engines.target_draw import plausible_gain
from harness.opd.config import Aggregation, ClipSides, RatioGradient

# Beyond e^88 float32 overflows, and a gradient of 0 times infinity is NaN; no clip region reaches so far.
LARGEST_LOG_RATIO = 80.0


@dataclass(frozen=True, slots=True)
class Objective:
    """The choices of the loss.

    Attributes:
        lam: λ > 0.
        clip: c > 1, None for no clip.
        clip_sides: see `OPDConfig`.
        ratio_gradient: see `OPDConfig`.
        plausible: α in [0, 1]; 0 extrapolates everywhere.
    """

    lam: float
    clip: float | None
    clip_sides: ClipSides = "two"
    ratio_gradient: RatioGradient = "detached"
    plausible: float = 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Clip region of r."""
        if self.clip is None:
            return 0.0, math.inf
        return (1.0 / self.clip if self.clip_sides == "two" else 0.0), self.clip


@dataclass(frozen=True, slots=True, eq=False)
class TokenLogprobs:
    """Logprobs of N sampled completion tokens under each policy, float32 or wider.

    Attributes:
        student: [N] log π_S, with a gradient where there is one to take.
        teacher: [N] log π_T.
        base: [N] log π_B.
        reference: [N] log of the policy that π_S is divided by in the ratio.
        likeliest: [N] max log π_T where each token stands; needed only where extrapolation is masked.
    """

    student: torch.Tensor
    teacher: torch.Tensor
    base: torch.Tensor
    reference: torch.Tensor
    likeliest: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TokenTerms:
    """What each of the N tokens adds to the loss.

    Attributes:
        loss: [N] carries the gradient; its value is −clip(r)·A (`differentiated`: −min(r·A, clip(r)·A)).
        advantage: [N] A, detached.
        ratio: [N] r before clipping, detached.
        clipped: [N] whether r lies outside the clip region.
    """

    loss: torch.Tensor
    advantage: torch.Tensor
    ratio: torch.Tensor
    clipped: torch.Tensor


def advantage(logprobs: TokenLogprobs, lam: float, plausible: float = 0.0) -> torch.Tensor:
    """[N] A, detached.

    Grouped as (log π_T − log π_S) + (λ−1)·(log π_T − log π_B), which is the same number and exact where it
    must be: plain distillation at λ = 1, and 0 where all three policies agree.

    Args:
        logprobs: of the sampled tokens; with `likeliest` where `plausible` is above 0.
        lam: λ > 0.
        plausible: α, see `Objective`.
    """
    assert plausible == 0.0 or logprobs.likeliest is not None
    gain = plausible_gain(logprobs.teacher, logprobs.base, plausible, logprobs.likeliest)
    return (logprobs.teacher - logprobs.student.detach()) + (lam - 1.0) * gain


def token_terms(logprobs: TokenLogprobs, objective: Objective) -> TokenTerms:
    """Each token's share of the loss, before weights.

    The three kinds of gradient, with ∇ = ∇ log π_S: `detached` r·A·∇ inside the clip region and 0 outside,
    which is the derivative of clip(r)·A; `differentiated` the same, but 0 only where clipping lowers the
    objective (PPO: Schulman et al., arXiv 1707.06347); `truncated` clip(r)·A·∇ everywhere.
    """
    a = advantage(logprobs, objective.lam, objective.plausible)
    low, high = objective.bounds
    largest = math.inf if objective.clip is None else LARGEST_LOG_RATIO
    ratio = torch.exp((logprobs.student - logprobs.reference).clamp(max=largest))
    clipped = ratio.clamp(low, high)
    match objective.ratio_gradient:
        case "detached":
            gain = clipped * a
        case "differentiated":
            gain = torch.minimum(ratio * a, clipped * a)
        case "truncated":
            gain = clipped.detach() * a * (1.0 + logprobs.student - logprobs.student.detach())
    r = ratio.detach()
    return TokenTerms(-gain, a, r, (r < low) | (r > high))


def token_weights(lengths: list[int], aggregation: Aggregation, tokens: int, rollouts: int) -> torch.Tensor:
    """What every token counts, so that the weights of a whole step add up to 1.

    Args:
        lengths: completion tokens of each rollout at hand, in the order of the tokens.
        aggregation: `token` or `sequence`.
        tokens: completion tokens of the whole step, on all processes.
        rollouts: rollouts of the whole step.

    Returns:
        [sum of lengths] float32.
    """
    if aggregation == "token":
        return torch.full((sum(lengths),), 1.0 / tokens)
    each = torch.tensor([1.0 / (rollouts * length) for length in lengths])
    return each.repeat_interleave(torch.tensor(lengths))
