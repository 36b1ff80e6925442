"""Correction for testing several hypotheses at once."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjusted p-values, in the order given; reject those ≤ alpha.

    Keeps the probability of any false rejection at alpha under every dependence. Holm, "A simple sequentially
    rejective multiple test procedure" (Scandinavian Journal of Statistics 6, 1979).

    In a gate where *every* rule must pass, "the gate passes" is an intersection-union test (Berger,
    Technometrics 24, 1982): each rule at alpha already keeps a false pass of the gate at alpha. It is the
    gate's *failing*, which one rule can cause, that needs the correction.

    Raises:
        ValueError: a p-value outside [0, 1] or not a number.
    """
    for p in p_values:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p-value {p!r} is outside [0, 1]")
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)
