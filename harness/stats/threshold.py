"""Fixed-sample test of a rate against a bar."""

from __future__ import annotations

from harness.stats.decision import Decision, Sense, check_alpha, decide
from harness.stats.distributions import beta_cdf, beta_quantile
from harness.stats.estimate import Estimate
from harness.stats.intervals import check_counts

METHOD = "clopper-pearson"


def rate_against_bar(
    successes: int, n: int, bar: float, *, sense: Sense = ">=", alpha: float = 0.05
) -> Decision:
    """Exact binomial test of a rate against a bar: its errors never exceed alpha.

    Args:
        successes: how many of the n, 0 ≤ successes ≤ n.
        n: independent observations; 0 is undecided.
        bar: in [0, 1].
        sense: whether passing means rate ≥ bar or rate ≤ bar.
        alpha: level of each of the two one-sided tests, see `Decision`.

    Raises:
        ValueError: not counts, or bar or alpha out of range.
    """
    successes, n = check_counts(successes, n)
    check_alpha(alpha)
    if not 0.0 <= bar <= 1.0:
        raise ValueError(f"bar is {bar!r}; a rate's bar must lie in [0, 1]")
    if n == 0:
        return Decision("undecided", 1.0, 1.0, Estimate(0, None, None, None, METHOD), alpha)
    failures = n - successes
    # P(X ≥ successes) and P(X ≤ successes) at the bar; each is certain when nothing can be more extreme.
    reach = beta_cdf(bar, successes, failures + 1.0) if successes > 0 else 1.0
    stay = beta_cdf(1.0 - bar, failures, successes + 1.0) if failures > 0 else 1.0
    low = beta_quantile(alpha, successes, failures + 1.0) if successes > 0 else 0.0
    high = 1.0 - beta_quantile(alpha, failures, successes + 1.0) if failures > 0 else 1.0
    # A rate can't be below 0 or above 1, so those requirements hold without data.
    at_least = 0.0 if bar == 0.0 else reach
    at_most = 0.0 if bar == 1.0 else stay
    p_pass, p_fail = (at_least, stay) if sense == ">=" else (at_most, reach)
    estimate = Estimate(n, successes / n, low, high, METHOD)
    return Decision(decide(p_pass, p_fail, alpha), p_pass, p_fail, estimate, alpha)
