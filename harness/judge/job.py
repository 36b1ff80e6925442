"""`judge(config)`: from a complete run to scores with their exposure, resumable at any moment."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from harness.errors import EngineUnavailableError, HarnessError, IncompleteError, Interrupted
from harness.judge.answer import PASSING, PERHAPS_PAID, UnscoredReason
from harness.judge.asking import Asking, Failure
from harness.judge.client import JudgeClient, Reply, RequestFailedError, empty_reply
from harness.judge.config import JudgeConfig, JudgeProgress, OnJudgeProgress, ignore
from harness.judge.cost import Budget, Price, price_of
from harness.judge.forecast import Forecast, forecast
from harness.judge.key import KEY_VARIABLES, ApiKey, key_from_environment
from harness.judge.labels import read_labels
from harness.judge.libraries import installed_clients, open_client
from harness.judge.metrics import drop_rubric_metrics, merge_rubric_metrics
from harness.judge.plan import Ask, Plan, sample_keys
from harness.judge.recording import Recorder
from harness.judge.records import HumanLabel, JudgeLog, Record, RubricUse, read_records
from harness.judge.store import Spent, Store
from harness.runs import Run, RunDirectory, load


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """A finished judging.

    Attributes:
        run: the run with its new metrics.
        spent: requests and tokens for this run and rubric, over all sessions.
        cost: US dollars of what was answered, None when the price isn't known.
        in_doubt_cost: the most that requests in doubt can have cost on top; None likewise.
        judgements: there are now, with and without a score.
        unscored: of them, those without, by the reason.
        from_cache: of those added now, the ones that needed no request.
    """

    run: Run
    spent: Spent
    cost: float | None
    in_doubt_cost: float | None
    judgements: int
    unscored: Mapping[UnscoredReason, int]
    from_cache: int

    @property
    def open(self) -> int:
        """Judgements without a score that asking again may give: the reason says nothing about the sample."""
        return sum(count for reason, count in self.unscored.items() if reason in PASSING | PERHAPS_PAID)


def judge(config: JudgeConfig, on_progress: OnJudgeProgress = ignore) -> JudgeResult:
    """Judge a run, or go on where an earlier judging stopped.

    What an interruption costs: no question whose answer reached the store is ever sent again. Requests
    under way when a session is killed may have been charged; there are at most `config.concurrency` of them,
    and they count towards the caps at the most they can have cost. Their questions stay unscored, `in_doubt`,
    so that nothing is charged twice, unless `config.ask_again`. Ctrl-C and SIGTERM leave none in doubt.

    Raises:
        HarnessError: nothing can be judged, and the message says why (exit code 2).
        IncompleteError: it stopped half-way: a cap, a service that doesn't answer. What was judged is kept
            and in the metrics; the same call goes on (exit code 3).
        Interrupted: likewise, by Ctrl-C or SIGTERM.
    """
    on_progress(JudgeProgress("reading the run"))
    plan = Plan(config)
    with RunDirectory(config.run) as directory, Store(config.store) as store, JudgeLog(config.run) as log:
        records = list(read_records(config.run))
        labels = (
            {} if config.labels is None else read_labels(config.labels, sample_keys(plan.run.iter_samples()))
        )
        drop_rubric_metrics(directory)
        job = _begin(log, records, config)
        for sample, score in labels.items():
            log.hold(HumanLabel(config.rubric.name, sample, score))
        judging = _Judging(plan, store, log, job, on_progress)
        try:
            stopped = judging.run(records)
        finally:
            # After an error too: what was paid for counts.
            on_progress(replace(judging.progress("computing metrics"), resumed=judging.done))
            merge_rubric_metrics(directory)
        if stopped is not None:
            kind = Interrupted if judging.interrupted else IncompleteError
            raise kind(f"{judging.done} of {len(plan.units)} judgements; {stopped}")
        spent, price = store.spent(job), _price(config)
        return JudgeResult(
            run=load(config.run),
            spent=spent,
            cost=None if price is None else price.cost(spent.tokens),
            in_doubt_cost=None if price is None else price.cost(spent.in_doubt_tokens),
            judgements=judging.done,
            unscored=dict(judging.unscored),
            from_cache=judging.from_cache,
        )


def forecast_judging(config: JudgeConfig) -> Forecast:
    """What `judge` would take now. Sends nothing that is charged, and writes nothing into the run.

    With a key and a library at hand, the service counts the tokens of some prompts.

    Raises:
        HarnessError: the run can't be judged, or the service refused to count.
    """
    plan = Plan(config)
    with Store(config.store) as store:
        units, _ = plan.open_units(read_records(config.run))
        asks = plan.asks(unit for unit in units if not unit.needs_no_judge)
        asks = [ask for ask in asks if not _is_answered(store.answer(ask.key), config)]
        usage = store.usage(config.rubric.digest, config.rubric.model.name, plan.mode)
    key = key_from_environment()
    opened = _opened(config, key) if key is not None and installed_clients() else nullcontext()
    with opened as client:
        try:
            return forecast(plan, asks, usage=usage, price=_price(config), client=client)
        except RequestFailedError as error:
            raise HarnessError(
                f"{error.detail}; without a key the forecast goes by a rule of thumb"
            ) from None


class _Judging:
    """One session: what is open, what the store answers, what has to be asked."""

    def __init__(
        self, plan: Plan, store: Store, log: JudgeLog, job: str, on_progress: OnJudgeProgress
    ) -> None:
        self._plan = plan
        self._store = store
        self._log = log
        self._recorder = Recorder(plan, log)
        self._job = job
        self._on_progress = on_progress
        self._price = _price(plan.config)
        self._budget = Budget(None, None)
        self._resumed = 0
        self.unscored: Counter[UnscoredReason] = Counter()
        self.done = 0
        self.from_cache = 0
        self.interrupted = False

    def run(self, records: Sequence[Record]) -> str | None:
        """Judge what is open; returns why it stopped early, None when everything is judged."""
        units, self.unscored = self._plan.open_units(records)
        self.done = len(self._plan.units) - len(units)
        for unit in units:
            if unit.needs_no_judge:
                self._recorder.write(unit, None, cached=True)
                self.done += 1
        self._recorder.client = "cache"
        lost = self._store.settle_lost(self._job)
        asks = [
            ask
            for ask in self._plan.asks(unit for unit in units if not unit.needs_no_judge)
            if not (self._answered_before(ask) or self._left_in_doubt(ask, lost))
        ]
        self._resumed = self.done
        self._budget = self._open_budget()
        self._on_progress(self.progress())
        if asks:
            return self._ask(asks)
        self._log.release()
        return None

    def progress(self, stage: str = "judging") -> JudgeProgress:
        """Where the session stands."""
        return JudgeProgress(
            stage=stage,
            done=self.done,
            total=len(self._plan.units),
            resumed=self._resumed,
            unscored=self.unscored.total(),
            cost=None if self._price is None else self._budget.spent,
            in_flight=self._budget.in_flight,
        )

    def _ask(self, asks: Sequence[Ask]) -> str | None:
        config = self._plan.config
        if self._price is None and config.max_cost is not None:
            raise HarnessError(
                f"the price of {config.rubric.model.name} isn't known, so `max_cost=` can't be kept; "
                "give it as `price=INPUT OUTPUT`, in US dollars per million tokens"
            )
        with _opened(config, _required_key(len(asks))) as client:
            self._recorder.client = f"{client.name} {client.version}"
            # The job's name stands in the log before the first request under that name is sent.
            self._log.release()
            asking = Asking(
                client, self._store, self._job, self._plan, self._budget, self._price, self._outcome
            )
            asking.run(asks)
        self.interrupted = asking.stopped == "interrupted"
        return asking.why_stopped() if asking.stopped else None

    def _answered_before(self, ask: Ask) -> bool:
        reply = self._store.answer(ask.key)
        if reply is None or not _is_answered(reply, self._plan.config):
            return False
        nothing = empty_reply(reply)
        self._write(ask, reply if nothing is None else Failure("empty", nothing.detail), cached=True)
        self.from_cache += len(ask.units)
        return True

    def _left_in_doubt(self, ask: Ask, lost: set[str]) -> bool:
        """Whether a killed session may have paid for a question that isn't to be asked again."""
        if ask.key not in lost or self._plan.config.ask_again:
            return False
        self._write(ask, Failure("in_doubt", "under way when a session was killed"), cached=True)
        return True

    def _outcome(self, ask: Ask, outcome: Reply | Failure) -> None:
        self._write(ask, outcome, cached=False)
        self._on_progress(self.progress())

    def _write(self, ask: Ask, outcome: Reply | Failure, *, cached: bool) -> None:
        for position, unit in enumerate(ask.units):
            # One answer for several samples was paid for once.
            shared = position > 0 and isinstance(outcome, Reply)
            reason = self._recorder.write(unit, outcome, cached=cached or shared)
            self.done += 1
            if reason is not None:
                self.unscored[reason] += 1

    def _open_budget(self) -> Budget:
        spent = self._store.spent(self._job)
        config, tokens = self._plan.config, spent.tokens + spent.in_doubt_tokens
        return Budget(
            config.max_requests,
            config.max_cost,
            requests=spent.requests,
            spent=0.0 if self._price is None else self._price.cost(tokens),
        )


