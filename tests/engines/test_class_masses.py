"""Class masses: exact by hf, bounds from top-k, against tables and float64 softmax."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import Contract, Terms
from harness.contract.tokens import TokenClasses
from harness.engines import Capabilities, Engine, EngineConfig, ScoreRequest, TokenScores, open_engine
from harness.engines.class_masses import bounds_from_top_k, score_classes

ANSWERS = (
    ['{"', "ranking", '":', " [", "1", ",", " 2", "]}", "<|im_end|>"],
    ['{"', "ranking", '"', ":", "[", "2", ",", " 1", "]", "}", "<|im_end|>"],
    ['{"', "ranking", '":', "[", "2", ",", " 2"],
    ["x"],
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    from tests.checkpoints.planted_bigram import TEACHER, write_planted

    return write_planted(tmp_path_factory.mktemp("planted") / "teacher", TEACHER)


def planted_requests(folder: Path) -> tuple[list[ScoreRequest], dict[str, list[float]]]:
    """Requests of the planted answers, and the class mass the table says each position has."""
    from harness.engines.vocabulary import read_vocabulary
    from tests.checkpoints.planted_bigram import START, TEACHER, token_ids

    vocabulary = read_vocabulary(EngineConfig(engine="hf", ckpt=str(folder)))
    classes = TokenClasses(vocabulary.contents, vocabulary.end_ids, Contract())
    ids = token_ids(folder)
    requests, expected = [], {}
    for number, answer in enumerate(ANSWERS):
        state, members, masses = classes.start(Terms(Contract(), 2)), [], []
        for before, token in zip([START, *answer], answer, strict=False):
            role, mass = TEACHER.at(before)
            assert state.role == role
            members.append(classes.members(state))
            masses.append(mass)
            following = classes.advance(state, ids[token])
            if following is None:
                break
            state = following
        requests.append(
            ScoreRequest(
                f"r{number}", (ids["1"], ids["\n"]), tuple(ids[token] for token in answer), tuple(members)
            )
        )
        assert len(members) == len(answer)
        expected[f"r{number}"] = masses
    return requests, expected


@pytest.mark.model
def test_hf_recovers_planted_masses(planted: Path) -> None:
    requests, expected = planted_requests(planted)
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(planted), device="cpu", batch_size=3))
    engine.start()
    found = {one.key: one for one in score_classes(engine, requests)}
    engine.close()
    for key, masses in expected.items():
        bounds = found[key].masses
        assert bounds.is_exact
        np.testing.assert_allclose(np.exp(bounds.low.log_mass), masses, rtol=0, atol=1e-6)
        # The tail keeps digits that one minus a float32 mass would not have.
        np.testing.assert_allclose(np.exp(bounds.low.log_tail), 1 - np.array(masses), rtol=1e-4)


@pytest.mark.model
@pytest.mark.vllm
def test_vllm_bounds_hold_the_masses_of_transformers(vllm: Engine, tiny_qwen3: Path) -> None:
    """Those of planted tables are held by a server's bounds, in tests/measure/test_cliff_openai.py."""
    rng = np.random.default_rng(3)
    requests = []
    for number, length in enumerate((1, 6, 9)):
        classes = tuple(np.sort(rng.choice(384, 2 + 40 * t, replace=False)) for t in range(length))
        prompt, answer = (tuple(int(i) for i in rng.integers(3, 384, size)) for size in (7 + number, length))
        requests.append(ScoreRequest(f"r{number}", prompt, answer, classes))
    reference = open_engine(EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu"))
    reference.start()
    exact = {one.key: np.exp(one.masses.low.log_mass) for one in score_classes(reference, requests)}
    reference.close()
    narrow = {one.key: one for one in score_classes(vllm, requests, top_k=1, max_top_k=1)}
    wide = {one.key: one for one in score_classes(vllm, requests, top_k=1, max_top_k=64)}
    spread: dict[str, float] = {}
    for name, found in (("narrow", narrow), ("wide", wide)):
        for key, masses in exact.items():
            low, high = (np.exp(mass.log_mass) for mass in (found[key].masses.low, found[key].masses.high))
            assert np.all(low <= masses + 1e-6)
            assert np.all(high >= masses - 1e-6)
            spread[name] = spread.get(name, 0.0) + float((high - low).sum())
    assert wide["r2"].top_k > 1
    assert spread["wide"] < spread["narrow"]


@pytest.mark.model
def test_hf_agrees_with_a_float64_softmax_in_any_block(
    tiny_qwen3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from harness.engines import hf_scoring

    rng = np.random.default_rng(0)
    every = np.arange(384)
    shared = np.sort(rng.choice(384, 20, replace=False))
    requests = []
    for number, length in enumerate((1, 5, 9)):
        classes = [np.sort(rng.choice(384, 1 + t, replace=False)) for t in range(length)]
        classes[0] = shared
        classes[-1] = every if number else np.array([], dtype=np.int64)
        prompt = tuple(int(i) for i in rng.integers(3, 384, 7 + number))
        answer = tuple(int(i) for i in rng.integers(3, 384, length))
        requests.append(ScoreRequest(f"r{number}", prompt, answer, tuple(classes)))
    monkeypatch.setattr(hf_scoring, "BLOCK_LOGITS", 4 * 384)
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu", batch_size=2))
    engine.start()
    found = {one.key: one for one in engine.score(requests, 5)}
    engine.close()
    model = AutoModelForCausalLM.from_pretrained(str(tiny_qwen3), dtype=torch.float32).eval()
    for request in requests:
        row = torch.tensor([[*request.prompt_ids, *request.completion_ids]])
        with torch.inference_mode():
            logprobs = model(row).logits[0].double().log_softmax(-1).numpy()
        for t, members in enumerate(request.classes):
            at = logprobs[len(request.prompt_ids) - 1 + t]
            masses = found[request.key].class_masses
            assert masses is not None
            others = np.setdiff1d(every, members)
            inside = np.logaddexp.reduce(at[members], initial=-np.inf)
            outside = np.logaddexp.reduce(at[others], initial=-np.inf)
            np.testing.assert_allclose(masses.log_mass[t], inside, atol=1e-5)
            np.testing.assert_allclose(masses.log_tail[t], outside, atol=1e-5)
            np.testing.assert_allclose(
                found[request.key].logprobs[t], at[request.completion_ids[t]], atol=1e-5
            )


@pytest.mark.model
def test_a_class_is_needed_for_every_token(tiny_qwen3: Path) -> None:
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu"))
    engine.start()
    with pytest.raises(ValueError, match="1 classes for 2 tokens"):
        list(engine.score([ScoreRequest("r", (5,), (6, 7), (np.array([3]),))], 5))
    engine.close()


@pytest.mark.model
def test_ids_beyond_the_output_layer_have_no_mass(tiny_qwen3: Path) -> None:
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu"))
    engine.start()
    classes = [(np.array([3, 9]),), (np.array([3, 9, 384, 10**6]),), (np.array([10**6]),)]
    requests = [ScoreRequest("r", (5,), (6,), members) for members in classes]
    within, beyond, only = (next(engine.score([request], 5)).class_masses for request in requests)
    engine.close()
    assert within is not None
    assert beyond is not None
    assert only is not None
    assert beyond.log_mass == within.log_mass
    assert only.log_mass == -np.inf


class TopK:
    """Not an engine under test: a known distribution seen through a top-k, as a server shows it."""

    def __init__(self, logprobs: np.ndarray[Any, Any]) -> None:
        self.logprobs = logprobs
        self.asked: list[int] = []
        self.capabilities = Capabilities()

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, done: Collection[str] = frozenset()
    ) -> Iterator[TokenScores]:
        self.asked.append(top_k)
        for request in requests:
            order = np.argsort(-self.logprobs, axis=1)[:, :top_k]
            own = self.logprobs[np.arange(len(order)), list(request.completion_ids)]
            yield TokenScores(request.key, own, order, np.take_along_axis(self.logprobs, order, 1))


@given(data=st.data(), k=st.integers(1, 12))
def test_bounds_hold_the_truth_and_shrink_with_k(data: st.DataObject, k: int) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=data.draw(st.floats(0.1, 8)), size=(3, 12))
    logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    classes = tuple(np.flatnonzero(rng.random(12) < 0.5) for _ in range(3))
    request = ScoreRequest("r", (0,), tuple(int(i) for i in rng.integers(0, 12, 3)), classes)
    truth = np.array([np.exp(row[ids]).sum() for row, ids in zip(logprobs, classes, strict=True)])
    widths = []
    for size in (k, 12):
        [scores] = TopK(logprobs).score([request], size)
        bounds = bounds_from_top_k(request, scores)
        low, high = np.exp(bounds.low.log_mass), np.exp(bounds.high.log_mass)
        assert np.all(low <= truth + 1e-9)
        assert np.all(high >= truth - 1e-9)
        widths.append(high - low)
    assert np.all(widths[1] <= widths[0] + 1e-12)
    assert np.all(widths[1] < 1e-6)


