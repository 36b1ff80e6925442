"""How long a service asks to be left alone."""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


def retry_after_seconds(
    headers: Mapping[str, str], body: object, now: datetime | None = None
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
        except ValueError:
            return
        seconds = (moment - now).total_seconds() if moment.tzinfo else 0.0
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
