from __future__ import annotations

import email.utils
import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.engines import (
    EngineConfig,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
    open_engine,
)
from harness.engines.background import in_background
from harness.engines.http_exchange import MASKED_CHARACTERS, shown
from harness.engines.http_fleet import TRIES, Call, Fleet, SetAsideError
from harness.engines.openai_probe import server_root
from harness.errors import EngineUnavailableError, HarnessError, IncompleteError, RefusedError
from harness.retrying import RetryPolicy
from tests.asking import asked
from tests.engines.faulty_server import Fault, faulty

pytest.importorskip("httpx")
SAMPLING = SamplingParams(max_tokens=7, temperature=0.5, top_p=0.9)
POLICY = RetryPolicy(patience=30.0, base=1.0, cap=8.0)
MOST_BYTES = 10_000
SMALL = {"prompt": [-1]}


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += max(0.0, seconds)


def post_each(
    servers: list[str], bodies: list[dict[str, Any]], clock: Clock, concurrency: int, seconds: float = 600.0
) -> Iterator[Any]:
    """Post `bodies` through a fleet on a clock of the test's own."""
    import httpx

    @asynccontextmanager
    async def opened():
        async with httpx.AsyncClient() as client:
            fleet = Fleet(servers, client, POLICY, seconds, now=clock.now, sleep=clock.sleep)

            async def post(body: dict[str, Any]) -> dict[str, Any] | str:
                small = Call("/v1/completions", SMALL, dict, most=MOST_BYTES)
                call = Call("/v1/completions", body, dict, small, most=MOST_BYTES)
                try:
                    return await fleet.post(call)
                except SetAsideError as error:
                    return error.cause.split(" from ")[0]

            yield post

    return in_background(bodies, opened, concurrency)


def post_all(
    servers: list[str], bodies: list[dict[str, Any]], clock: Clock, concurrency: int = 1
) -> list[dict[str, Any]]:
    return list(post_each(servers, bodies, clock, concurrency))


def bodies(count: int) -> list[dict[str, Any]]:
    return [{"prompt": [i]} for i in range(count)]


def dead_url() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 0])
def test_passing_trouble_is_retried_with_growing_pauses(status: int) -> None:
    clock = Clock()
    with faulty(lambda n, _: Fault(status) if n < 3 else None) as server:
        answers = post_all([server.url], bodies(1), clock)
    assert answers[0]["choices"][0]["text"] == "echo [0]"
    assert len(server.bodies) == 4
    pauses = [pause for pause in clock.sleeps if pause > 0]
    assert len(pauses) == 3
    # Jitter takes up to half of 1, 2, 4 seconds.
    assert all(full / 2 <= pause <= full for full, pause in zip((1, 2, 4), pauses, strict=True))


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_in_seconds(status: int) -> None:
    clock = Clock()
    with faulty(lambda n, _: None if n else Fault(status, headers={"Retry-After": "17"})) as server:
        post_all([server.url], bodies(1), clock)
    # Never sooner than asked, and a little apart from whoever else was.
    assert 17.0 <= max(clock.sleeps) <= 17.0 + POLICY.base


GZIPPED = {"Content-Encoding": "gzip"}
TOO_LONG = b'{"choices": []}'.ljust(MOST_BYTES + 1)
ODD_REPLIES = {
    "not packed as it says": Fault(200, body=b"{}", headers=GZIPPED),
    "packed twice": Fault(
        200, body=gzip.compress(gzip.compress(b"{}")), headers={"Content-Encoding": "gzip, gzip"}
    ),
    "too long": Fault(200, body=TOO_LONG),
    "too long once unpacked": Fault(200, body=gzip.compress(TOO_LONG), headers=GZIPPED),
    "a page": Fault(200, body=b"<html>please log in</html>"),
    "empty": Fault(200, body=b""),
    "no content": Fault(204, body=b""),
    "deep": Fault(200, body=b"[" * 5000),
    "a list": Fault(200, body=b"[]"),
    "not UTF-8": Fault(200, body=b'{"choices": "\xff"}'),
    "a number of too many digits": Fault(200, body=b'{"choices": ' + b"9" * 5000 + b"}"),
}


@pytest.mark.parametrize("fault", ODD_REPLIES.values(), ids=ODD_REPLIES)
def test_a_reply_that_cannot_be_read_is_asked_for_again(fault: Fault) -> None:
    clock = Clock()
    with faulty(lambda n, _: fault if n < 2 else None) as server:
        [answer] = post_all([server.url], bodies(1), clock)
    assert answer["choices"][0]["text"] == "echo [0]"
    assert len(server.bodies) == 3
    # Of the request: others may go on meanwhile, and each attempt waits longer.
    assert [pause > 0 for pause in clock.sleeps] == [True, True]