def test_k_is_raised_only_where_the_tail_is_uncertain() -> None:
    sure = np.log(np.array([[0.98, 0.02 - 1e-9, *[1e-11] * 98]]))
    flat = np.log(np.full((1, 100), 0.01))
    members = (np.array([0]),)
    for logprobs, asked in ((sure, [4]), (flat, [4, 16, 64, 100])):
        engine = TopK(logprobs)
        request = ScoreRequest("r", (0,), (0,), members)
        [scores] = score_classes(as_engine(engine), [request], top_k=4, max_top_k=100)
        assert engine.asked == asked
        assert scores.top_k == asked[-1]


def test_a_chunk_is_settled_before_the_next_begins() -> None:
    flat = np.log(np.full((1, 100), 0.01))
    engine = TopK(flat)
    requests = [ScoreRequest(f"r{n}", (0,), (0,), (np.array([0]),)) for n in range(5)]
    scores = score_classes(as_engine(engine), requests, top_k=25, max_top_k=100, chunk=2)
    assert [next(scores).key, next(scores).key] == ["r0", "r1"]
    assert engine.asked == [25, 100]
    assert [one.key for one in scores] == ["r2", "r3", "r4"]
    assert engine.asked == [25, 100] * 3


def test_what_is_done_is_not_asked_again() -> None:
    engine = TopK(np.log(np.array([[0.98, 0.02 - 1e-9, *[1e-11] * 98]])))
    requests = [ScoreRequest(f"r{n}", (0,), (0,), (np.array([0]),)) for n in range(5)]
    scores = score_classes(as_engine(engine), requests, top_k=4, done={"r0", "r3"}, chunk=2)
    assert [one.key for one in scores] == ["r1", "r2", "r4"]
    assert engine.asked == [4, 4]


