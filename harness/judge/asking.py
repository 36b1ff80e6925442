"""The loop that sends questions: many at once, slower when the service refuses, never beyond the budget."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import HarnessError, Interrupted
from harness.judge.client import (
    MAYBE_CHARGED,
    RETRIED,
    FailureKind,
    JudgeClient,
    Question,
    Reply,
    RequestFailedError,
    empty_reply,
)
from harness.judge.cost import Budget, Price, Tokens, most_tokens
from harness.judge.in_thread import in_thread, interrupts
from harness.judge.plan import Ask, Plan
from harness.judge.store import Store
from harness.judge.throttle import Throttle

StopReason = Literal["requests", "cost", "interrupted", "refused", "unreachable", "useless", "fatal"]

_REJECTIONS_THAT_CONDEMN = 20
"""Rejections without a single answer after which the request itself must be wrong."""
_LOST_THAT_CONDEMN = 10
"""Questions lost in a row to a broken connection, or to failures that outlasted their retries."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that got no reply.

    Attributes:
        kind: what happened last.
        detail: one line for people.
    """

    kind: FailureKind
    detail: str


OnOutcome = Callable[[Ask, Reply | Failure], None]


@dataclass
class Asking:
    """Sends questions and hands back what came of each.

    Attributes:
        client: who sends; its methods block, so each request under way has a thread.
        store: ledger and answers.
        job: whose requests these are.
        plan: renders a question when its turn comes.
        budget: caps, with what earlier sessions used.
        price: None when the model's price isn't known.
        on_outcome: told of each question's outcome, from this thread.
        stopped: why it ended before everything was asked, None when it didn't.
    """

    client: JudgeClient
    store: Store
    job: str
    plan: Plan
    budget: Budget
    price: Price | None
    on_outcome: OnOutcome
    stopped: StopReason | None = None

    def __post_init__(self) -> None:
        config = self.plan.config
        self._attempts, self._retry = config.attempts, config.retry
        self._throttle = Throttle(config.concurrency)
        self._rng = random.Random(config.seed)
        self._detail = ""
        self._fatal: HarnessError | None = None
        self._began = 0.0
        self._answered = 0
        self._rejected = 0
        self._lost_in_a_row = 0

    def run(self, asks: Sequence[Ask]) -> None:
        """Ask everything, or as much as the budget and the service allow; then `stopped` says why.

        The first interrupt (Ctrl-C, SIGTERM) stops sending and waits for the answers under way, which are
        paid for; a second one doesn't wait.

        Raises:
            HarnessError: every request would fail: the key, the model's name, or the request itself.
            IncompleteError: the disk is full or gone.
            Interrupted: interrupted again while stopping.
        """
        self._began = time.monotonic()
        try:
            asyncio.run(self._ask_all(asks))
        except asyncio.CancelledError:
            raise Interrupted(
                "interrupted while waiting: the answers under way are lost; run the same command to go on"
            ) from None
        if self._fatal is not None:
            raise self._fatal

    def why_stopped(self) -> str:
        """One line on `stopped`: what happened and what to do."""
        again = "run the same command to go on"
        match self.stopped:
            case "requests":
                return "`max_requests=` is reached; raise it to go on"
            case "cost":
                return "the next request could cross `max_cost=`; raise it to go on"
            case "interrupted":
                return f"interrupted; {again}"
            case "refused":
                return f"the service keeps refusing ({self._detail}); {again} later, or check the quota"
            case "useless":
                return f"the service gives no answers ({self._detail}); {again}"
            case _:
                return f"the service can't be reached ({self._detail}); {again}"

    async def _ask_all(self, asks: Sequence[Ask]) -> None:
        # Made here: both belong to the running loop.
        self._stop = asyncio.Event()
        self._settled = asyncio.Condition()
        running: set[asyncio.Task[None]] = set()
        self._main = asyncio.current_task()
        with interrupts(self._interrupted):
            try:
                for ask in asks:
                    while len(running) >= self.plan.config.concurrency:
                        running = await self._one_of(running)
                    if self.stopped:
                        break
                    running.add(asyncio.create_task(self._ask(ask)))
                while running:
                    running = await self._one_of(running)
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def _one_of(self, running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        """Wait for one task to end; what it raised is raised here."""
        done, left = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return left

    async def _ask(self, ask: Ask) -> None:
        question = self.plan.question(ask.units[0])
        bound = most_tokens(question)
        for attempt in range(1, self._attempts + 1):
            if not await self._reserved(self._cost(bound)):
                return
            outcome, retry_after = await self._send(ask, question, bound)
            if isinstance(outcome, Reply):
                self._answered += 1
                self._lost_in_a_row = 0
                self.on_outcome(ask, outcome)
                return
            if outcome.kind == "fatal":
                self._condemn(f"{self.client.name}: {outcome.detail}; check the key and the model's name")
                return
            if outcome.kind in RETRIED and attempt < self._attempts:
                await self._rest(self._retry.pause(attempt, retry_after, self._rng))
                continue
            self._lost(ask, outcome)
            return

    async def _send(
        self, ask: Ask, question: Question, bound: Tokens
    ) -> tuple[Reply | Failure, float | None]:
        """One request: written down before it is sent and settled after."""
        number = self.store.send(self.job, ask.key, bound)
        try:
            reply = await in_thread(self.client.ask, question)
        except RequestFailedError as error:
            doubt = error.kind in MAYBE_CHARGED
            self.store.settle(number, "in_doubt" if doubt else "free")
            self._heed(error)
            await self._release(bound, bound if doubt else Tokens())
            return Failure(error.kind, error.detail), error.retry_after
        # A service that doesn't say what it charged may have charged the most.
        tokens, known = bound, False
        if reply.prompt_tokens is not None and reply.output_tokens is not None:
            tokens, known = Tokens(reply.prompt_tokens, reply.output_tokens), True
        nothing = empty_reply(reply)
        if nothing is not None:
            self.store.settle_empty(number, tokens if known else None)
            self._heed(nothing)
            await self._release(bound, tokens)
            return Failure(nothing.kind, nothing.detail), None
        self.store.settle_answered(
            number,
            ask.key,
            reply,
            tokens,
            rubric=self.plan.config.rubric.digest,
            model=question.model.name,
            mode=self.plan.mode,
            size=ask.size,
        )
        self._throttle.succeeded(time.monotonic())
        await self._release(bound, tokens)
        return reply, None

    def _cost(self, tokens: Tokens) -> float:
        """US dollars; 0 where the price isn't known, and then there is no cap on the cost."""
        return 0.0 if self.price is None else self.price.cost(tokens)

    def _heed(self, error: RequestFailedError) -> None:
        """Slow down when the service is too busy; stop when it has said nothing else for too long."""
        if error.kind not in RETRIED:
            return
        now = time.monotonic()
        if error.kind == "rate_limited" or error.retry_after is not None:
            self._throttle.refused(now, error.retry_after)
        since = self._throttle.last_success
        silent = now - (self._began if since is None else since)
        if silent > self._retry.patience or (error.retry_after or 0.0) > self._retry.patience:
            self._halt("refused", error.detail)

    def _lost(self, ask: Ask, failure: Failure) -> None:
        """A question that stays without a reply, in this session at least."""
        if failure.kind == "rejected":
            self._rejected += 1
            if not self._answered and self._rejected >= _REJECTIONS_THAT_CONDEMN:
                self._condemn(
                    f"the service rejected {self._rejected} requests and answered none ({failure.detail}); "
                    "check the rubric's model and its parameters"
                )
                return
        else:
            self._lost_in_a_row += 1
            if self._lost_in_a_row >= _LOST_THAT_CONDEMN:
                away = failure.kind in ("connection", "timeout")
                self._halt("unreachable" if away else "useless", failure.detail)
                return
        self.on_outcome(ask, failure)

    async def _reserved(self, bound: float) -> bool:
        """Wait for a place among the requests under way and in the budget; False when there will be none.

        A question that rests before its next attempt has no place meanwhile: others go on.
        """
        while True:
            await self._quiet()
            async with self._settled:
                if self.stopped:
                    return False
                if not self.budget.allows_request():
                    self._halt("requests", "")
                    return False
                affordable = self.budget.allows_cost(bound)
                if affordable and self.budget.in_flight < self._throttle.limit:
                    self.budget.reserve(bound)
                    return True
                if not self.budget.in_flight:
                    self._halt("cost", "")
                    return False
                # What is under way makes room when it settles: a place, and what it didn't cost of its bound.
                await self._settled.wait()

    async def _release(self, bound: Tokens, tokens: Tokens) -> None:
        async with self._settled:
            self.budget.settle(self._cost(bound), self._cost(tokens))
            self._settled.notify_all()

    async def _quiet(self) -> None:
        """Wait while the service wants to hear nothing at all."""
        while not self.stopped and (seconds := self._throttle.seconds_to_wait(time.monotonic())) > 0:
            await self._rest(seconds)

    async def _rest(self, seconds: float) -> None:
        """Do nothing for so long, or until the session ends."""
        try:
            await asyncio.wait_for(self._stop.wait(), timeout=seconds)
        except TimeoutError:
            return

    def _condemn(self, message: str) -> None:
        """Every further request would fail: send none, but wait for the answers under way."""
        self._fatal = self._fatal or HarnessError(message)
        self._halt("fatal", message)

    def _halt(self, reason: StopReason, detail: str) -> None:
        if self.stopped is None:
            self.stopped, self._detail = reason, detail
            self._stop.set()

    def _interrupted(self) -> None:
        if self.stopped is not None and self._main is not None:
            self._main.cancel()  # it is waiting for the last answers, and the user for the prompt
        self._halt("interrupted", "")