@pytest.mark.parametrize("fault", ODD_REPLIES.values(), ids=ODD_REPLIES)
def test_replies_that_never_can_be_read_end_as_incomplete_within_the_budget(fault: Fault) -> None:
    clock = Clock()
    with (
        faulty(lambda *_: fault) as server,
        pytest.raises(IncompleteError, match="run the same command again"),
    ):
        post_all([server.url], bodies(3), clock, concurrency=1)
    assert abs(sum(clock.sleeps) - POLICY.patience) <= POLICY.cap


def test_a_reply_as_long_as_allowed_is_read() -> None:
    body = b'{"choices": []}'.ljust(MOST_BYTES)
    with faulty(lambda *_: Fault(200, body=body)) as server:
        assert post_all([server.url], bodies(1), Clock()) == [{"choices": []}]


@pytest.mark.parametrize("fault", [Fault(401, body=b"{}", headers=GZIPPED), Fault(401, body=b"x" * 20_000)])
def test_a_refusal_whose_words_cannot_be_read_is_still_one(fault: Fault) -> None:
    with faulty(lambda *_: fault) as server, pytest.raises(RefusedError, match="HTTP 401"):
        post_all([server.url], bodies(1), Clock())


def test_a_reply_that_trickles_is_given_up_in_time_and_asked_for_again() -> None:
    clock = Clock()
    # Without a deadline for the whole request this never ends: there is always a next byte.
    with faulty(lambda n, _: Fault(200, trickles=True) if n == 0 else None) as server:
        [answer] = list(post_each([server.url], bodies(1), clock, 1, seconds=0.3))
    assert answer["choices"][0]["text"] == "echo [0]"
    assert len(server.bodies) == 2


def test_the_deadline_is_named() -> None:
    with (
        faulty(lambda *_: Fault(200, trickles=True)) as server,
        pytest.raises(IncompleteError, match=r"no whole reply within 0\.1 s"),
    ):
        list(post_each([server.url], bodies(1), Clock(), 1, seconds=0.1))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("overloaded sk-1/2 now", "overloaded *** now"),
        ("of sk-1%2F2", "of ***"),
        ("sent bearer abc.DEF-1 to", "sent bearer *** to"),
        ("at http://user:PASS@host/v1", "at http://***@host/v1"),
        ("at //user:P@SS@host", "at //***@host"),
        ("at user:PASS@host", "at ***@host"),
        ("mail to someone@host", "mail to someone@host"),
        ("one\ntwo\x1b[31m", "one two\\x1b[31m"),
        ("x" * 300 + "sk-1/2", "x" * 300),
        ("x" * 297 + "sk-1/2", "x" * 297 + "***"),
        # Cut within a key that would come to the front once the words before it are masked.
        ("bearer " + "P" * (MASKED_CHARACTERS - 10) + " sk-1/2", ""),
    ],
)
def test_what_servers_say_is_shown_on_a_line_without_secrets(words: str, expected: str) -> None:
    assert shown(words, key="sk-1/2") == expected


def test_words_of_any_length_are_masked_without_delay() -> None:
    # Quadratic in the length, these would take hours.
    for piece in ("a:", "//", "a", "@", "a@", "bearer ", ":"):
        shown(piece * 1_000_000, key="sk-1")


def test_retry_after_is_honoured_as_a_date() -> None:
    clock = Clock()

    def script(number: int, _: dict[str, Any]) -> Fault | None:
        date = email.utils.formatdate(time.time() + 25, usegmt=True)
        return None if number else Fault(429, headers={"Retry-After": date})

    with faulty(script) as server:
        post_all([server.url], bodies(1), clock)
    # The date has whole seconds; what it costs to read it is taken off.
    assert 20 < max(clock.sleeps) <= 25 + POLICY.base


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refused_request_is_not_retried_and_says_why(status: int) -> None:
    clock = Clock()
    with (
        faulty(lambda *_: Fault(status, "the prompt\nis wrong")) as server,
        pytest.raises(RefusedError, match=f"HTTP {status} from .*: the prompt is wrong"),
    ):
        post_all([server.url], bodies(1), clock)
    # Whether it is this request alone, a small one told.
    assert server.bodies == [*bodies(1), SMALL]
    assert clock.sleeps == []


@pytest.mark.parametrize("status", [408, 429, 500, 0])
def test_lasting_trouble_ends_as_incomplete_within_the_budget(status: int) -> None:
    clock = Clock()
    with (
        faulty(lambda *_: Fault(status)) as server,
        pytest.raises(IncompleteError, match="run the same command again"),
    ):
        post_all([server.url], bodies(3), clock)
    assert abs(sum(clock.sleeps) - POLICY.patience) <= POLICY.cap


def test_a_pause_longer_than_the_budget_is_not_waited_for() -> None:
    clock = Clock()
    with (
        faulty(lambda *_: Fault(429, headers={"Retry-After": "3600"})) as server,
        pytest.raises(IncompleteError, match=r"360[01] s away"),
    ):
        post_all([server.url], bodies(1), clock)
    assert clock.time == 1000.0