@pytest.mark.model
def test_hf_scores_in_the_batches_of_the_whole_plan(tiny_qwen3: Path) -> None:
    """To the last bit: batch and padding decide it."""
    rng = np.random.default_rng(3)
    requests = []
    for number, length in enumerate((9, 2, 5, 7, 3)):
        ids = [int(i) for i in rng.integers(3, 384, 6 + length)]
        members = tuple(np.arange(40) for _ in range(length))
        requests.append(ScoreRequest(f"r{number}", tuple(ids[:6]), tuple(ids[6:]), members))
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu", batch_size=2))
    assert engine.capabilities.batch_size == 2
    engine.start()
    whole = {one.key: one for one in score_classes(engine, requests)}
    # The batches are r0 r3, r2 r4, r1: of the first only half is there, the second is done.
    rest = {one.key: one for one in score_classes(engine, requests, done={"r0", "r2", "r4"})}
    engine.close()
    assert set(rest) == {"r1", "r3"}
    for key, scores in rest.items():
        assert np.array_equal(scores.logprobs, whole[key].logprobs)
        assert np.array_equal(scores.masses.low.log_tail, whole[key].masses.low.log_tail)


def as_engine(one: Any) -> Engine:
    return one


@pytest.mark.model
@pytest.mark.parametrize("plausible", [0.0, 0.1])
def test_the_target_s_odds_are_those_of_a_float64_mixture(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plausible: float
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from harness.engines import hf_target
    from tests.checkpoints.planted_bigram import BASE, write_planted

    requests, masses = planted_requests(planted)
    folders = (planted, write_planted(tmp_path / "base", BASE))
    load = AutoModelForCausalLM.from_pretrained
    models = [load(str(one), dtype=torch.float32).eval() for one in folders]
    lambdas = (1.0, 1.3, 4.0)
    monkeypatch.setattr(hf_target, "BLOCK_LOGITS", 12 * models[0].config.vocab_size)
    given = dict(hf_target.target_odds(*models, requests, lambdas, plausible=plausible, batch_size=3))
    again = dict(
        hf_target.target_odds(*models, requests, lambdas, plausible=plausible, done={"r0"}, batch_size=3)
    )
    assert set(again) == {one.key for one in requests} - {"r0"}
    for request in requests:
        if request.key in again:
            assert np.array_equal(again[request.key], given[request.key])
        row = torch.tensor([[*request.prompt_ids, *request.completion_ids]])
        with torch.inference_mode():
            teacher, base = (model(row).logits[0].double().log_softmax(-1).numpy() for model in models)
        for t, members in enumerate(request.classes):
            one, other = teacher[len(request.prompt_ids) - 1 + t], base[len(request.prompt_ids) - 1 + t]
            gain = np.where(np.exp(one) >= plausible * np.exp(one.max()), one - other, 0.0)
            for place, lam in enumerate(lambdas):
                target = np.exp(one + (lam - 1) * gain)
                expected = np.log(np.delete(target, members).sum()) - np.log(target[members].sum())
                assert given[request.key][t, place] == pytest.approx(expected, abs=2e-4)
        # λ = 1 is the teacher.
        tail = 1 / (1 + np.exp(-given[request.key][:, 0]))
        np.testing.assert_allclose(tail, 1 - np.array(masses[request.key]), rtol=1e-3)
