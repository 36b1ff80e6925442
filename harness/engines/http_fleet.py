"""Requests to a fleet of equal HTTP servers: bounded, spread, retried, and given up in time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, IncompleteError
from harness.retrying import RetryPolicy, retry_after_seconds

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503
SERVER_ERROR = 500
MESSAGE_CHARACTERS = 300


@dataclass(slots=True)
class Server:
    """One server's state.

    Attributes:
        url: address without a trailing slash or `/v1`.
        in_flight: requests it is working on.
        failures: connection losses and refusals in a row.
        rests_until: on the monotonic clock; no requests before.
        last_used: larger for a server that was used later.
    """

    url: str
    in_flight: int = 0
    failures: int = 0
    rests_until: float = 0.0
    last_used: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt that may be made again.

    Attributes:
        cause: in words.
        of_request: whether the request waits before the next attempt, rather than the server.
    """

    cause: str
    of_request: bool


class Fleet:
    """Posts JSON to whichever server is least busy; belongs to one event loop."""

    def __init__(
        self,
        urls: Iterable[str],
        client: httpx.AsyncClient,
        policy: RetryPolicy,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take `client`, whose headers carry the credentials; `now` and `sleep` are the clock."""
        self._now = now
        self._sleep = sleep
        self._servers = [Server(url) for url in urls]
        self._client = client
        self._policy = policy
        self._random = random.Random(0)
        self._uses = 0
        self._last_success = now()

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to `body` from some server.

        Raises:
            HarnessError: a server refuses the request itself (4xx).
            IncompleteError: no server answered for as long as the policy allows.
        """
        attempts = 0
        first_failure: float | None = None
        while True:
            server = await self._least_busy(first_failure)
            outcome = await self._attempt(server, path, body)
            if not isinstance(outcome, Failure):
                return outcome
            attempts += 1
            first_failure = self._now() if first_failure is None else first_failure
            self._give_up_in_time(first_failure, outcome.cause)
            if outcome.of_request:
                await self._sleep(self._policy.pause(attempts, None, self._random))

    async def _attempt(self, server: Server, path: str, body: dict[str, Any]) -> dict[str, Any] | Failure:
        import httpx

        try:
            async with self._occupied(server):
                response = await self._client.post(f"{server.url}{path}", json=body)
        except httpx.TransportError as error:
            self._rest(server)
            return Failure(f"{type(error).__name__} from {server.url}", of_request=False)
        if response.is_success:
            server.failures = 0
            self._last_success = self._now()
            return _json_object(response, server.url)
        cause = f"HTTP {response.status_code} from {server.url}: {_message(response)}"
        if response.status_code in (TOO_MANY_REQUESTS, UNAVAILABLE):
            self._rest(server, retry_after_seconds(response.headers))
            return Failure(cause, of_request=False)
        if response.status_code >= SERVER_ERROR:
            # This request alone may be what the server chokes on: others go on meanwhile.
            return Failure(cause, of_request=True)
        raise HarnessError(f"a server refuses a request: {cause}")

    @asynccontextmanager
    async def _occupied(self, server: Server) -> AsyncIterator[None]:
        server.in_flight += 1
        self._uses += 1
        server.last_used = self._uses
        try:
            yield
        finally:
            server.in_flight -= 1

    async def _least_busy(self, first_failure: float | None) -> Server:
        """The server to use; waits while all rest."""
        while True:
            now = self._now()
            awake = [server for server in self._servers if server.rests_until <= now]
            if awake:
                return min(awake, key=lambda server: (server.in_flight, server.last_used))
            if first_failure is not None:
                self._give_up_in_time(first_failure, "all servers ask for a pause or are gone")
            await self._sleep(min(server.rests_until for server in self._servers) - now)

    def _give_up_in_time(self, first_failure: float, cause: str) -> None:
        """Give up once neither this request nor any other has got an answer for too long."""
        now = self._now()
        pause = max(0.0, min(server.rests_until for server in self._servers) - now)
        quiet = now - max(first_failure, self._last_success)
        if quiet + pause > self._policy.patience:
            raise IncompleteError(
                f"no server has answered for {quiet:.0f} s and the next try is {pause:.0f} s away "
                f"(last: {cause}); bring a server back and run the same command again to go on"
            )

    def _rest(self, server: Server, asked: float | None = None) -> None:
        now = self._now()
        # Requests that were in flight together fail together; that is one failure, not many.
        together = server.rests_until > now
        if together and asked is None:
            return
        server.failures += not together
        pause = self._policy.pause(server.failures, asked, self._random)
        server.rests_until = max(server.rests_until, now + pause)


def _json_object(response: httpx.Response, url: str) -> dict[str, Any]:
    try:
        value = response.json()
    except ValueError as error:
        raise HarnessError(
            f"{url} answers with something that isn't JSON; is it the right address?"
        ) from error
    if not isinstance(value, dict):
        raise HarnessError(f"{url} answers with JSON that isn't an object; is it the right address?")
    return value


def _message(response: httpx.Response) -> str:
    """What the server says is wrong, on one line."""
    try:
        value = response.json()
        inner = value.get("error", value)
        text = inner.get("message", inner) if isinstance(inner, dict) else inner
    except (ValueError, AttributeError):
        text = response.text
    line = " ".join(str(text).split())
    # Some servers repeat the key they were sent.
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    return (line.replace(key, "***") if key else line)[:MESSAGE_CHARACTERS]