def _is_answered(reply: Reply | None, config: JudgeConfig) -> bool:
    """Whether a stored reply settles its question; empty ones, which once were kept, unless asked again."""
    return reply is not None and not (config.ask_again and empty_reply(reply) is not None)


def _begin(log: JudgeLog, records: Sequence[Record], config: JudgeConfig) -> str:
    """Hold a note of which rubric is used from here on, unless it is in use; returns the job's identity."""
    uses = [record for record in records if isinstance(record, RubricUse)]
    known = {use.digest: use.job for use in uses}
    digest, name = config.rubric.digest, config.rubric.name
    job = known.get(digest) or uuid.uuid4().hex
    latest = next((use.digest for use in reversed(uses) if use.rubric.get("name") == name), None)
    if latest != digest:
        log.hold(RubricUse(digest, job, config.rubric.model_dump(mode="json")))
    return job


def _price(config: JudgeConfig) -> Price | None:
    return config.price or price_of(config.rubric.model.name, datetime.now(UTC).date())


def _required_key(requests: int) -> ApiKey:
    key = key_from_environment()
    if key is None:
        raise EngineUnavailableError(
            f"{requests} questions have to be asked and there is no key; set {' or '.join(KEY_VARIABLES)}"
        )
    return key


@contextmanager
def _opened(config: JudgeConfig, key: ApiKey) -> Iterator[JudgeClient]:
    client = open_client(
        config.client,
        key,
        config.rubric.model,
        endpoint=config.endpoint,
        timeout=config.timeout,
        connections=config.concurrency,
    )
    try:
        yield client
    finally:
        client.close()
