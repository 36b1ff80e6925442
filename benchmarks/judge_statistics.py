"""How often the prediction-powered mean's interval holds the truth, and what its labels are worth.

Planted worlds of 200 judged tasks, of which some have people's labels of 1 to 5. Graded: the judge goes along
with people. Useless: it doesn't. Mostly best: nine tenths of all labels are 5, and nine in ten of the judge's
scores say which. Worlds in which no interval is given are counted apart.

Run: python benchmarks/judge_statistics.py [--worlds 1000]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from harness.stats.prediction_powered import prediction_powered_mean

FloatArray = npt.NDArray[np.float64]
World = Callable[[np.random.Generator, int], tuple[FloatArray, FloatArray]]
JUDGED = 200


def graded(rng: np.random.Generator, count: int) -> tuple[FloatArray, FloatArray]:
    """Labels and scores that both follow a quality."""
    quality = rng.standard_normal(count)
    labels = np.clip(np.round(3.0 + 1.2 * quality + 0.6 * rng.standard_normal(count)), 1.0, 5.0)
    return labels, 1.0 / (1.0 + np.exp(-(quality + 0.5 * rng.standard_normal(count))))


def useless(rng: np.random.Generator, count: int) -> tuple[FloatArray, FloatArray]:
    """Labels and scores that have nothing to do with each other."""
    return rng.integers(1, 6, count).astype(np.float64), rng.random(count)


def mostly_best(rng: np.random.Generator, count: int) -> tuple[FloatArray, FloatArray]:
    """Labels of 5 in nine tenths, and a judge that sees it nine times in ten."""
    best = rng.random(count) < 0.9
    seen = np.where(rng.random(count) < 0.9, best, ~best)
    return np.where(best, 5.0, rng.integers(1, 5, count)), 0.1 + 0.8 * seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--worlds", type=int, default=1000, help="of each kind")
    worlds = parser.parse_args().worlds
    heads = {"world": 14, "labelled": 9, "covered": 8, "too low": 8, "too high": 9, "worth": 6, "none": 5}
    print(" ".join(f"{head:>{width}}" for head, width in heads.items()))
    for world in (graded, useless, mostly_best):
        for labelled in (10, 20, 40, 80):
            print(_row(world, labelled, worlds))
    return 0


def _row(world: World, labelled: int, worlds: int) -> str:
    rng = np.random.default_rng(labelled)
    truth = float(world(rng, 1_000_000)[0].mean())
    given = below = above = 0
    worth = []
    for _ in range(worlds):
        labels, scores = world(rng, JUDGED)
        labels[labelled:] = np.nan
        found = prediction_powered_mean(labels, scores, np.arange(JUDGED))
        if found is None or found.low is None or found.high is None:
            continue
        given, below, above = given + 1, below + (found.high < truth), above + (found.low > truth)
        worth.append(found.worth or 0.0)
    if not given:
        return f"{world.__name__:>14} {labelled:>9} {'–':>8} {'–':>8} {'–':>9} {'–':>6} {worlds:>5}"
    covered = 1.0 - (below + above) / given
    return (
        f"{world.__name__:>14} {labelled:>9} {covered:>8.3f} {below / given:>8.3f} {above / given:>9.3f} "
        f"{np.median(worth):>6.0f} {worlds - given:>5}"
    )


if __name__ == "__main__":
    sys.exit(main())
