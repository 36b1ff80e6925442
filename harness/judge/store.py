"""The sqlite file behind judging: answers that were paid for, and a ledger of every request sent.

The order of writes is what makes a killed session safe to resume:

1. Before a request is sent, a row with state `sent` and the most tokens it can take is committed.
2. When its reply is there, the answer and the row's new state are committed together.

So an answer that reached this process and was committed is never asked for again, and a request that was sent
is never forgotten. What remains open after a SIGKILL are the rows still `sent`: at most as many as there
were requests under way. Whether the service charged for them can't be known (the API takes no idempotency
key). The next session marks them `lost`: they count towards the caps at the most they can have taken, and
their questions are not asked again unless the user says so. After a power cut, more than that can be lost:
sqlite's WAL with `synchronous = NORMAL` survives the death of the process, not always that of the machine.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from harness.errors import HarnessError, IncompleteError
from harness.judge.client import Reply
from harness.judge.cost import Tokens

Outcome = Literal["free", "in_doubt"]
"""`free`: refused or failed before any work was done; `in_doubt`: perhaps done, perhaps charged."""

_OPEN = ("in_doubt", "lost", "sent")
"""States in which it isn't known whether the service charged."""
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    rubric TEXT NOT NULL,
    model TEXT NOT NULL,
    mode TEXT NOT NULL,
    text TEXT,
    finish TEXT NOT NULL,
    blocked TEXT,
    prompt_tokens INTEGER,
    output_tokens INTEGER,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_of ON answers (rubric, model, mode);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY,
    job TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS requests_of ON requests (job, state);
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a job's requests came to, over all its sessions.

    Attributes:
        requests: sent in all.
        tokens: of answered requests.
        in_doubt: requests of which it isn't known whether they were charged.
        in_doubt_tokens: the most that these can have taken.
    """

    requests: int
    tokens: Tokens
    in_doubt: int
    in_doubt_tokens: Tokens


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of earlier answers to the same rubric by the same model.

    Attributes:
        answers: how many.
        tokens_per_byte: of their questions.
        output_tokens: mean of their answers.
    """

    answers: int
    tokens_per_byte: float
    output_tokens: float


