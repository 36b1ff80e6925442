"""How often an onset's interval holds the planted onset, by seeds, and how often rising collapse is doubted.

Planted worlds: a run collapses by a logistic curve over log λ, its onset at 1.6 or moved by its seed.
Coverage is that of the nominal 95 % interval of `harness sweep` (percentiles over resampled seeds). The level
of the check is by worlds whose collapse never falls with λ, runs independent, its power by worlds
where it does.

Run: python benchmarks/onset_calibration.py [--worlds 400]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from harness.stats.monotone import monotone_fit
from harness.stats.onset import estimate_onset, logistic_onset, resample_seeds
from harness.sweep.onsets import ENOUGH_SEEDS, LEAST_SEEDS, MISFIT_LEVEL

FloatArray = npt.NDArray[np.float64]
GRID = np.array([1.0, 1.1, 1.2, 1.4, 1.8, 2.6, 4.2])
ONSET = 1.6
DRAWS = 400
SEEDS = (1, 2, 3, 4, 5, 6, 8, 12, 16)
RISING = {
    "a tenth everywhere": [0.1] * 7,
    "a quarter everywhere": [0.25] * 7,
    "half everywhere": [0.5] * 7,
    "nine tenths everywhere": [0.9] * 7,
    "half, then all": [0.5] * 4 + [1.0] * 3,
    "a fifth, then four fifths": [0.2] * 3 + [0.8] * 4,
    "a slope": [0.02, 0.1, 0.2, 0.5, 0.8, 0.9, 0.98],
}
FALLING = {
    "a U, full at both ends": [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0],
    "in the middle alone": [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0],
    "at low λ alone": [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    "a U, nine tenths at both ends": [0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9],
    "a dip from full to half": [0.0, 0.0, 1.0, 1.0, 0.5, 1.0, 1.0],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--worlds", type=int, default=400, help="of each kind")
    worlds = parser.parse_args().worlds
    kinds: dict[str, Callable[[np.random.Generator, int], FloatArray]] = {
        "slope 6": lambda rng, seeds: _runs(rng, seeds, 6.0, 0.0),
        "slope 20": lambda rng, seeds: _runs(rng, seeds, 20.0, 0.0),
        "slope 20, seeds differ": lambda rng, seeds: _runs(rng, seeds, 20.0, 0.3),
    }
    error = 0.5 / math.sqrt(worlds)
    print(f"coverage of 95 % intervals, {worlds} worlds each (standard error up to {error:.3f})")
    print(f"{'seeds':>6}  " + "  ".join(f"{kind:>22}" for kind in kinds))
    for seeds in SEEDS:
        rows = [_coverage(world, seeds, worlds) for world in kinds.values()]
        word = "  none given" if seeds < LEAST_SEEDS else "  noted" if seeds < ENOUGH_SEEDS else ""
        print(f"{seeds:>6}  " + "  ".join(f"{row:>22.3f}" for row in rows) + word)
    print(f"arms flagged by the check of rising collapse, p ≤ {MISFIT_LEVEL}")
    for title, curves in (("collapse never falls", RISING), ("collapse falls", FALLING)):
        print(f"{title:>30}  " + "  ".join(f"{seeds:>2} seeds" for seeds in (3, 5, 8)))
        for name, curve in curves.items():
            shares = [_flagged(np.array(curve), seeds, worlds) for seeds in (3, 5, 8)]
            print(f"{name:>30}  " + "  ".join(f"{share:>8.3f}" for share in shares))
    return 0


def _runs(rng: np.random.Generator, seeds: int, slope: float, spread: float) -> FloatArray:
    """[seeds, λs] 1 where a run collapses; each seed's onset is moved by `spread` in log λ."""
    onset = math.log(ONSET) + spread * rng.standard_normal((seeds, 1))
    chance = 1.0 / (1.0 + np.exp(-slope * (np.log(GRID)[None, :] - onset)))
    collapsed: FloatArray = (rng.random(chance.shape) < chance).astype(np.float64)
    return collapsed


def _coverage(world: Callable[[np.random.Generator, int], FloatArray], seeds: int, worlds: int) -> float:
    rng, covered = np.random.default_rng(seeds), 0
    resamples = resample_seeds(seeds, DRAWS, 0)
    for _ in range(worlds):
        onset = estimate_onset(GRID, world(rng, seeds), logistic_onset, resamples, method="logistic")
        covered += onset.low <= ONSET <= (math.inf if onset.high is None else onset.high)
    return covered / worlds


def _flagged(curve: FloatArray, seeds: int, worlds: int) -> float:
    rng = np.random.default_rng(seeds)
    trials = np.full(len(curve), seeds)
    found = (monotone_fit(rng.binomial(seeds, curve), trials, draws=DRAWS) for _ in range(worlds))
    return sum(fit.p_value <= MISFIT_LEVEL for fit in found) / worlds


if __name__ == "__main__":
    sys.exit(main())