def test_a_dead_server_does_not_stop_the_others() -> None:
    clock = Clock()
    with faulty(lambda *_: None) as alive:
        answers = post_all([dead_url(), alive.url, dead_url()], bodies(40), clock, concurrency=4)
    assert sorted(answer["choices"][0]["text"] for answer in answers) == sorted(
        f"echo [{i}]" for i in range(40)
    )


def test_a_server_that_dies_midway_hands_its_share_to_the_others() -> None:
    clock = Clock()
    with faulty(lambda n, _: Fault(0) if n >= 5 else None) as dying, faulty(lambda *_: None) as alive:
        answers = post_all([dying.url, alive.url], bodies(40), clock, concurrency=4)
        assert len(answers) == 40
        assert len(alive.bodies) == 35


def test_one_poisonous_request_does_not_hold_up_the_others() -> None:
    clock = Clock()
    with faulty(lambda _, body: Fault(500) if body["prompt"] == [3] else None) as server:
        answers = list(post_each([server.url], bodies(100), clock, concurrency=2))
        # On the test's clock the others may not be answered in time; then a small request tells.
        assert TRIES <= sum(body["prompt"] == [3] for body in server.bodies) <= TRIES + 2
    texts = [one if isinstance(one, str) else one["choices"][0]["text"] for one in answers]
    assert sorted(texts) == sorted("HTTP 500" if i == 3 else f"echo [{i}]" for i in range(100))


@pytest.mark.parametrize("status", [500, 0, 429, 302])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_poisonous_requests_that_hold_every_slot_are_told_from_a_server_that_is_down(
    status: int, concurrency: int
) -> None:
    poison = set(range(4))
    with faulty(lambda _, body: Fault(status) if body["prompt"][0] in poison else None) as server:
        answers = list(post_each([server.url], bodies(8), Clock(), concurrency))
    assert sum(isinstance(one, str) for one in answers) == len(poison)
    assert len(answers) == 8


def test_a_request_that_is_put_off_for_ever_is_set_aside_when_it_is_the_last() -> None:
    clock = Clock()
    # Pauses that add up to the patience but for nothing: it is the wait for the next try that is too long.
    fault = Fault(429, headers={"Retry-After": "14.9"})
    with faulty(lambda _, body: fault if body["prompt"] == [0] else None) as server:
        answers = list(post_each([server.url], bodies(3), clock, concurrency=1))
    assert sorted(isinstance(one, str) for one in answers) == [False, False, True]


@pytest.mark.parametrize(("asked", "said"), [("1e300", "more than a day away"), ("3600", r"360\d s away")])
def test_how_long_a_server_wants_to_rest_is_said_as_people_read_it(asked: str, said: str) -> None:
    with (
        faulty(lambda *_: Fault(429, headers={"Retry-After": asked})) as server,
        pytest.raises(IncompleteError, match=said),
    ):
        post_all([server.url], bodies(1), Clock())


def test_what_failed_while_the_server_was_down_is_not_set_aside_once_it_is_back() -> None:
    clock = Clock()
    # Longer than all tries of a request, and within the patience.
    with faulty(lambda *_: Fault(502) if clock.time < 1025 else None) as server:
        answers = list(post_each([server.url], bodies(12), clock, concurrency=4))
    assert [one for one in answers if isinstance(one, str)] == []


@pytest.mark.parametrize("status", [500, 400, 401, 404, 302])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_one_bad_server_in_a_fleet_costs_no_request(status: int, concurrency: int) -> None:
    """It is the least busy one, as it fails at once."""
    with faulty(lambda *_: Fault(status)) as bad, faulty(lambda *_: None) as good:
        answers = list(post_each([bad.url, good.url], bodies(40), Clock(), concurrency))
    assert [one for one in answers if isinstance(one, str)] == []
    assert len(answers) == 40


@pytest.mark.parametrize("status", [400, 401])
def test_a_fleet_that_refuses_or_is_gone_is_not_asked_for_ever(status: int) -> None:
    with faulty(lambda *_: Fault(status)) as one, pytest.raises((RefusedError, IncompleteError)):
        post_all([dead_url(), one.url], bodies(5), Clock(), concurrency=2)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_alone_is_set_aside_at_once(status: int) -> None:
    clock = Clock()
    with faulty(lambda _, body: Fault(status) if body["prompt"] == [0] else None) as server:
        answers = list(post_each([server.url], bodies(5), clock, concurrency=1))
        assert sum(body["prompt"] == [0] for body in server.bodies) == 1
    assert sum(isinstance(one, str) for one in answers) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_that_expires_stops_everything(status: int) -> None:
    with faulty(lambda n, _: Fault(status) if n >= 10 else None) as server:
        posted = post_each([server.url], bodies(1000), Clock(), concurrency=2)
        with pytest.raises(RefusedError, match=f"HTTP {status}"):
            list(posted)
        assert len(server.bodies) < 20


def test_requests_go_to_the_least_busy_server() -> None:
    clock = Clock()
    with faulty(lambda *_: None) as one, faulty(lambda *_: None) as two:
        post_all([one.url, two.url], bodies(30), clock)
        assert (len(one.bodies), len(two.bodies)) == (15, 15)


