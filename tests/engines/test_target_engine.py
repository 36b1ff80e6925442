"""The extrapolated target against whole forward passes and brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.contract import parse
from harness.engines import EngineConfig, SamplingParams, open_engine
from harness.engines.config import TargetConfig
from harness.engines.hf_engine import HfEngine
from harness.engines.target_draw import Reader, TargetRow, draw_rows, target_scores
from harness.engines.target_engine import TargetEngine
from harness.errors import EngineUnavailableError, HarnessError
from tests.engines.engine_requests import (
    GREEDY,
    SAMPLED,
    by_key,
    contents,
    make_requests,
    ranking_schema,
)

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.model

TEACHER, BASE = "zoo:teacher", "zoo:base"


def target(lam: float, plausible: float = 0.0) -> TargetConfig:
    return TargetConfig(teacher=TEACHER, base=BASE, lam=lam, plausible=plausible)


def opened(lam: float, plausible: float = 0.0, **settings: Any) -> TargetEngine:
    config = EngineConfig(engine="target", target=target(lam, plausible), device="cpu", **settings)
    engine = open_engine(config)
    assert isinstance(engine, TargetEngine)
    engine.start()
    return engine


@pytest.fixture(scope="module")
def models() -> dict[str, HfEngine]:
    found = {}
    for name in (TEACHER, BASE):
        engine = open_engine(EngineConfig(engine="hf", ckpt=name, device="cpu"))
        assert isinstance(engine, HfEngine)
        engine.start()
        found[name] = engine
    return found


@pytest.mark.parametrize(("lam", "alone"), [(0.0, BASE), (1.0, TEACHER)])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_the_ends_of_the_line_are_base_and_teacher(
    models: dict[str, HfEngine], lam: float, alone: str, sampling: SamplingParams
) -> None:
    mixed = opened(lam, batch_size=5)
    requests = make_requests(mixed)
    other = HfEngine(EngineConfig(engine="hf", ckpt=alone, device="cpu", batch_size=5))
    other.start()
    drawn, expected = (contents(by_key(one.generate(requests, sampling))) for one in (mixed, other))
    assert drawn == expected


def by_hand(models: dict[str, HfEngine], ids: list[int], lam: float) -> Any:
    """log π_λ of the next token from whole forward passes in float64: no cache, no padding."""
    logs = []
    with torch.inference_mode():
        for name in (TEACHER, BASE):
            logits = models[name].model(torch.tensor([ids])).logits[0, -1]
            logs.append(torch.log_softmax(logits.double(), dim=-1))
    return torch.log_softmax(lam * logs[0] - (lam - 1.0) * logs[1], dim=-1)


@pytest.mark.parametrize("lam", [0.5, 1.3, 3.0])
def test_every_step_of_a_padded_batch_is_that_of_whole_passes(
    models: dict[str, HfEngine], lam: float
) -> None:
    """Rows of different lengths, repeated and left out, many steps: caches, masks and positions agree."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, 200, size=size).tolist() for size in (4, 9, 17)]
    width = max(map(len, prompts))
    rows = torch.tensor([[0] * (width - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts])
    readers = [Reader(models[name].model, name) for name in (TEACHER, BASE)]
    with torch.inference_mode():
        logits = [reader.read(rows, mask) for reader in readers]
        for taken in (None, [0, 1, 2, 2, 0], None, [1, 3, 4], [2], None):
            found = torch.log_softmax(target_scores(*logits, lam).double(), dim=-1)
            for row, ids in zip(found, prompts, strict=True):
                expected = by_hand(models, ids, lam)
                likely = expected > math.log(1e-6)
                assert (row - expected)[likely].abs().max() < 1e-3
                assert (row.exp() - expected.exp()).abs().max() < 1e-5
            if taken is not None:
                prompts = [prompts[row] for row in taken]
                for reader in readers:
                    reader.take(torch.tensor(taken))
            drawn = rng.integers(3, 200, size=len(prompts)).tolist()
            prompts = [[*one, token] for one, token in zip(prompts, drawn, strict=True)]
            logits = [reader.step(torch.tensor(drawn)) for reader in readers]


def test_probabilities_of_all_sequences_by_enumeration() -> None:
    """Four tokens, three steps: the mixture's chain is π_T^λ π_B^(1−λ) normalised state by state, to 1e-6."""
    rng = np.random.default_rng(1)
    vocabulary, steps, lam = 4, 3, 1.7
    logits = {
        name: {
            state: rng.normal(size=vocabulary) * 2.0
            for length in range(steps)
            for state in itertools.product(range(vocabulary), repeat=length)
        }
        for name in ("teacher", "base")
    }

    def chain(step: Any) -> np.ndarray:
        return np.array(
            [
                math.exp(sum(step(sequence[:place])[token] for place, token in enumerate(sequence)))
                for sequence in itertools.product(range(vocabulary), repeat=steps)
            ]
        )

    def ours(state: tuple[int, ...]) -> np.ndarray:
        rows = [torch.tensor(logits[name][state])[None] for name in ("teacher", "base")]
        scores = target_scores(rows[0], rows[1], lam)
        return torch.log_softmax(scores.double(), dim=-1)[0].numpy()

    def exact(state: tuple[int, ...]) -> np.ndarray:
        p, b = (np.exp(one[state]) / np.exp(one[state]).sum() for one in logits.values())
        mass = p**lam * b ** (1.0 - lam)
        return np.log(mass / mass.sum())

    assert chain(exact).sum() == pytest.approx(1.0)
    assert np.abs(chain(ours) - chain(exact)).max() < 1e-6


def test_extrapolation_only_where_the_teacher_finds_it_plausible() -> None:
    """Elsewhere a token keeps the mass that the teacher gives it, before all is normalised."""
    teacher = torch.log(torch.tensor([[0.6, 0.3, 0.08, 0.02]]))
    base = torch.log(torch.tensor([[0.3, 0.4, 0.2999, 0.0001]]))
    scores = target_scores(teacher, base, 3.0, plausible=0.2)[0].exp()
    assert scores.tolist() == pytest.approx(
        [0.6 * (0.6 / 0.3) ** 2, 0.3 * (0.3 / 0.4) ** 2, 0.08, 0.02], rel=1e-5
    )
    everywhere = target_scores(teacher, base, 3.0)[0]
    assert everywhere.argmax() == 3
    assert torch.equal(target_scores(teacher, base, 1.0, plausible=0.2), teacher.log_softmax(-1))


def test_what_a_row_draws_depends_on_its_seed_alone(models: dict[str, HfEngine]) -> None:
    small, large = opened(1.3, batch_size=3), opened(1.3, batch_size=24)
    requests = make_requests(small, 12)
    assert contents(by_key(small.generate(requests, SAMPLED))) == contents(
        by_key(large.generate(requests, SAMPLED))
    )


class Summed(Reader):
    """A model whose cache can't give up rows."""

    can_take = property(lambda self: False)  # type: ignore[assignment]


def test_rows_of_a_cache_that_cant_give_them_up_are_drawn_all_the_same(models: dict[str, HfEngine]) -> None:
    """Prompts are then read a row at a time, and rows stay until the batch has ended."""
    rows = [
        TargetRow(one.prompt_ids, one.seed, lam)
        for one in make_requests(models[BASE], 2)
        for lam in (0.0, 1.0, 2.0)
    ]
    drawn = [
        draw_rows(
            *(kind(models[name].model, name) for name in (TEACHER, BASE)),
            rows,
            SAMPLED,
            plausible=0.0,
            stop_ids=[2],
            context_length=None,
            device="cpu",
        )
        for kind in (Reader, Summed)
    ]
    assert drawn[0] == drawn[1]
    assert len({len(one) for one in drawn[0]}) > 1


def test_a_grammar_holds_rows_that_outlast_others() -> None:
    pytest.importorskip("xgrammar")
    engine = opened(4.0, batch_size=8)
    requests = make_requests(engine, 8, ranking_schema(3))
    drawn = by_key(engine.generate(requests, SAMPLED))
    parsed = [parse(one.text, 3) for one in drawn.values() if one.finish_reason == "stop"]
    assert len(parsed) > 2
    assert {one.code for one in parsed} <= {None, "duplicate_id"}


class Kept:
    """Completions kept in memory."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, ...]] = {}

    def get(self, mark: str) -> tuple[int, ...] | None:
        return self.known.get(mark)

    def keep(self, marks: Sequence[str], completions: Sequence[tuple[int, ...]]) -> None:
        self.known |= zip(marks, completions, strict=True)


def test_lambdas_drawn_together_are_those_drawn_alone() -> None:
    together, alone, kept = opened(0.0), opened(0.0), Kept()
    requests = make_requests(together, 5)
    for place, lam in enumerate(lams := (0.0, 1.0, 3.0)):
        asked = EngineConfig(engine="target", target=target(lam), device="cpu")
        together.choose(asked, lams[place + 1 :], kept)
        alone.choose(asked)
        found, expected = (contents(by_key(one.generate(requests, SAMPLED))) for one in (together, alone))
        assert found == expected
        assert len(kept.known) == 2 * 5


def test_what_it_is_called(models: dict[str, HfEngine]) -> None:
    one, other, masked = (opened(*made).info() for made in ((1.3,), (1.4,), (1.3, 0.1)))
    known = {name: engine.info().weights_sha256 for name, engine in models.items()}
    assert one.options["teacher"] == TEACHER
    assert (one.options["teacher_sha256"], one.options["base_sha256"]) == (known[TEACHER], known[BASE])
    assert one.name == "target"
    assert one.checkpoint == "target of zoo:teacher and zoo:base at λ = 1.3"
    assert masked.checkpoint.endswith("plausible 0.1")
    assert len({one.weights_sha256, other.weights_sha256, masked.weights_sha256}) == 3


def test_refusals(tiny_qwen3: Path) -> None:
    with pytest.raises(HarnessError, match="different vocabularies"):
        TargetEngine(
            EngineConfig(engine="target", target=TargetConfig(teacher=TEACHER, base=str(tiny_qwen3), lam=1.2))
        )
    with pytest.raises(HarnessError, match="two checkpoints"):
        TargetEngine(EngineConfig(engine="target"))
    with pytest.raises(HarnessError, match=r"lam=-1"):
        TargetConfig(teacher=TEACHER, base=BASE, lam=-1.0)
    with pytest.raises(EngineUnavailableError, match="draws only"):
        opened(1.2).score([], 0)