def default_store() -> Path:
    """`$XDG_CACHE_HOME/harness/judge.sqlite`, shared by all runs of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "harness" / "judge.sqlite"


class Store:
    """Answers and ledger. One thread at a time; several processes may have the same file open.

    Args:
        path: the file, made when absent.

    Raises:
        HarnessError: it can't be opened, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=30.0, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _SCHEMA_VERSION):
                raise HarnessError(
                    f"{path} was written by another version of harness; choose another `store=`"
                )
            self._database.executescript(_SCHEMA)
            self._database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        except (OSError, sqlite3.Error) as error:
            # The lowest byte of SQLite's codes says what kind of error it is.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise IncompleteError(
                    f"can't write to {path} ({error}); make room and run the same command to go on"
                ) from error
            raise HarnessError(
                f"{path} can't be used as a cache ({error}); choose another `store=`"
            ) from error

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def answer(self, key: str) -> Reply | None:
        """The stored answer to a question, None when it wasn't answered yet."""
        with self._errors():
            row = self._database.execute(
                "SELECT text, finish, blocked, prompt_tokens, output_tokens FROM answers WHERE key = ?",
                (key,),
            ).fetchone()
        return None if row is None else Reply(*row)

    def usage(self, rubric: str, model: str, mode: str) -> Usage | None:
        """Tokens of earlier answers, None when there are none that say.

        Args:
            rubric: digest of the rubric.
            model: name of the judge.
            mode: `ranking` or `pair`.
        """
        with self._errors():
            count, prompt, output, size = self._database.execute(
                "SELECT count(*), sum(prompt_tokens), sum(output_tokens), sum(bytes) FROM answers "
                "WHERE rubric = ? AND model = ? AND mode = ? "
                "AND prompt_tokens IS NOT NULL AND output_tokens IS NOT NULL",
                (rubric, model, mode),
            ).fetchone()
        return Usage(count, prompt / size, output / count) if count else None

    def settle_lost(self, job: str) -> set[str]:
        """Mark requests that a dead session left under way as lost; the caller holds the run's lock.

        Returns:
            Keys of all questions of this job that were ever lost that way.
        """
        with self._errors():
            self._database.execute(
                "UPDATE requests SET state = 'lost' WHERE job = ? AND state = 'sent'", (job,)
            )
            rows = self._database.execute(
                "SELECT DISTINCT key FROM requests WHERE job = ? AND state = 'lost'", (job,)
            ).fetchall()
        return {key for (key,) in rows}

    def spent(self, job: str) -> Spent:
        """What a job's requests came to so far, those under way included as in doubt."""
        with self._errors():
            rows = self._database.execute(
                "SELECT state, count(*), sum(prompt_tokens), sum(output_tokens) FROM requests "
                "WHERE job = ? GROUP BY state",
                (job,),
            ).fetchall()
        count = {state: number for state, number, *_ in rows}
        tokens = {state: Tokens(prompt, output) for state, _, prompt, output in rows}
        return Spent(
            requests=sum(count.values()),
            tokens=tokens.get("answered", Tokens()),
            in_doubt=sum(count.get(state, 0) for state in _OPEN),
            in_doubt_tokens=sum((tokens.get(state, Tokens()) for state in _OPEN), Tokens()),
        )

    def send(self, job: str, key: str, bound: Tokens) -> int:
        """Record a request that is about to be sent.

        Args:
            job: whose request it is.
            key: of the question.
            bound: the most tokens it can take.

        Returns:
            Its number, for `settle`.
        """
        with self._errors():
            inserted = self._database.execute(
                "INSERT INTO requests (job, key, state, prompt_tokens, output_tokens) "
                "VALUES (?, ?, 'sent', ?, ?)",
                (job, key, bound.prompt, bound.output),
            )
        assert inserted.lastrowid is not None
        return inserted.lastrowid

    def settle(self, request: int, outcome: Outcome) -> None:
        """Record how a request without an answer ended; in doubt, it keeps the bound it was sent with.

        Args:
            request: number from `send`.
            outcome: `free` or `in_doubt`.
        """
        with self._errors():
            self._database.execute("UPDATE requests SET state = ? WHERE id = ?", (outcome, request))

    def settle_empty(self, request: int, tokens: Tokens | None) -> None:
        """Record a reply that is no answer; its question stays open.

        Args:
            request: number from `send`.
            tokens: charged for it; None where it isn't known whether any were, and then the request is in
                doubt.
        """
        if tokens is None:
            self.settle(request, "in_doubt")
            return
        with self._errors():
            self._database.execute(
                "UPDATE requests SET state = 'answered', prompt_tokens = ?, output_tokens = ? WHERE id = ?",
                (tokens.prompt, tokens.output, request),
            )

    def settle_answered(
        self,
        request: int,
        key: str,
        reply: Reply,
        tokens: Tokens,
        *,
        rubric: str,
        model: str,
        mode: str,
        size: int,
    ) -> None:
        """Record an answer and what it took in one transaction.

        Args:
            request: number from `send`.
            key: of the question.
            reply: the answer, whatever it is worth.
            tokens: charged for it.
            rubric: digest of the rubric.
            model: name of the judge.
            mode: `ranking` or `pair`.
            size: bytes of the question.
        """
        with self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(
                # The first answer stays, unless there is nothing in it: such were kept once.
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "text = excluded.text, finish = excluded.finish, blocked = excluded.blocked, "
                "prompt_tokens = excluded.prompt_tokens, output_tokens = excluded.output_tokens "
                "WHERE trim(coalesce(answers.text, '')) = ''",
                (
                    key,
                    rubric,
                    model,
                    mode,
                    reply.text,
                    reply.finish,
                    reply.blocked,
                    reply.prompt_tokens,
                    reply.output_tokens,
                    size,
                ),
            )
            self._database.execute(
                "UPDATE requests SET state = 'answered', prompt_tokens = ?, output_tokens = ? WHERE id = ?",
                (tokens.prompt, tokens.output, request),
            )
            self._database.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise IncompleteError(
                f"can't write to {self._path}: {error}; make room and run the same command to go on"
            ) from error
