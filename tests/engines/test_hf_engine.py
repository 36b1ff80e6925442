from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.engines import EngineConfig, GenerationRequest, SamplingParams, ScoreRequest, open_engine
from harness.engines.hf_engine import HfEngine
from harness.errors import DataError, EngineUnavailableError
from tests.engines.engine_requests import (
    GREEDY,
    NUCLEUS,
    SAMPLED,
    by_key,
    contents,
    make_requests,
    ranking_schema,
)

pytest.importorskip("transformers")
pytestmark = pytest.mark.model


def open_hf(folder: Path, **settings: Any) -> HfEngine:
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(folder), device="cpu", **settings))
    assert isinstance(engine, HfEngine)
    return engine


@pytest.fixture(scope="module")
def hf(tiny_qwen3: Path) -> HfEngine:
    engine = open_hf(tiny_qwen3, batch_size=5)
    engine.start()
    return engine


@pytest.fixture(scope="module")
def bare(tiny_qwen3: Path) -> Any:
    """The model without the engine."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(tiny_qwen3)).eval()


def greedy_by_hand(model: Any, prompt: tuple[int, ...], limit: int, stop: int) -> list[int]:
    """Argmax of whole forward passes, one token at a time: no cache, no padding, no generate()."""
    import torch

    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) - len(prompt) < limit:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == stop:
                break
    return ids[len(prompt) :]


def test_greedy_is_the_argmax_whatever_generation_config_asks_for(hf: HfEngine, bare: Any) -> None:
    requests = make_requests(hf, count=8)
    answers = by_key(hf.generate(requests, GREEDY))
    for request in requests:
        expected = greedy_by_hand(bare, request.prompt_ids, GREEDY.max_tokens, stop=2)
        answer = answers[request.key]
        assert list(answer.token_ids) == expected
        assert answer.finish_reason == ("stop" if expected[-1] == 2 else "length")
        assert answer.completion_tokens == len(expected)
        assert answer.prompt_tokens == len(request.prompt_ids)


def test_both_ways_of_finishing_occur(hf_greedy: dict) -> None:
    assert {one.finish_reason for one in hf_greedy.values()} == {"stop", "length"}


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED, NUCLEUS], ids=["greedy", "sampled", "nucleus"])
def test_the_batch_does_not_change_the_text(tiny_qwen3: Path, hf: HfEngine, sampling: SamplingParams) -> None:
    requests = make_requests(hf, count=15)
    expected = contents(by_key(hf.generate(requests, sampling)))
    for size in (1, 7):
        engine = open_hf(tiny_qwen3, batch_size=size)
        engine.start()
        assert contents(by_key(engine.generate(requests, sampling))) == expected
        engine.close()


def test_seeds_decide_what_is_sampled(hf: HfEngine) -> None:
    requests = make_requests(hf, count=6)
    first = contents(by_key(hf.generate(requests, SAMPLED)))
    assert contents(by_key(hf.generate(list(reversed(requests)), SAMPLED))) == first
    reseeded = [dataclasses.replace(one, seed=one.seed + 1) for one in requests]
    other = contents(by_key(hf.generate(reseeded, SAMPLED)))
    assert all(other[key] != first[key] for key in first)


def test_a_resumed_run_forms_the_same_batches(hf: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = make_requests(hf, count=14)
    formed: list[list[str]] = []
    answers_of = hf._answers

    def watched(batch: Any, sampling: SamplingParams) -> Any:
        formed.append([one.key for one in batch])
        return answers_of(batch, sampling)

    monkeypatch.setattr(hf, "_answers", watched)
    whole = by_key(hf.generate(requests, SAMPLED))
    batches = list(formed)
    formed.clear()
    # The first batch whole and one sample of the second were done when the run was killed.
    done = {*batches[0], batches[1][0]}
    rest = by_key(hf.generate(requests, SAMPLED, done=done))
    assert formed == batches[1:]
    assert contents(rest) == {key: value for key, value in contents(whole).items() if key not in done}


def test_answers_end_where_the_context_does(tiny_qwen3: Path, hf: HfEngine) -> None:
    requests = make_requests(hf, count=6)
    limit = max(len(one.prompt_ids) for one in requests) + 3
    engine = open_hf(tiny_qwen3, max_model_len=limit)
    engine.start()
    answers = by_key(engine.generate(requests, SamplingParams(max_tokens=1000)))
    whole = by_key(hf.generate(requests, SamplingParams(max_tokens=limit)))
    for request in requests:
        room = limit - len(request.prompt_ids)
        assert answers[request.key].token_ids == whole[request.key].token_ids[:room]
    assert {one.finish_reason for one in answers.values() if one.completion_tokens == 3} == {"length"}


def test_a_prompt_longer_than_the_context_is_named_before_anything_runs(tiny_qwen3: Path) -> None:
    engine = open_hf(tiny_qwen3)
    engine.start()
    requests = make_requests(engine, count=2)
    long = dataclasses.replace(requests[1], task_id="the-long-one", prompt_ids=(5,) * 1024)
    with pytest.raises(DataError, match=r"task the-long-one is too long: up to 1024 tokens.* holds 1024"):
        engine.generate([requests[0], long], GREEDY)
    engine.close()


def test_info(hf: HfEngine, bare: Any, tiny_qwen3: Path) -> None:
    import transformers

    info = hf.info()
    assert (info.name, info.version) == ("hf", transformers.__version__)
    assert info.checkpoint == str(tiny_qwen3)
    assert info.parameters == sum(p.numel() for p in bare.parameters())
    assert info.context_length == 1024
    assert info.options["dtype"] == "float32"
    assert info.options["stop_token_ids"] == [2]
    json.dumps(info.options)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_constrained_answers_fit_the_schema(hf: HfEngine, sampling: SamplingParams) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("xgrammar")
    schema = ranking_schema(4)
    requests = make_requests(hf, count=10, schema=schema)
    long = dataclasses.replace(sampling, max_tokens=400, constrained=True)
    answers = by_key(hf.generate(requests, long))
    finished = [one for one in answers.values() if one.finish_reason == "stop"]
    assert finished
    for one in finished:
        jsonschema.validate(json.loads(one.text), schema)


def test_free_and_constrained_requests_share_a_batch(hf: HfEngine) -> None:
    pytest.importorskip("xgrammar")
    free = make_requests(hf, count=4)
    expected = contents(by_key(hf.generate(free, GREEDY)))
    mixed = [
        dataclasses.replace(one, schema=ranking_schema(3) if i % 2 else None) for i, one in enumerate(free)
    ]
    answers = contents(by_key(hf.generate(mixed, GREEDY)))
    for i, one in enumerate(free):
        assert (answers[one.key] == expected[one.key]) is (i % 2 == 0)


def test_scores_are_those_of_a_whole_forward_pass(hf: HfEngine, bare: Any) -> None:
    import torch

    requests = [
        ScoreRequest(one.key, one.prompt_ids, tuple(range(3, 3 + 5 * (i + 1))))
        for i, one in enumerate(make_requests(hf, count=7))
    ]
    for request, found in zip(
        requests, sorted(hf.score(requests, top_k=4), key=lambda one: one.key), strict=True
    ):
        with torch.inference_mode():
            logits = bare(torch.tensor([[*request.prompt_ids, *request.completion_ids]])).logits[0]
        rows = logits[len(request.prompt_ids) - 1 : -1].double().log_softmax(-1).numpy()
        own = rows[np.arange(len(rows)), list(request.completion_ids)]
        assert np.abs(found.logprobs - own).max() < 1e-4
        assert found.top_ids.tolist() == np.argsort(-rows, axis=1)[:, :4].tolist()
        assert np.abs(found.top_logprobs - -np.sort(-rows, axis=1)[:, :4]).max() < 1e-4
        assert (found.logprobs.dtype, found.top_ids.dtype) == (np.float64, np.int64)


def test_scores_without_completion_or_prompt(hf: HfEngine) -> None:
    [empty] = hf.score([ScoreRequest("k", (5, 6), ())], top_k=3)
    assert empty.logprobs.shape == (0,)
    assert empty.top_ids.shape == (0, 3)
    with pytest.raises(DataError, match="no prompt token"):
        list(hf.score([ScoreRequest("k", (), (5,))], top_k=3))


def test_a_peft_adapter_speaks_like_its_merged_model(tiny_qwen3: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(str(tiny_qwen3))
    torch.manual_seed(7)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(base, settings)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_qwen3 / name, tmp_path / "merged" / name)
    answers = []
    for folder in (tmp_path / "adapter", tmp_path / "merged", tiny_qwen3):
        engine = open_hf(folder)
        engine.start()
        answers.append(contents(by_key(engine.generate(make_requests(engine, count=6), GREEDY))))
        engine.close()
    assert answers[0] == answers[1] != answers[2]
    info = open_hf(tmp_path / "adapter").info()
    assert info.options["adapter"]["base"] == str(tiny_qwen3)


def test_what_can_not_be_loaded_is_one_line(tiny_qwen3: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_qwen3, tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "no-such-model"}))
    with pytest.raises(EngineUnavailableError, match="transformers can't load") as caught:
        open_hf(folder).start()
    assert "\n" not in str(caught.value)


def test_closing_twice_and_starting_again(tiny_qwen3: Path) -> None:
    engine = open_hf(tiny_qwen3)
    request = GenerationRequest("k", "t", 0, "x", (5, 6, 7), 0)
    with pytest.raises(RuntimeError, match="not started"):
        engine.generate([request], GREEDY)
    engine.start()
    first = contents(by_key(engine.generate([request], GREEDY)))
    engine.close()
    engine.close()
    engine.start()
    assert contents(by_key(engine.generate([request], GREEDY))) == first