def config(*urls: str, **settings: Any) -> EngineConfig:
    return EngineConfig(engine="openai", base_urls=urls, **settings)


def requests(count: int) -> list[GenerationRequest]:
    return [GenerationRequest(f"k{i}", f"t{i}", 0, f"prompt {i}", (), 100 + i) for i in range(count)]


def test_never_more_requests_in_flight_than_allowed() -> None:
    gate = threading.Semaphore(0)
    seen = threading.Semaphore(0)

    def script(_: int, __: dict[str, Any]) -> None:
        seen.release()
        gate.acquire()

    with faulty(script) as server:
        engine = open_engine(config(server.url, concurrency=3))
        generations = engine.generate(requests(9), SAMPLING)
        thread = threading.Thread(target=lambda: list(generations))
        thread.start()
        for _ in range(9):
            seen.acquire()
            gate.release()
        thread.join()
        assert server.most_busy <= 3
        assert len(server.bodies) == 9


def test_a_server_without_tokenizer_gets_chat_messages() -> None:
    with faulty(lambda *_: None) as server:
        engine = open_engine(config(f"{server.url}/v1/"))
        info = engine.info()
        engine.start()
        assert engine.encode(asked("a", "b")) == [(), ()]
        answers = {one.key: one for one in engine.generate(requests(3), SAMPLING, done={"k1"})}
        body = server.bodies[0]
    assert {key: one.text for key, one in answers.items()} == {"k0": "echo prompt 0", "k2": "echo prompt 2"}
    assert info.options["prompts"] == "chat messages"
    assert info.weights_sha256 is None
    assert info.version == "unknown server"
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.5, 0.9)
    assert {request["seed"] for request in server.bodies} == {100, 102}
    # Fields that only vLLM knows would be an error to other servers.
    assert "top_k" not in body
    assert "return_token_ids" not in body


@pytest.mark.model
def test_a_local_tokenizer_means_token_ids(tiny_qwen3: Path) -> None:
    with faulty(lambda *_: None) as server:
        engine = open_engine(config(server.url, tokenizer=str(tiny_qwen3)))
        [ids] = engine.encode(asked("hello"))
        request = GenerationRequest("k", "t", 0, "hello", ids, 1)
        [answer] = engine.generate([request], SAMPLING)
    assert answer.text == f"echo {list(ids)}"
    assert answer.finish_reason == "length"
    assert server.bodies[0]["prompt"] == list(ids)


def test_the_schema_goes_out_as_a_response_format() -> None:
    schema = {"type": "object"}
    with faulty(lambda *_: None) as server:
        engine = open_engine(config(server.url))
        list(engine.generate([GenerationRequest("k", "t", 0, "p", (), 1, schema)], SAMPLING))
    assert server.bodies[0]["response_format"]["json_schema"]["schema"] == schema


def test_an_unreachable_server_is_named_with_what_to_do() -> None:
    url = dead_url()
    with pytest.raises(EngineUnavailableError, match=f"no server answers at {url} .*start one: vllm serve"):
        open_engine(config(url)).info()


def test_a_fleet_starts_when_some_servers_answer() -> None:
    dead = dead_url()
    with faulty(lambda *_: None) as server:
        engine = open_engine(config(dead, server.url))
        assert [url.split(" ")[0] for url in engine.info().options["unreachable"]] == [dead]
        assert len(list(engine.generate(requests(5), SAMPLING))) == 5


def test_servers_of_different_models_are_refused() -> None:
    with faulty(lambda *_: None, models=("a", "b")) as server:
        with pytest.raises(EngineUnavailableError, match="serves a, b; say which as `served_model=`"):
            open_engine(config(server.url)).info()
        assert open_engine(config(server.url, served_model="b")).info().options["served_model"] == "b"
        with pytest.raises(EngineUnavailableError, match="serves a, b, not c"):
            open_engine(config(server.url, served_model="c")).info()


def test_a_fleet_serves_one_model() -> None:
    other = {"/v1/models": Fault(200, body=b'{"data": [{"id": "a", "max_model_len": 9}]}')}
    pages = {"/tokenize": Fault(200, body=b'{"tokens": [1]}')}
    with (
        faulty(lambda *_: None, models=("a",), version="1") as first,
        faulty(lambda *_: None, models=("b",), version="1") as second,
        faulty(lambda *_: None, pages=other, version="1") as third,
        faulty(lambda *_: None, models=("a",), pages=pages, version="1") as fourth,
    ):
        for server, what in ((second, "models: .* a, .* b;"), (third, "contexts"), (fourth, "templates")):
            with pytest.raises(EngineUnavailableError, match=f"different {what}") as caught:
                open_engine(config(first.url, server.url)).info()
            assert server.url in str(caught.value)
        with pytest.raises(EngineUnavailableError, match=f"{second.url} serves b, not a"):
            open_engine(config(first.url, second.url, served_model="a")).info()
        assert open_engine(config(first.url, first.url)).info().options["served_model"] == "a"


