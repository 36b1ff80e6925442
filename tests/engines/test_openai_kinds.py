"""Servers of other makes, after their documentation: what each is asked, and that it can be evaluated."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("httpx")

from harness.cli import main
from harness.engines import SamplingParams, ScoreRequest, open_engine
from harness.errors import IncompleteError
from tests.asking import asked
from tests.engines.faulty_server import Fault, FaultyServer, faulty, tokens
from tests.engines.ranking_server import Ranking, task_of, write_tasks
from tests.engines.server_faults import FAULTS
from tests.engines.test_openai_faults import SAMPLING, config, requests, said


class LlamaCpp(FaultyServer):
    """`tools/server/README.md`: `/tokenize` reads `content`; 404 is JSON; `timings` beside an answer."""

    def tokenized(self, body: dict[str, Any]) -> tuple[int, object]:
        return 200, {"tokens": tokens({"prompt": body.get("content", "")})[1:]}

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        return super().answer(body) | {"timings": {"prompt_n": 1}, "system_fingerprint": "b6000"}


class SGLang(FaultyServer):
    """`/tokenize` takes a prompt, and no messages; `matched_stop` beside a finish reason, null logprobs."""

    def tokenized(self, body: dict[str, Any]) -> tuple[int, object]:
        if "messages" in body:
            return 400, {"object": "error", "message": "prompt: Field required", "code": 400}
        return 200, {"tokens": tokens(body), "count": 1, "max_model_len": 4096}

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = super().answer(body)
        answer["choices"][0] |= {"matched_stop": 151645, "logprobs": None}
        return answer


@pytest.mark.parametrize("kind", [LlamaCpp, SGLang])
def test_servers_of_other_makes_get_chat_messages(kind: type[FaultyServer]) -> None:
    server = kind(lambda *_: None)
    try:
        engine = open_engine(config(server.url))
        assert engine.info().options["prompts"] == "chat messages"
        engine.start()
        assert engine.encode(asked("a")) == [()]
        assert len(list(engine.generate(requests(3), SAMPLING))) == 3
        # A checkpoint's own defaults for these may hold there, and can't be seen from here.
        [remark] = engine.info().options["remarks"]
        assert "top_k" in remark
        greedy = open_engine(config(server.url))
        list(greedy.generate(requests(1), SamplingParams()))
        assert greedy.info().options["remarks"] == []
    finally:
        server.close()


@pytest.mark.model
def test_a_tokenizer_may_be_named_where_the_server_has_none(tiny_qwen3: Any) -> None:
    server = LlamaCpp(lambda *_: None)
    try:
        engine = open_engine(config(server.url, tokenizer=str(tiny_qwen3)))
        engine.start()
        assert engine.info().options["prompts"] == "token ids"
        assert engine.encode(asked("a")) != [()]
    finally:
        server.close()


@pytest.mark.parametrize("path", ["/v1/models", "/version", "/tokenize"])
@pytest.mark.parametrize("fault", [Fault(503), Fault(200, body=b"<html>wait</html>"), Fault(200, body=b"")])
def test_a_fault_while_it_is_asked_what_it_is_changes_nothing(path: str, fault: Fault) -> None:
    """A vLLM that passed for another server would get other prompts, and other defaults of sampling."""

    class Once(dict[str, Fault]):
        def get(self, name: str, default: Any = None) -> Any:
            return self.pop(name, default)

    with faulty(lambda *_: None, pages=Once({path: fault}), version="0.11.0") as server:
        info = open_engine(config(server.url)).info()
    assert (info.version, info.options["prompts"]) == ("vllm 0.11.0", "token ids from the server")


@pytest.mark.parametrize("fault", [Fault(200, trickles=True), Fault(0)])
def test_deadlines_and_sizes_hold_for_scores_too(fault: Fault) -> None:
    with faulty(lambda *_: fault, version="1") as server:
        engine = open_engine(config(server.url, retry_seconds=0, request_seconds=0.3))
        with pytest.raises(IncompleteError):
            list(engine.score([ScoreRequest("k", (1,), (5, 6))], top_k=1))


def test_a_sequence_that_cannot_be_scored_does_not_hold_up_the_others() -> None:
    def script(_: int, body: dict[str, Any]) -> Fault:
        if len(body["prompt"]) > 20:
            return Fault(500)
        rows = [None, *({str(token): {"logprob": -0.5, "rank": 1}} for token in body["prompt"][1:])]
        return Fault(200, body=json.dumps({"choices": [{"text": "", "prompt_logprobs": rows}]}).encode())

    with faulty(script, version="1") as server:
        engine = open_engine(config(server.url, concurrency=1, request_tries=1, retry_seconds=9))
        wanted = [ScoreRequest(f"k{length}", (1,) * length, (5,)) for length in (30, 1, 2)]
        scores = engine.score(wanted, top_k=1)
        assert {next(scores).key, next(scores).key} == {"k1", "k2"}
        with pytest.raises(IncompleteError, match="k30"):
            next(scores)


def test_a_lone_surrogate_in_an_answer_is_kept(tmp_path: Any) -> None:
    body = json.dumps(said('{"ranking": [1, 2, 3, 4]}\ud800')).encode()
    data = write_tasks(tmp_path / "tasks.jsonl", 2)
    with faulty(lambda *_: Fault(200, body=body)) as server:
        where = ["--base-url", server.url, "--data", str(data), "--out", str(tmp_path / "run")]
        assert main(["eval", *where]) == 0
    assert main(["rescore", str(tmp_path / "run")]) == 0


SMALL_MATRIX = ("HTTP 400", "two choices", "half a reply", "UTF-16")


@pytest.mark.parametrize(
    "fault", [one for one in FAULTS if one.name in SMALL_MATRIX], ids=lambda one: one.name
)
def test_a_fault_of_one_request_costs_no_other(fault: Any, tmp_path: Any) -> None:
    """A sample of `benchmarks/server_faults.py`, which has 60 of them and three ways to meet each."""
    data = write_tasks(tmp_path / "tasks.jsonl", 8)
    server = Ranking(lambda *_: None)
    server.script = lambda _, body: fault.made(server.answer(body)) if task_of(body) == "t3" else None
    where = ["--base-url", server.url, "--data", str(data), "--out", str(tmp_path / "run")]
    limits = ["--request-tries", "1", "--retry-seconds", "5", "--concurrency", "2"]
    try:
        codes = [main(["eval", *where, *limits]), main(["eval", *where, *limits, "--allow-missing", "1"])]
        assert codes == ([0, 0] if fault.kind == "fine" else [3, 0])
        server.script = lambda *_: None
        assert main(["eval", *where, *limits]) == 0
    finally:
        server.close()
    keys = [json.loads(line)["key"] for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 8
