"""How many requests at once.

The limit follows DCTCP (Alizadeh et al., "Data center TCP (DCTCP)", SIGCOMM 2010, eqs. 1 and 2): once a
window of as many outcomes as the limit, it shrinks in proportion to the share that was refused, and grows by
a step for the share that was not. A service that refuses now and then costs little; one that refuses most
requests is left alone quickly. Halving at every refusal, as TCP does, would hold a service that refuses 10 %
at random to four requests at once. Until the first refusal the limit doubles each window.
"""

from __future__ import annotations

_GAIN = 0.5
"""Weight of the last window in the smoothed share; DCTCP's 1/16 is for windows of hundreds of packets."""
_STEP_SHARE = 0.1
"""A step is one request, or this share of a large limit; a large limit holds its level at 17 % refused."""
_REFUSALS_IN_A_ROW = 3


class Throttle:
    """Decides how many requests may be under way. Knows no clock: callers pass seconds of their own.

    Args:
        most: highest limit.
        start: first limit.
    """

    def __init__(self, most: int, start: int = 8) -> None:
        self._most = float(most)
        self._limit = float(min(start, most))
        self._smoothed = 0.0
        self._slow_start = True
        self._outcomes = 0
        self._refused = 0
        self._in_a_row = 0
        self._resume_at = 0.0
        self.last_success: float | None = None

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._limit)

    def seconds_to_wait(self, now: float) -> float:
        """Seconds for which nothing at all should be sent; 0 when it may."""
        return max(0.0, self._resume_at - now)

    def succeeded(self, now: float) -> None:
        """A request got through, whatever its answer is worth."""
        self._in_a_row = 0
        self.last_success = now
        self._count(refused=False)

    def refused(self, now: float, retry_after: float | None) -> None:
        """The service said that it is too busy.

        One refusal delays the request that met it, which keeps its place meanwhile. Several without a success
        in between speak for all requests: then nothing is sent before the time that was asked for.
        """
        self._in_a_row += 1
        if retry_after is not None and self._in_a_row >= _REFUSALS_IN_A_ROW:
            self._resume_at = max(self._resume_at, now + retry_after)
        self._slow_start = False
        self._count(refused=True)

    def _count(self, *, refused: bool) -> None:
        self._outcomes += 1
        self._refused += refused
        if self._outcomes < self._limit:
            return
        share = self._refused / self._outcomes
        self._smoothed += _GAIN * (share - self._smoothed)
        self._outcomes = self._refused = 0
        if self._slow_start:
            self._limit *= 2.0
        else:
            step = max(1.0, _STEP_SHARE * self._limit) * (1.0 - share)
            self._limit = self._limit * (1.0 - self._smoothed / 2.0) + step
        self._limit = min(self._most, max(1.0, self._limit))