def by(name: str, text: str = "a") -> Fault:
    return Fault(200, body=json.dumps(said(text) | {"model": name}).encode())


def test_an_answer_by_another_model_is_asked_for_again() -> None:
    with faulty(lambda n, _: by("other" if n == 2 else "Echo-2024")) as server:
        engine = open_engine(config(server.url, concurrency=1))
        answers = list(engine.generate(requests(4), SAMPLING))
        assert {one.answered_by for one in answers} == {"Echo-2024"}
        assert (len(answers), len(server.bodies)) == (4, 5)
        [remark] = [one for one in engine.info().options["remarks"] if "answers as" in one]
        assert "echo" in remark
        assert "Echo-2024" in remark
    with faulty(lambda n, _: by("echo" if n < 2 else "other")) as server:
        drawn = open_engine(config(server.url, concurrency=1, retry_seconds=0)).generate(
            requests(4), SAMPLING
        )
        assert [next(drawn).answered_by, next(drawn).answered_by] == ["echo", "echo"]
        with pytest.raises(IncompleteError, match="an answer by other where echo answered before"):
            next(drawn)


def test_the_model_asked_for_after_another_one_answered_stops_everything() -> None:
    with faulty(lambda n, _: by("echo" if n else "fallback")) as server:
        drawn = open_engine(config(server.url, concurrency=1)).generate(requests(4), SAMPLING)
        assert next(drawn).answered_by == "fallback"
        with pytest.raises(IncompleteError, match="echo was asked for each time, and fallback answered"):
            next(drawn)


def test_what_a_filter_calls_itself_is_no_other_model() -> None:
    def script(number: int, _: Any) -> Fault:
        filtered = said("", finish_reason="content_filter") | {"model": "shield"}
        return Fault(200, body=json.dumps(filtered).encode()) if number == 1 else by("echo")

    with faulty(script) as server:
        answers = list(open_engine(config(server.url, concurrency=1)).generate(requests(3), SAMPLING))
    assert [one.finish_reason for one in answers].count("withheld") == 1


def test_what_is_not_such_a_server_is_refused() -> None:
    with (
        faulty(lambda *_: None, models=()) as server,
        pytest.raises(EngineUnavailableError, match="is it an OpenAI-compatible server"),
    ):
        open_engine(config(server.url)).info()


def completion(**choice: Any) -> dict[str, Any]:
    return {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}


def said(content: Any, finish_reason: Any = "stop", **more: Any) -> dict[str, Any]:
    return completion(message={"role": "assistant", "content": content}, finish_reason=finish_reason, **more)


NO_COMPLETIONS = [
    {"error": {"code": 429, "message": "Rate limit exceeded"}},
    {},
    {"choices": None},
    {"choices": []},
    {"choices": {}},
    {"choices": "abc"},
    {"choices": [None]},
    completion(),
    completion(message="hello"),
    completion(message={}),
    said(7),
    said({"text": "a"}),
    said([{"type": "text", "text": 7}]),
    said([None, 7]),
    said("a", finish_reason=1),
    said("a", finish_reason=["stop"]),
    said("a", finish_reason="abort"),
    said("a", finish_reason="error"),
    said("a", token_ids="abc"),
    said("a", token_ids=[1.0]),
    said("a", token_ids=[-1]),
    said("a", token_ids=[True]),
    completion(text=7, finish_reason="stop"),
    completion(text=None, finish_reason="stop"),
    said("a") | {"error": {"message": "overloaded"}},
    said("", finish_reason=None, error={"code": 502, "message": "the provider is gone"}),
]


def test_replies_without_a_completion_are_asked_for_again() -> None:
    asked: set[str] = set()
    lock = threading.Lock()

    def script(_: int, body: dict[str, Any]) -> Fault | None:
        prompt = body["messages"][0]["content"]
        with lock:
            again = prompt in asked
            asked.add(prompt)
        number = int(prompt.removeprefix("prompt "))
        return None if again else Fault(200, body=json.dumps(NO_COMPLETIONS[number]).encode())

    count = len(NO_COMPLETIONS)
    with faulty(script) as server:
        answers = list(open_engine(config(server.url, concurrency=5)).generate(requests(count), SAMPLING))
        assert len(server.bodies) == 2 * count
    assert {one.key: one.text for one in answers} == {f"k{i}": f"echo prompt {i}" for i in range(count)}


@pytest.mark.parametrize(
    ("reply", "odd"),
    [(NO_COMPLETIONS[0], "an error in the reply"), ({"choices": []}, "no completion in the")],
)
def test_servers_that_never_complete_end_as_incomplete(reply: dict[str, Any], odd: str) -> None:
    with (
        faulty(lambda *_: Fault(200, body=json.dumps(reply).encode())) as server,
        pytest.raises(IncompleteError, match=rf"HTTP 200 from .*{odd}"),
    ):
        list(open_engine(config(server.url, retry_seconds=0)).generate(requests(1), SAMPLING))


