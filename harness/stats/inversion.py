"""From a test to the limit of its interval."""

from __future__ import annotations

from collections.abc import Callable

_STEPS = 200
_FAR = 1e3
"""Heights beyond this are as good as infinite."""


def lower_limit(
    refuted: Callable[[float], float],
    inside: float,
    *,
    least: float = 0.0,
    near: float | None = None,
    width: float = 1e-10,
) -> float:
    """Largest value found to be refuted below the estimate: the method of Illinois within a bracket.

    The interval is at worst `width` longer than the test's, never shorter.

    Args:
        refuted: of a value: 0 or more where the test refutes it, continuous and falling as the value grows.
        inside: the estimate, which isn't refuted.
        least: the least value there is.
        near: a value on whose right side the limit must lie, as the test at that value says; None where there
            is none.
        width: of the bracket in which the limit is found.
    """
    out = least
    if inside <= least:
        return least
    if near is not None and least < near < inside:
        out, inside = (near, inside) if refuted(near) >= 0.0 else (least, near)
    height_out, height_in = min(refuted(out), _FAR), max(refuted(inside), -_FAR)
    if height_in >= 0.0:
        return inside  # the estimate itself, by rounding
    kept = 0
    for _ in range(_STEPS):
        if inside - out <= width:
            break
        share = height_out / (height_out - height_in)
        middle = out + (inside - out) * min(max(share, 0.01), 0.99)
        height = refuted(middle)
        # Where the same end is kept twice, its height is halved: the bracket shrinks from both sides.
        if height >= 0.0:
            out, height_out = middle, min(height, _FAR)
            height_in, kept = (0.5 * height_in if kept == 1 else height_in), 1
        else:
            inside, height_in = middle, max(height, -_FAR)
            height_out, kept = (0.5 * height_out if kept == -1 else height_out), -1
    return out
