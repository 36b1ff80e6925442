"""What the engine tests share: transformers' greedy answers, and no hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.engines import EngineConfig, Generation, open_engine
from tests.engines.engine_requests import GREEDY, by_key, make_requests


@pytest.fixture(scope="session")
def hf_greedy(tiny_qwen3: Path) -> dict[str, Generation]:
    """What transformers answers greedily to the shared requests: the reference for the other engines."""
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu"))
    engine.start()
    answers = by_key(engine.generate(make_requests(engine), GREEDY))
    engine.close()
    return answers


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Hugging Face hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