def test_a_reply_left_half_read_leaves_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    with faulty(lambda *_: ODD_REPLIES["not packed as it says"]) as server:
        engine = open_engine(config(server.url, retry_seconds=0, concurrency=4))
        with pytest.raises(IncompleteError):
            list(engine.generate(requests(4), SAMPLING))
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


def answer_to(reply: dict[str, Any] | bytes) -> Generation:
    """What the engine makes of the server's first reply."""
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    with faulty(lambda n, _: Fault(200, body=body) if n == 0 else None) as server:
        [answer] = open_engine(config(server.url)).generate(requests(1), SAMPLING)
        assert len(server.bodies) == 1
    return answer


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "{"}, {"type": "text", "text": "}"}], "{}"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"text": "a"}, "b"], "ab"),
    ],
)
def test_content_may_come_in_parts(content: Any, text: str) -> None:
    assert answer_to(said(content)).text == text


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("time_limit", "length"),
        ("content_filter", "withheld"),
        ("SAFETY", "withheld"),
        ("eos_token", "stop"),
        ("no_such_word", "stop"),
        (None, "stop"),
    ],
)
def test_every_word_for_truncation_counts_as_one(reason: str | None, expected: str) -> None:
    assert answer_to(said("a", finish_reason=reason)).finish_reason == expected


def test_a_refusal_in_a_field_of_its_own_is_withheld() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
    assert answer_to(completion(message=refused, finish_reason="stop")).finish_reason == "withheld"
    answered = {"role": "assistant", "content": "a", "refusal": None}
    assert answer_to(completion(message=answered, finish_reason="stop")).finish_reason == "stop"


def test_a_finish_reason_that_nobody_knows_is_named_once() -> None:
    body = json.dumps(said("a", finish_reason="went_home")).encode()
    with faulty(lambda *_: Fault(200, body=body)) as server:
        engine = open_engine(config(server.url))
        assert {one.finish_reason for one in engine.generate(requests(3), SamplingParams())} == {"stop"}
        [remark] = engine.info().options["remarks"]
    assert "went_home" in remark


@pytest.mark.parametrize("reason", ["network_error", "insufficient_system_resource", "SYSTEM-ERROR", "what"])
def test_an_empty_answer_that_the_service_gave_up_is_asked_for_again(reason: str) -> None:
    body = json.dumps(said("", finish_reason=reason)).encode()
    with faulty(lambda n, _: Fault(200, body=body) if n == 0 else None) as server:
        [answer] = open_engine(config(server.url)).generate(requests(1), SAMPLING)
        assert (answer.text, len(server.bodies)) == ("echo prompt 0", 2)
    with (
        faulty(lambda *_: Fault(200, body=body)) as server,
        pytest.raises(IncompleteError, match=reason),
    ):
        list(open_engine(config(server.url, retry_seconds=0)).generate(requests(1), SAMPLING))


@pytest.mark.parametrize(("made", "expected"), [(SAMPLING.max_tokens, "length"), (2, "stop")])
def test_an_answer_as_long_as_allowed_is_cut_off_where_no_reason_is_given(made: int, expected: str) -> None:
    reply = said("a", finish_reason=None) | {"usage": {"prompt_tokens": 1, "completion_tokens": made}}
    assert answer_to(reply).finish_reason == expected


@pytest.mark.parametrize("reason", ["content_filter", "refusal", "length"])
@pytest.mark.parametrize("message", [{"role": "assistant"}, {"role": "assistant", "content": None}])
def test_an_answer_that_is_withheld_is_an_answer(message: dict[str, Any], reason: str) -> None:
    assert answer_to(completion(message=message, finish_reason=reason)).text == ""


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        ("9", 9),
        ("0", 0),
        ("9.0", 9),
        ("9.5", None),
        ("-1", None),
        ("NaN", None),
        ("Infinity", None),
        ("1e999", None),
        ("1e300", None),
        ("true", None),
        ("null", None),
        ('"9"', None),
        ("[9]", None),
    ],
)
def test_token_counts_that_are_none_are_unknown(count: str, expected: int | None) -> None:
    reply = json.dumps(said("a") | {"usage": "COUNTS"})
    counts = f'{{"prompt_tokens": {count}, "completion_tokens": {count}}}'
    answer = answer_to(reply.replace('"COUNTS"', counts).encode())
    assert (answer.prompt_tokens, answer.completion_tokens) == (expected, expected)


@pytest.mark.parametrize(
    ("made", "message", "details", "expected"),
    [
        (10**9, {}, {}, None),
        (SAMPLING.max_tokens + 50, {}, {}, None),
        (SAMPLING.max_tokens + 50, {"reasoning_content": "hm" * 30}, {}, SAMPLING.max_tokens + 50),
        (500, {}, {"reasoning_tokens": 499}, 500),
        (500, {}, {"reasoning_tokens": -1}, None),
    ],
)
def test_more_tokens_than_asked_for_are_unknown(
    made: int, message: dict[str, Any], details: dict[str, Any], expected: int | None
) -> None:
    reply = completion(message={"content": "a"} | message, finish_reason="stop")
    usage = {"prompt_tokens": 10**9, "completion_tokens": made, "completion_tokens_details": details}
    answer = answer_to(reply | {"usage": usage})
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, expected)


