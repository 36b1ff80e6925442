from __future__ import annotations

import email.utils
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.engines import EngineConfig, GenerationRequest, SamplingParams, open_engine
from harness.engines.background import in_background
from harness.engines.http_fleet import Fleet
from harness.engines.openai_probe import server_root
from harness.errors import EngineUnavailableError, HarnessError, IncompleteError
from harness.retrying import RetryPolicy
from tests.engines.faulty_server import Fault, faulty

pytest.importorskip("httpx")
SAMPLING = SamplingParams(max_tokens=7, temperature=0.5, top_p=0.9)
POLICY = RetryPolicy(patience=30.0, base=1.0, cap=8.0)


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
    servers: list[str], bodies: list[dict[str, Any]], clock: Clock, concurrency: int
) -> Iterator[dict[str, Any]]:
    """Post `bodies` through a fleet on a clock of the test's own."""
    import httpx

    @asynccontextmanager
    async def opened():
        async with httpx.AsyncClient() as client:
            fleet = Fleet(servers, client, POLICY, now=clock.now, sleep=clock.sleep)
            yield partial(fleet.post, "/v1/completions")

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


@pytest.mark.parametrize("status", [429, 500, 502, 503, 0])
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
        pytest.raises(HarnessError, match=f"HTTP {status} from .*: the prompt is wrong") as caught,
    ):
        post_all([server.url], bodies(1), clock)
    assert type(caught.value) is HarnessError
    assert len(server.bodies) == 1
    assert clock.sleeps == []


@pytest.mark.parametrize("status", [429, 500, 0])
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
    answers: list[str] = []
    with faulty(lambda _, body: Fault(500) if body["prompt"] == [3] else None) as server:
        posted = post_each([server.url], bodies(10), clock, concurrency=2)
        with pytest.raises(IncompleteError, match="HTTP 500"):
            answers.extend(answer["choices"][0]["text"] for answer in posted)
    assert sorted(answers) == sorted(f"echo [{i}]" for i in range(10) if i != 3)


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
        assert engine.encode(["a", "b"]) == [(), ()]
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
        [ids] = engine.encode(["hello"])
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


def test_what_is_not_such_a_server_is_refused() -> None:
    with (
        faulty(lambda *_: None, models=()) as server,
        pytest.raises(EngineUnavailableError, match="is it an OpenAI-compatible server"),
    ):
        open_engine(config(server.url)).info()


def test_the_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-123")
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
    ],
)
def test_addresses_are_understood(url: str, root: str) -> None:
    assert server_root(url) == root


@pytest.mark.parametrize("url", ["ftp://host/v1", "http://", "http://user:pass@host/v1"])
def test_bad_addresses_are_refused_at_once(url: str) -> None:
    with pytest.raises(HarnessError) as caught:
        open_engine(config(url))
    assert "pass@" not in str(caught.value)


def test_an_iterator_that_is_given_up_leaves_no_thread() -> None:
    with faulty(lambda *_: None) as server:
        engine = open_engine(config(server.url, concurrency=2))
        iterator = engine.generate(requests(50), SAMPLING)
        next(iterator)
        iterator.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "background-loop"]
    assert len(server.bodies) < 50
