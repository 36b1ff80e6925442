"""Requests to a fleet of equal HTTP servers: bounded, spread, retried, and given up in time.

Whatever a server sends that can't be used is a fault of the server at first: the request is sent again. What
fails again and again while others are answered is the request's own fault, and set aside. Where nothing else
is under way to tell one from the other, a small request of the same kind is sent to find out.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from harness.engines.http_exchange import REPLY_BYTES, ReplyError, exchange, json_object, said_in, shown
from harness.errors import HarnessError, IncompleteError, RefusedError
from harness.retrying import RetryPolicy, retry_after_seconds

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")

THROTTLED = frozenset({429, 503, 529})
"""The server is asked for too much; it rests for as long as it says."""
OF_ALL = frozenset({401, 402, 403, 404, 405, 407, 410})
"""Words about the key, the account or the address, and seldom about one request."""
OF_ONE = frozenset({400, 411, 413, 414, 415, 422, 431})
"""A request that is too long, or not as the server wants it: sent again, it would be refused again."""
TRIES = 6
OWN_TRIES = 2
"""Of these, how many must fail while others are answered: one may be from before a server came back."""
SMALL_TRIES = 2
"""Of a small request: at a server in order it may meet with a passing fault."""
A_DAY = 86_400.0
"""Seconds."""


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
        status: of the reply; None where there is none, or one that can't be used though it says success.
    """

    cause: str
    of_request: bool
    status: int | None = None

    @property
    def lost(self) -> bool:
        """Whether no reply came at all."""
        return self.status is None and not self.of_request

    @property
    def refuses(self) -> bool:
        """Whether another attempt would bring the same."""
        return self.status in OF_ALL or self.status in OF_ONE


class SetAsideError(IncompleteError):
    """A request that fails though others are answered. Exit code 3.

    Attributes:
        cause: what came of its last attempt.
    """

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(
            f"a request fails though others are answered (last: {cause}); run the same command again to go on"
        )


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """What is asked for, and how its answer is read.

    Attributes:
        path: on the server, from `/`.
        body: sent as JSON.
        read: raises `ReplyError` for an answer that it can't use; it is asked for again then.
        small: a request of the same kind that a server in order answers; None where there is none.
        amended: the body as the server wants it, from what it says when it refuses one; None where that says
            nothing new.
        most: bytes that the answer may have.
    """

    path: str
    body: dict[str, Any]
    read: Callable[[dict[str, Any]], Result]
    small: Call[Any] | None = None
    amended: Callable[[dict[str, Any], str], dict[str, Any] | None] = lambda body, said: None
    most: int = REPLY_BYTES