@pytest.mark.parametrize("usage", [None, [], [1], "9", 9, {}])
def test_usage_of_another_kind_is_unknown(usage: Any) -> None:
    answer = answer_to(said("a") | {"usage": usage})
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)


def test_a_key_in_an_error_that_comes_as_a_success_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-123")
    with faulty(lambda *_: Fault(200, "overloaded secret-123")) as server:
        engine = open_engine(config(server.url, api_key_env="MY_KEY", retry_seconds=0))
        with pytest.raises(IncompleteError, match=r"overloaded \*\*\*"):
            list(engine.generate(requests(1), SAMPLING))


@pytest.mark.parametrize("key", ["sécret", "secret\r\nX-Evil: 1", "sec\x1bret", "se\tcret"])
def test_a_key_that_no_header_holds_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with faulty(lambda *_: None) as server, pytest.raises(HarnessError, match="MY_KEY") as caught:
        open_engine(config(server.url, api_key_env="MY_KEY")).info()
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "models",
    [
        b"",
        b"<html>",
        b"[" * 5000,
        b"[]",
        b'{"data": {}}',
        b'{"data": [7]}',
        b'{"data": ["m"]}',
        b'{"data": []}',
        b'{"data": [{"id": null}, {"id": 5}, {}]}',
    ],
)
def test_a_list_of_models_of_another_kind_is_refused(models: bytes) -> None:
    with (
        faulty(lambda *_: None, pages={"/v1/models": Fault(200, body=models)}) as server,
        pytest.raises(EngineUnavailableError, match="lists no models"),
    ):
        open_engine(config(server.url, retry_seconds=0)).info()


def test_a_server_that_still_loads_its_model_says_so() -> None:
    loading = b'{"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}'
    with (
        faulty(lambda *_: None, pages={"/v1/models": Fault(503, body=loading)}) as server,
        pytest.raises(EngineUnavailableError, match=r"isn't ready \(HTTP 503: Loading model\); wait"),
    ):
        open_engine(config(server.url, retry_seconds=0)).info()


def test_what_the_probe_cannot_read_is_a_server_that_does_not_answer() -> None:
    with (
        faulty(lambda *_: None, pages={"/v1/models": Fault(200, body=b"{}", headers=GZIPPED)}) as server,
        pytest.raises(EngineUnavailableError, match=r"no server answers at .*DecodingError"),
    ):
        open_engine(config(server.url, retry_seconds=0)).info()


@pytest.mark.parametrize(
    "tokens", [b"{}", b"[]", b"no", b'{"tokens": []}', b'{"tokens": 7}', b'{"tokens": [1, 2]}']
)
def test_a_server_that_finds_no_tokens_gets_chat_messages(tokens: bytes) -> None:
    """llama.cpp has a `/tokenize` that reads another field."""
    pages = {
        "/tokenize": Fault(200, body=tokens),
        "/version": Fault(200, body=b'{"version": 7}'),
        "/v1/models": Fault(200, body=b'{"data": [{"id": "m", "root": 7, "max_model_len": "8"}]}'),
    }
    with faulty(lambda *_: None, pages=pages) as server:
        info = open_engine(config(server.url, retry_seconds=0)).info()
    assert info.options["prompts"] == "chat messages"
    assert (info.version, info.checkpoint, info.context_length) == ("unknown server", "m", None)


@pytest.mark.parametrize("tokens", [b"{}", b'{"tokens": "abc"}', b'{"tokens": [1.5]}', b'{"tokens": null}'])
def test_token_ids_that_are_none_end_as_incomplete(tokens: bytes) -> None:
    pages: dict[str, Fault] = {}
    with faulty(lambda *_: None, pages=pages, version="1") as server:
        engine = open_engine(config(server.url, retry_seconds=0))
        assert engine.info().options["prompts"] == "token ids from the server"
        assert engine.encode(asked("a")) == [(1, 2, ord("a"), 3)]
        pages["/tokenize"] = Fault(200, body=tokens)
        with pytest.raises(IncompleteError, match="token ids that are none"):
            engine.encode(asked("a"))


@pytest.mark.parametrize(
    "fault", [Fault(200, body=b"{}", headers=GZIPPED), Fault(200, headers={"Transfer-Encoding": "chunked"})]
)
def test_an_endpoint_that_few_have_may_say_anything(fault: Fault) -> None:
    pages = {"/version": fault, "/tokenize": fault}
    with faulty(lambda *_: None, pages=pages) as server:
        info = open_engine(config(server.url, retry_seconds=0)).info()
    assert (info.version, info.options["prompts"]) == ("unknown server", "chat messages")


