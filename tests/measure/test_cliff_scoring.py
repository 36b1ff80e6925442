"""Limits of what engines are asked for when class masses are measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.engines import Capabilities, ScoreRequest
from harness.errors import DataError
from harness.measure.score_log import ScoreLog
from harness.measure.scoring import Scoring
from harness.progress import ignore


def scoring(tmp_path: Path, vocabulary: int, max_top_k: int | None = None, tokens: int = 4) -> Scoring:
    request = ScoreRequest("r", (1,) * 6, (2,) * tokens)
    return Scoring([request], "classes", vocabulary, 20, max_top_k, ScoreLog(tmp_path), ignore)


@pytest.mark.parametrize(
    ("allowed", "vocabulary", "asked", "largest"),
    [
        (1280, 384, None, 384),
        (1280, 50_000, None, 1280),
        (1280, 384, 1000, 384),
        (None, 50_000, None, None),
        (None, 50_000, 80, 80),
    ],
)
def test_no_top_k_beyond_the_vocabulary(
    tmp_path: Path, allowed: int | None, vocabulary: int, asked: int | None, largest: int | None
) -> None:
    assert scoring(tmp_path, vocabulary, asked)._largest(Capabilities(max_top_k=allowed)) == largest


def test_a_server_needs_room_for_the_token_it_generates(tmp_path: Path) -> None:
    full = scoring(tmp_path, 384)
    in_process, server = Capabilities(), Capabilities(score_room=1)
    full._check_context("teacher", 10, in_process)
    full._check_context("teacher", 11, server)
    full._check_context("teacher", None, server)
    with pytest.raises(DataError, match=r"of 11 tokens doesn't fit the teacher's context of 10"):
        full._check_context("teacher", 10, server)
