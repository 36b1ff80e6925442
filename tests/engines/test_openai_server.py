from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.engines import EngineConfig, Generation, SamplingParams, ScoreRequest, open_engine
from harness.engines.openai_engine import OpenAIEngine
from harness.errors import DataError, EngineUnavailableError, HarnessError, IncompleteError
from tests.asking import asked
from tests.checkpoints.vllm_server import VllmServer
from tests.engines.engine_requests import GREEDY, NUCLEUS, by_key, contents, make_requests, ranking_schema

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm
MANY = 2000


@pytest.fixture(scope="module")
def started(tiny_qwen3: Path) -> Iterator[VllmServer]:
    server = VllmServer(tiny_qwen3)
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


@pytest.fixture
def server(started: VllmServer) -> VllmServer:
    """The server, started again if a test has killed it."""
    started.start()
    return started


def open_openai(server: VllmServer, **settings: Any) -> OpenAIEngine:
    engine = open_engine(EngineConfig(engine="openai", base_urls=(server.url,), **settings))
    assert isinstance(engine, OpenAIEngine)
    return engine


def test_greedy_texts_and_ids_are_those_of_transformers(
    server: VllmServer, tiny_qwen3: Path, hf_greedy: dict[str, Generation]
) -> None:
    engine = open_openai(server, ckpt=str(tiny_qwen3))
    engine.start()
    assert contents(by_key(engine.generate(make_requests(engine), GREEDY))) == contents(hf_greedy)


def test_the_servers_own_tokenizer_gives_the_same_ids(
    server: VllmServer, tiny_qwen3: Path, hf_greedy: dict[str, Generation]
) -> None:
    local, remote = open_openai(server, ckpt=str(tiny_qwen3)), open_openai(server)
    assert remote.info().options["prompts"] == "token ids from the server"
    requests = make_requests(remote)
    assert [one.prompt_ids for one in requests] == [one.prompt_ids for one in make_requests(local)]
    answers = by_key(remote.generate(requests, GREEDY))
    expected = {key: one.token_ids for key, one in hf_greedy.items()}
    assert {key: one.token_ids for key, one in answers.items()} == expected


def test_seeds_decide_what_is_sampled(server: VllmServer, tiny_qwen3: Path) -> None:
    requests = make_requests(open_openai(server, ckpt=str(tiny_qwen3)))
    wide = open_openai(server, ckpt=str(tiny_qwen3), concurrency=24)
    narrow = open_openai(server, ckpt=str(tiny_qwen3), concurrency=1)
    together = contents(by_key(wide.generate(requests, NUCLEUS)))
    alone = contents(by_key(narrow.generate(requests[:4], NUCLEUS)))
    assert alone == {key: together[key] for key in alone}


def test_constrained_answers_fit_the_schema(server: VllmServer, tiny_qwen3: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = ranking_schema(4)
    engine = open_openai(server, ckpt=str(tiny_qwen3))
    requests = make_requests(engine, count=10, schema=schema)
    sampling = SamplingParams(max_tokens=400, temperature=1.0, constrained=True)
    answers = by_key(engine.generate(requests, sampling))
    finished = [one for one in answers.values() if one.finish_reason == "stop"]
    assert finished
    for one in finished:
        jsonschema.validate(json.loads(one.text), schema)


def test_a_request_the_server_refuses_is_one_line_with_its_reason(
    server: VllmServer, tiny_qwen3: Path
) -> None:
    engine = open_openai(server, ckpt=str(tiny_qwen3))
    schema = ranking_schema(4)
    schema["properties"]["ranking"]["uniqueItems"] = True
    with pytest.raises(HarnessError, match=r"HTTP 400 .*uniqueItems") as caught:
        list(engine.generate(make_requests(engine, count=3, schema=schema), GREEDY))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_answers_may_fill_the_context(server: VllmServer, tiny_qwen3: Path) -> None:
    """The server refuses prompt + max_tokens beyond its context, where other engines cut the answer."""
    engine = open_openai(server, ckpt=str(tiny_qwen3))
    requests = make_requests(engine, count=2)
    answers = by_key(engine.generate(requests, SamplingParams(max_tokens=5000)))
    assert len(answers) == 2


def test_a_prompt_longer_than_the_context_is_named(server: VllmServer, tiny_qwen3: Path) -> None:
    engine = open_openai(server, ckpt=str(tiny_qwen3))
    [ids] = engine.encode(asked("long " * 2000))
    [request] = make_requests(engine, count=1)
    long = type(request)("k", "the-long-one", 0, "long", ids, 0)
    with pytest.raises(DataError, match="task the-long-one is too long"):
        engine.generate([request, long], GREEDY)


def test_info_names_the_server_and_what_it_serves(server: VllmServer, tiny_qwen3: Path) -> None:
    import vllm

    info = open_openai(server, ckpt=str(tiny_qwen3)).info()
    assert info.version == f"vllm {vllm.__version__}"
    assert info.context_length == 1024
    assert info.weights_sha256 is not None
    assert info.options["served_model"] == "tiny"
    assert info.options["served_root"] == str(tiny_qwen3)
    bare = open_openai(server).info()
    assert (bare.checkpoint, bare.weights_sha256) == (str(tiny_qwen3), None)


def test_a_tokenizer_that_is_not_the_servers_is_refused(
    server: VllmServer, tiny_qwen3: Path, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    other = Tokenizer(models.BPE({chr(i): i for i in range(33, 127)}, []))
    other.pre_tokenizer = pre_tokenizers.ByteLevel()
    other.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_bytes((tiny_qwen3 / "tokenizer_config.json").read_bytes())
    with pytest.raises(EngineUnavailableError, match="is not that of tiny"):
        open_openai(server, tokenizer=str(tmp_path)).start()


@pytest.mark.model
def test_scores_agree_with_transformers(server: VllmServer, tiny_qwen3: Path) -> None:
    reference = open_engine(EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu"))
    reference.start()
    engine = open_openai(server, ckpt=str(tiny_qwen3))
    requests = [
        ScoreRequest(one.key, one.prompt_ids, tuple(range(3, 3 + 4 * (i + 1))))
        for i, one in enumerate(make_requests(engine, count=4))
    ]
    expected = {one.key: one for one in reference.score(requests, top_k=20)}
    reference.close()
    for one in engine.score(requests, top_k=20):
        assert np.abs(one.logprobs - expected[one.key].logprobs).max() < 1e-4
        assert np.abs(one.top_logprobs - expected[one.key].top_logprobs).max() < 1e-4


def test_a_server_killed_midway_is_incomplete_and_the_rest_can_be_drawn_later(
    server: VllmServer, tiny_qwen3: Path
) -> None:
    engine = open_openai(server, ckpt=str(tiny_qwen3), retry_seconds=1)
    requests = make_requests(engine, count=MANY)
    kept: list[Generation] = []
    iterator = engine.generate(requests, NUCLEUS)
    kept.append(next(iterator))
    server.kill()
    with pytest.raises(IncompleteError, match="no server has answered") as caught:
        kept.extend(iterator)
    assert caught.value.exit_code == 3
    assert 0 < len(by_key(kept)) < MANY
    with pytest.raises(EngineUnavailableError, match="no server answers"):
        open_openai(server).info()