def scored(rows: str, retry_seconds: float = 0) -> TokenScores:
    """What the engine makes of this `prompt_logprobs`, for one token of prompt and two of answer."""
    pages = {"/version": Fault(200, body=b'{"version": "0"}')}
    body = f'{{"choices": [{{"text": "", "prompt_logprobs": {rows}}}]}}'.encode()
    with faulty(lambda *_: Fault(200, body=body), pages=pages) as server:
        engine = open_engine(config(server.url, retry_seconds=retry_seconds))
        [scores] = engine.score([ScoreRequest("k", (1,), (5, 6))], top_k=1)
    return scores


FIVE, SIX = (
    '{"5": {"logprob": -0.5, "rank": 1}}',
    '{"6": {"logprob": -2, "rank": 2}, "7": {"logprob": -1, "rank": 1}}',
)


def test_logprobs_of_a_prompt_are_those_of_its_answer() -> None:
    scores = scored(f"[null, {FIVE}, {SIX}]")
    assert scores.logprobs.tolist() == [-0.5, -2.0]
    assert scores.top_ids.tolist() == [[5], [7]]
    assert scores.top_logprobs.tolist() == [[-0.5], [-1.0]]


@pytest.mark.parametrize(
    "rows",
    [
        "null",
        "7",
        "[]",
        f"[null, {FIVE}]",
        f"[null, {FIVE}, null]",
        f"[null, {FIVE}, {FIVE}]",
        f"[null, {FIVE}, {{}}]",
        f"[null, {FIVE}, 7]",
        f'[null, {FIVE}, {{"6": {{"logprob": "a", "rank": 1}}}}]',
        f'[null, {FIVE}, {{"6": {{"logprob": null, "rank": 1}}}}]',
        f'[null, {FIVE}, {{"6": {{"logprob": NaN, "rank": 1}}}}]',
        f'[null, {FIVE}, {{"6": {{"logprob": NaN, "rank": 2}}, "7": {{"logprob": -1, "rank": 1}}}}]',
        f'[null, {FIVE}, {{"6": {{"logprob": -1, "rank": 1}}, "a": {{"logprob": -1, "rank": 0}}}}]',
        f'[null, {FIVE}, {{"6": {{"logprob": -1, "rank": 2}}, "{9**30}": {{"logprob": -1, "rank": 1}}}}]',
    ],
)
def test_logprobs_of_another_kind_end_as_incomplete(rows: str) -> None:
    with pytest.raises(IncompleteError, match="logprobs"):
        scored(rows)


@pytest.mark.parametrize("written", ["secret-123", "  secret-123 \n", "secret-123\r\n"])
def test_the_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("MY_KEY", written)
    with faulty(lambda n, _: None if n == 0 else Fault(401, "bad key secret-123")) as server:
        engine = open_engine(config(server.url, api_key_env="MY_KEY"))
        list(engine.generate(requests(1), SAMPLING))
        assert server.headers[0]["Authorization"] == "Bearer secret-123"
        with pytest.raises(HarnessError) as caught:
            list(engine.generate(requests(1), SAMPLING))
    assert "HTTP 401" in str(caught.value)
    shown = [caught.value, engine.info(), engine, vars(engine)]
    assert not any("secret-123" in f"{value!r} {value!s}" for value in shown)


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000"),
        ("http://localhost:8000/v1/", "http://localhost:8000"),
        ("localhost:8000", "http://localhost:8000"),
        ("https://host/gateway/v1", "https://host/gateway"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://bücher.example/v1", "http://bücher.example"),
    ],
)
def test_addresses_are_understood(url: str, root: str) -> None:
    assert server_root(url) == root


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/v1",
        "http://",
        "http://[::1/v1",
        "http://host:port/v1",
        "http:/host",
        "http://user:PASS@host/v1",
        "//user:PASS@host",
        "user:PASS@host",
        "ftp://user:PASS@host",
        "http:/user:PASS@host",
        "http://user:x/PASS@host",
        "http://[user:PASS@host",
        "http://host/v1?api_key=PASS",
        "http://[host/v1?api_key=PASS",
        "http://host/v1#PASS",
        "http://host/\x1b[31m",
        "http://host\r\nX: y",
        "http://ho st",
        "http://host/a b",
        "http://host/\u202e",
        "http://host:99999",
        "http://a..b/v1",
        f"http://{'a' * 300}",
        "http://xn--a/",
        "http://h\\x",
    ],
)
def test_bad_addresses_are_refused_at_once_and_show_no_secret(url: str) -> None:
    with pytest.raises(HarnessError, match="address") as caught:
        open_engine(config(url))
    assert type(caught.value) is HarnessError
    assert "PASS" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_iterator_that_is_given_up_leaves_no_thread() -> None:
    with faulty(lambda *_: None) as server:
        engine = open_engine(config(server.url, concurrency=2))
        iterator = engine.generate(requests(50), SAMPLING)
        next(iterator)
        iterator.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "background-loop"]
    assert len(server.bodies) < 50
