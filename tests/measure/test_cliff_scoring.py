"""Limits of what engines are asked for when class masses are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.engines import EngineInfo
from harness.errors import DataError
from harness.measure.positions import Rollout, Walk
from harness.measure.score_log import ScoreLog
from harness.measure.scoring import MAX_TOP_K, Scoring
from harness.progress import ignore


def scoring(tmp_path: Path, vocabulary: int, max_top_k: int | None = None, tokens: int = 4) -> Scoring:
    rollout = Rollout("r", 0, 0, (1,) * 6, (2,) * tokens, Walk((), (), (), ()), valid=True)
    return Scoring([rollout], "classes", vocabulary, 20, max_top_k, ScoreLog(tmp_path), ignore)


def info(name: str, **more: Any) -> EngineInfo:
    return EngineInfo(name=name, version="1", checkpoint="x", **more)


@pytest.mark.parametrize(
    ("name", "vocabulary", "asked", "largest"),
    [
        ("vllm", 384, None, 384),
        ("vllm", 50_000, None, MAX_TOP_K["vllm"]),
        ("vllm", 384, 1000, 384),
        ("openai", 50_000, None, None),
        ("openai", 50_000, 80, 80),
    ],
)
def test_no_top_k_beyond_the_vocabulary(
    tmp_path: Path, name: str, vocabulary: int, asked: int | None, largest: int | None
) -> None:
    assert scoring(tmp_path, vocabulary, asked)._largest(info(name)) == largest


def test_a_server_needs_room_for_the_token_it_generates(tmp_path: Path) -> None:
    full = scoring(tmp_path, 384)
    full._check_context("teacher", info("hf", context_length=10))
    full._check_context("teacher", info("vllm", context_length=11))
    for name in ("vllm", "openai"):
        with pytest.raises(DataError, match=r"of 11 tokens doesn't fit the teacher's context of 10"):
            full._check_context("teacher", info(name, context_length=10))
