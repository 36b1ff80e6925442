"""When a failed request is sent again, and how long a service asks to be left alone.

On the ground floor because both adapters that speak HTTP (`engines` to servers, `judge` to Gemini) need the
same answer; knows no client library and no clock of its own.
"""

from __future__ import annotations

import email.utils
import math
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to pause after a failure, and for how long failures are put up with.

    Equal jitter as in Brooker, "Exponential backoff and jitter" (AWS Architecture Blog, 2015): requests that
    failed together come back apart, and none at once.

    Attributes:
        base: seconds that the first pause has at most; doubles with each further one.
        cap: seconds that any pause drawn by us has at most.
        patience: seconds without any success after which the work is given up; also the longest
            `Retry-After` that is waited for.
    """

    base: float = 1.0
    cap: float = 60.0
    patience: float = 300.0

    def pause(self, failures: int, retry_after: float | None, rng: random.Random) -> float:
        """Seconds before the next attempt.

        Args:
            failures: in a row, this one included, ≥ 1.
            retry_after: seconds the service asked for; never undercut.
            rng: source of the jitter.
        """
        full = min(self.cap, self.base * 2.0 ** min(failures - 1, 30))
        drawn = full * rng.uniform(0.5, 1.0)
        return drawn if retry_after is None else retry_after + min(drawn, self.base)


def retry_after_seconds(
    headers: Mapping[str, str], body: object = None, now: datetime | None = None
) -> float | None:
    """Seconds to wait by the `Retry-After` header (RFC 9110, 10.2.3) or a `google.rpc.RetryInfo` in the body.

    The longer one counts when both are there.

    Args:
        headers: of the response.
        body: its JSON, whatever it is.
        now: the present, for headers that give a date.

    Returns:
        A finite number ≥ 0, or None when the response doesn't say.
    """
    waits = [*_from_header(headers, now or datetime.now(UTC)), *_from_body(body)]
    return max(waits) if waits else None


def _from_header(headers: Mapping[str, str], now: datetime) -> Iterator[float]:
    value = next((headers[name] for name in headers if name.lower() == "retry-after"), None)
    if value is None:
        return
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return
        # A date in one of HTTP's older forms names no zone; all of them mean UTC (RFC 9110, 5.6.7).
        seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    if math.isfinite(seconds):
        yield max(0.0, seconds)


def _from_body(body: object) -> Iterator[float]:
    error = body.get("error", body) if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("@type") == _RETRY_INFO:
            match = _DURATION.fullmatch(str(detail.get("retryDelay", "")))
            if match:
                yield float(match[1])