class Fleet:
    """Posts JSON to whichever server is least busy; belongs to one event loop."""

    def __init__(
        self,
        urls: Iterable[str],
        client: httpx.AsyncClient,
        policy: RetryPolicy,
        request_seconds: float,
        tries: int = TRIES,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take `client`, whose headers carry the credentials.

        Args:
            urls: of the servers, without a trailing slash or `/v1`.
            client: without a time limit of its own but for connecting.
            policy: of pauses and giving up.
            request_seconds: from sending a request to the last byte of its reply, > 0.
            tries: of one request while others are answered, ≥ 1.
            now: the clock of pauses, in seconds.
            sleep: waits on that clock.
        """
        self._now = now
        self._sleep = sleep
        self._servers = [Server(url) for url in urls]
        self._client = client
        self._policy = policy
        self._request_seconds = request_seconds
        self._tries = tries
        self._random = random.Random(0)
        self._uses = 0
        self._answers = 0
        self._last_success = now()
        self._asking = asyncio.Lock()
        self._small_asked = 0
        self._small_answered = False

    async def post(self, call: Call[Result]) -> Result:
        """What is made of the answer to a call from some server.

        Raises:
            SetAsideError: this one fails though others are answered.
            RefusedError: servers refuse whatever they are asked.
            IncompleteError: no server gave a usable answer for as long as the policy allows.
        """
        tries = own = 0
        tried: set[str] = set()
        cause = ""
        enough = min(OWN_TRIES, self._tries)
        seen, confirmed = self._answers, False
        first_failure: float | None = None
        while True:
            try:
                server = await self._least_busy(first_failure, cause, tried)
            except IncompleteError:
                # Others may be answered while this one alone is put off.
                if confirmed or not await self._answers_small(call, at_once=True):
                    raise
                own, confirmed = enough - 1, True
                continue
            tried.add(server.url)
            outcome = await self._attempt(server, call)
            if not isinstance(outcome, Failure):
                return outcome
            if (amended := self._amended(call, outcome)) is not None:
                call = amended
                continue
            others, seen = self._answers > seen, self._answers
            if outcome.refuses and any(one.url not in tried for one in self._awake()):
                continue
            if outcome.refuses:
                raise await self._refused(call, outcome, others)
            tries, cause = tries + 1, outcome.cause
            if len(tried) == len(self._servers):
                tried = {server.url}
            throttled = outcome.status in THROTTLED
            # Asked for a pause, whoever comes late fails while others are answered: that isn't its own fault.
            own += others and (confirmed or not throttled)
            if own >= enough and (confirmed or tries >= self._tries):
                raise SetAsideError(outcome.cause)
            first_failure = self._now() if first_failure is None else first_failure
            given_up = self._given_up(first_failure, outcome.cause)
            doubtful = tries >= self._tries and not others and not throttled
            if (given_up or doubtful) and await self._answers_small(call, at_once=given_up is not None):
                # Sent once more: whatever it was may be over by now.
                own, confirmed = enough - 1, True
            elif given_up:
                raise given_up
            elif outcome.of_request:
                await self._sleep(self._policy.pause(tries, None, self._random))

    @staticmethod
    def _amended(call: Call[Result], failure: Failure) -> Call[Result] | None:
        body = call.amended(call.body, failure.cause) if failure.status in OF_ONE else None
        return None if body is None else replace(call, body=body)

    async def _refused(self, call: Call[Result], failure: Failure, others: bool) -> HarnessError:
        """The error for a request that is refused; `others` are answered meanwhile, or not."""
        if (others and failure.status in OF_ONE) or await self._answers_small(call):
            return SetAsideError(failure.cause)
        return RefusedError(f"a server refuses a request: {failure.cause}")

    async def _answers_small(self, call: Call[Result], *, at_once: bool = False) -> bool:
        """Whether a small request is answered; those who want to know at the same time are told together."""
        if call.small is None:
            return False
        asked = self._small_asked
        async with self._asking:
            if asked == self._small_asked:
                self._small_answered = await self._ask(call.small, at_once)
                self._small_asked += 1
        return self._small_answered

    async def _ask(self, call: Call[Result], at_once: bool) -> bool:
        """Whether a request is answered; `at_once`, at the end of all patience, no pause is made for it."""
        latest = self._now() + self._policy.patience
        tried: set[str] = set()
        most = max(SMALL_TRIES, len(self._servers))
        for tries in range(1, most + 1):
            soonest = min(self._servers, key=lambda server: server.rests_until)
            if soonest.rests_until > latest:
                return False
            server = soonest if at_once else await self._least_busy(tried=tried)
            tried.add(server.url)
            outcome = await self._attempt(server, call)
            if not isinstance(outcome, Failure):
                return True
            if (amended := self._amended(call, outcome)) is not None:
                return await self._ask(amended, at_once)
            if at_once and outcome.lost and tries < SMALL_TRIES:
                continue  # The server may have closed a connection that was kept.
            pause = self._policy.pause(tries, None, self._random)
            refused = outcome.refuses and len(tried) == len(self._servers)
            if at_once or refused or tries == most or self._now() + pause > latest:
                return False
            await self._sleep(pause)
        return False

    async def _attempt(self, server: Server, call: Call[Result]) -> Result | Failure:
        import httpx

        try:
            async with self._occupied(server):
                url = f"{server.url}{call.path}"
                reply = await exchange(self._client, "POST", url, call.body, self._request_seconds, call.most)
        except httpx.TransportError as error:
            self._rest(server)
            return Failure(
                f"{type(error).__name__} from {server.url}: {self._shown(error)}", of_request=False
            )
        except (httpx.RequestError, ReplyError) as error:
            return Failure(f"{server.url} sends what can't be read: {self._shown(error)}", of_request=True)
        said = f"HTTP {reply.status} from {server.url}"
        if reply.is_success:
            try:
                result = call.read(json_object(reply.content))
            except ReplyError as error:
                return Failure(f"{said}, {error}: {self._shown(said_in(reply.content))}", of_request=True)
            server.failures = 0
            self._answers += 1
            self._last_success = self._now()
            return result
        cause = f"{said}: {self._shown(said_in(reply.content))}"
        if reply.status in THROTTLED:
            self._rest(server, retry_after_seconds(reply.headers))
            return Failure(cause, of_request=False, status=reply.status)
        # This request alone may be what the server chokes on: others go on meanwhile.
        return Failure(cause, of_request=True, status=reply.status)

    def _shown(self, words: object) -> str:
        """The only way from what a server says into a message."""
        return shown(words, self._client.headers.get("authorization", "").removeprefix("Bearer "))

    @asynccontextmanager
    async def _occupied(self, server: Server) -> AsyncIterator[None]:
        server.in_flight += 1
        self._uses += 1
        server.last_used = self._uses
        try:
            yield
        finally:
            server.in_flight -= 1

    async def _least_busy(
        self, first_failure: float | None = None, cause: str = "", tried: Collection[str] = ()
    ) -> Server:
        """The server to use, rather one that isn't among those tried.

        Waits while all rest, unless that is longer than `cause` is put up with.
        """
        while True:
            now = self._now()
            if awake := self._awake():
                # One that fails at everything is never busy.
                return min(awake, key=lambda one: (one.url in tried, one.in_flight, one.last_used))
            if first_failure is not None:
                given_up = self._given_up(first_failure, cause)
                if given_up is not None:
                    raise given_up
            await self._sleep(min(server.rests_until for server in self._servers) - now)

    def _awake(self) -> list[Server]:
        now = self._now()
        return [server for server in self._servers if server.rests_until <= now]

    def _given_up(self, first_failure: float, cause: str) -> IncompleteError | None:
        """The error once neither this request nor any other has got an answer for too long."""
        now = self._now()
        pause = max(0.0, min(server.rests_until for server in self._servers) - now)
        quiet = now - max(first_failure, self._last_success)
        if quiet + pause <= self._policy.patience:
            return None
        return IncompleteError(
            f"no server has answered usably for {quiet:.0f} s and the next try is {_span(pause)} away "
            f"(last: {cause}); see to the servers and run the same command again to go on"
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


def _span(seconds: float) -> str:
    """A time as people read it; servers may ask for any number of years."""
    return f"{seconds:.0f} s" if seconds < A_DAY else "more than a day"
