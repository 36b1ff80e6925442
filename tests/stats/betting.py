"""The test of a bounded mean written down once more, value by value."""

import math

import numpy as np


def p_above(values, bar, low=0.0, high=1.0):
    """p-value of "the mean of these single values is at most `bar`"."""
    mean = (bar - low) / (high - low)
    ratios = [(value - low) / (high - low) / mean for value in values]
    least = min(1.0, math.sqrt(6.0 * mean / ((1.0 - mean) * len(ratios))))
    stakes = np.geomspace(least, 1.0, 2 + math.ceil(0.5 * math.log2(len(ratios) + 1)))
    capital = sum(math.prod(1.0 + stake * (ratio - 1.0) for ratio in ratios) for stake in stakes)
    return min(1.0, len(stakes) / capital)
